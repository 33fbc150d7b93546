"""Which columns an episode of ours becomes in a LeRobotDataset, and their statistics.

Observed numbers lie flat and named in "observation.state", commands in "action"; notes, actors and true times get
columns of their own, and a depth map is a two-dimensional uint16 column, lossless. Names that begin with "observation"
or "action" would be taken for inputs and outputs of a policy, so those columns begin otherwise.
"""

# pyarrow has no types: its modules are Any here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.data.lerobot_format import DEFAULT_FEATURES, QUANTILE_NAMES, camera_key, depth_key
from robolearn.data.log_reader import scan_log
from robolearn.data.statistics import array_statistics
from robolearn.data.store import Store
from robolearn.data.video import is_filmed
from robolearn.episode import Actor, Episode, Outcome
from robolearn.errors import DataFileError
from robolearn.specs import Array, Spec

__all__ = ["Plan", "arrow_schema", "cells", "columns", "features", "instructions", "layout", "make_plan", "note_key"]
__all__ += ["tasks_table", "vector_statistics"]

_MOST_OFFSETS = 1 << 27
_LARGEST = 4096  # elements of an array that still counts as numbers and not as a picture


@dataclass(frozen=True, slots=True)
class Plan:
    """What every row holds, the same for all episodes."""

    fps: int
    robot: str
    action: str
    observed: Spec
    commanded: Spec
    vectors: tuple[str, ...]
    cameras: tuple[str, ...]
    depths: tuple[str, ...]
    notes: Mapping[str, tuple[str, tuple[int, ...]]]  # type and shape
    left_out: tuple[str, ...]


def make_plan(store: Store, ids: Sequence[str], action: str) -> Plan:
    """Look at all episodes once, without pictures.

    Raises:
        DataFileError: They have no common whole rate.
    """
    assert store.specs is not None
    observed, commanded = store.specs
    rates = sorted({store.info(id).rate_hz for id in ids})
    if len(rates) > 1 or rates[0] != round(rates[0]) or rates[0] < 1:
        raise DataFileError(
            f"LeRobot needs one whole number of rows per second; the episodes have {rates}. Export episodes of one "
            "rate (give their ids), or record at a whole rate."
        )
    cameras = tuple(name for name, one in observed.items() if one.is_image)
    depths = tuple(name for name, one in observed.items() if is_filmed(one) and not one.is_image)
    vectors = tuple(n for n, one in observed.items() if not is_filmed(one) and np.prod(one.shape) <= _LARGEST)
    left = [
        f"{name}: neither a picture nor a depth map, and too large for a vector."
        for name in sorted(observed.keys() - {*cameras, *depths, *vectors})
    ]
    notes: dict[str, tuple[str, tuple[int, ...]]] | None = None
    for id in ids:
        episode = scan_log(store.folder(id), pictures=False).episode
        if episode is None:
            continue  # damaged; `store[id]` says so when its turn comes
        found = {
            name: ("string" if v.dtype.kind == "U" else v.dtype.name, v.shape[1:])
            for name, v in episode.notes.items()
            if not (v.dtype.kind == "U" and v.ndim > 1)
        }
        common = found if notes is None else {name: kind for name, kind in notes.items() if found.get(name) == kind}
        left += [f"note {name!r}: not the same in all episodes." for name in (notes or {}).keys() - common.keys()]
        notes = common
    left.append("The last observation of every episode: LeRobot keeps one observation per action.")
    robot = store.info(ids[0]).robot
    told = tuple(dict.fromkeys(left))
    return Plan(int(rates[0]), robot, action, observed, commanded, vectors, cameras, depths, notes or {}, told)


