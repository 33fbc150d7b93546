"""A LeRobot dataset of version 2.0, 2.1 or 3.0 as one list of episodes, wherever its files say things are.

Metadata of foreign datasets is often wrong, so files win over what is said about them: a template that leads nowhere is
replaced by a search, a declared shape by the column's own. Everything that is absent or contradicts itself is noted as
one sentence in `absent`, never repaired in silence.
"""

# pyarrow has no types; its objects are Any here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from robolearn.data.lerobot_format import DATA_PATH, OURS, VIDEO_PATH, parquet
from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["EpisodeFiles", "LeRobotSource", "read_columns"]

_VERSIONS = ("v2.0", "v2.1", "v3.0")


@dataclass(frozen=True, slots=True)
class EpisodeFiles:
    """Where one episode is.

    Attributes:
        number: Its episode_index.
        length: Rows, as the metadata says; None when it does not.
        data: The parquet file; None when there is none.
        videos: Per camera key the file and the second at which the episode starts in it; absent ones are not listed.
        facts: Other columns of its metadata.
    """

    number: int
    length: int | None
    data: Path | None
    videos: Mapping[str, tuple[Path, float]]
    facts: Mapping[str, Any] = field(default_factory=lambda: {})


@dataclass(frozen=True, slots=True)
class LeRobotSource:
    """A dataset, opened.

    Attributes:
        root: Its folder.
        version: "v2.0", "v2.1" or "v3.0".
        fps: Rows per second.
        robot: Name of the robot, "" when unknown.
        features: As declared.
        tasks: Text by task_index.
        episodes: In order.
        ours: Our own metadata; empty when others wrote it.
        absent: What is missing or contradicts itself.
    """

    root: Path
    version: str
    fps: float
    robot: str
    features: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[int, str]
    episodes: tuple[EpisodeFiles, ...]
    ours: Mapping[str, Any]
    absent: tuple[str, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Keys of pictures, in files of their own or in the table."""
        return tuple(key for key, one in self.features.items() if one.get("dtype") in ("video", "image"))

    @classmethod
    def open(cls, root: Path | str) -> LeRobotSource:
        """Read the metadata.

        Raises:
            DataFileError: There is no LeRobot dataset, or of another version.
            MissingDependency: pyarrow is not installed.
        """
        root = Path(root)
        info = _json(root / "meta/info.json", root)
        version = str(info.get("codebase_version", ""))
        if version not in _VERSIONS:
            raise DataFileError(
                f"Expected a LeRobot dataset of version {', '.join(_VERSIONS)} at {root}; found {version or 'none'}. "
                "Convert older ones with LeRobot's own scripts first."
            )
        fps, features = info.get("fps"), info.get("features")
        if not isinstance(fps, (int, float)) or not fps > 0 or not isinstance(features, dict):
            raise DataFileError(
                f"Expected a positive 'fps' and 'features' in {root / 'meta/info.json'}; found {fps!r}."
            )
        features = cast(dict[str, Mapping[str, Any]], features)
        absent: list[str] = []
        read = _episodes_v3 if version == "v3.0" else _episodes_v2
        episodes = read(root, info, features, absent)
        if (said := info.get("total_episodes")) != len(episodes):
            absent.append(f"meta/info.json names {said} episodes; {len(episodes)} have an entry.")
        tasks = _tasks_v3(root, absent) if version == "v3.0" else _tasks_v2(root, absent)
        ours = _json(root / OURS, root) if (root / OURS).is_file() else {}
        robot = str(info.get("robot_type") or "")
        return cls(root, version, float(fps), robot, features, tasks, tuple(episodes), ours, tuple(absent))


def read_columns(path: Path, number: int) -> dict[str, Array | list[Any]]:
    """All columns of one episode: numbers as arrays with a leading row axis, anything else as lists.

    Raises:
        DataFileError: The file cannot be read.
    """
    pa, pq = parquet()
    try:
        file = pq.ParquetFile(path)
        has = "episode_index" in file.schema_arrow.names
        table = pq.read_table(path, filters=[("episode_index", "==", number)] if has else None)
    except (pa.ArrowException, OSError) as error:
        raise DataFileError(
            f"Expected a readable parquet file at {path}; {error}. It was cut off (its writer was killed before the "
            "end) or damaged; its rows are lost."
        ) from error
    if "frame_index" in table.column_names:
        table = table.sort_by("frame_index")
    return {name: _column(pa, table[name]) for name in table.column_names}


def _column(pa: Any, column: Any) -> Array | list[Any]:
    kind = column.type
    if _is_number(pa, kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if not _is_list(pa, kind):
        return column.to_pylist()
    found = _rectangle(pa, column)
    if found is not None:
        return found
    rows: list[Any] = column.to_pylist()
    try:
        array = np.asarray(rows)
    except ValueError:
        return rows  # rows of unequal length
    return array if array.dtype.kind in "biuf" else rows


def _rectangle(pa: Any, column: Any) -> Array | None:
    """Nested lists of numbers as one array, without a Python object per number; None when they are not rectangular."""
    parts: list[Array] = []
    for chunk in column.chunks:
        values, shape = chunk, [len(chunk)]
        while len(values) and _is_list(pa, values.type):
            lengths = np.diff(values.offsets) if hasattr(values, "offsets") else np.array([values.type.list_size])
            if values.null_count or lengths.min() != lengths.max():
                return None
            shape.append(int(lengths[0]))
            values = values.flatten()
        if len(chunk):
            if values.null_count or not _is_number(pa, values.type):
                return None
            parts.append(np.asarray(values).reshape(shape))
    return np.concatenate(parts) if parts and len({part.shape[1:] for part in parts}) == 1 else None


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _is_number(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _json(path: Path, root: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataFileError(
            f"Expected a LeRobot dataset at {root}; there is no {path.name} in {path.parent}. Give the folder that "
            "holds meta/, data/ and videos/."
        ) from error
    except (OSError, ValueError) as error:
        raise DataFileError(f"Expected JSON in {path}; {error}. Restore the file.") from error
    if not isinstance(value, dict):
        raise DataFileError(f"Expected a JSON object in {path}; found a {type(value).__name__}.")
    return cast(dict[str, Any], value)


def _lines(path: Path, absent: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        absent.append(f"meta/{path.name} is missing.")
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise DataFileError(f"Expected one JSON object per line in {path}; {error}. Restore the file.") from error


def _tasks_v2(root: Path, absent: list[str]) -> dict[int, str]:
    return {int(row["task_index"]): str(row["task"]) for row in _lines(root / "meta/tasks.jsonl", absent)}


def _tasks_v3(root: Path, absent: list[str]) -> dict[int, str]:
    path = root / "meta/tasks.parquet"
    if not path.is_file():
        absent.append("meta/tasks.parquet is missing: episodes have no instruction.")
        return {}
    rows: list[dict[str, Any]] = parquet()[1].read_table(path).to_pylist()
    found: dict[int, str] = {}
    for row in rows:
        texts = [value for value in row.values() if isinstance(value, str)]
        found[int(row["task_index"])] = texts[0] if texts else ""
    return found


def _episodes_v2(
    root: Path, info: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]], absent: list[str]
) -> list[EpisodeFiles]:
    rows = _lines(root / "meta/episodes.jsonl", absent)
    if not rows:
        numbers = sorted(int(p.stem.rpartition("_")[2]) for p in root.glob("data/**/episode_*.parquet"))
        rows = [{"episode_index": number} for number in numbers]
    size = int(info.get("chunks_size") or 1000)
    cameras = [key for key, one in features.items() if one.get("dtype") == "video"]
    found: list[EpisodeFiles] = []
    for row in rows:
        number = int(row["episode_index"])
        names = {"episode_chunk": number // size, "episode_index": number, "chunk_index": number // size}
        data = _locate(root, info.get("data_path"), names, f"data/**/episode_{number:06d}.parquet", absent)
        videos: dict[str, tuple[Path, float]] = {}
        for key in cameras:
            pattern = f"videos/**/{key}/episode_{number:06d}.mp4"
            video = _locate(root, info.get("video_path"), names | {"video_key": key}, pattern, absent)
            if video is not None:
                videos[key] = video, 0.0
        length = row.get("length")
        facts = {"tasks": row.get("tasks", [])}
        found.append(EpisodeFiles(number, None if length is None else int(length), data, videos, facts))
    return found


def _episodes_v3(
    root: Path, info: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]], absent: list[str]
) -> list[EpisodeFiles]:
    pa, pq = parquet()
    paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        raise DataFileError(f"Expected meta/episodes/*/*.parquet in {root}; found none. Its writer was not finalised.")
    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            names = [name for name in pq.ParquetFile(path).schema_arrow.names if not name.startswith("stats/")]
            rows += pq.read_table(path, columns=names).to_pylist()
        except (pa.ArrowException, OSError) as error:
            absent.append(f"{path.relative_to(root)} cannot be read ({error}): the episodes in it are lost.")
    cameras = [key for key, one in features.items() if one.get("dtype") == "video"]
    found: list[EpisodeFiles] = []
    for row in rows:
        shard = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        data = _locate(root, info.get("data_path") or DATA_PATH, shard, "", absent)
        videos: dict[str, tuple[Path, float]] = {}
        for key in cameras:
            at = {part: row.get(f"videos/{key}/{part}") for part in ("chunk_index", "file_index", "from_timestamp")}
            if None in at.values():
                continue
            names = {"video_key": key, "chunk_index": at["chunk_index"], "file_index": at["file_index"]}
            video = _locate(root, info.get("video_path") or VIDEO_PATH, names, "", absent)
            if video is not None:
                videos[key] = video, float(cast(float, at["from_timestamp"]))
        facts = {key: value for key, value in row.items() if "/" not in key}
        found.append(EpisodeFiles(int(row["episode_index"]), int(row["length"]), data, videos, facts))
    return found


def _locate(root: Path, template: Any, names: Mapping[str, Any], pattern: str, absent: list[str]) -> Path | None:
    try:
        path = root / str(template or "").format(**names)
    except (KeyError, IndexError, ValueError):
        path = root / "none"
        absent.append(f"The path template {template!r} in meta/info.json cannot be filled in.")
    if template and path.is_file():
        return path
    there = sorted(root.glob(pattern)) if pattern else []
    if there:
        absent.append(
            f"The path template {template!r} of meta/info.json leads nowhere; files were found by their names."
        )
        return there[0]
    return None
