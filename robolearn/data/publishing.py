"""Publishing an episode: its files are sealed where they were recorded, renamed into `episodes/`, then listed.

The one place where a folder becomes an episode, for recording and for recovery. A kill between the three leaves a
recording, or a sealed folder without its line in the journal; the next open finishes both.
"""

from __future__ import annotations

from pathlib import Path

from robolearn.data.journal import Journal
from robolearn.data.sealing import Summary, read_seal, sync_folder, write_seal
from robolearn.data.state import DEGRADED, RECOVERED
from robolearn.specs import Spec, to_json

__all__ = ["enter", "publish"]


def publish(store: Path, journal: Journal, folder: Path, id: str, summary: Summary, status: str) -> None:
    """Make the finished files of `folder` the episode `id`; repeating it after a failure finishes it.

    Args:
        store: The store's folder.
        journal: Its journal, which says whether to wait for the disk.
        folder: Below `recording/`.
        id: The episode's name.
        summary: What is in the files.
        status: "complete" or "recovered".

    Raises:
        OSError: The disk is full or failing; nothing was lost.
    """
    target = store / "episodes" / id
    if not target.is_dir():  # else only the journal's line is missing, after a full disk
        write_seal(folder, id, status, summary, durable=journal.durable)
        folder.rename(target)
        if journal.durable:
            sync_folder(target.parent)
            sync_folder(folder.parent)
    enter(store, journal, id, summary.observation_spec, summary.action_spec)


def enter(store: Path, journal: Journal, id: str, observation_spec: Spec, action_spec: Spec) -> None:
    """Enter a sealed episode into the journal, after fixing the schema if it is the first."""
    info, _ = read_seal(store / "episodes" / id)
    if journal.state.schema is None:
        specs = {"observation_spec": to_json(observation_spec), "action_spec": to_json(action_spec)}
        journal.append({"op": "schema", **specs})
    tags = [DEGRADED] if info.degraded else []
    tags += [RECOVERED] if info.status == RECOVERED else []
    journal.append({"op": "add", "ids": [id], "episode": info.to_json(), "tags": tags})
