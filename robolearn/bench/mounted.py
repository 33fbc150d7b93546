"""An arm whose own base and tool frames are not the bench's: turned on its table, with a gripper nobody told it of.

A controller reports the tool it knows of in the frame of its own base. A policy, a camera and a second arm share the
frames of the bench. Where the arm stands and what is mounted on it are facts of the bench file (`[mount]`); they are
applied here to everything that is measured in the base frame, and nowhere else. (Universal Robots' base frame, for
instance, is turned by half a turn against the one of most simulation models.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.contracts import Robot
from robolearn.episode import Reading
from robolearn.errors import BenchError
from robolearn.geometry import quaternion_from_matrix, quaternion_multiply, rotate
from robolearn.specs import Array, Spec

__all__ = ["Mounted"]

_KNOWN = ("tool.position", "tool.quaternion", "tool.wrench")


class Mounted:
    """A `Robot` in the bench's frames. Commands are joints and pass unchanged.

    Args:
        robot: The driver.
        T_base_robot: (4, 4) pose of the arm's own base in the bench's base frame, m.
        T_reported_tool: (4, 4) pose of the bench's tool point in the tool frame that the driver reports, m.
        reference: Of q and -q, which are the same orientation, the one on this quaternion's (w, x, y, z) side is given.

    Raises:
        BenchError: The robot measures something in its base frame that this class does not know how to move.
    """

    def __init__(self, robot: Robot, T_base_robot: Array, T_reported_tool: Array, reference: Array):
        framed = [name for name, spec in robot.observation_spec.items() if spec.frame == "base"]
        if unknown := sorted(set(framed) - set(_KNOWN)):
            raise BenchError(f"[mount] cannot move {unknown} to another frame; it knows {', '.join(_KNOWN)}.")
        if not {"tool.position", "tool.quaternion"} <= set(framed):
            raise BenchError(f"[mount] needs a robot that measures its tool's pose; found {sorted(framed)}.")
        self._robot, self._framed, self._reference = robot, framed, reference
        self._base, self._tool = T_base_robot, T_reported_tool
        self._base_turn = quaternion_from_matrix(T_base_robot[:3, :3])
        self._tool_turn = quaternion_from_matrix(T_reported_tool[:3, :3])
        self.write, self.stop = robot.write, robot.stop

    @property
    def observation_spec(self) -> Spec:
        return self._robot.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._robot.action_spec

    @property
    def chain(self) -> Chain | None:
        """The arm's chain in the bench's frames, None when the driver does not know it."""
        own = getattr(self._robot, "chain", None)
        if not isinstance(own, Chain):
            return None
        moved = own.mounted(self._base[:3, :3], self._base[:3, 3])
        return replace(moved, tool=moved.tool + moved.hand @ self._tool[:3, 3], hand=moved.hand @ self._tool[:3, :3])

    def read(self) -> Reading:
        reading = self._robot.read()
        arrays, turn = dict(reading.arrays), self._base[:3, :3]
        reported = quaternion_multiply(self._base_turn, arrays["tool.quaternion"])
        lever = rotate(reported, self._tool[:3, 3])
        arrays["tool.position"] = turn @ arrays["tool.position"] + self._base[:3, 3] + lever
        orientation = quaternion_multiply(reported, self._tool_turn)
        arrays["tool.quaternion"] = -orientation if float(orientation @ self._reference) < 0 else orientation
        if "tool.wrench" in arrays:  # at the point where the driver reports it, along the bench's axes
            force, torque = arrays["tool.wrench"][:3], arrays["tool.wrench"][3:]
            arrays["tool.wrench"] = np.concatenate([turn @ force, turn @ torque])
        return reading._replace(arrays=arrays)

    def __enter__(self) -> Mounted:
        if hasattr(self._robot, "__enter__"):
            getattr(self._robot, "__enter__")()  # noqa: B009 - a `Robot` need not have it
        return self

    def __exit__(self, *error: Any) -> None:
        if hasattr(self._robot, "__exit__"):
            getattr(self._robot, "__exit__")(*error)  # noqa: B009
