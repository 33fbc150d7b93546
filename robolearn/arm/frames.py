"""Chains from tables of link frames, and how a tool moves between two postures of its chain.

Vendors publish their arms as Denavit-Hartenberg tables. At zero angle each joint's frame has the joint's axis as z, so
multiplying the frames gives a `Chain`'s anchors and axes, whatever the convention of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.arm.kinematics import Chain, Posture
from robolearn.geometry import quaternion_from_matrix, rotation_vector
from robolearn.specs import Array

__all__ = ["chain_from_frames", "displacement", "modified_frame"]


def chain_from_frames(
    name: str,
    joints: Sequence[str],
    frames: Sequence[Array],
    T_last_tool: Array,
    *,
    low: Sequence[float],
    high: Sequence[float],
    home: Sequence[float],
) -> Chain:
    """The chain of joints about the z axes of frames, each given in the frame of the joint before it (4, 4).

    Modified Denavit-Hartenberg frames at zero angle are such frames as they are; standard ones moved by one joint.

    Args:
        name: Of the robot.
        joints: Names of its k joints.
        frames: k poses (4, 4); the first in the base.
        T_last_tool: (4, 4) pose of the tool in the last of them.
        low: (k,) lower limits, rad.
        high: (k,) upper limits, rad.
        home: (k,) a comfortable posture, rad.
    """
    anchors: list[Array] = []
    axes: list[Array] = []
    pose = np.eye(4)
    for frame in frames:
        pose = pose @ frame
        anchors.append(pose[:3, 3])
        axes.append(pose[:3, 2])
    pose = pose @ T_last_tool
    return Chain(
        name,
        tuple(joints),
        np.array(anchors),
        np.array(axes),
        np.array(low, float),
        np.array(high, float),
        np.array(home, float),
        pose[:3, 3],
        pose[:3, :3],
    )


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


def displacement(before: Posture, after: Posture, position: Array) -> Array:
    """How far a tool moves between two postures of its chain, (n, 6): metres, then a rotation vector, base axes.

    Args:
        before: The posture in which the tool was measured.
        after: The posture after the motion.
        position: (n, 3) measured position of a tool that is fixed to the last link, m; the chain's own need not be it.
    """
    turn = after.hand @ before.hand.transpose(0, 2, 1)
    moved = after.tool + (turn @ (position - before.tool)[..., None])[..., 0] - position
    return np.concatenate([moved, rotation_vector(quaternion_from_matrix(turn))], axis=-1)
