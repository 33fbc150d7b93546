"""Where things have been and what has been asked: which cells are least visited, which pairs are untried.

A place counts when a thing stands there at the start of an episode or after an act has moved it; a command counts when
it was active. Counts are of kept episodes, and of the one that is running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.data.store import Store
from robolearn.episode import Event
from robolearn.specs import Array, Arrays, Spec

__all__ = ["AREA", "Coverage", "Visits", "cell_of", "coverage", "moved", "places_of", "told", "visits"]

AREA = ((0.33, -0.32), (0.69, 0.32))
"""Corners (x, y) of the part of the table that is looked at, m, in the base frame."""
CELLS = (6, 11)
MOST_EPISODES = 200
"""Of a store's newest, at the start of a session."""


@dataclass(frozen=True, slots=True)
class Visits:
    """What one episode adds.

    Attributes:
        places: (k, 2) m, where things stood.
        commands: What was asked.
    """

    places: Array
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The map.

    Attributes:
        grid: (nx, ny) how often a thing stood in each cell.
        pairs: (objects, containers) how often each pair was asked for; -1 where no command asks for it.
        objects: Names of the rows of `pairs`.
        containers: Names of its columns.
    """

    grid: Array
    pairs: Array
    objects: tuple[str, ...]
    containers: tuple[str, ...]

    @property
    def least(self) -> Array:
        """(2,) m, the middle of the least visited cell; of equals the one furthest from where things were."""
        (x0, y0), (x1, y1) = AREA
        nx, ny = self.grid.shape
        middles = np.stack(np.meshgrid(np.arange(nx) + 0.5, np.arange(ny) + 0.5, indexing="ij"), -1)
        visited = middles[self.grid > 0]
        rows = middles.reshape(-1, 2)
        gap = np.full(len(rows), np.inf)
        for place in visited:
            gap = np.minimum(gap, np.hypot(*(rows - place).T))
        order = np.lexsort((-gap, self.grid.ravel()))
        return np.array([x0, y0]) + rows[order[0]] / (nx, ny) * (x1 - x0, y1 - y0)

    def as_json(self) -> dict[str, Any]:
        """For the pages."""
        return {
            "area": AREA,
            "grid": self.grid.tolist(),
            "least": self.least.round(3).tolist(),
            "pairs": self.pairs.tolist(),
            "objects": self.objects,
            "containers": self.containers,
        }


def coverage(
    episodes: Iterable[Visits], *, objects: Sequence[str], containers: Sequence[str], commands: Sequence[str]
) -> Coverage:
    """Count what episodes have visited.

    Args:
        episodes: What each adds; a place outside `AREA` does not count.
        objects: What can be put somewhere.
        containers: Where.
        commands: Everything that can be asked; a command names its object and its container.
    """
    grid = np.zeros(CELLS, int)
    pairs = np.full((len(objects), len(containers)), -1)
    cells: dict[str, tuple[int, int]] = {}
    for text in commands:
        words = text.lower()
        for i, thing in enumerate(objects):
            for j, place in enumerate(containers):
                if thing.lower() in words and place.lower() in words:
                    cells[text], pairs[i, j] = (i, j), 0
    for visit in episodes:
        for place in visit.places:
            if (cell := cell_of(place)) is not None:
                grid[cell] += 1
        for text in set(visit.commands):
            if text in cells:
                pairs[cells[text]] += 1
    return Coverage(grid, pairs, tuple(objects), tuple(containers))


def cell_of(place: Array) -> tuple[int, int] | None:
    """The cell of a place (2,) m, None outside `AREA`."""
    low, high = np.array(AREA)
    i, j = np.floor((place - low) / (high - low) * CELLS).astype(int)
    return (int(i), int(j)) if 0 <= i < CELLS[0] and 0 <= j < CELLS[1] else None


def places_of(observation: Arrays, names: Sequence[str]) -> Mapping[str, Array]:
    """(2,) m by name, of those things whose position is observed; arrays without leading axis."""
    return {name: observation[f"{name}.position"][:2] for name in names if f"{name}.position" in observation}


def told(observation: Arrays, spec: Spec) -> str:
    """The active command of a scene that observes it one-hot, "" otherwise."""
    if "task.command" not in spec or not np.any(observation["task.command"]):
        return ""
    return spec["task.command"].names[int(np.argmax(observation["task.command"]))]


def moved(event: Event, places: Mapping[str, Array]) -> Array | None:
    """Where an accepted move puts its thing (2,), None for other events."""
    if not event.accepted or event.target not in places or not {"dx", "dy"} & event.params.keys():
        return None
    return places[event.target] + np.array([event.params.get("dx", 0.0), event.params.get("dy", 0.0)])


def visits(store: Store, names: Sequence[str]) -> list[Visits]:
    """What the newest episodes of a store have visited, pictures unread."""
    found: list[Visits] = []
    for id in store.ids()[-MOST_EPISODES:]:
        episode = store.log(id, pictures=False).episode
        if episode is None:
            continue
        spec = episode.observation_spec
        first = {name: value[0] for name, value in episode.observations.items()}
        places = dict(places_of(first, names))
        spots, commands = list(places.values()), [told(first, spec) or episode.meta.instruction]
        for event in episode.events:
            at = int(np.searchsorted(episode.times, event.time, side="right")) - 1
            now = {name: value[max(at, 0)] for name, value in episode.observations.items()}
            if (spot := moved(event, places_of(now, names))) is not None:
                spots.append(spot)
            if event.kind == "SET_CMD" and event.accepted:
                commands.append(str(event.params.get("instruction", "")))
        found.append(Visits(np.array(spots).reshape(-1, 2), tuple(commands)))
    return found
