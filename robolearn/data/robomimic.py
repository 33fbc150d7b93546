"""robomimic HDF5 files (robosuite demonstrations) into our episodes: names, units, quaternion order, splits.

Source of the format: the documentation of robomimic v0.1 to v0.3 (MIT licence). Actions of an OSC_POSE controller are
numbers in [-1, 1]; here they become what the controller makes of them, metres and radians per step. Positions become
those in the robot's base, found in each demonstration's model; a file without models keeps the frame "world".
Everything is checked before the first episode is stored, and a failure while storing takes back what was stored.
"""

# h5py has no types worth the name: groups are Any here, and every array is checked by `_array`.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robolearn.data.store import Store
from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import BadEpisode, DataFileError, SpecError
from robolearn.geometry import xyzw_to_wxyz
from robolearn.specs import Array, ArraySpec, check

__all__ = ["RobomimicFile", "import_robomimic", "inspect_robomimic"]

# Of the two quaternions of a tool the one on this side: straight down, x ahead. Objects: the one with w >= 0.
_TOOL_REFERENCE = (0.0, 1.0, 0.0, 0.0)
_OBJECT_REFERENCE = (1.0, 0.0, 0.0, 0.0)

_INSTRUCTIONS = {"lift": "lift the cube", "can": "put the can into its bin", "square": "put the square nut on its peg"}
_VECTORS = {
    "robot0_joint_pos": ("arm.q", "rad", ""),
    "robot0_joint_vel": ("arm.dq", "rad/s", ""),
    "robot0_eef_pos": ("tool.position", "m", "base"),
    "robot0_eef_quat": ("tool.quaternion", "", "base"),
    "robot0_gripper_qpos": ("gripper.q", "m", ""),
}
_PICTURES = {"agentview_image": "agent.rgb", "robot0_eye_in_hand_image": "wrist.rgb"}
_OBJECT = "object"
_DELTA_NAMES = ("x", "y", "z", "rx", "ry", "rz")


@dataclass(frozen=True, slots=True)
class RobomimicFile:
    """What a file holds.

    Attributes:
        path: The file.
        demos: Names of its demonstrations, in their numbers' order.
        task: Name of the task in our spelling.
        robot: Name of the robot.
        rate_hz: Decisions per second.
        frame: What positions will be given in: the robot's "base", or "world" where the file does not say where it is.
        unknown: Observation keys that have no name in ours; left out unless asked for.
        splits: Demonstrations by split.
        low: (6,) smallest command, metres and radians per step.
        high: (6,) largest command.
    """

    path: Path
    demos: tuple[str, ...]
    task: str
    robot: str
    rate_hz: float
    frame: str
    unknown: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    low: tuple[float, ...]
    high: tuple[float, ...]


def inspect_robomimic(path: Path | str) -> RobomimicFile:
    """Read what is in a file without reading its demonstrations.

    Raises:
        DataFileError: It is missing, not HDF5, or lacks something; says what to do.
    """
    with _open(Path(path)) as file, _readable(Path(path)):
        return _inspect(file, Path(path))


def import_robomimic(
    hdf5_path: Path | str, store: Store, *, masks: bool = True, extra: bool = False, instruction: str | None = None
) -> list[str]:
    """Store every demonstration of a robomimic file; all of them or none.

    Args:
        hdf5_path: The file.
        store: Where to; its schema must fit.
        masks: Turn mask/train and mask/valid into the store's splits.
        extra: Keep unknown observation keys too, as "extra.<key>".
        instruction: What a person would be told; by default known for the usual tasks, else the task's name.

    Returns:
        Ids in the order of the demonstrations.

    Raises:
        DataFileError: The file is damaged or has other content than expected.
        StoreError: The store holds episodes of another kind.
        StorageFull: No room; nothing is kept.
    """
    path = Path(hdf5_path)
    with _open(path) as file:
        with _readable(path):
            facts = _inspect(file, path)
            for demo in facts.demos:  # all checks first; pictures are read twice, so memory holds one demonstration
                _episode(file, facts, demo, extra=extra, instruction=instruction)
        ids: list[str] = []
        try:
            for demo in facts.demos:
                with _readable(path):
                    episode = _episode(file, facts, demo, extra=extra, instruction=instruction)
                ids.append(store.append(episode))
            for split, demos in facts.splits.items() if masks else ():
                store.split([ids[facts.demos.index(demo)] for demo in demos], split)
        except BaseException:
            if ids:
                store.delete(ids)
            raise
    return ids


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises on damage
        raise DataFileError(
            f"Expected a readable HDF5 file at {path} ({path.stat().st_size} bytes); found something HDF5 cannot read: "
            f"{error}. It is no HDF5 file, or was cut off or damaged; possible are files written by robomimic or "
            "robosuite. Copy or download it again."
        ) from error


