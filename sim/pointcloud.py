"""From depth pictures to point clouds: deproject, crop, thin out. numpy, and numba where it is installed.

A camera is its matrix K (`sim.render.Renderer.intrinsics`) and its pose T_base_camera (`Renderer.pose`), whose axes
are x right, y down, z along the view; a pixel's middle has whole coordinates. Farthest-point sampling is the greedy
2-approximation of Gonzalez (1985), as in PointNet++ (Qi et al. 2017): it is what the loop is about, and numba makes
it thirty times faster; without numba the same points come out, more slowly. open3d gives the same answers
(tests/sim/test_pointcloud.py) and is not needed here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["crop", "deproject", "farthest", "fixed_size", "project", "scene_cloud", "transform", "voxel"]


def deproject(depth: Array, K: Array) -> Array:
    """Points (..., height, width, 3) in the camera's frame of depths (..., height, width) along the optical axis, m."""
    height, width = depth.shape[-2:]
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = (np.arange(height) - K[1, 2]) / K[1, 1]
    out = np.empty((*depth.shape, 3), np.result_type(depth.dtype, np.float32))
    out[..., 0], out[..., 1], out[..., 2] = depth * x, depth * y[:, None], depth
    return out


def project(points: Array, K: Array) -> tuple[Array, Array]:
    """Pixels (..., 2) as (column, row) and depths (...,) of points (..., 3) in the camera's frame, m."""
    depth = points[..., 2]
    pixels = points[..., :2] / depth[..., None] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
    return pixels, depth


def transform(T: Array, points: Array) -> Array:
    """Points (..., 3) moved by a pose (4, 4): from the camera's frame into the base's, when T is T_base_camera."""
    return points @ T[:3, :3].T + T[:3, 3]


def crop(points: Array, low: Array, high: Array) -> Array:
    """Which of the points (m, 3) lie inside a box: (m,) bool, its borders included."""
    return np.all((points >= low) & (points <= high), axis=-1)


def voxel(points: Array, size_m: float, colours: Array | None = None) -> tuple[Array, Array | None]:
    """One point, the mean, for every cell of a grid that holds any.

    The grid starts half a cell below the smallest coordinates, as in open3d; the order of the result is that of the
    cells' indices.

    Args:
        points: (m, 3) m.
        size_m: Edge of a cell.
        colours: (m, c) averaged along, or None.

    Returns:
        Points (k, 3) and colours (k, c) or None.
    """
    if not len(points):
        return points, colours
    cells = np.floor((points - (points.min(axis=0) - 0.5 * size_m)) / size_m).astype(np.int64)
    extent = cells.max(axis=0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, index, counts = np.unique(keys, return_inverse=True, return_counts=True)

    def mean(values: Array) -> Array:
        columns = [np.bincount(index, column, len(counts)) / counts for column in values.T.astype(np.float64)]
        return np.stack(columns, axis=1)

    return mean(points), None if colours is None else mean(colours)


def farthest(points: Array, count: int, start: int = 0) -> Array:
    """Indices (count,) of points that are as far from each other as can be found greedily.

    Args:
        points: (m, 3), at least `count` of them.
        count: How many to choose.
        start: The first one chosen.

    Raises:
        SpecError: There are fewer points, or none at `start`.
    """
    if not 1 <= count <= len(points) or not 0 <= start < len(points):
        raise SpecError(
            f"Expected 1 <= count <= {len(points)} points and a start among them; found count {count}, start {start}. "
            "Use `fixed_size` for clouds that may be too small."
        )
    return _fast()(np.ascontiguousarray(points, np.float64), count, start)


def fixed_size(points: Array, count: int, colours: Array | None = None) -> tuple[Array, Array | None]:
    """A cloud of exactly `count` points for a network: farthest points of a larger one, repetitions of a smaller one.

    An empty cloud becomes zeros.
    """
    if not len(points):
        none = None if colours is None else np.zeros((count, colours.shape[1]))
        return np.zeros((count, 3)), none
    index = farthest(points, count) if len(points) >= count else np.arange(count) % len(points)
    return points[index], None if colours is None else colours[index]


def scene_cloud(
    depth: Array, rgb: Array, K: Array, T: Array, low: Array, high: Array, *, count: int, voxel_m: float = 0.005
) -> Array:
    """What one RGB-D picture shows of a box around the workspace, as a network wants it.

    Args:
        depth: (height, width) m.
        rgb: (height, width, 3) uint8.
        K: (3, 3) camera matrix.
        T: (4, 4) T_base_camera.
        low: (3,) corner of the box in the base frame, m.
        high: (3,) the opposite corner.
        count: Points in the result.
        voxel_m: Cells of the first thinning.

    Returns:
        (count, 6) float32: x, y, z in the base frame, then red, green, blue in [0, 1].
    """
    points = transform(T, deproject(depth, K)).reshape(-1, 3)
    inside = crop(points, low, high)
    thin, colours = voxel(points[inside], voxel_m, rgb.reshape(-1, 3)[inside] / 255.0)
    chosen, shades = fixed_size(thin, count, colours)
    assert shades is not None
    return np.concatenate([chosen, shades], axis=1).astype(np.float32)


def _choose(points: Array, count: int, start: int) -> Array:
    """The loop of `farthest`, written so that numba can compile it and numpy can run it."""
    chosen = np.empty(count, np.int64)
    chosen[0] = start
    nearest = np.full(len(points), np.inf)
    for k in range(1, count):
        x, y, z = points[chosen[k - 1]]
        best, best_distance = 0, -1.0
        for i in range(len(points)):
            dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
            distance = dx * dx + dy * dy + dz * dz
            if distance < nearest[i]:
                nearest[i] = distance
            if nearest[i] > best_distance:
                best, best_distance = i, nearest[i]
        chosen[k] = best
    return chosen


def _choose_slowly(points: Array, count: int, start: int) -> Array:
    """The same in numpy."""
    chosen = np.empty(count, np.int64)
    chosen[0] = start
    nearest = np.full(len(points), np.inf)
    for k in range(1, count):
        d = points - points[chosen[k - 1]]
        np.minimum(nearest, d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2], out=nearest)
        chosen[k] = np.argmax(nearest)
    return chosen


@cache
def _fast() -> Callable[[Array, int, int], Array]:
    if importlib.util.find_spec("numba") is None:
        return _choose_slowly
    numba: Any = importlib.import_module("numba")
    return numba.njit(_choose, cache=True)
