"""One episode of a LeRobot dataset as checked rows of ours, without its pictures.

Units and frames are unknown there, so vectors arrive as "robot.state" and "robot.command" without them, unless
`meta/robolearn.json` says what they are. A two-dimensional uint16 column is a depth map.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from robolearn.data.lerobot_source import EpisodeFiles, LeRobotSource, read_columns
from robolearn.data.lerobot_video import picture_size
from robolearn.episode import Actor, EpisodeMeta, Event, Outcome
from robolearn.errors import DataFileError
from robolearn.specs import Array, ArraySpec, from_json

__all__ = ["EpisodeRows", "camera_name", "few_of", "is_depth_video", "read_rows"]

_ROWS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
_OUR_ROWS = {"actor", "intervention", "captured_s", "next.done", "next.success", "requested_action", "sent_action"}


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """One episode, checked, without its pictures. `actions` has one row per observation; the last is not used."""

    observations: dict[str, Array]
    observation_spec: dict[str, ArraySpec]
    requested: dict[str, Array]
    actions: dict[str, Array]
    action_spec: dict[str, ArraySpec]
    notes: dict[str, Array]
    actor: Array
    times: Array
    outcome: Outcome
    meta: EpisodeMeta
    events: tuple[Event, ...]


def few_of(numbers: list[int]) -> str:
    """The first numbers of a list, for a sentence."""
    shown = ", ".join(str(n) for n in numbers[:6])
    return shown if len(numbers) <= 6 else f"{shown} and {len(numbers) - 6} more"


def is_depth_video(feature: Mapping[str, Any]) -> bool:
    """Whether a camera is declared to hold distances, not colours."""
    info: Mapping[str, Any] = feature.get("info") or feature.get("video_info") or {}
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def camera_name(source: LeRobotSource, key: str) -> str:
    """Our name of one of its cameras."""
    for name, column in cast(dict[str, str], source.ours.get("cameras", {})).items():
        if column == key:
            return name
    return key.removeprefix("observation.").removeprefix("images.").replace(".", "_") + ".rgb"


def _depth_name(source: LeRobotSource, key: str) -> str:
    ours = {column: name for name, column in cast(dict[str, str], source.ours.get("depths", {})).items()}
    plain = key.removeprefix("observation.").removeprefix("images.").removeprefix("depth.").removesuffix(".depth")
    return ours.get(key, plain.replace(".", "_") + ".depth")


def read_rows(source: LeRobotSource, one: EpisodeFiles, keys: tuple[str, ...], absent: list[str]) -> EpisodeRows:
    """All rows of an episode but its pictures.

    Args:
        source: The dataset.
        one: The episode; it has a data file.
        keys: Cameras that will be read, for their specs.
        absent: Gets a sentence for everything that is missing or contradicts itself.

    Raises:
        DataFileError: The episode cannot be read.
    """
    assert one.data is not None
    for key in keys:
        if source.features[key]["dtype"] == "video" and key not in one.videos:
            raise DataFileError(f"it has no video of {key}.")
    columns = read_columns(one.data, one.number)
    count = len(next(iter(columns.values()), ()))
    if count < 2:
        raise DataFileError(f"{one.data.name} has {count} rows of it; two are needed for one step.")
    if one.length is not None and one.length != count:
        absent.append(f"Episode {one.number}: the metadata says {one.length} rows; there are {count}.")
    for key, feature in source.features.items():
        if key not in columns and feature.get("dtype") != "video":
            absent.append(f"The column {key!r} is declared but absent.")
    state: dict[str, Array] = {}
    notes: dict[str, Array] = {}
    depths: dict[str, Array] = {}
    for key, value in columns.items():
        if key in _ROWS or key in source.cameras:
            continue
        if isinstance(value, np.ndarray) and value.dtype == np.uint16 and value.ndim == 3:
            depths[_depth_name(source, key)] = value
            continue
        if key == "action" or key.startswith("observation."):
            state[key] = _numbers(key, value, count)
            shape = tuple(source.features.get(key, {}).get("shape", ()))
            if shape and shape != (state[key].shape[1:] or (1,)):
                absent.append(f"{key!r} is declared with shape {shape}; the rows have {state[key].shape[1:]}.")
        elif not (source.ours and key in _OUR_ROWS):
            note = _note(key, value, count, source, absent)
            if note is not None:
                notes[note[0]] = note[1]
    if "action" not in state:
        raise DataFileError(f"{one.data.name} has no column 'action' (there is: {', '.join(sorted(columns))}).")
    texts = _instructions(source, one, columns, count, absent)
    if len(set(texts)) > 1:
        notes["instruction"] = np.array(texts)
    observed, commanded, requested, specs = _arrays(source, state, columns, count)
    observed |= depths
    specs = {name: one for name, one in specs[0].items() if name in observed}, specs[1]
    for name, maps in depths.items():
        frame = str(source.ours.get("observation_spec", {}).get(name, {}).get("frame", ""))
        specs[0].setdefault(name, ArraySpec(maps.shape[1:], "uint16", frame=frame))
    for key in keys:
        height, width = picture_size(one.videos.get(key), columns.get(key))
        specs[0][camera_name(source, key)] = ArraySpec((height, width, 3), "uint8", frame=_device(source, key))
        declared = tuple(source.features[key].get("shape", ()))
        if declared[:2] != (height, width) and declared[-2:] != (height, width):
            absent.append(f"{key!r} is declared with shape {declared}; its pictures are {height} x {width}.")
    if "actor" in columns and source.ours:
        actor = np.asarray(columns["actor"], np.int8)
    else:
        actor = np.full(count, Actor.OPERATOR, np.int8)
        if "intervention" in columns:
            intervened = np.asarray(columns["intervention"], bool)
            actor = np.where(intervened, Actor.INTERVENTION, Actor.POLICY).astype(np.int8)
    facts = one.facts
    meta = EpisodeMeta(
        task=str(facts.get("task") or source.root.name),
        instruction=texts[0],
        rate_hz=source.fps,
        seed=int(facts["seed"]) if str(facts.get("seed", "")).isdigit() else None,
        robot=source.robot,
        operator=str(facts.get("operator") or ""),
        adversary=str(facts.get("adversary") or ""),
        bench=str(facts.get("bench") or ""),
        source=f"lerobot:{source.root.name}:episode_{one.number:06d}",
    )
    times = _times(source, one, columns, count, absent)
    outcome = _outcome(one, columns, absent)
    events = tuple(Event(**fields) for fields in json.loads(str(facts.get("events") or "[]")))
    return EpisodeRows(observed, specs[0], requested, commanded, specs[1], notes, actor, times, outcome, meta, events)


def _device(source: LeRobotSource, key: str) -> str:
    name = camera_name(source, key)
    spec: dict[str, Any] = source.ours.get("observation_spec", {}).get(name, {})
    return str(spec.get("frame", ""))


def _numbers(key: str, value: Array | list[Any], count: int) -> Array:
    if not isinstance(value, np.ndarray) or len(value) != count:
        raise DataFileError(f"the column {key!r} does not hold numbers of one shape.")
    if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
        row = int(np.argwhere(~np.isfinite(value))[0][0])
        raise DataFileError(f"the column {key!r} is not finite at row {row}.")
    return value


def _note(
    key: str, value: Array | list[Any], count: int, source: LeRobotSource, absent: list[str]
) -> tuple[str, Array] | None:
    ours: dict[str, Any] = source.ours.get("notes", {})
    for name, facts in ours.items():
        if facts["column"] == key:
            if facts["dtype"] == "string":
                return name, np.array([str(v) for v in value])
            return name, np.asarray(value).astype(facts["dtype"]).reshape(count, *facts["shape"])
    name = "reward" if key == "next.reward" else key
    if isinstance(value, np.ndarray):
        return name, value
    if all(isinstance(v, str) or v is None for v in value):
        return name, np.array([v or "" for v in value])
    absent.append(f"The column {key!r} holds neither numbers of one shape nor texts; it is left out.")
    return None


def _arrays(
    source: LeRobotSource, state: Mapping[str, Array], columns: Mapping[str, Any], count: int
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array], tuple[dict[str, ArraySpec], dict[str, ArraySpec]]]:
    """Observations, commands and requests by our names, with their specs."""
    if ours := source.ours:
        observed_spec, command_spec = from_json(ours["observation_spec"]), from_json(ours["action_spec"])
        observed_spec = {name: one for name, one in observed_spec.items() if not one.is_image}

        def cut(flat: Array, layout: Mapping[str, Any], specs: Mapping[str, ArraySpec]) -> dict[str, Array]:
            return {
                name: flat[:, start:stop].reshape(count, *specs[name].shape).astype(specs[name].dtype)
                for name, (start, stop) in layout.items()
            }

        main = cut(state["action"].reshape(count, -1), ours["commands"], command_spec)
        second = columns.get("requested_action", columns.get("sent_action"))
        other = main if second is None else cut(np.asarray(second).reshape(count, -1), ours["commands"], command_spec)
        sent, requested = (main, other) if ours["action"] == "sent" else (other, main)
        flat = state.get("observation.state", np.zeros((count, 0)))
        return (
            cut(flat.reshape(count, -1), ours["state"], observed_spec),
            sent,
            requested,
            (observed_spec, command_spec),
        )
    observed: dict[str, Array] = {}
    spec: dict[str, ArraySpec] = {}
    for key, value in state.items():
        if key != "action":
            name = "robot.state" if key == "observation.state" else key.removeprefix("observation.")
            observed[name], spec[name] = value, _spec(value, source.features.get(key, {}))
    command = {"robot.command": state["action"]}
    return observed, command, command, (spec, {"robot.command": _spec(state["action"], source.features["action"])})


def _spec(value: Array, feature: Mapping[str, Any]) -> ArraySpec:
    names = feature.get("names")
    while isinstance(names, list) and len(cast(list[Any], names)) == 1 and isinstance(names[0], list):
        names = cast(list[Any], names[0])
    if isinstance(names, dict):
        lists = [v for v in cast(dict[str, Any], names).values() if isinstance(v, list)]
        names = lists[0] if len(lists) == 1 else None
    texts = tuple(str(n) for n in cast(list[Any], names)) if isinstance(names, list) else ()
    fits = value.ndim == 2 and len(texts) == value.shape[1] and len(set(texts)) == len(texts)
    return ArraySpec(value.shape[1:], value.dtype.name, names=texts if fits else ())


def _instructions(
    source: LeRobotSource, one: EpisodeFiles, columns: Mapping[str, Any], count: int, absent: list[str]
) -> list[str]:
    if "task_index" in columns:
        numbers = [int(n) for n in columns["task_index"]]
        if unknown := sorted(set(numbers) - source.tasks.keys()):
            absent.append(f"Episode {one.number}: task_index {few_of(unknown)} is in no list of tasks.")
        return [source.tasks.get(number, "") for number in numbers]
    tasks = [str(text) for text in one.facts.get("tasks", [])]
    absent.append(f"Episode {one.number}: no column 'task_index'; the metadata's first task is its instruction.")
    return [tasks[0] if tasks else ""] * count


def _times(
    source: LeRobotSource, one: EpisodeFiles, columns: Mapping[str, Any], count: int, absent: list[str]
) -> Array:
    """Seconds of the rows: captured ones, else those of the column when they differ from k / fps, else k / fps."""
    nominal = np.arange(count) / source.fps
    for name in ("captured_s", "timestamp"):
        if name not in columns:
            continue
        times = np.asarray(columns[name], np.float64)
        if np.all(np.isfinite(times)) and times[0] >= 0 and np.all(np.diff(times) > 0):
            return nominal if np.abs(times - nominal).max() < 1e-4 and name == "timestamp" else times
        absent.append(f"Episode {one.number}: {name!r} does not grow; rows are taken as k / {source.fps:g} s.")
    return nominal


def _outcome(one: EpisodeFiles, columns: Mapping[str, Any], absent: list[str]) -> Outcome:
    name = str(one.facts.get("outcome") or "")
    if name in Outcome.__members__:
        return Outcome[name]
    if "next.success" in columns:
        return Outcome.SUCCESS if np.any(np.asarray(columns["next.success"], bool)) else Outcome.FAILURE
    absent.append("How episodes ended is not recorded; their outcome is RUNNING. Mark them with tags.")
    return Outcome.RUNNING
