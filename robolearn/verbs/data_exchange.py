"""`robolearn data import` and `export`: demonstrations of other tools in, ours out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from robolearn.cli import say
from robolearn.data.store import Store
from robolearn.errors import DataFileError
from robolearn.verbs.data_edit import find_ids, open_store

__all__ = ["Export", "Import", "run_export", "run_import"]


@dataclass(frozen=True)
class Import:
    """Import demonstrations that others recorded, and say what of them is absent."""

    format: tyro.conf.Positional[Literal["robomimic", "lerobot", "rlds"]]
    """What it is: a robomimic HDF5 file, a LeRobot dataset (2.0, 2.1, 3.0), or RLDS TFRecords."""
    source: tyro.conf.Positional[Path]
    """The file, or the folder with meta/ (lerobot) or features.json (rlds) in it."""
    store: tyro.conf.Positional[Path]
    """Folder of the store; made when it is not there."""
    episodes: tuple[int, ...] = ()
    """Only these episode indices (lerobot, rlds); default all."""
    cameras: tuple[str, ...] = ()
    """Only these camera keys (lerobot); default those that most episodes have."""
    split: str = ""
    """Only this split (rlds)."""
    rate_hz: float = 0.0
    """Steps per second, which RLDS does not record."""
    instruction: str = ""
    """What a person would be told (robomimic); default known for the usual tasks."""


@dataclass(frozen=True)
class Export:
    """Write episodes for another tool, whole or not at all, and say what its format cannot hold."""

    format: tyro.conf.Positional[Literal["lerobot", "robomimic"]]
    """LeRobotDataset v3.0 (a folder) or robomimic HDF5 (a file)."""
    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    target: tyro.conf.Positional[Path]
    """Where to; nothing may be there."""
    ids: tuple[str, ...] = ()
    """Only these episodes, in this order; default all."""
    split: str = ""
    """Only episodes of this split."""
    action: Literal["sent", "requested"] = "sent"
    """Which of the two a policy is to imitate (lerobot)."""


def run_import(chosen: Import) -> int:
    """Import, then say what came and what did not."""
    absent: tuple[str, ...] = ()
    if chosen.format == "rlds" and not chosen.rate_hz > 0:
        raise DataFileError("RLDS does not record how fast its steps were; give --rate-hz (BridgeData: 5, DROID: 15).")
    with Store.open_or_create(chosen.store) as store:
        if chosen.format == "robomimic":
            from robolearn.data.robomimic import import_robomimic

            ids = tuple(import_robomimic(chosen.source, store, instruction=chosen.instruction or None))
        elif chosen.format == "lerobot":
            from robolearn.data.lerobot_import import import_lerobot

            done = import_lerobot(
                chosen.source, store, episodes=chosen.episodes or None, cameras=chosen.cameras or None
            )
            ids, absent = done.ids, done.absent
        else:
            from robolearn.data.rlds import import_rlds

            found = import_rlds(
                chosen.source,
                store,
                rate_hz=chosen.rate_hz,
                split=chosen.split,
                episodes=chosen.episodes or None,
            )
            ids, absent = found.ids, found.absent
        say(f"{len(ids)} episodes imported from {chosen.source}; {store.path} now holds {len(store)}.")
    for line in absent:
        say(f"absent: {line}")
    return 0


def run_export(chosen: Export) -> int:
    """Export, then say what was left out."""
    store = open_store(chosen.store)
    ids = find_ids(store, chosen.ids) if chosen.ids else store.ids()
    if chosen.split:
        ids = [id for id in ids if store.split_of(id) == chosen.split]
    if chosen.format == "lerobot":
        from robolearn.data.lerobot_export import export_lerobot

        done = export_lerobot(store, chosen.target, ids, action=chosen.action)
        say(f"{done.episodes} episodes, {done.frames} rows written to {done.path} (LeRobotDataset v3.0).")
        for line in done.left_out:
            say(f"left out: {line}")
    else:
        from robolearn.data.robomimic_export import export_robomimic

        count = export_robomimic(store, chosen.target, ids)
        say(f"{count} demonstrations written to {chosen.target} (robomimic HDF5).")
    return 0