@contextmanager
def _open(path: Path) -> Generator[Any]:
    if not path.is_file():
        raise DataFileError(
            f"Expected a robomimic HDF5 file at {path}; found {'a folder' if path.is_dir() else 'nothing'}. Check the "
            "path, or get a known dataset with `robolearn data fetch lift-ph`."
        )
    with _readable(path):
        file: Any = h5py.File(path, "r")
    with file:
        yield file


def _wrong(path: Path, where: str, expected: str, found: object, cure: str) -> DataFileError:
    return DataFileError(f"{path}, {where}: expected {expected}; found {found}. {cure}")


_CONVERT = "Possible are robomimic v0.1 to v0.3 files with image or low-dimensional observations; convert the file."


def _inspect(file: Any, path: Path) -> RobomimicFile:
    data: Any = _group(file, path, "data")
    demos = tuple(sorted((name for name in data if name.startswith("demo")), key=_demo_number))
    if not demos:
        raise _wrong(path, "data", "groups demo_0, demo_1, ...", sorted(data)[:10], _CONVERT)
    try:
        environment: dict[str, Any] = json.loads(str(data.attrs["env_args"]))
        kwargs = environment["env_kwargs"]
        controller = kwargs["controller_configs"]
        rate_hz = float(kwargs["control_freq"])
        kind = controller["type"]
        limits = {name: np.broadcast_to(np.asarray(controller[name], np.float64), 6) for name in _LIMITS}
        robots = kwargs["robots"]
        robot = str(robots if isinstance(robots, str) else robots[0]).lower()
        task = str(environment["env_name"]).lower()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _wrong(
            path,
            "attribute env_args of 'data'",
            "JSON with env_name and env_kwargs (control_freq, robots, controller_configs with type and limits)",
            f"{type(error).__name__} {error}",
            _CONVERT,
        ) from error
    if kind != "OSC_POSE" or not controller.get("control_delta", True):
        raise _wrong(path, "controller_configs", "type OSC_POSE with control_delta", kind, _CONVERT)
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise _wrong(path, "env_args", "a positive, finite control_freq", rate_hz, _CONVERT)
    if np.any(limits["input_min"] != -1) or np.any(limits["input_max"] != 1):
        found = controller["input_min"], controller["input_max"]
        raise _wrong(path, "controller_configs", "input_min -1 and input_max 1", found, _CONVERT)
    observed: list[str] = sorted(_group(_group(data, path, demos[0]), path, "obs"))
    return RobomimicFile(
        path=path,
        demos=demos,
        task=task,
        robot=robot,
        rate_hz=rate_hz,
        frame="world" if _base(_group(data, path, demos[0]), path) is None else "base",
        unknown=tuple(key for key in observed if key not in {*_VECTORS, *_PICTURES, _OBJECT}),
        splits=_splits(file, path, demos),
        low=tuple(limits["output_min"].tolist()),
        high=tuple(limits["output_max"].tolist()),
    )


_LIMITS = ("input_min", "input_max", "output_min", "output_max")


def _demo_number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else -1, name)


def _splits(file: Any, path: Path, demos: Sequence[str]) -> dict[str, tuple[str, ...]]:
    masks: Any = file.get("mask")
    splits: dict[str, tuple[str, ...]] = {}
    for split in ("train", "valid"):
        if _is_group(masks) and _is_dataset(masks.get(split)):
            names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in masks[split][:].tolist())
            if unknown := sorted(set(names) - set(demos)):
                raise _wrong(path, f"mask/{split}", f"names among {len(demos)} demonstrations", unknown, _CONVERT)
            splits[split] = names
    return splits


