"""DISTRACTOR: a can or a carton that somebody sets on the table, moves elsewhere or takes away.

It is set down from above along a minimum-jerk path and then stands like a rock: a mocap body, which costs the physics
nothing while it waits below the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robolearn.specs import Array
from sim.acts.act import Act, Answer, Request, Scene
from sim.acts.objects import footprint
from sim.distractors import DISTRACTORS
from sim.scene import on_table

__all__ = ["Clutter"]

HEIGHT_M, DURATION_S = 0.35, 0.8
"""From how high and how slowly a distractor comes."""
CLEARANCE_M, TOOL_CLEARANCE_M = 0.01, 0.12
"""It keeps this far from objects and, seen from above, from the tool."""


class Clutter:
    """Where each row's distractors are."""

    def __init__(self, scene: Scene):
        self._scene, model = scene, scene.model
        self._mocap = [int(model.body(name).mocapid[0]) for name in DISTRACTORS]
        self._radius = {name: footprint(model, name) for name in (*DISTRACTORS, *scene.task.objects)}
        self._away = np.stack([model.body(name).pos for name in DISTRACTORS])
        shape = (scene.n, len(DISTRACTORS))
        self._position = np.repeat(self._away[None], scene.n, axis=0)
        self._from, self._to = self._position.copy(), self._position.copy()
        self._done, self._steps = np.zeros(shape, int), np.zeros(shape, int)

    def acts(self) -> Mapping[str, Act]:
        numbers = {"x": (-1.0, 1.0, 0.5), "y": (-1.0, 1.0, 0.0), "present": (0.0, 1.0, 1.0)}
        return {"DISTRACTOR": Act(self._place, DISTRACTORS, numbers, "distractor")}

    def clear(self, rows: Sequence[int]) -> None:
        """Take everything away from these rows."""
        self._position[rows] = self._away
        self._done[rows] = self._steps[rows] = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is moving."""
        return not (self._done < self._steps).any()

    @property
    def empty(self) -> bool:
        """Whether no row has a distractor."""
        return bool((self._position == self._away).all()) and self.idle

    def advance(self, inputs: Mapping[str, Array]) -> None:
        """Move what is moving by one control period."""
        substeps = self._scene.substeps
        for row, item in np.argwhere(self._done < self._steps):
            index = (row, item)
            u = np.minimum((self._done[index] + np.arange(1, substeps + 1) / substeps) / self._steps[index], 1.0)
            s = (u * u * u * (10 - 15 * u + 6 * u * u))[:, None]
            path = self._from[index] + s * (self._to[index] - self._from[index])
            self._done[index] += 1
            if self._done[index] == self._steps[index] and self._to[index][2] > 0:
                path[-1] = self._away[item]  # lifted off the table: gone
            start = 3 * self._mocap[item]
            inputs["mocap_pos"][row, :, start : start + 3] = path
            self._position[index] = path[-1]

    def dress(self, mocap_pos: Array, row: int) -> None:
        """Write a row's distractors into the mocap positions (nmocap, 3) of the data it is drawn from."""
        mocap_pos[self._mocap] = self._position[row]

    def _place(self, request: Request) -> Answer:
        index = (request.row, DISTRACTORS.index(request.target))
        spot = np.array([request.params["x"], request.params["y"], 0.0])
        present = self._position[index][2] > -1.0
        if self._done[index] < self._steps[index]:
            return Answer(reason=f"the {request.target} is already being moved")
        if request.params["present"] < 0.5:
            if not present:
                return Answer(reason=f"there is no {request.target} on the table")
            self._from[index] = self._position[index]
            self._to[index] = self._position[index] + np.array([0.0, 0.0, HEIGHT_M])
        else:
            if present:
                return Answer(reason=f"the {request.target} stands on the table already")
            if reason := self._refuse(request, spot):
                return Answer(reason=reason)
            self._from[index], self._to[index] = spot + np.array([0.0, 0.0, HEIGHT_M]), spot
        self._steps[index], self._done[index] = round(DURATION_S / self._scene.period_s), 0
        return Answer(self._steps[index] * self._scene.period_s)

    def _refuse(self, request: Request, spot: Array) -> str:
        if not on_table(spot[:2]):
            return f"({spot[0]:.3f}, {spot[1]:.3f}) m is not on the table within reach"
        radius = self._radius[request.target]
        if np.hypot(*(request.seen["tool.position"][:2] - spot[:2])) < radius + TOOL_CLEARANCE_M:
            return "the hand is in the way"
        others = {name: request.seen[f"{name}.position"] for name in self._scene.task.objects}
        others |= dict(zip(DISTRACTORS, self._position[request.row], strict=True))
        for name, position in others.items():
            near = np.hypot(*(position[:2] - spot[:2])) < radius + self._radius[name] + CLEARANCE_M
            if name != request.target and near and position[2] > -0.5:
                return f"the {name} is in the way"
        return ""
