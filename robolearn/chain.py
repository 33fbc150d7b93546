"""Where the joints and the tool of an arm are: forward kinematics of a chain of hinges, in batches.

Source: the product of exponentials (Brockett 1984; Lynch and Park 2017, "Modern Robotics", eq. 4.14):

    T(q) = exp([S_1] q_1) ... exp([S_k] q_k) M

with the screw axes S_i and the tool pose M at q = 0, both in the base frame. A screw of a hinge is a unit axis and a
point on it, so this needs no convention about link frames; a driver that knows its arm offers its `Chain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from robolearn.errors import SpecError
from robolearn.geometry import quaternion_from_matrix, rotation_vector
from robolearn.specs import Array

__all__ = ["Articulated", "Chain", "Posed", "displacement", "from_frames", "modified_frame"]


class Posed(NamedTuple):
    """A chain in n postures, all in the base frame.

    Attributes:
        anchors: (n, k, 3) a point on each joint's axis, m.
        axes: (n, k, 3) unit joint axes.
        rotation: (n, 3, 3) of the tool.
        position: (n, 3) of the tool, m.
    """

    anchors: Array
    axes: Array
    rotation: Array
    position: Array


@dataclass(frozen=True, slots=True)
class Chain:
    """An arm of k hinges as it stands at q = 0, in its base frame.

    Attributes:
        anchors: (k, 3) a point on each joint's axis, m.
        axes: (k, 3) unit joint axes.
        T_base_tool: (4, 4) the tool's pose.
    """

    anchors: Array
    axes: Array
    T_base_tool: Array

    def __post_init__(self) -> None:
        k = len(self.anchors)
        if self.anchors.shape != (k, 3) or self.axes.shape != (k, 3) or self.T_base_tool.shape != (4, 4):
            raise SpecError(
                f"A chain needs anchors (k, 3), axes (k, 3) and a tool pose (4, 4); found {self.anchors.shape}, "
                f"{self.axes.shape}, {self.T_base_tool.shape}."
            )
        if not np.all(np.abs(np.linalg.norm(self.axes, axis=1) - 1.0) < 1e-6):
            raise SpecError(
                f"The axes of a chain must be unit vectors; found lengths {np.linalg.norm(self.axes, axis=1)}."
            )

    def at(self, q: Array) -> Posed:
        """The chain with joint positions q (n, k), rad."""
        n, k = q.shape
        anchors, axes = np.empty((n, k, 3)), np.empty((n, k, 3))
        rotation, position = np.repeat(np.eye(3)[None], n, axis=0), np.zeros((n, 3))
        for i in range(k):
            axes[:, i] = rotation @ self.axes[i]
            anchors[:, i] = rotation @ self.anchors[i] + position
            turn = _turn(self.axes[i], q[:, i])
            position = rotation @ self.anchors[i] - np.matmul(rotation @ turn, self.anchors[i]) + position
            rotation = rotation @ turn
        position = np.matmul(rotation, self.T_base_tool[:3, 3]) + position
        return Posed(anchors, axes, rotation @ self.T_base_tool[:3, :3], position)


@runtime_checkable
class Articulated(Protocol):
    """A driver that knows the geometry of its arm."""

    @property
    def chain(self) -> Chain: ...


def from_frames(frames: Sequence[Array], T_last_tool: Array) -> Chain:
    """The chain of joints about the z axes of frames, each given in the frame of the joint before it (4, 4).

    A Denavit-Hartenberg table gives such frames: at zero angle, modified ones as they are, standard ones moved by one.
    """
    anchors: list[Array] = []
    axes: list[Array] = []
    pose = np.eye(4)
    for frame in frames:
        pose = pose @ frame
        anchors.append(pose[:3, 3])
        axes.append(pose[:3, 2])
    return Chain(np.array(anchors), np.array(axes), pose @ T_last_tool)


def modified_frame(twist: float, length: float, offset: float, angle: float = 0.0) -> Array:
    """Pose (4, 4) of a joint's frame in the one before it, from modified Denavit-Hartenberg parameters (Craig)."""
    ct, st, ca, sa = np.cos(twist), np.sin(twist), np.cos(angle), np.sin(angle)
    return np.array(
        [
            [ca, -sa, 0.0, length],
            [sa * ct, ca * ct, -st, -offset * st],
            [sa * st, ca * st, ct, offset * ct],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def displacement(before: Posed, after: Posed, position: Array) -> Array:
    """How far a tool moves between two postures of its chain, (n, 6): metres, then a rotation vector, base axes.

    Args:
        before: The posture in which the tool was measured.
        after: The posture after the motion.
        position: (n, 3) measured position of a tool that is fixed to the last link, m; the chain's own need not be it.
    """
    turn = after.rotation @ before.rotation.transpose(0, 2, 1)
    moved = after.position + np.matmul(turn, (position - before.position)[..., None])[..., 0]
    return np.concatenate([moved - position, rotation_vector(quaternion_from_matrix(turn))], axis=-1)


def _turn(axis: Array, angle: Array) -> Array:
    """Rotation matrices (n, 3, 3) about one axis (Rodrigues)."""
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sin, cos = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + sin * K + (1.0 - cos) * (K @ K)
