"""Symbolic maps: a human arm's two directions to the first joints of a robot's arm, in closed form.

After Visual IRL (Asali and Doshi, arXiv 2412.11360: "neuro-symbolic" map of human joints to cobot joints), whose
equations are not public; these are derived here. With shoulder S, elbow E, wrist W of the person,

    u = (E - S) / |E - S|,     f = (W - E) / |W - E|,

the robot's upper arm shall point along u and its forearm along f: the base turn and the shoulder place u, the turn
about the upper arm and the elbow then place f. Four of seven joints follow from S, E, W; the wrist keeps a neutral
posture. Where the shoulder's joint axis is parallel to u the base turn is free, and the map takes atan2(0, 0) = 0.

A robot is mounted in the person's torso frame (x ahead, y left, z up) such that human postures lie inside its limits:
an upright arm whose shoulder bends at most 120 degrees cannot let its upper arm hang; lying on its side it can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from robolearn.arm.kinematics import Chain, Posture
from robolearn.errors import UnknownName
from robolearn.specs import Array

__all__ = ["ARM_MAPS", "SIDEWAYS", "UPRIGHT", "ArmMap", "arm_directions", "find_arm_map"]

UPRIGHT = np.eye(3)
"""The base stands as the torso does."""
SIDEWAYS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""The base's z points to the person's right, like an upper arm lifted sideways; its y points up."""

Joints = Callable[[Array, Array], Array]


