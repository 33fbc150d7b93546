"""The arm's shape for the safety gate: its tool point, and its distance to itself and to the table, from the model.

Distances are between the collision primitives of `sim.robots`, which enclose the vendor's meshes, by MuJoCo's
`mj_geomDistance`. The gripper's own distance to the table does not count: it is there to touch things, and the
workspace box limits its tool point instead. What a person has put on the table is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.errors import UnknownName
from robolearn.specs import Array
from sim.engine import MjModel, mujoco
from sim.robots import ROBOTS, RobotModel
from sim.scene import table_scene

__all__ = ["Clearance", "ClearanceConfig"]

_FAR_M = 0.5
"""Distances are not told apart beyond this."""
_TOUCHING_M = 0.05
"""Links of the arm that are this near at home belong together and are never checked against each other."""


@dataclass(frozen=True, slots=True)
class ClearanceConfig:
    """A `Body` for the gate from the model of a robot."""

    robot: str = "panda"
    """Which robot of the simulation; a real arm takes the one it looks like (a UR5e "ur5e", an xArm 7 "xarm7")."""
    table: bool = True
    """Whether it stands on the table of the scenes, whose top is z = 0 in the base frame."""

    def build(self) -> Clearance:
        """The body.

        Raises:
            UnknownName: No such robot.
        """
        if self.robot not in ROBOTS:
            raise UnknownName("robot", self.robot, ROBOTS)
        return Clearance(ROBOTS[self.robot], self.table)


class Clearance:
    """See `robolearn.safety.Body`. Build it with `ClearanceConfig`; use it from one thread at a time."""

    def __init__(self, robot: RobotModel, table: bool):
        self._model: MjModel = table_scene(robot).compile()
        self._data = mujoco.MjData(self._model)
        self._joints = [self._model.joint(name).qposadr[0] for name in robot.joints]
        self._tool = self._model.site("tool").id
        for name, value in zip(robot.fingers, robot.finger_open, strict=True):
            self._data.qpos[self._model.joint(name).qposadr[0]] = value
        self._place(np.array(robot.home))
        self._pairs = self._choose(robot, table)
        self.reach_m = self._reach(robot)

    def tool(self, q: Array) -> Array:
        self._place(q)
        return self._data.site_xpos[self._tool].copy()

    def clearance(self, q: Array) -> float:
        self._place(q)
        least, model, data = _FAR_M, self._model, self._data
        for a, b in self._pairs:
            if (apart := mujoco.mj_geomDistance(model, data, a, b, least, None)) < least:
                least = apart
        return least

    def _place(self, q: Array) -> None:
        self._data.qpos[self._joints] = q
        mujoco.mj_kinematics(self._model, self._data)

    def _choose(self, robot: RobotModel, table: bool) -> list[tuple[int, int]]:
        model = self._model
        hinges = [model.joint(name).bodyid[0] for name in robot.joints]
        arm = [k for k in range(model.ngeom) if model.geom(k).name.startswith("robot/")]
        # How many of the arm's joints move a geom: 0 is the base. The tool's geoms hang below the tool's body.
        moved = {k: sum(h in self._ancestors(model.geom_bodyid[k]) for h in hinges) for k in arm}
        tool = {k for k in arm if model.body(robot.tool_body).id in self._ancestors(model.geom_bodyid[k])}
        pairs: list[tuple[int, int]] = []
        for index, a in enumerate(arm):
            for b in arm[index + 1 :]:
                apart = mujoco.mj_geomDistance(model, self._data, a, b, _FAR_M, None)
                if abs(moved[a] - moved[b]) >= 2 and apart > _TOUCHING_M:
                    pairs.append((a, b))
        if table:
            top = model.geom("table").id
            pairs += [(a, top) for a in arm if moved[a] >= 2 and a not in tool]
        return pairs

    def _ancestors(self, body: int) -> list[int]:
        """The body and everything it hangs on, nearest first, without the world."""
        found: list[int] = []
        while body:
            found.append(int(body))
            body = int(self._model.body_parentid[body])
        return found

    def _reach(self, robot: RobotModel) -> float:
        """An upper bound of the distance from any of the arm's axes to any point that it moves."""
        model, farthest = self._model, 0.0
        for k in range(model.ngeom):
            if not model.geom(k).name.startswith("robot/"):
                continue
            chain = self._ancestors(int(model.geom_bodyid[k]))
            length = sum(float(np.linalg.norm(model.body_pos[body])) for body in chain)
            size = float(np.linalg.norm(model.geom_size[k])) + float(np.linalg.norm(model.geom_pos[k]))
            farthest = max(farthest, length + size)
        return farthest
