"""RLDS datasets (TFRecord files as TensorFlow Datasets writes them) into a store, without TensorFlow.

An episode is one record in which every column of its steps is one flat list. `dataset_info.json` and `features.json`
beside the files say what they are called and how they are shaped. RLDS has an observation and an action per step, and
the last action is by its rules not valid, so T steps become T - 1 actions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np

from robolearn.data.store import Store
from robolearn.data.tfrecord import parse_example, read_records
from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import DataFileError, UnknownName
from robolearn.specs import Array, ArraySpec

__all__ = ["RldsImport", "import_rlds", "read_features"]

_TEXTS = ("language_instruction", "natural_language_instruction", "instruction")


@dataclass(frozen=True, slots=True)
class RldsImport:
    """What was imported.

    Attributes:
        ids: New episodes, in the order of the files.
        absent: What was missing or left out, one sentence each.
    """

    ids: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: "tensor", "image" or "text", its type, and its shape per step."""

    kind: str
    dtype: str
    shape: tuple[int, ...]


def read_features(folder: Path) -> dict[str, Feature]:
    """Columns by the names they have in a record, such as "steps/observation/state".

    Raises:
        DataFileError: features.json is missing or of an unknown kind.
    """
    path = folder / "features.json"
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataFileError(f"Expected features.json of TensorFlow Datasets in {folder}; {error}.") from error
    return dict(_walk(tree, ""))


