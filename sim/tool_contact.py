"""What a force-torque sensor between flange and tool would feel of the surroundings: the sum of the tool's contacts.

The tool's own weight and its inertia are not in it, as a real arm compensates the payload it was told of. What the
gripper holds is felt through its contacts with the fingers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robolearn.specs import Array, ArraySpec, Spec
from sim.engine import MjModel, mujoco
from sim.robots import RobotModel

__all__ = ["WRENCH_SPEC", "ToolContact"]

WRENCH_SPEC: Spec = {"tool.wrench": ArraySpec((6,), unit="N, N m", frame="base")}
"""Force and torque about the tool point."""


class ToolContact:
    """Sums up the contacts of everything that hangs on a robot's hand."""

    def __init__(self, model: MjModel, robot: RobotModel):
        hand = model.body(robot.hand).id
        self._model, self._site = model, model.site("tool").id
        self._tool = np.array([self._hangs_on(int(body), hand) for body in model.geom_bodyid])

    def wrench(self, data: Any) -> Array:
        """(6,) N and N m in the base frame."""
        total, force = np.zeros(6), np.zeros(6)
        point = data.site_xpos[self._site]
        for index in range(data.ncon):
            contact = data.contact[index]
            ours = self._tool[contact.geom1], self._tool[contact.geom2]
            if ours[0] == ours[1] or contact.exclude:
                continue
            mujoco.mj_contactForce(self._model, data, index, force)
            # Rows of `frame` are the contact's axes; the force acts from the first geom on the second.
            axes = contact.frame.reshape(3, 3)
            sign = 1.0 if ours[1] else -1.0
            push, twist = sign * force[:3] @ axes, sign * force[3:] @ axes
            total[:3] += push
            total[3:] += twist + np.cross(contact.pos - point, push)
        return total

    def _hangs_on(self, body: int, hand: int) -> bool:
        while body and body != hand:
            body = int(self._model.body_parentid[body])
        return body == hand
