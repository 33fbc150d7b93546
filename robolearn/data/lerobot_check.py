"""Whether a folder is a valid LeRobotDataset v3.0: the invariants its own tools do not check.

Counters equal rows, episodes are dense and in order, every index is contiguous, every file is there and whole, every
video has the pictures its episode needs, statistics are finite and ordered. Nothing is repaired here.
"""

# pyarrow has no types; its objects are Any here. PyAV leaves streams open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from robolearn.data.findings import Finding, few
from robolearn.data.lerobot_format import DATA_PATH, DEFAULT_FEATURES, VERSION, VIDEO_PATH, parquet
from robolearn.errors import DataFileError

__all__ = ["check_lerobot"]

_AGAIN = "Export the dataset again, or restore it from a copy."


def check_lerobot(root: Path | str) -> list[Finding]:
    """Everything that breaks the format, in the order of reading; empty when it is valid.

    Raises:
        DataFileError: There is no LeRobot dataset, or one of another version (import it instead).
        MissingDependency: pyarrow is not installed.
    """
    root = Path(root)
    try:
        info = json.loads((root / "meta/info.json").read_text())
    except (OSError, ValueError) as error:
        raise DataFileError(f"Expected a LeRobot dataset at {root}; meta/info.json cannot be read: {error}.") from error
    if info.get("codebase_version") != VERSION:
        raise DataFileError(
            f"Expected version {VERSION} in {root / 'meta/info.json'}; found {info.get('codebase_version')!r}. "
            "Older ones can be imported with `robolearn data import lerobot`."
        )
    return list(_findings(root, info))


def _wrong(where: str, message: str, kind: str = "breaks LeRobot v3.0") -> Finding:
    return Finding(kind, where, "certain", message, _AGAIN)


def _table(path: Path, columns: list[str] | None = None) -> Any:
    pa, pq = parquet()
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError, KeyError):
        return None


def _findings(root: Path, info: Mapping[str, Any]) -> Iterator[Finding]:
    tables = [(path, _table(path)) for path in sorted((root / "meta/episodes").glob("*/*.parquet"))]
    for path, table in tables:
        if table is None:
            yield _wrong(str(path.relative_to(root)), "The file cannot be read; its writer was not finalised.")
    rows: list[dict[str, Any]] = [row for _, table in tables if table is not None for row in table.to_pylist()]
    if not rows:
        yield _wrong("meta/episodes", "There is no episode.")
        return
    features: Mapping[str, Mapping[str, Any]] = info["features"]
    for key in DEFAULT_FEATURES.keys() - features.keys():
        yield _wrong("meta/info.json", f"The feature {key!r} is missing.")
    numbers = [int(row["episode_index"]) for row in rows]
    if numbers != list(range(len(rows))):
        yield _wrong("meta/episodes", f"Episode indices must be 0, 1, 2, ...; found {few(np.array(numbers))}.")
    lengths = np.array([int(row["length"]) for row in rows])
    starts = np.array([int(row["dataset_from_index"]) for row in rows])
    ends = np.array([int(row["dataset_to_index"]) for row in rows])
    if len(bad := np.flatnonzero(ends - starts != lengths)):
        yield _wrong(f"episodes {few(bad)}", "dataset_to_index - dataset_from_index differs from length.")
    if len(bad := np.flatnonzero(starts != np.concatenate([[0], ends[:-1]]))):
        yield _wrong(f"episodes {few(bad)}", "The rows of an episode must start where those of the one before end.")
    for name, found in (("total_episodes", len(rows)), ("total_frames", int(lengths.sum()))):
        if info.get(name) != found:
            yield _wrong("meta/info.json", f"{name} is {info.get(name)}; the episodes have {found}.", "wrong count")
    tasks = _table(root / "meta/tasks.parquet")
    count = 0 if tasks is None else tasks.num_rows
    if tasks is None or tasks["task_index"].to_pylist() != list(range(count)):
        yield _wrong("meta/tasks.parquet", "Tasks must be numbered 0, 1, 2, ... in order, with the text as index.")
    if info.get("total_tasks") != count:
        yield _wrong("meta/info.json", f"total_tasks is {info.get('total_tasks')}; there are {count}.", "wrong count")
    yield from _data(root, info, rows, count)
    for key, feature in features.items():
        if feature["dtype"] == "video":
            yield from _videos(root, info, rows, key)
    yield from _statistics(root, features)


