"""Where the arm is in space: the tool point inside its box, and the distance to itself and to what stands around.

The gate knows no kinematics. It is given a `Body`, which turns joint positions into these two facts; `sim.clearance`
makes one from a MuJoCo model.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from robolearn.errors import SafetyFault
from robolearn.safety.limits import Limits
from robolearn.specs import Array

__all__ = ["ARM", "Body", "Space"]

ARM = "arm.q_target"
"""The action that a body understands."""


class Body(Protocol):
    """The shape of an arm and of what stands around it."""

    @property
    def reach_m(self) -> float:
        """No point of the arm moves faster than this per rad/s of any one joint, m."""
        ...

    def tool(self, q: Array) -> Array:
        """The tool point (3,) in m, base frame, at joint positions (k,) in rad."""
        ...

    def clearance(self, q: Array) -> float:
        """Least distance of the arm to itself and to its surroundings in m, negative inside."""
        ...


class Space:
    """How much room a posture leaves, with few evaluations of the body.

    No distance changes faster than `reach_m` times the sum of the joints' movements, so a posture near one that had
    much room needs no look.

    Args:
        body: The arm; needed as soon as a limit of space is given.
        limits: The box and the least distance.

    Raises:
        SafetyFault: A limit of space is given and no body.
    """

    def __init__(self, body: Body | None, limits: Limits):
        self.limited = limits.workspace_low is not None or limits.clearance_m is not None
        if self.limited and body is None:
            name = "clearance_m" if limits.clearance_m is not None else "workspace_low"
            raise SafetyFault(
                f"The limit {name} needs to know the arm's shape; refusing to arm. Give the gate a body, such as "
                "sim.clearance's, or leave the limit out."
            )
        self._body, self._limits = body, limits
        self._known: tuple[Array, float] | None = None

    def room(self, q: Array) -> float:
        """How far inside all limits of space a posture (k,) is, m; negative outside. Never more than there is."""
        body, limits = self._body, self._limits
        if not self.limited or body is None:
            return np.inf
        if self._known is not None:
            least = self._known[1] - body.reach_m * float(np.abs(q - self._known[0]).sum())
            if least > 0:
                return least
        room = np.inf
        if limits.workspace_low is not None and limits.workspace_high is not None:
            tool = body.tool(q)
            room = float(min(np.min(tool - limits.workspace_low), np.min(limits.workspace_high - tool)))
        if limits.clearance_m is not None:
            room = min(room, body.clearance(q) - limits.clearance_m)
        if not np.isfinite(room):
            return -np.inf  # refuse unless provably inside
        self._known = (q.copy(), room)
        return room

    def least(self, path: Array) -> float:
        """The least room along postures (points, k)."""
        return min(self.room(q) for q in path)
