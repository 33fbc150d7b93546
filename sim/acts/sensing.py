"""NOISE: measurements that are not quite right. The task is still judged by the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robolearn.specs import Array, Arrays
from sim.acts.act import Act, Answer, Request, Scene, lasting
from sim.task import robot_spec

__all__ = ["Sensing"]


class Sensing:
    """Gaussian noise on single observations of single rows, drawn anew in every control period."""

    def __init__(self, scene: Scene):
        self._period_s = scene.period_s
        spec = robot_spec(scene.task.robot) | dict(scene.task.observation_spec)
        self._sizes = {name: s.shape for name, s in spec.items() if np.dtype(s.dtype).kind == "f"}
        self._std = {name: np.zeros(scene.n) for name in self._sizes}
        self._left = {name: np.zeros(scene.n, int) for name in self._sizes}
        self._generators = [np.random.default_rng(0)] * scene.n
        self._noise: dict[str, Array] = {}

    def acts(self) -> Mapping[str, Act]:
        return {"NOISE": Act(self._noise_on, tuple(self._sizes), {"std": (0.0, 0.2, 0.01), "for_s": (0.0, 1e6, 0.0)})}

    def clear(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Measure these rows exactly."""
        for row, seed in zip(rows, seeds, strict=True):
            self._generators[row] = np.random.default_rng([seed, 3])
            for name in self._sizes:
                self._left[name][row] = 0
        self._draw()

    def advance(self) -> None:
        """Count down by one control period and draw new noise."""
        if not self._noise:
            return
        for left in self._left.values():
            np.maximum(left - 1, 0, out=left)
        self._draw()

    def measured(self, seen: Arrays) -> Arrays:
        """Observations with their noise; the same until the next period."""
        return {name: value + self._noise[name] if name in self._noise else value for name, value in seen.items()}

    def _draw(self) -> None:
        self._noise = {}
        for name, left in self._left.items():
            for row in np.flatnonzero(left):
                noise = self._noise.setdefault(name, np.zeros((len(left), *self._sizes[name])))
                noise[row] = self._std[name][row] * self._generators[row].standard_normal(self._sizes[name])

    def _noise_on(self, request: Request) -> Answer:
        duration_s = lasting(request)
        self._std[request.target][request.row] = request.params["std"]
        self._left[request.target][request.row] = max(1, round(duration_s / self._period_s))
        self._draw()
        return Answer(duration_s)
