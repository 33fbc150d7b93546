"""The information density of a collection while it is recorded: is what happens now anything new?

The measure is `robolearn.scene.density`. What is kept counts exactly as `robolearn data stats` counts it, under labels
that need the whole episode. The episode that runs is counted tick by tick under the command as it was given and the
phase as one frame shows it, so its share is an estimate, and it is counted again when it has been kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.contracts import Env, Tick
from robolearn.data.store import Store
from robolearn.episode import Episode, Outcome, Reading
from robolearn.scene.density import Net, Units, episode_units, units
from robolearn.scene.subtasks import subtasks
from robolearn.scene.view import has_scene, read_scene, view
from robolearn.specs import Array, Spec
from teleop.console.coverage import CELLS, MOST_EPISODES, cell_of

__all__ = ["Gauge"]

RECENT_S = 10.0
"""How far back "new lately" looks."""


class Gauge:
    """An observer that counts situations of a told scene; of another scene it counts nothing.

    Args:
        spec: Observations of the bench.
        rate_hz: Of the loop.

    Attributes:
        cells: (nx, ny) situations of kept episodes by the place of the thing that was told, on the map's cells.
    """

    def __init__(self, spec: Spec, rate_hz: float):
        self._scene = read_scene(spec) if has_scene(spec) else None
        if self._scene is not None and not self._scene.commands:
            self._scene = None  # labels need commands
        self._kept, self._running = Net(), Net()
        self._frames = self._episodes = self._frames_now = 0
        self._lately: deque[bool] = deque(maxlen=round(RECENT_S * rate_hz))
        self.cells: Array = np.zeros(CELLS, int)

    def read(self, store: Store) -> None:
        """Count the newest episodes of a store, as many as the map does."""
        if self._scene is not None:
            for id in store.ids()[-MOST_EPISODES:]:
                self.keep(store.log(id, pictures=False).episode)

    def keep(self, episode: Episode | None) -> None:
        """An episode was kept; what was counted of it while it ran is counted again."""
        self.drop()
        if self._scene is None or episode is None or not has_scene(episode.observation_spec):
            return
        found, scene = episode_units(episode), read_scene(episode.observation_spec)
        new = np.array([self._kept.add_one(phi, int(kind)) for phi, kind in zip(found.phi, found.kind, strict=True)])
        arrays = {name: value[:-1] for name, value in episode.observations.items()}
        for place in view(scene, arrays).thing[new.astype(bool), :2]:
            if (cell := cell_of(place)) is not None:
                self.cells[cell] += 1
        self._episodes, self._frames = self._episodes + 1, self._frames + episode.steps

    def drop(self) -> None:
        """The running episode is over; nothing of it counts any more."""
        self._running, self._frames_now = Net(), 0
        self._lately.clear()

    def as_json(self) -> dict[str, Any] | None:
        """For the pages: None where there is no told scene."""
        if self._scene is None:
            return None
        frames = self._frames + self._frames_now
        return {
            "situations": len(self._kept),
            "now": len(self._running),
            "episodes": self._episodes,
            "per_1000": round(1000 * (len(self._kept) + len(self._running)) / frames, 1) if frames else 0.0,
            "new_lately": round(sum(self._lately) / len(self._lately), 3) if self._lately else None,
        }

    # -- the observer -------------------------------------------------------------------------------------------

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.drop()

    def step(self, tick: Tick) -> None:
        if self._scene is None:
            return
        arrays = tick.reading.arrays
        command = view(self._scene, arrays).command
        found: Units = units(self._scene, arrays, subtasks(self._scene, arrays, command), command)
        phi, kind = found.phi[0], int(found.kind[0])
        new = not self._kept.near(phi, kind) and self._running.add_one(phi, kind)
        self._lately.append(new)
        self._frames_now += 1

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        return