def _walk(node: Mapping[str, Any], name: str) -> Iterator[tuple[str, Feature]]:
    def dims(part: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(int(n) for n in part.get("shape", {}).get("dimensions", ()))

    if "featuresDict" in node:
        for key, child in node["featuresDict"]["features"].items():
            yield from _walk(child, f"{name}/{key}".lstrip("/"))
    elif "sequence" in node:
        yield from _walk(node["sequence"]["feature"], name)
    elif "image" in node:
        yield name, Feature("image", "uint8", dims(node["image"]))
    elif "text" in node:
        yield name, Feature("text", "string", ())
    elif "tensor" in node:
        yield name, Feature("tensor", node["tensor"]["dtype"], dims(node["tensor"]))


def import_rlds(
    folder: Path | str,
    store: Store,
    *,
    rate_hz: float,
    split: str = "",
    episodes: Collection[int] | None = None,
    robot: str = "",
) -> RldsImport:
    """Store the episodes of an RLDS dataset.

    Args:
        folder: With `*.tfrecord-*`, features.json and dataset_info.json.
        store: Where to; its schema must fit.
        rate_hz: Steps per second; RLDS does not record it.
        split: Only files of this split, such as "train".
        episodes: Only these records, counted over all files; by default all.
        robot: Name of the robot.

    Raises:
        DataFileError: There are no files, or one is damaged; nothing is kept.
        UnknownName: There is no such split.
        StoreError: The store holds episodes of another kind; nothing is kept.
        StorageFull: No room; nothing is kept.
    """
    folder = Path(folder)
    features = read_features(folder)
    files = sorted(folder.glob("*.tfrecord*"))
    splits = {_split(path): 0 for path in files}
    if split and split not in splits:
        raise UnknownName("split", split, splits)
    files = [path for path in files if split in ("", _split(path))]
    if not files:
        raise DataFileError(f"Expected files *.tfrecord-* in {folder}; found none. Give the folder with the version.")
    absent: list[str] = []
    ids: list[str] = []
    number = 0
    schema: tuple[Any, Any] | None = None
    try:
        for path in files:
            for data in read_records(path):
                if episodes is None or number in episodes:
                    where = f"{path.name}:{number}"
                    episode = _episode(parse_example(data), features, where, rate_hz, robot, folder.name, absent)
                    if episode is not None:
                        schema = schema or (episode.observation_spec, episode.action_spec)
                        if schema == (episode.observation_spec, episode.action_spec):
                            ids.append(store.append(episode))
                            if _split(path) in ("train", "val", "valid"):
                                store.split(ids[-1], "train" if _split(path) == "train" else "valid")
                        else:
                            absent.append(f"{where} is left out: its shapes differ from those of the first episode.")
                number += 1
    except BaseException:
        if ids:
            store.delete(ids)
        raise
    if not ids:
        raise DataFileError(f"Nothing of {folder} can be imported. " + " ".join(dict.fromkeys(absent)))
    return RldsImport(tuple(ids), tuple(dict.fromkeys(absent)))


def _split(path: Path) -> str:
    return path.name.partition(".tfrecord")[0].rpartition("-")[2]


def _episode(
    record: Mapping[str, list[bytes] | Array],
    features: Mapping[str, Feature],
    where: str,
    rate_hz: float,
    robot: str,
    task: str,
    absent: list[str],
) -> Episode | None:
    columns: dict[str, Array] = {}
    for name, feature in features.items():
        if not name.startswith("steps/"):
            continue
        if name not in record or not len(record[name]):
            absent.append(f"{name!r} is declared but absent in {where}.")
            continue
        value = _column(record[name], feature, f"{where}, {name}")
        columns[name.removeprefix("steps/")] = value
    actions = {name: value for name, value in columns.items() if name.partition("/")[0] == "action"}
    if not actions:
        raise DataFileError(f"{where}: expected an action; found {', '.join(sorted(columns)) or 'nothing'}.")
    count = len(next(iter(actions.values())))
    if wrong := sorted(name for name, value in columns.items() if len(value) != count):
        raise DataFileError(f"{where}: {wrong} have other numbers of steps than the action, {count}.")
    if count < 2:
        absent.append(f"{where} is left out: it has {count} steps; one action needs two.")
        return None
    seen = {n.removeprefix("observation/"): v for n, v in columns.items() if n.startswith("observation/")}
    pictures = {name for name in seen if features[f"steps/observation/{name}"].kind == "image"}
    observed = {_name(n) + ".rgb" if n in pictures else f"robot.{_name(n)}": v for n, v in seen.items()}
    commanded = {
        "robot.command" if n == "action" else f"robot.{_name(n.removeprefix('action/'))}": v[:-1]
        for n, v in actions.items()
    }
    notes = {
        name: value[:-1]
        for name, value in columns.items()
        if name not in actions and not name.startswith("observation/")
    }
    text = next((str(notes[name][0]) for name in _TEXTS if name in notes), "")
    success = float(np.asarray(columns.get("reward", np.zeros(1)))[-1]) > 0
    ended = bool(np.asarray(columns.get("is_terminal", np.zeros(1)))[-1])
    facts = {
        name.removeprefix("episode_metadata/"): _plain(record[name])
        for name in features
        if name in record and name.startswith("episode_metadata/")
    }
    return Episode(
        observation_spec={name: ArraySpec(value.shape[1:], value.dtype.name) for name, value in observed.items()},
        action_spec={name: ArraySpec(value.shape[1:], value.dtype.name) for name, value in commanded.items()},
        observations=observed,
        requested=commanded,
        actions=commanded,
        actor=np.full(count - 1, Actor.OPERATOR, np.int8),
        times=np.arange(count) / rate_hz,
        outcome=Outcome.SUCCESS if success else Outcome.FAILURE if ended else Outcome.TIMEOUT,
        meta=EpisodeMeta(task, text, rate_hz, robot=robot, source=f"rlds:{where}", extra=facts),
        notes=notes,
    )


def _name(name: str) -> str:
    return name.replace("/", "_")


def _plain(value: list[bytes] | Array) -> Any:
    parts = [part.decode(errors="replace") for part in value] if isinstance(value, list) else value.tolist()
    return parts[0] if len(parts) == 1 else parts


def _column(value: list[bytes] | Array, feature: Feature, where: str) -> Array:
    if feature.kind == "text":
        return np.array([part.decode(errors="replace") for part in cast(list[bytes], value)])
    if feature.kind == "image":
        return np.stack([_picture(part, where) for part in cast(list[bytes], value)])
    if isinstance(value, list):  # a tensor stored as raw bytes
        return np.stack([np.frombuffer(part, feature.dtype).reshape(feature.shape) for part in value])
    size = int(np.prod(feature.shape))
    if len(value) % size:
        raise DataFileError(f"{where}: expected a multiple of {size} numbers; found {len(value)}.")
    numbers = value.reshape(-1, *feature.shape).astype(feature.dtype)
    if numbers.dtype.kind == "f" and not np.all(np.isfinite(numbers)):
        row = int(np.argwhere(~np.isfinite(numbers))[0][0])
        raise DataFileError(f"{where}: not finite at step {row}. Leave the episode out with `episodes`.")
    return numbers


def _picture(data: bytes, where: str) -> Array:
    try:
        container: Any = av.open(io.BytesIO(data), "r")
        with container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise DataFileError(f"{where}: a picture cannot be decoded ({error}).") from error