def _array(group: Any, path: Path, key: str, shape: tuple[int | None, ...]) -> Array:
    """A dataset of this shape (None is any size), finite."""
    where = f"{group.name}/{key}"
    dataset: Any = group.get(key)
    if not _is_dataset(dataset):
        raise _wrong(path, where, "an array", f"nothing (there is: {', '.join(sorted(group)) or 'nothing'})", _CONVERT)
    if len(dataset.shape) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, dataset.shape, strict=True)
    ):
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise _wrong(path, where, f"shape {wanted}", dataset.shape, "The demonstration is cut off or of another kind.")
    values: Array = dataset[:]
    if values.dtype.kind not in "biuf":
        raise _wrong(path, where, "numbers", values.dtype, _CONVERT)
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise _wrong(path, where, "finite numbers", f"{values[index]} at index {index}", "Remove the demonstration.")
    return values


def _group(parent: Any, path: Path, key: str) -> Any:
    group: Any = parent.get(key)
    if not _is_group(group):
        there = ", ".join(sorted(parent)) or "nothing"
        raise _wrong(path, f"{parent.name}/{key}".replace("//", "/"), "a group", f"none (there is: {there})", _CONVERT)
    return group


def _is_group(item: Any) -> bool:
    return isinstance(item, h5py.Group)


def _is_dataset(item: Any) -> bool:
    return isinstance(item, h5py.Dataset)


def _episode(file: Any, facts: RobomimicFile, demo: str, *, extra: bool, instruction: str | None) -> Episode:
    path = facts.path
    group = _group(file["data"], path, demo)
    raw = _array(group, path, "actions", (None, 7)).astype(np.float64)
    steps = len(raw)
    if steps < 1:
        raise _wrong(path, f"data/{demo}/actions", "at least one action", "none", "Remove the demonstration.")
    if np.any(np.abs(raw) > 1):
        raise _wrong(
            path, f"data/{demo}/actions", "values within [-1, 1]", float(np.abs(raw).max()), "Clip them at the source."
        )
    base = _base(group, path)
    spec, observations = _observations(group, path, steps, facts.unknown if extra else (), base)
    low, high = np.array(facts.low), np.array(facts.high)
    # robosuite's own map of [-1, 1] onto the controller's range; the clip only removes its last rounding error.
    delta = np.clip(raw[:, :6] * ((high - low) / 2) + (high + low) / 2, low, high)
    action_spec = {
        "arm.delta": ArraySpec((6,), low=facts.low, high=facts.high, unit="m, rad", frame="base", names=_DELTA_NAMES),
        "gripper.command": ArraySpec((1,), low=-1.0, high=1.0, names=("close",)),
    }
    actions = {"arm.delta": delta, "gripper.command": raw[:, 6:]}
    done = _array(group, path, "dones", (steps,)), _array(group, path, "rewards", (steps,))
    notes: dict[str, Array] = {"reward": done[1].astype(np.float64)}
    if "states" in group:
        notes["sim_state"] = _array(group, path, "states", (steps, None)).astype(np.float64)
    meta = EpisodeMeta(
        task=facts.task,
        instruction=_INSTRUCTIONS.get(facts.task, facts.task) if instruction is None else instruction,
        rate_hz=facts.rate_hz,
        robot=facts.robot,
        operator="human",
        source=f"robomimic:{path.name}:{demo}",
        extra=_extra(group, base),
    )
    try:
        check(actions, action_spec, lead=(steps,), limits=True, where=f"{path}, data/{demo}/actions")
        return Episode(
            observation_spec=spec,
            action_spec=action_spec,
            observations=observations,
            requested=actions,
            actions=actions,  # the file holds one stream; robosuite clips, and all of it lies within the limits
            actor=np.full(steps, Actor.OPERATOR, np.int8),
            times=np.arange(steps + 1) / facts.rate_hz,
            outcome=Outcome.SUCCESS if np.any(done[0] > 0) or np.any(done[1] > 0) else Outcome.FAILURE,
            meta=meta,
            notes=notes,
        )
    except (BadEpisode, SpecError) as error:
        raise _wrong(path, f"data/{demo}", "a consistent demonstration", error, _CONVERT) from error


