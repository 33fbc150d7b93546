"""How much a data set says: the number of situations in it that differ, and how much it repeats itself.

Source: Huang et al. 2025 (arXiv 2503.11646) define information density as the expected number of training units that
no earlier unit of the episode is functionally equivalent to, without a computable equivalence. Ours: a unit is

    phi = [(tool - thing) / 5 cm, (tool - place) / 5 cm, opening / 4 cm, (cos, sin) yaw / 15 deg, 3 sub-task, 3 command]

with sub-task and command one-hot, two units are equivalent within a distance of 1, and the situations of a data set
are a greedy net of that radius. Numbers of different data sets compare only at equal numbers of frames, which is why
they are also given per 1000.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from robolearn.episode import Episode
from robolearn.scene.labels import label_episode
from robolearn.scene.view import Scene, heading, read_scene, view
from robolearn.specs import Array, Arrays

__all__ = ["RECENT", "Density", "Net", "Units", "density", "episode_units", "units"]

LENGTH_M, WIDTH_M, YAW_RAD = 0.05, 0.04, np.deg2rad(15.0)
RADIUS = 1.0
RECENT = 10
"""Frames that a frame may repeat."""


class Units(NamedTuple):
    """Embedded frames. Frames of different kinds are never equivalent: their one-hots are 3 sqrt(2) apart.

    Attributes:
        phi: (T, 9) float64.
        kind: (T,) int64, one number for each pair of sub-task and command.
    """

    phi: Array
    kind: Array


def units(scene: Scene, arrays: Arrays, subtask: Array, command: Array) -> Units:
    """Embed frames with leading axes L; `subtask` and `command` are (L) codes."""
    seen = view(scene, arrays, command)
    place = np.nan_to_num((seen.tool - seen.place) / LENGTH_M)
    yaw = heading(scene, arrays)[..., None]
    parts = [
        (seen.tool - seen.thing) / LENGTH_M,
        place,
        seen.width[..., None] / WIDTH_M,
        np.cos(yaw) / YAW_RAD,
        np.sin(yaw) / YAW_RAD,
    ]
    return Units(np.concatenate(parts, axis=-1), subtask.astype(np.int64) * 1000 + command)


@dataclass
class Net:
    """A greedy net: a frame joins when nothing in it is within the radius. It grows frame by frame, so also live."""

    radius: float = RADIUS
    points: dict[int, list[Array]] = field(default_factory=lambda: {})
    _stacked: dict[int, Array] = field(default_factory=lambda: {})

    def __len__(self) -> int:
        return sum(len(one) for one in self.points.values())

    def add(self, found: Units) -> int:
        """Add frames (T, ...) in their order; returns how many were new."""
        return sum(self.add_one(phi, int(kind)) for phi, kind in zip(found.phi, found.kind, strict=True))

    def near(self, phi: Array, kind: int) -> bool:
        """Whether a frame (D,) is equivalent to one of the net."""
        if not (points := self.points.get(kind)):
            return False
        gap = self._stacked[kind][: len(points)] - phi
        return float((gap * gap).sum(axis=1).min()) <= self.radius**2

    def add_one(self, phi: Array, kind: int) -> bool:
        """Add one frame (D,); True when it was new."""
        if self.near(phi, kind):
            return False
        points = self.points.setdefault(kind, [])
        if not points:
            self._stacked[kind] = np.empty((16, len(phi)))
        elif len(points) == len(self._stacked[kind]):
            self._stacked[kind] = np.concatenate([self._stacked[kind], np.empty_like(self._stacked[kind])])
        self._stacked[kind][len(points)] = phi
        points.append(phi)
        return True


@dataclass(frozen=True, slots=True)
class Density:
    """What was found.

    Attributes:
        episodes: How many.
        frames: How many.
        situations: Size of the net.
        redundancy: Share of frames that are equivalent to one of the 10 frames before.
    """

    episodes: int
    frames: int
    situations: int
    redundancy: float

    @property
    def per_episode(self) -> float:
        """Situations per episode."""
        return self.situations / max(1, self.episodes)

    @property
    def per_1000(self) -> float:
        """Situations per 1000 frames."""
        return 1000 * self.situations / max(1, self.frames)


def density(episodes: Iterable[Episode]) -> Density:
    """The density of episodes of one scene.

    Raises:
        SpecError: They hold no scene (see `robolearn.scene.view.read_scene`).
    """
    net, count, frames, repeated = Net(), 0, 0, 0
    for episode in episodes:
        found = episode_units(episode)
        net.add(found)
        repeated += int(repeats(found).sum())
        count, frames = count + 1, frames + episode.steps
    return Density(count, frames, len(net), repeated / max(1, frames))


def episode_units(episode: Episode) -> Units:
    """The frames of an episode, under its aligned labels."""
    labels = label_episode(episode)
    arrays = {name: value[:-1] for name, value in episode.observations.items()}
    return units(read_scene(episode.observation_spec), arrays, labels.subtask, labels.aligned)


def repeats(found: Units, recent: int = RECENT) -> Array:
    """(T,) bool, whether a frame is equivalent to one of the `recent` frames before."""
    again = np.zeros(len(found.kind), bool)
    for back in range(1, recent + 1):
        gap = np.linalg.norm(found.phi[back:] - found.phi[:-back], axis=1)
        again[back:] |= (gap <= RADIUS) & (found.kind[back:] == found.kind[:-back])
    return again