def _data(root: Path, info: Mapping[str, Any], rows: list[dict[str, Any]], tasks: int) -> Iterator[Finding]:
    template = info.get("data_path") or DATA_PATH
    shards: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        shards.setdefault((row["data/chunk_index"], row["data/file_index"]), []).append(row)
    for (chunk, file), episodes in shards.items():
        name = template.format(chunk_index=chunk, file_index=file)
        table = _table(root / name)
        if table is None:
            numbers = few(np.array([row["episode_index"] for row in episodes]))
            yield _wrong(name, f"The file is missing or cannot be read; it holds the episodes {numbers}.", "damaged")
            continue
        want = {key for key, one in info["features"].items() if one["dtype"] != "video"}
        if missing := sorted(want - set(table.column_names)):
            yield _wrong(name, f"The declared columns {missing} are absent.", "absent column")
        if extra := sorted(set(table.column_names) - want):
            yield _wrong(name, f"The columns {extra} are not declared; LeRobot refuses the file.")
        if missing:
            continue
        column = {key: np.asarray(table[key]) for key in DEFAULT_FEATURES}
        order = np.concatenate([np.full(row["length"], row["episode_index"]) for row in episodes])
        frames = np.concatenate([np.arange(row["length"]) for row in episodes])
        if len(column["index"]) != len(order):
            yield _wrong(name, f"Expected {len(order)} rows; found {len(column['index'])}.", "wrong count")
            continue
        first = int(episodes[0]["dataset_from_index"])
        for key, expected in (
            ("episode_index", order),
            ("frame_index", frames),
            ("index", first + np.arange(len(order))),
        ):
            if len(bad := np.flatnonzero(column[key] != expected)):
                yield _wrong(f"{name}, rows {few(bad)}", f"{key} must count up without gaps.")
        if len(bad := np.flatnonzero((column["task_index"] < 0) | (column["task_index"] >= tasks))):
            yield _wrong(f"{name}, rows {few(bad)}", f"task_index must be below {tasks}.")
        if len(bad := np.flatnonzero(np.abs(column["timestamp"] - frames / info["fps"]) > 1e-4)):
            yield _wrong(f"{name}, rows {few(bad)}", "timestamp must be frame_index / fps; LeRobot refuses others.")
        for key, one in info["features"].items():
            if key in ("action", "observation.state") and one["dtype"].startswith("float"):
                yield from _numbers(name, key, table[key], tuple(one["shape"]))
            elif len(one["shape"]) == 2 and one["dtype"] == "uint16":
                pixels = sum(len(chunk.flatten().flatten()) for chunk in table[key].chunks)
                if pixels != len(table) * int(np.prod(one["shape"])):
                    message = f"Expected depth maps of {tuple(one['shape'])}; found others."
                    yield _wrong(f"{name}, {key}", message, "mismatched dims")


def _numbers(name: str, key: str, column: Any, shape: tuple[int, ...]) -> Iterator[Finding]:
    values = (
        np.concatenate([np.asarray(chunk.flatten()) for chunk in column.chunks])
        if shape != (1,)
        else np.asarray(column)
    )
    if values.size != len(column) * int(np.prod(shape)):
        yield _wrong(f"{name}, {key}", f"Expected {shape} numbers in a row; found others.", "mismatched dims")
        return
    rows = values.reshape(len(column), -1)
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        yield _wrong(f"{name}, {key}, rows {few(bad)}", "NaN or infinity.", "not finite")
    if key == "action" and len(rows) >= 10 and np.all(rows == rows[0]):
        message = f"All {len(rows)} actions are equal."
        yield Finding("constant action", f"{name}, {key}", "likely", message, "Look at the episodes; leave them out.")


def _videos(root: Path, info: Mapping[str, Any], rows: list[dict[str, Any]], key: str) -> Iterator[Finding]:
    fps, template = info["fps"], info.get("video_path") or VIDEO_PATH
    ends: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in rows:
        number = row["episode_index"]
        at = {part: row.get(f"videos/{key}/{part}") for part in ("chunk_index", "file_index")}
        start, stop = row.get(f"videos/{key}/from_timestamp"), row.get(f"videos/{key}/to_timestamp")
        if start is None or stop is None or None in at.values():
            yield _wrong(f"episode {number}, {key}", "The metadata does not say where its video is.", "absent video")
            continue
        name = template.format(video_key=key, **at)
        if name not in counts:
            counts[name] = _pictures(root / name)
        where = f"{name}, episode {number}"
        if counts[name] < 0:
            yield _wrong(where, "The video is missing or cannot be read.", "absent video")
            continue
        if abs(stop - start - row["length"] / fps) > 0.5 / fps:
            yield _wrong(
                where, f"to - from is {stop - start:.4f} s; {row['length']} rows are {row['length'] / fps:.4f} s."
            )
        if counts[name] < round(stop * fps):
            found = f"Expected {round(stop * fps)} pictures up to its end; found {counts[name]}."
            yield _wrong(where, found, "wrong count")
        if start < ends.get(name, 0.0) - 0.5 / fps:
            yield _wrong(where, "It overlaps the episode before it in the same file.")
        ends[name] = stop


def _pictures(path: Path) -> int:
    """How many whole pictures a video has, by its packets; -1 when it cannot be read."""
    try:
        with av.open(str(path)) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (av.error.FFmpegError, IndexError, OSError):
        return -1


def _statistics(root: Path, features: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    path = root / "meta/stats.json"
    try:
        stats: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        yield _wrong("meta/stats.json", f"It cannot be read: {error}. Policies cannot be normalised without it.")
        return
    for key in features:
        if key not in ("action", "observation.state") and not key.startswith("observation.images."):
            continue
        one = stats.get(key)
        if one is None:
            yield _wrong("meta/stats.json", f"Statistics of {key!r} are missing.")
            continue
        chain = [
            np.asarray(one[name], np.float64)
            for name in ("min", "q01", "q10", "q50", "q90", "q99", "max")
            if name in one
        ]
        finite = all(np.all(np.isfinite(values)) for values in chain)
        if not finite or any(np.any(a > b + 1e-6) for a, b in itertools.pairwise(chain)):
            yield _wrong("meta/stats.json", f"Statistics of {key!r} must be finite, with min <= q01 <= ... <= max.")