def _base(group: Any, path: Path) -> Array | None:
    """Where the robot's base is in the world, (3,) metres; None when the demonstration does not carry its model."""
    if "model_file" not in group.attrs:
        return None
    where = f"{group.name}, attribute model_file"
    try:
        model = ElementTree.fromstring(str(group.attrs["model_file"]))
    except ElementTree.ParseError as error:
        raise _wrong(
            path, where, "a MuJoCo model in XML", error, "Remove the attribute or the demonstration."
        ) from error
    worldbody = model.find("worldbody")
    bodies = {body.get("name", ""): body for body in (worldbody if worldbody is not None else ()) if body.tag == "body"}
    body = bodies.get("robot0_base")
    if body is None:
        raise _wrong(path, where, "a body 'robot0_base' in the world", sorted(bodies), _CONVERT)
    numbers = [body.get("pos", "0 0 0").split(), body.get("quat", "1 0 0 0").split()]
    try:
        position, turn = (np.array([float(n) for n in row]) for row in numbers)
    except ValueError as error:
        raise _wrong(path, where, "numbers in pos and quat of 'robot0_base'", numbers, _CONVERT) from error
    turned = {key for key in ("euler", "axisangle", "xyaxes", "zaxis") if key in body.attrib}
    if position.shape != (3,) or turned or turn.tolist() != [1, 0, 0, 0]:
        raise _wrong(path, where, "a base that is placed by 'pos' and not turned", body.attrib, _CONVERT)
    return position


def _extra(group: Any, base: Array | None) -> dict[str, Any]:
    if base is None:
        return {"frame": "world: the file has no model_file that says where the robot's base is"}
    return {"base_in_world_m": base.tolist(), "model_file": str(group.attrs["model_file"])}


def _observations(
    group: Any, path: Path, steps: int, unknown: Sequence[str], base: Array | None
) -> tuple[dict[str, ArraySpec], dict[str, Array]]:
    """T + 1 observations: obs of every step and next_obs of the last."""
    now, after = _group(group, path, "obs"), _group(group, path, "next_obs")

    def column(key: str, *shape: int | None) -> Array:
        return np.concatenate([_array(g, path, key, (steps, *shape))[i:] for g, i in ((now, 0), (after, steps - 1))])

    spec: dict[str, ArraySpec] = {}
    found: dict[str, Array] = {}

    def keep(name: str, values: Array, unit: str = "", frame: str = "") -> None:
        spec[name] = ArraySpec(values.shape[1:], values.dtype.name, unit=unit, frame=frame)
        found[name] = values

    frame, origin = ("world", np.zeros(3)) if base is None else ("base", base)
    for key, (name, unit, own_frame) in _VECTORS.items():
        where = f"{now.name}/{key}"
        if name == "tool.quaternion":
            keep(name, _quaternion(column(key, 4), path, where, _TOOL_REFERENCE), unit, frame)
        elif name == "tool.position":
            keep(name, column(key, 3).astype(np.float64) - origin, unit, frame)
        else:
            keep(name, column(key, None).astype(np.float64), unit, own_frame)
    thing, where = column(_OBJECT, None), f"{now.name}/{_OBJECT}"
    if thing.shape[1] < 7:
        raise _wrong(path, where, "at least 7 numbers (position, quaternion)", thing.shape, _CONVERT)
    keep("cube.position", thing[:, :3].astype(np.float64) - origin, "m", frame)
    keep("cube.quaternion", _quaternion(thing[:, 3:7], path, where, _OBJECT_REFERENCE), "", frame)
    for key, name in _PICTURES.items():
        if key in now:
            values = column(key, None, None, 3)
            if values.dtype != np.uint8:
                raise _wrong(path, f"{now.name}/{key}", "uint8 pictures (height, width, 3)", values.dtype, _CONVERT)
            keep(name, values, frame=name.partition(".")[0])
    for key in unknown:
        values = column(key, *(None for _ in now[key].shape[1:]))
        keep(f"extra.{key}", values)
    return spec, found


def _quaternion(xyzw: Array, path: Path, where: str, reference: tuple[float, ...]) -> Array:
    """As (w, x, y, z), with the sign on the reference's side."""
    norms = np.linalg.norm(xyzw, axis=-1)
    if np.any(np.abs(norms - 1) > 1e-3):
        worst = float(norms[np.argmax(np.abs(norms - 1))])
        raise _wrong(path, where, "unit quaternions (x, y, z, w)", f"one of length {worst}", _CONVERT)
    wxyz = xyzw_to_wxyz(xyzw).astype(np.float64)
    side = (wxyz * np.asarray(reference)).sum(axis=-1, keepdims=True)
    return np.where(side < 0, -wxyz, wxyz)