def arm_directions(shoulder: Array, elbow: Array, wrist: Array) -> tuple[Array, Array]:
    """Unit directions u and f (..., 3) of upper arm and forearm from three points (..., 3), m."""
    upper, forearm = elbow - shoulder, wrist - elbow
    return (
        upper / np.linalg.norm(upper, axis=-1, keepdims=True),
        forearm / np.linalg.norm(forearm, axis=-1, keepdims=True),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ArmMap:
    """How one kind of robot imitates a right arm.

    Attributes:
        name: Of the robot.
        joints: From u and f (n, 3) in the base frame to the first joints (n, 3 or 4), rad.
        wrist: The other joints' neutral posture: the hand goes on along the forearm where the limits allow it.
        upper: Link that carries the upper arm, and its direction in the zero posture.
        forearm: The same for the forearm.
        exact: Whether both directions are reached (a six-axis arm cannot turn its upper arm about itself).
        mount: (3, 3) the base's axes in the torso frame, as columns.
    """

    name: str
    joints: Joints
    wrist: tuple[float, ...]
    upper: tuple[int, tuple[float, float, float]]
    forearm: tuple[int, tuple[float, float, float]]
    exact: bool = True
    mount: Array = field(default_factory=lambda: UPRIGHT)

    def symbolic(self, upper: Array, forearm: Array) -> Array:
        """All joints (n, k), rad, of directions u and f (n, 3) in the torso frame; limits are not yet applied."""
        first = self.joints(upper @ self.mount, forearm @ self.mount)
        return np.concatenate([first, np.broadcast_to(self.wrist, (len(first), len(self.wrist)))], axis=1)

    def directions(self, posture: Posture) -> tuple[Array, Array]:
        """Where upper arm and forearm of a mounted chain point (n, 3 each), in the torso frame."""
        (upper, u), (forearm, f) = self.upper, self.forearm
        return posture.direction(upper, self.mount @ np.array(u)), posture.direction(forearm, self.mount @ np.array(f))

    def upright(self) -> ArmMap:
        """The map of the same robot when its base stands upright, as on a table."""
        return replace(self, mount=UPRIGHT)

    def mounted(self, chain: Chain, shoulder: Array) -> Chain:
        """The chain in the torso frame, with the crossing of its first two axes at the person's shoulder (3,)."""
        a, z = chain.anchors, chain.axes
        crossing = a[0] + z[0] * ((a[1] - a[0]) @ z[0])
        return chain.mounted(self.mount, shoulder - self.mount @ crossing)


def _sawyer(u: Array, f: Array) -> Array:
    """Zero posture along x, axes z, y, x, y."""
    q0, q1 = np.arctan2(u[:, 1], u[:, 0]), -np.arcsin(np.clip(u[:, 2], -1.0, 1.0))
    g = _into_upper_arm(q0, q1, f)
    return np.stack([q0, q1, np.arctan2(g[:, 1], -g[:, 2]), np.arctan2(np.hypot(g[:, 1], g[:, 2]), g[:, 0])], axis=1)


def _upright_shoulder(u: Array, f: Array) -> tuple[Array, Array, Array, Array]:
    """Base turn, shoulder, elbow flexion and the forearm's azimuth g about the upper arm, zero posture along z."""
    q0, q1 = np.arctan2(u[:, 1], u[:, 0]), np.arccos(np.clip(u[:, 2], -1.0, 1.0))
    g = _into_upper_arm(q0, q1, f)
    return q0, q1, np.arctan2(np.hypot(g[:, 0], g[:, 1]), g[:, 2]), g


def _iiwa(u: Array, f: Array) -> Array:
    """Axes z, y, z, -y: a positive elbow bends the forearm towards -x."""
    q0, q1, flexion, g = _upright_shoulder(u, f)
    return np.stack([q0, q1, np.arctan2(-g[:, 1], -g[:, 0]), flexion], axis=1)


def _panda(u: Array, f: Array) -> Array:
    """Axes z, y, z, -y with an elbow that only bends the other way, towards +x."""
    q0, q1, flexion, g = _upright_shoulder(u, f)
    return np.stack([q0, q1, np.arctan2(g[:, 1], g[:, 0]), -flexion], axis=1)


def _xarm7(u: Array, f: Array) -> Array:
    """As Panda, but the zero posture has the forearm folded back along the upper arm."""
    q0, q1, flexion, g = _upright_shoulder(u, f)
    return np.stack([q0, q1, np.arctan2(g[:, 1], g[:, 0]), np.pi - flexion], axis=1)


def _ur5e(u: Array, f: Array) -> Array:
    """Zero posture along x, axes z, y, y: the upper arm is exact, of the forearm only its angle to the upper arm."""
    q0, q1 = np.arctan2(u[:, 1], u[:, 0]), -np.arcsin(np.clip(u[:, 2], -1.0, 1.0))
    g = _into_upper_arm(q0, q1, f)
    flexion = np.arctan2(np.hypot(g[:, 1], g[:, 2]), g[:, 0])
    return np.stack([q0, q1, np.where(g[:, 2] > 0, -flexion, flexion)], axis=1)


def _into_upper_arm(q0: Array, q1: Array, f: Array) -> Array:
    """(Rz(q0) Ry(q1))^T f."""
    c0, s0, c1, s1 = np.cos(q0), np.sin(q0), np.cos(q1), np.sin(q1)
    x, y, z = c0 * f[:, 0] + s0 * f[:, 1], -s0 * f[:, 0] + c0 * f[:, 1], f[:, 2]
    return np.stack([c1 * x - s1 * z, y, s1 * x + c1 * z], axis=1)


_X, _Z, _DOWN = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)
ARM_MAPS: dict[str, ArmMap] = {
    m.name: m
    for m in (
        ArmMap("sawyer", _sawyer, (0.0, 0.0, 0.0), (2, _X), (3, _X)),
        ArmMap("iiwa", _iiwa, (0.0, 0.0, 0.0), (2, _Z), (3, _Z), mount=SIDEWAYS),
        ArmMap("panda", _panda, (0.0, 2.6, 0.785), (2, _Z), (3, _Z), mount=SIDEWAYS),
        ArmMap("xarm7", _xarm7, (0.0, 0.0, 0.0), (2, _Z), (3, _DOWN), mount=SIDEWAYS),
        ArmMap("ur5e", _ur5e, (0.0, 0.0, 0.0), (1, _X), (2, _X), exact=False),
    )
}
"""Every robot that has a map."""


def find_arm_map(name: str) -> ArmMap:
    """The map of a robot.

    Raises:
        UnknownName: There is none.
    """
    if name not in ARM_MAPS:
        raise UnknownName("arm map", name, ARM_MAPS)
    return ARM_MAPS[name]
