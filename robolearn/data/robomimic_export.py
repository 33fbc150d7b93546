"""A store as a robomimic HDF5 file, the inverse of `robomimic.import_robomimic`: names, world frame, [-1, 1] actions.

What the importer subtracts is added again: the robot's base (from each episode's "base_in_world_m") and the order of
quaternions. The file is written aside and renamed; splits become mask/train and mask/valid.
"""

# h5py has no types worth the name.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robolearn.data.lerobot_format import sync
from robolearn.data.robomimic import PICTURES, VECTORS
from robolearn.data.sealing import room_named
from robolearn.data.store import Store
from robolearn.episode import Episode, Outcome
from robolearn.errors import DataFileError, EmptyStore
from robolearn.specs import Array, Spec

__all__ = ["export_robomimic"]

_COMMANDS = ("arm.delta", "gripper.command")
_OBJECTS = (".position", ".quaternion")


def export_robomimic(store: Store, path: Path | str, ids: Sequence[str] | None = None, *, task: str = "") -> int:
    """Write episodes as demo_0, demo_1, ... and return how many.

    Args:
        store: Where they are; their actions must be "arm.delta" and "gripper.command".
        path: The file; it must not exist.
        ids: Which, in this order; by default all that are live.
        task: Name of the robosuite environment; by default the episodes' task, capitalised.

    Raises:
        EmptyStore: There is no episode.
        DataFileError: Something is at `path`, or the arrays are not those of such a robot.
        StorageFull: No room; nothing is left behind.
    """
    path, wanted = Path(path), store.ids() if ids is None else list(ids)
    if not wanted or store.specs is None:
        raise EmptyStore(f"Nothing to export: {store.path} has no live episode. Record or import some first.")
    if path.exists():
        raise DataFileError(f"Expected nothing at {path}; found a file or folder. Choose another name.")
    observed, commanded = store.specs
    high = _limits(commanded)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with room_named(f"export to {path}", "Nothing of the export was kept."):
            with h5py.File(aside, "x") as file:
                data = file.create_group("data")
                total = 0
                for number, id in enumerate(wanted):
                    episode = store[id]
                    _write(data.create_group(f"demo_{number}"), episode, observed, high)
                    total += episode.steps
                data.attrs["total"] = total
                data.attrs["env_args"] = json.dumps(_environment(store, wanted[0], commanded, task))
                _masks(file, store, wanted)
            sync(aside)
            aside.replace(path)
            sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)
    return len(wanted)


def _limits(commanded: Spec) -> Array:
    if tuple(sorted(commanded)) != _COMMANDS or commanded["arm.delta"].shape != (6,):
        raise DataFileError(
            f"robomimic needs the actions {', '.join(_COMMANDS)} (a displacement of the tool and the gripper); this "
            f"store has {', '.join(sorted(commanded))}. Export it to LeRobot instead."
        )
    low, high = (np.asarray(getattr(commanded["arm.delta"], side), np.float64) for side in ("low", "high"))
    if high.shape != (6,) or not np.array_equal(low, -high) or not np.all(high > 0):
        raise DataFileError(
            f"Expected limits of 'arm.delta' that are symmetric, one per axis, as robomimic's controllers have them; "
            f"found {low.tolist()} to {high.tolist()}. Give the action spec such limits."
        )
    return high


def _write(group: Any, episode: Episode, observed: Spec, high: Array) -> None:
    steps = episode.steps
    columns = _columns(episode, observed)
    for name, rows in (("obs", slice(0, steps)), ("next_obs", slice(1, steps + 1))):
        part = group.create_group(name)
        for key, values in columns.items():
            part.create_dataset(key, data=values[rows])
    delta, gripper = (episode.actions[name].astype(np.float64) for name in _COMMANDS)
    group.create_dataset("actions", data=np.concatenate([delta / high, gripper], axis=1))
    last = np.arange(steps) == steps - 1
    done = last & (episode.outcome == Outcome.SUCCESS)
    group.create_dataset("rewards", data=np.asarray(episode.notes.get("reward", done.astype(np.float64)), np.float64))
    group.create_dataset("dones", data=done.astype(np.int64))
    if "sim_state" in episode.notes:
        group.create_dataset("states", data=episode.notes["sim_state"])
    group.attrs["num_samples"] = steps
    if "model_file" in episode.meta.extra:
        group.attrs["model_file"] = str(episode.meta.extra["model_file"])


def _columns(episode: Episode, observed: Spec) -> dict[str, Array]:
    """Observations under robomimic's names; objects together in "object" (position, then quaternion x, y, z, w)."""
    seen = episode.observations
    frames = {observed[name].frame for name in seen if name.endswith(_OBJECTS)}
    base = np.asarray(episode.meta.extra.get("base_in_world_m", (0.0, 0.0, 0.0)), np.float64)
    if "base" in frames and "base_in_world_m" not in episode.meta.extra:
        base = np.zeros(3)  # the base is the world of simulations without a pedestal
    found: dict[str, Array] = {}
    used: set[str] = set()
    for key, (name, _, _) in VECTORS.items():
        if name not in seen:
            continue
        used.add(name)
        value = seen[name]
        found[key] = value + base if name == "tool.position" else _xyzw(value) if name == "tool.quaternion" else value
    for key, name in PICTURES.items():
        if name in seen:
            used.add(name)
            found[key] = seen[name]
    things = [n.removesuffix(".position") for n in seen if n.endswith(".position") and n not in used]
    things = [name for name in things if f"{name}.quaternion" in seen]
    parts = [v for n in things for v in (seen[f"{n}.position"] + base, _xyzw(seen[f"{n}.quaternion"]))]
    if parts:
        found["object"] = np.concatenate(parts, axis=1)
        used |= {f"{name}{kind}" for name in things for kind in _OBJECTS}
    return found | {name.removeprefix("extra."): value for name, value in seen.items() if name not in used}


def _xyzw(wxyz: Array) -> Array:
    return np.concatenate([wxyz[..., 1:], wxyz[..., :1]], axis=-1)


def _environment(store: Store, id: str, commanded: Spec, task: str) -> dict[str, Any]:
    info = store.info(id)
    controller: dict[str, Any] = {"type": "OSC_POSE", "input_max": 1, "input_min": -1, "control_delta": True}
    limits: Mapping[str, Any] = {"output_max": commanded["arm.delta"].high, "output_min": commanded["arm.delta"].low}
    controller |= {name: list(value) for name, value in limits.items()}
    kwargs = {"control_freq": info.rate_hz, "controller_configs": controller, "robots": [info.robot.capitalize()]}
    return {"env_name": task or info.task.capitalize(), "type": 1, "env_kwargs": kwargs}


def _masks(file: Any, store: Store, ids: Sequence[str]) -> None:
    for split in ("train", "valid"):
        names = [f"demo_{number}".encode() for number, id in enumerate(ids) if store.split_of(id) == split]
        if names:
            file.create_dataset(f"mask/{split}", data=np.array(names))