def _element_names(spec: Spec, names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        one = spec[name]
        size = int(np.prod(one.shape))
        found += [f"{name}.{n}" for n in (one.names or range(size))] if one.shape else [name]
    return found


def layout(spec: Spec, names: Sequence[str]) -> dict[str, list[int]]:
    """Where each array lies in the flat vector: {name: [start, stop]}."""
    ends = np.cumsum([0, *(int(np.prod(spec[name].shape)) for name in names)]).tolist()
    return {name: [ends[i], ends[i + 1]] for i, name in enumerate(names)}


def _flat(arrays: Mapping[str, Array], names: Sequence[str], steps: int) -> Array:
    return np.concatenate([np.asarray(arrays[n][:steps], np.float32).reshape(steps, -1) for n in names], axis=1)


def note_key(name: str) -> str:
    """The column of one of our notes."""
    return "next.reward" if name == "reward" else name if name == "subtask" else f"note.{name}".replace("/", "_")


def features(plan: Plan) -> dict[str, dict[str, Any]]:
    """What info.json declares."""

    def vector(names: list[str], dtype: str = "float32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": [len(names)], "names": names}

    def one(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": None}

    found: dict[str, dict[str, Any]] = {}
    if plan.vectors:
        found["observation.state"] = vector(_element_names(plan.observed, plan.vectors))
    for name in plan.cameras:
        height, width, _ = plan.observed[name].shape
        pixels = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        info = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": pixels,
            "video.is_depth_map": False,
            "video.fps": plan.fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]
        found[camera_key(name)] = {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info}
    for name in plan.depths:
        shape = list(plan.observed[name].shape)
        found[depth_key(name)] = {"dtype": "uint16", "shape": shape, "names": ["height", "width"]}
    commands = _element_names(plan.commanded, tuple(plan.commanded))
    found["action"] = vector(commands)
    found["requested_action" if plan.action == "sent" else "sent_action"] = vector(commands)
    found |= {"actor": one("int64"), "intervention": one("bool"), "captured_s": one("float64")}
    found |= {"next.done": one("bool"), "next.success": one("bool")}
    for name, (dtype, shape) in plan.notes.items():
        size = int(np.prod(shape))
        found[note_key(name)] = {
            "dtype": "float32" if name == "reward" else dtype,
            "shape": [size],
            "names": None if size == 1 else [str(k) for k in range(size)],
        }
    return found | DEFAULT_FEATURES


def columns(plan: Plan, number: int, first: int, episode: Episode, tasks: dict[str, int]) -> dict[str, Array]:
    """All columns of an episode; texts of new instructions are numbered in `tasks`."""
    steps = episode.steps
    main, other = (episode.actions, episode.requested)[:: 1 if plan.action == "sent" else -1]
    commands = tuple(plan.commanded)
    last = np.arange(steps) == steps - 1
    found: dict[str, Array] = {
        "action": _flat(main, commands, steps),
        "requested_action" if plan.action == "sent" else "sent_action": _flat(other, commands, steps),
        "actor": episode.actor.astype(np.int64),
        "intervention": episode.actor == Actor.INTERVENTION,
        "captured_s": episode.times[:-1],
        "next.done": last,
        "next.success": last & (episode.outcome == Outcome.SUCCESS),
        "timestamp": (np.arange(steps) / plan.fps).astype(np.float32),
        "frame_index": np.arange(steps),
        "episode_index": np.full(steps, number),
        "index": first + np.arange(steps),
        "task_index": np.array([tasks.setdefault(text, len(tasks)) for text in instructions(episode)]),
    }
    if plan.vectors:
        found["observation.state"] = _flat(episode.observations, plan.vectors, steps)
    found |= {depth_key(name): episode.observations[name][:steps] for name in plan.depths}
    for name in plan.notes:
        value = episode.notes[name]
        found[note_key(name)] = value if value.dtype.kind == "U" else value.reshape(steps, -1)
    return found


def instructions(episode: Episode) -> list[str]:
    """The command at every step: the note "instruction", else accepted "SET_CMD" events, else the one at the start."""
    if "instruction" in episode.notes:
        return [str(text) for text in episode.notes["instruction"]]
    texts = [episode.meta.instruction] * episode.steps
    for event in episode.events:
        if event.kind == "SET_CMD" and event.accepted and (text := str(event.params.get("instruction", ""))):
            first = int(np.searchsorted(episode.times[:-1], event.time))
            texts[first:] = [text] * (episode.steps - first)
    return texts


def _arrow(pa: Any, feature: Mapping[str, Any]) -> Any:
    dtype = {"string": pa.string(), "bool": pa.bool_()}.get(feature["dtype"])
    dtype = pa.from_numpy_dtype(feature["dtype"]) if dtype is None else dtype
    if len(feature["shape"]) == 2:
        return pa.list_(pa.list_(dtype))
    return dtype if feature["shape"] == [1] else pa.list_(dtype, feature["shape"][0])


def cells(pa: Any, columns: Mapping[str, Any], schema: Any) -> list[Any]:
    """Columns as Arrow arrays in the schema's order."""
    found: list[Any] = []
    for field in schema:
        value = columns[field.name]
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(np.ascontiguousarray(value).ravel(), field.type.value_type)
            found.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        elif pa.types.is_list(field.type):
            found.append(_maps(pa, value, field.type))
        else:
            plain = value.tolist() if value.dtype.kind == "U" else value.reshape(len(value))
            found.append(pa.array(plain, field.type, from_pandas=False))
    return found


def _maps(pa: Any, value: Array, kind: Any) -> Any:
    """Depth maps (T, H, W) in pieces that 32-bit offsets can count."""
    count, height, width = value.shape
    at_once = max(1, _MOST_OFFSETS // (height * width))
    pieces: list[Any] = []
    for start in range(0, count, at_once):
        piece = np.ascontiguousarray(value[start : start + at_once])
        lines = pa.ListArray.from_arrays(
            pa.array(np.arange(len(piece) * height + 1, dtype=np.int32) * width), pa.array(piece.reshape(-1))
        )
        pieces.append(pa.ListArray.from_arrays(pa.array(np.arange(len(piece) + 1, dtype=np.int32) * height), lines))
    return pa.chunked_array(pieces, type=kind)


def tasks_table(pa: Any, tasks: Mapping[str, int]) -> Any:
    """A table that pandas reads with the text as its index, as LeRobot needs it; written without pandas."""
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    facts = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}],
        "columns": [column | {"metadata": None}, index | {"metadata": None}],
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    return table.replace_schema_metadata({"pandas": json.dumps(facts)})


def vector_statistics(key: str, values: Array) -> dict[str, Any] | None:
    """None where a value is not finite: a reader must not normalise with it."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    if not np.all(np.isfinite(rows)):
        return None
    found = array_statistics(key, rows)
    parts = {"min": found.low, "max": found.high, "mean": found.mean, "std": found.std}
    parts |= dict(zip(QUANTILE_NAMES, found.quantiles, strict=True))
    return {name: np.asarray(part).tolist() for name, part in parts.items()} | {"count": [len(rows)]}


def arrow_schema(pa: Any, declared: Mapping[str, Mapping[str, Any]]) -> Any:
    """The table's schema: everything but videos."""
    return pa.schema([(key, _arrow(pa, one)) for key, one in declared.items() if one["dtype"] != "video"])
