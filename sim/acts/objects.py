"""MOVE_OBJ, ROTATE_OBJ and MOVE_CONT: things pulled over the table by an invisible hand (`sim.drag`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from robolearn.geometry import quaternion_to_matrix
from robolearn.specs import Array, Arrays
from sim.acts.act import Act, Answer, Request, Scene
from sim.drag import Drags
from sim.engine import MjModel

__all__ = ["Objects", "footprint"]

CLEARANCE_M = 0.005
"""Two things are not put nearer to each other than this."""
MOVE = {"dx": (-1.0, 1.0, 0.0), "dy": (-1.0, 1.0, 0.0), "dyaw": (-math.pi, math.pi, 0.0)}


def footprint(model: MjModel, name: str) -> float:
    """Radius in metres of the circle around a body's origin that its geoms cover at any yaw."""
    body = model.body(name)
    reach = 0.0
    for geom in range(body.geomadr[0], body.geomadr[0] + body.geomnum[0]):
        sides = np.abs(model.geom_aabb[geom, :3]) + model.geom_aabb[geom, 3:]
        extent = np.abs(quaternion_to_matrix(model.geom_quat[geom])) @ sides
        reach = max(reach, math.hypot(*(np.abs(model.geom_pos[geom, :2]) + extent[:2])))
    return reach


class Objects:
    """The hands of all rows. Which objects are containers, a task says by its `containers`."""

    def __init__(self, scene: Scene):
        self._scene = scene
        self._containers: tuple[str, ...] = getattr(scene.task, "containers", ())
        self._drags = Drags(scene.n, scene.task.objects, scene.period_s, scene.model)
        self._radius = {name: footprint(scene.model, name) for name in scene.task.objects}

    def acts(self) -> Mapping[str, Act]:
        objects = tuple(name for name in self._scene.task.objects if name not in self._containers)
        table: dict[str, Act] = {}
        if objects:
            table["MOVE_OBJ"] = Act(self._move, objects, MOVE, "object")
            table["ROTATE_OBJ"] = Act(self._move, objects, {"dyaw": MOVE["dyaw"]}, "object")
        if self._containers:
            table["MOVE_CONT"] = Act(self._move, self._containers, MOVE, "container")
        return table

    def clear(self, rows: Sequence[int]) -> None:
        """Let go of everything in these rows."""
        self._drags.clear(rows)

    def advance(self, seen: Arrays, inputs: Mapping[str, Array]) -> None:
        """Move the hands by one control period."""
        if not self._drags.idle:
            names = self._scene.task.objects
            self._drags.advance(np.stack([seen[f"{name}.position"] for name in names], axis=1), inputs)

    @property
    def idle(self) -> bool:
        return self._drags.idle

    def _move(self, request: Request) -> Answer:
        row, target, seen, params = request.row, request.target, request.seen, request.params
        move = np.array([params.get("dx", 0.0), params.get("dy", 0.0)])
        position = seen[f"{target}.position"]
        if self._drags.active(row, target):
            return Answer(reason=f"the {target} is already being moved")
        if reason := self._scene.task.refuse_move(seen, target, position[:2] + move):
            return Answer(reason=reason)
        # What turns where it stands takes no new place; the soft hand lets it yield to its neighbours.
        for other in self._scene.task.objects if move.any() else ():
            gap = np.hypot(*(seen[f"{other}.position"][:2] - position[:2] - move))
            if other != target and gap < self._radius[target] + self._radius[other] + CLEARANCE_M:
                return Answer(reason=f"the {other} is in the way")
        steps = self._drags.begin(
            row, target, position, seen[f"{target}.quaternion"], move, float(params.get("dyaw", 0.0))
        )
        return Answer(steps * self._scene.period_s)
