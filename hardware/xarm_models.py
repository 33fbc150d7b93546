"""UFACTORY's xArm 6 and xArm 7 as numbers: joint limits and forward kinematics.

Source: the modified Denavit-Hartenberg parameters and joint ranges in UFACTORY's xArm user manual. They are the
nominal ones; every real arm has its own small calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.arm.frames import chain_from_frames, modified_frame
from robolearn.arm.kinematics import Chain
from robolearn.errors import UnknownName
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_multiply
from robolearn.specs import Array

__all__ = ["XARM_MODELS", "XArmModel", "find_xarm", "flange_pose", "quaternion_from_rpy"]

_TURN, _QUARTER = 2 * math.pi, math.pi / 2
_ELBOW = math.atan(0.2845 / 0.0535)
"""Angle of the xArm 6's upper arm, whose elbow stands off by 53.5 mm."""


@dataclass(frozen=True, slots=True)
class XArmModel:
    """One arm.

    Attributes:
        name: Short identifier, such as "xarm7".
        type_code: What the controller reports as the arm's type.
        frames: Per joint the modified Denavit-Hartenberg (twist rad, length m, offset m, angle at zero rad).
        low: Lower joint limits, rad.
        high: Upper joint limits, rad.
        max_speed: Largest joint speed, rad/s.
    """

    name: str
    type_code: int
    frames: tuple[tuple[float, float, float, float], ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    max_speed: float = math.pi

    @property
    def joints(self) -> int:
        """Number of joints."""
        return len(self.low)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The vendor's names of the joints."""
        return tuple(f"joint{k + 1}" for k in range(self.joints))

    @property
    def chain(self) -> Chain:
        """Its joints and its tool flange."""
        frames = [modified_frame(*frame) for frame in self.frames]
        home = np.clip(np.zeros(self.joints), self.low, self.high)
        limits = {"low": self.low, "high": self.high, "home": home}
        return chain_from_frames(self.name, self.joint_names, frames, np.eye(4), **limits)


XARM_MODELS = {
    model.name: model
    for model in (
        XArmModel(
            "xarm6",
            6,
            (
                (0, 0, 0.267, 0),
                (-_QUARTER, 0, 0, -_ELBOW),
                (0, math.hypot(0.2845, 0.0535), 0, _ELBOW),
                (-_QUARTER, 0.0775, 0.3425, 0),
                (_QUARTER, 0, 0, 0),
                (-_QUARTER, 0.076, 0.097, 0),
            ),
            (-_TURN, -2.059488, -3.92699, -_TURN, -1.692969, -_TURN),
            (_TURN, 2.094395, 0.191986, _TURN, math.pi, _TURN),
        ),
        XArmModel(
            "xarm7",
            7,
            (
                (0, 0, 0.267, 0),
                (-_QUARTER, 0, 0, 0),
                (_QUARTER, 0, 0.293, 0),
                (_QUARTER, 0.0525, 0, 0),
                (_QUARTER, 0.0775, 0.3425, 0),
                (_QUARTER, 0, 0, 0),
                (-_QUARTER, 0.076, 0.097, 0),
            ),
            (-_TURN, -2.059488, -_TURN, -0.191986, -_TURN, -1.692969, -_TURN),
            (_TURN, 2.094395, _TURN, 3.92699, _TURN, math.pi, _TURN),
        ),
    )
}
"""The arms by name."""


def find_xarm(name: str) -> XArmModel:
    """The arm of this name; another name raises `UnknownName`."""
    if name not in XARM_MODELS:
        raise UnknownName("xArm model", name, XARM_MODELS)
    return XARM_MODELS[name]


def flange_pose(model: XArmModel, q: Sequence[float]) -> tuple[float, ...]:
    """Pose of the tool flange in the base frame, as the vendor writes it.

    Args:
        model: Which arm.
        q: Joint positions, rad.

    Returns:
        (6,): position in m; roll, pitch, yaw in rad, turned about the fixed x, y and z axes in this order.
    """
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    for (twist, length, offset, zero), angle in zip(model.frames, q, strict=False):
        cos, sin = math.cos(angle + zero), math.sin(angle + zero)
        cos_twist, sin_twist = math.cos(twist), math.sin(twist)
        for row in rows:
            x, y, z, position = row
            up, turned = z * cos_twist - y * sin_twist, y * cos_twist + z * sin_twist
            row[0], row[1], row[2] = x * cos + turned * sin, turned * cos - x * sin, up
            row[3] = position + length * x + offset * up
    (r00, _, _, px), (r10, _, _, py), (r20, r21, r22, pz) = rows
    pitch = math.asin(max(-1.0, min(1.0, -r20)))
    return px, py, pz, math.atan2(r21, r22), pitch, math.atan2(r10, r00)


def quaternion_from_rpy(rpy: Sequence[float]) -> Array:
    """Unit quaternion (4,) wxyz of roll, pitch, yaw in rad about the fixed x, y and z axes."""
    about = [quaternion_from_rotation_vector(angle * axis) for angle, axis in zip(rpy, np.eye(3), strict=True)]
    return quaternion_multiply(about[2], quaternion_multiply(about[1], about[0]))
