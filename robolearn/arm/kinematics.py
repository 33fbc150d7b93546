"""A chain of hinges as data: where every axis stands in the zero posture, and what follows from it.

Product of exponentials (Brockett 1984; Lynch and Park, "Modern Robotics", section 4.1), written with rotations: with
the zero posture's anchors a_i and unit axes z_i and R_i = Rot(z_1, q_1) ... Rot(z_i, q_i),

    anchor_i(q) = anchor_{i-1}(q) + R_{i-1} (a_i - a_{i-1}),     axis_i(q) = R_{i-1} z_i,     tool(q) likewise.

Rows are independent, units are metres and radians, and everything is in the frame of the robot's base. Who knows a
robot as a model (the simulation, a vendor's description) extracts a `Chain`; who computes with arms needs only that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from robolearn.specs import Array

__all__ = ["Chain", "Posture"]


@dataclass(frozen=True, slots=True, eq=False)
class Posture:
    """Where a chain is, n rows.

    Attributes:
        anchors: (n, k, 3) a point on each joint's axis, m.
        axes: (n, k, 3) unit joint axes.
        links: (n, k, 3, 3) turn of the link behind each joint away from the zero posture.
        tool: (n, 3) the tool point, m.
        hand: (n, 3, 3) the tool's axes, as columns.
    """

    anchors: Array
    axes: Array
    links: Array
    tool: Array
    hand: Array

    def jacobian(self) -> Array:
        """(n, 6, k): the tool's velocity, linear rows first, per joint velocity."""
        out = np.empty((len(self.tool), 6, self.axes.shape[1]))
        # The cross product, written out: np.cross takes longer than the rest.
        z, r = self.axes, self.tool[:, None] - self.anchors
        out[:, 0] = z[..., 1] * r[..., 2] - z[..., 2] * r[..., 1]
        out[:, 1] = z[..., 2] * r[..., 0] - z[..., 0] * r[..., 2]
        out[:, 2] = z[..., 0] * r[..., 1] - z[..., 1] * r[..., 0]
        out[:, 3:] = z.transpose(0, 2, 1)
        return out

    def direction(self, link: int, vector: Array) -> Array:
        """(n, 3): where a vector of the zero posture (3,) that is fixed to a link points now."""
        return self.links[:, link] @ vector


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """An arm of k hinges.

    Attributes:
        name: Of the robot.
        joints: Their names, base to hand.
        anchors: (k, 3) a point on each axis in the zero posture, m.
        axes: (k, 3) unit axes in the zero posture.
        low: (k,) lower limits, rad.
        high: (k,) upper limits, rad.
        home: (k,) a comfortable posture, rad.
        tool: (3,) the tool point in the zero posture, m.
        hand: (3, 3) the tool's axes in the zero posture, as columns.
    """

    name: str
    joints: tuple[str, ...]
    anchors: Array
    axes: Array
    low: Array
    high: Array
    home: Array
    tool: Array
    hand: Array
    _cross: Array = field(init=False, repr=False)
    _square: Array = field(init=False, repr=False)
    _steps: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        k = len(self.joints)
        for what, shape in (
            *((name, (k, 3)) for name in ("anchors", "axes")),
            *((name, (k,)) for name in ("low", "high", "home")),
            ("tool", (3,)),
            ("hand", (3, 3)),
        ):
            found = getattr(self, what)
            if found.shape != shape or not np.all(np.isfinite(found)):
                raise ValueError(f"{self.name}: `{what}` must be finite with shape {shape}; found {found!r}.")
        if np.abs(np.linalg.norm(self.axes, axis=1) - 1.0).max() > 1e-6 or np.any(self.low >= self.high):
            raise ValueError(f"{self.name}: axes must have unit length and every lower limit lie below the upper one.")
        x, y, z = self.axes.T
        zero = np.zeros_like(x)
        cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
        # What Rodrigues' formula needs of constants, since a live arm computes one row at a time.
        object.__setattr__(self, "_cross", cross)
        object.__setattr__(self, "_square", cross @ cross)
        object.__setattr__(self, "_steps", np.diff(self.anchors, axis=0, prepend=np.zeros((1, 3))))

    def posture(self, q: Array) -> Posture:
        """The chain at joint positions (n, k), rad."""
        n, k = q.shape
        turns = np.sin(q)[..., None, None] * self._cross + (1.0 - np.cos(q))[..., None, None] * self._square
        turns[..., range(3), range(3)] += 1.0  # Rodrigues: R = 1 + sin K + (1 - cos) K^2
        frames = np.empty((n, k + 1, 3, 3))
        frames[:, 0] = np.eye(3)
        for i in range(k):
            np.matmul(frames[:, i], turns[:, i], out=frames[:, i + 1])
        before, links = frames[:, :-1], frames[:, 1:]
        anchors = np.cumsum((before @ self._steps[:, :, None])[..., 0], axis=1)
        axes = (before @ self.axes[:, :, None])[..., 0]
        tool = anchors[:, -1] + links[:, -1] @ (self.tool - self.anchors[-1])
        return Posture(anchors, axes, links, tool, links[:, -1] @ self.hand)

    def mounted(self, rotation: Array, origin: Array) -> Chain:
        """The same arm with its base at `origin` (3,), m, turned by `rotation` (3, 3), in the frame of the mount."""
        return replace(
            self,
            anchors=self.anchors @ rotation.T + origin,
            axes=self.axes @ rotation.T,
            tool=rotation @ self.tool + origin,
            hand=rotation @ self.hand,
        )
