"""What LeRobotDataset v3.0 fixes: paths, default columns, how parts are written, statistics of pictures.

Source: the format as read from LeRobot (Apache-2.0) and measured against version 0.4.4; facts only, no code. A dataset
is `meta/info.json`, `meta/stats.json`, `meta/tasks.parquet`, `meta/episodes/`, `data/` and `videos/`; rows are at one
whole rate, k / fps seconds apart.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import MissingDependency
from robolearn.specs import Array

__all__ = [
    "DATA_PATH",
    "DEFAULT_FEATURES",
    "EPISODES_PATH",
    "OURS",
    "QUANTILE_NAMES",
    "VERSION",
    "VIDEO_PATH",
    "camera_key",
    "depth_key",
    "depth_statistics",
    "histogram",
    "parquet",
    "picture_statistics",
    "sync",
    "write_json",
]

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OURS = "meta/robolearn.json"
"""Our own file in a dataset: specs and where each array lies in the flat vectors. Other readers ignore it."""
DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}
QUANTILE_NAMES = ("q01", "q10", "q50", "q90", "q99")


def parquet() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet, untyped.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise MissingDependency("pyarrow", "lerobot", "Reading and writing LeRobot datasets") from error


def camera_key(name: str) -> str:
    """LeRobot's key of one of our pictures: "wrist.rgb" is "observation.images.wrist"."""
    return "observation.images." + name.removesuffix(".rgb").replace(".", "_")


def depth_key(name: str) -> str:
    """LeRobot's key of one of our depth maps: "wrist.depth" is "depth.wrist", a plain array.

    As a picture it would become an input of every policy and be read with 8 bits; LeRobot 0.4.4 reads a two-dimensional
    array as it is.
    """
    return "depth." + name.removesuffix(".depth").replace(".", "_")


def histogram(frames: Array) -> Array:
    """(3, 256) how often each value occurs per channel of (T, H, W, 3) uint8."""
    return np.stack([np.bincount(frames[..., c].ravel(), minlength=256) for c in range(3)])


def picture_statistics(counts: Array, frames: int) -> dict[str, Any]:
    """Exact statistics of pictures from their (3, 256) counts, in LeRobot's (3, 1, 1) shape and [0, 1] scale."""
    return {name: value.reshape(3, 1, 1).tolist() for name, value in _counted(counts, 255.0).items()} | {
        "count": [frames]
    }


def depth_statistics(counts: Array, frames: int) -> dict[str, Any]:
    """Exact statistics over all pixels of depth maps from their (65536,) counts, one number each, in recorded units."""
    return {name: value.tolist() for name, value in _counted(counts[None], 1.0).items()} | {"count": [frames]}


def _counted(counts: Array, scale: float) -> dict[str, Array]:
    """Statistics per channel of values that occur `counts` (C, levels) times, divided by `scale`."""
    total = counts.sum(axis=1, keepdims=True)
    levels = np.arange(counts.shape[1]) / scale
    mean = (counts @ levels) / total[:, 0]
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total[:, 0])
    ends = np.cumsum(counts, axis=1)

    def at(share: float) -> Array:
        """Linear between ranks, as numpy's default."""
        rank = share * (total[:, 0] - 1)
        below, above = (
            np.array([np.searchsorted(e, int(r), side="right") for e, r in zip(ends, ranks, strict=True)])
            for ranks in (np.floor(rank), np.ceil(rank))
        )
        return (below + (above - below) * (rank - np.floor(rank))) / scale

    values = {"min": at(0), "max": at(1), "mean": mean, "std": std}
    return values | {name: at(int(name[1:]) / 100) for name in QUANTILE_NAMES}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write aside, sync and rename."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(value, indent=4, allow_nan=False, ensure_ascii=False))
    sync(aside)
    aside.replace(path)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
