"""Rotations and poses in batches, with one quaternion order.

Quaternions are (w, x, y, z), unit length, as MuJoCo writes them. `T_a_b` names the pose of b in a.
Every function takes any leading axes and returns the same; a rotation vector is axis times angle in radians.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from robolearn.specs import Array

__all__ = [
    "quaternion_conjugate",
    "quaternion_from_matrix",
    "quaternion_from_rotation_vector",
    "quaternion_multiply",
    "quaternion_to_matrix",
    "rotate",
    "rotation_vector",
    "xyzw_to_wxyz",
    "yaw",
]


def quaternion_multiply(a: Array, b: Array) -> Array:
    """Hamilton product a*b, (..., 4) each: first rotate by b, then by a."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quaternion_conjugate(q: Array) -> Array:
    """The inverse rotation of unit quaternions (..., 4)."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def quaternion_from_rotation_vector(v: Array) -> Array:
    """Unit quaternions (..., 4) of rotation vectors (..., 3) in radians."""
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    # sinc keeps the limit at zero angle exact: sin(a/2)/a = 0.5 * sinc(a / 2pi).
    sine_over_angle: Array = 0.5 * cast("Array", np.sinc(angle / (2 * np.pi)))
    return np.concatenate([np.cos(angle / 2), v * sine_over_angle], axis=-1)


def rotation_vector(q: Array) -> Array:
    """Rotation vectors (..., 3) of unit quaternions, along the shorter way (angle in [0, pi])."""
    q = np.where(q[..., :1] < 0, -q, q)
    s = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(s, q[..., :1])
    # For small s, angle / s tends to 2 (w tends to 1).
    return q[..., 1:] * np.where(s > 1e-12, angle / np.maximum(s, 1e-12), 2.0)


def rotate(q: Array, v: Array) -> Array:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    t = 2 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * t + np.cross(q[..., 1:], t)


def quaternion_to_matrix(q: Array) -> Array:
    """Rotation matrices (..., 3, 3) of unit quaternions."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(m: Array) -> Array:
    """Unit quaternions (..., 4) with w >= 0 of rotation matrices (..., 3, 3)."""
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Four equivalent formulas; per element take the one whose pivot is largest (Shepperd 1978).
    candidates = np.stack(
        [
            np.stack(
                [
                    1 + m00 + m11 + m22,
                    m[..., 2, 1] - m[..., 1, 2],
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 1, 0] - m[..., 0, 1],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    1 + m00 - m11 - m22,
                    m[..., 0, 1] + m[..., 1, 0],
                    m[..., 0, 2] + m[..., 2, 0],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 0, 1] + m[..., 1, 0],
                    1 - m00 + m11 - m22,
                    m[..., 1, 2] + m[..., 2, 1],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 1, 0] - m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 1, 2] + m[..., 2, 1],
                    1 - m00 - m11 + m22,
                ],
                -1,
            ),
        ],
        axis=-2,
    )
    pivots = np.stack([candidates[..., i, i] for i in range(4)], axis=-1)
    best = np.take_along_axis(candidates, np.argmax(pivots, axis=-1)[..., None, None], axis=-2)[..., 0, :]
    best = best / np.linalg.norm(best, axis=-1, keepdims=True)
    return np.where(best[..., :1] < 0, -best, best)


def xyzw_to_wxyz(q: Array) -> Array:
    """Quaternions from the (x, y, z, w) order of other tools into ours."""
    return np.concatenate([q[..., 3:], q[..., :3]], axis=-1)


def yaw(q: Array) -> Array:
    """Heading about the vertical axis in radians, (...,), of unit quaternions (..., 4)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
