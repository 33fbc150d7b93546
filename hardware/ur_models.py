"""The e-Series and CB3 arms of Universal Robots as numbers: joint limits, speeds and forward kinematics.

Source: the Denavit-Hartenberg parameters and joint ranges that Universal Robots publishes ("DH parameters for
calculations of kinematics and dynamics"). They are the nominal ones; every real arm has its own small calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.arm.frames import chain_from_frames
from robolearn.arm.kinematics import Chain
from robolearn.errors import UnknownName
from robolearn.specs import Array

__all__ = ["JOINTS", "UR_MODELS", "UrModel", "find_ur", "flange_pose"]

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
"""Names of the six joints from the base to the tool."""

_TURN = 2 * np.pi
_LOW = (-_TURN, -_TURN, -np.pi, -_TURN, -_TURN, -_TURN)
_HIGH = (_TURN, _TURN, np.pi, _TURN, _TURN, _TURN)


@dataclass(frozen=True, slots=True)
class UrModel:
    """One arm.

    Attributes:
        name: Short identifier, such as "ur5e".
        d: Denavit-Hartenberg offsets along the joint axes (6,), m.
        a: Denavit-Hartenberg link lengths (6,), m.
        max_speed: Largest joint speed (6,), rad/s.
        e_series: Whether it has the e-Series controller: 500 Hz and a force-torque sensor in the tool flange; CB3
            arms run at 125 Hz and estimate the tool force from motor currents.
        low: Lower joint limits (6,), rad.
        high: Upper joint limits (6,), rad.
    """

    name: str
    d: tuple[float, ...]
    a: tuple[float, ...]
    max_speed: tuple[float, ...]
    e_series: bool
    low: tuple[float, ...] = _LOW
    high: tuple[float, ...] = _HIGH

    @property
    def rate_hz(self) -> float:
        """Cycles of the controller per second."""
        return 500.0 if self.e_series else 125.0

    @property
    def chain(self) -> Chain:
        """Its joints and its tool flange."""
        links = [_link(self.d[k], self.a[k], *_TWIST[k]) for k in range(6)]
        frames, home = [np.eye(4), *links[:5]], (0.0, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0)
        return chain_from_frames(self.name, JOINTS, frames, links[5], low=self.low, high=self.high, home=home)


_FAST = (np.pi,) * 6
_LARGE = (2 * np.pi / 3, 2 * np.pi / 3, np.pi, np.pi, np.pi, np.pi)
_SMALL = (np.pi, np.pi, np.pi, 2 * np.pi, 2 * np.pi, 2 * np.pi)

UR_MODELS = {
    model.name: model
    for model in (
        UrModel("ur3", (0.1519, 0, 0, 0.11235, 0.08535, 0.0819), (0, -0.24365, -0.21325, 0, 0, 0), _SMALL, False),
        UrModel("ur5", (0.089159, 0, 0, 0.10915, 0.09465, 0.0823), (0, -0.425, -0.39225, 0, 0, 0), _FAST, False),
        UrModel("ur10", (0.1273, 0, 0, 0.163941, 0.1157, 0.0922), (0, -0.612, -0.5723, 0, 0, 0), _LARGE, False),
        UrModel("ur3e", (0.15185, 0, 0, 0.13105, 0.08535, 0.0921), (0, -0.24355, -0.2132, 0, 0, 0), _SMALL, True),
        UrModel("ur5e", (0.1625, 0, 0, 0.1333, 0.0997, 0.0996), (0, -0.425, -0.3922, 0, 0, 0), _FAST, True),
        UrModel("ur10e", (0.1807, 0, 0, 0.17415, 0.11985, 0.11655), (0, -0.6127, -0.57155, 0, 0, 0), _LARGE, True),
        UrModel("ur16e", (0.1807, 0, 0, 0.17415, 0.11985, 0.11655), (0, -0.4784, -0.36, 0, 0, 0), _LARGE, True),
    )
}
"""The arms by name."""

# Cosine and sine of the six link twists: a quarter turn for the shoulder and wrist 1, back for wrist 2.
_TWIST = ((0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0))


def _link(d: float, a: float, cos_twist: float, sin_twist: float) -> Array:
    """Pose (4, 4) of a link's frame in the one before it, at zero angle."""
    return np.array([[1, 0, 0, a], [0, cos_twist, -sin_twist, 0], [0, sin_twist, cos_twist, d], [0, 0, 0, 1]], float)


def find_ur(name: str) -> UrModel:
    """The arm of this name; another name raises `UnknownName`."""
    if name not in UR_MODELS:
        raise UnknownName("UR model", name, UR_MODELS)
    return UR_MODELS[name]


def flange_pose(model: UrModel, q: Sequence[float]) -> tuple[float, ...]:
    """Pose of the tool flange in the base frame, as RTDE reports it.

    Plain floats instead of arrays: a twin computes it 500 times a second, in a thirtieth of the time.

    Args:
        model: Which arm.
        q: Joint positions (6,), rad.

    Returns:
        (6,): position in m and rotation vector in rad.
    """
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    for k in range(6):
        cos, sin = math.cos(q[k]), math.sin(q[k])
        cos_twist, sin_twist = _TWIST[k]
        a, d = model.a[k], model.d[k]
        for row in rows:
            x, y, z, position = row
            turned = y * cos - x * sin
            row[0] = x * cos + y * sin
            row[1] = turned * cos_twist + z * sin_twist
            row[2] = z * cos_twist - turned * sin_twist
            row[3] = position + a * row[0] + d * z
    (r00, r01, r02, px), (r10, r11, r12, py), (r20, r21, r22, pz) = rows
    axis = (r21 - r12, r02 - r20, r10 - r01)
    sine = math.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2) / 2
    angle = math.atan2(sine, (r00 + r11 + r22 - 1) / 2)
    if sine > 1e-4:
        scale = angle / (2 * sine)
        return px, py, pz, scale * axis[0], scale * axis[1], scale * axis[2]
    cos = (r00 + r11 + r22 - 1) / 2
    if cos > 0:
        return px, py, pz, axis[0] / 2, axis[1] / 2, axis[2] / 2
    # Near half a turn, as of every tool that points straight down, the axis is in the symmetric part.
    rows3, spread = ((r00, r01, r02), (r10, r11, r12), (r20, r21, r22)), 1 - cos
    k = max(range(3), key=lambda i: rows3[i][i])
    largest = math.sqrt(max(0.0, (rows3[k][k] - cos) / spread))
    unit = [largest if i == k else (rows3[k][i] + rows3[i][k]) / (2 * largest * spread) for i in range(3)]
    if axis[k] < 0:  # the antisymmetric part still knows the direction
        unit = [-x for x in unit]
    return px, py, pz, angle * unit[0], angle * unit[1], angle * unit[2]
