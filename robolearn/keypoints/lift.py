"""From pixels to metres: with a depth picture, or with a plane where there is only a webcam.

A depth camera sees skin, and a joint lies behind it: `inside_m` moves every point that much further along its ray. The
depth of a point is the median of valid pixels around it, because at the edge of an arm single pixels see the wall
behind.
"""

from __future__ import annotations

import hashlib

import numpy as np

from robolearn.keypoints.detectors import Detection
from robolearn.keypoints.tracks import Tracks
from robolearn.specs import Array

__all__ = ["calibration_hash", "lift_with_depth", "lift_with_plane"]

INSIDE_M = {"shoulder": 0.06, "elbow": 0.035, "wrist": 0.025}
"""How far joints lie behind the skin: half the thickness of an adult's limb there."""


def lift_with_depth(
    detection: Detection,
    depth: Array,
    intrinsics: Array,
    T_world_camera: Array,
    *,
    rate_hz: float,
    source: str,
    around_px: int = 2,
    reach_m: tuple[float, float] = (0.3, 6.0),
) -> Tracks:
    """Points in the world.

    Args:
        detection: In pixels, F frames.
        depth: (F, height, width) m along the optical axis; 0, NaN or out of `reach_m` is no measurement.
        intrinsics: (3, 3).
        T_world_camera: (4, 4).
        rate_hz: Of the film.
        source: What to call it.
        around_px: Half the size of the window whose nearest quarter's depth is taken.
        reach_m: Nearest and farthest depth to believe.

    Returns:
        Tracks with NaN where there was no point or no depth; `Tracks.depthless` tells which.
    """
    frames, count = detection.pixels.shape[:2]
    height, width = depth.shape[1:]
    z = np.full((frames, count), np.nan)
    for f in range(frames):
        for p in range(count):
            x, y = detection.pixels[f, p]
            if not np.isfinite(x) or not (0 <= round(x) < width and 0 <= round(y) < height):
                continue
            column, row = round(x), round(y)
            window = depth[
                f,
                max(0, row - around_px) : row + around_px + 1,
                max(0, column - around_px) : column + around_px + 1,
            ]
            valid = window[np.isfinite(window) & (window > reach_m[0]) & (window < reach_m[1])]
            if len(valid):
                z[f, p] = np.quantile(valid, 0.25) + _inside(detection.names[p])
    points = _at_depth(detection.pixels, z, intrinsics, T_world_camera)
    found = np.isfinite(detection.pixels).all(axis=-1)
    return Tracks(
        detection.names, points, rate_hz, source, detection.confidence, detection.people, depthless=found & np.isnan(z)
    )


def lift_with_plane(
    detection: Detection,
    intrinsics: Array,
    T_world_camera: Array,
    plane: tuple[float, float, float, float],
    *,
    rate_hz: float,
    source: str,
) -> Tracks:
    """Points where their rays meet a plane n x = d, (nx, ny, nz, d) in the world: for one webcam, and as wrong as the
    person's arm is far from the plane."""
    normal, distance = np.array(plane[:3]), plane[3]
    rays = _rays(detection.pixels, intrinsics) @ T_world_camera[:3, :3].T
    eye = T_world_camera[:3, 3]
    along = rays @ normal
    scale = np.where(np.abs(along) > 1e-9, (distance - eye @ normal) / np.where(along == 0, 1.0, along), np.nan)
    points = np.where((scale > 0)[..., None], eye + scale[..., None] * rays, np.nan)
    return Tracks(detection.names, points, rate_hz, source, detection.confidence, detection.people)


def calibration_hash(intrinsics: Array, T_world_camera: Array) -> str:
    """Sixteen hex digits of a camera's calibration, for the facts of a derived stream."""
    return hashlib.sha256(np.concatenate([intrinsics.ravel(), T_world_camera.ravel()]).tobytes()).hexdigest()[:16]


def _inside(name: str) -> float:
    return INSIDE_M.get(name.rpartition("_")[2], 0.0)


def _rays(pixels: Array, intrinsics: Array) -> Array:
    """(..., 3) directions in the camera's frame with unit depth."""
    ones = np.ones((*pixels.shape[:-1], 1))
    return np.concatenate([pixels, ones], axis=-1) @ np.linalg.inv(intrinsics).T


def _at_depth(pixels: Array, z: Array, intrinsics: Array, T_world_camera: Array) -> Array:
    local = _rays(pixels, intrinsics) * z[..., None]
    return local @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
