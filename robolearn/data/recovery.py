"""What a dead recorder left behind: keep the valid prefix, mark it, and never touch a sealed episode.

Every step can be killed and repeated: the shortened log is made aside and swapped in, bytes that were cut off stay
beside it as `log.torn`, and the folder is published by the same rename as any other episode.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from robolearn.data import publishing
from robolearn.data.framing import RecordWriter, scan
from robolearn.data.journal import Journal
from robolearn.data.log_format import LOG_NAME
from robolearn.data.log_reader import Log, scan_log
from robolearn.data.log_topics import outcome_text
from robolearn.data.sealing import SEAL_NAME, room_named, write_file
from robolearn.data.state import RECOVERED
from robolearn.episode import Outcome

__all__ = ["Recovery", "finish_log", "recover", "unfinished"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a store did about leftovers.

    Attributes:
        recovered: Ids of episodes saved from an unfinished recording, with their steps.
        completed: Ids of episodes that were whole and only had to be published.
        dropped: Folders without a single whole step, removed.
        lost_bytes: Bytes at torn ends that are not part of any episode (kept as `log.torn`).
        skipped: Why nothing was done, "" when it was.
    """

    recovered: tuple[tuple[str, int], ...] = ()
    completed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    lost_bytes: int = 0
    skipped: str = ""

    @property
    def lossy(self) -> bool:
        """Whether anything that was being recorded is not in a complete episode."""
        return bool(self.recovered or self.dropped or self.lost_bytes)

    def __str__(self) -> str:
        if self.skipped:
            return f"Recovery skipped: {self.skipped}"
        saved = ", ".join(f"{id} ({steps} steps)" for id, steps in self.recovered) or "none"
        return (
            f"Recovered {saved}; published {', '.join(self.completed) or 'none'}; dropped "
            f"{', '.join(self.dropped) or 'none'}; {self.lost_bytes} bytes of torn ends kept aside."
        )


def finish_log(folder: Path) -> tuple[Log, int, bool]:
    """Make the log of an unfinished recording a finished one that ends with its valid prefix.

    Returns:
        The finished log (its `episode` is None when there is no whole step, and then nothing was changed), how many
        bytes were cut off, and whether the episode was complete already (the process died while publishing it).
    """
    path = folder / LOG_NAME
    log = scan_log(folder)
    if log.episode is None or log.finished:
        return log, 0, log.episode is not None and log.episode.steps == log.actions
    data = path.read_bytes()
    prefix, torn = data[: log.valid_bytes], data[log.valid_bytes :]
    found = scan(prefix)
    outcome_channel = next(n for n, channel in found.channels.items() if channel.topic == "/outcome")
    if torn:
        write_file(folder / "log.torn", torn, sync=False)  # sealing syncs every file
    temporary = folder / f"{LOG_NAME}.tmp"
    temporary.unlink(missing_ok=True)
    records = RecordWriter.resume(temporary, prefix, found)
    try:
        if log.outcome == Outcome.RUNNING:  # nobody said how it ended, and we do not guess
            last = max(message.received_ns for message in found.messages)
            text = outcome_text(Outcome.ABORTED, log.observations, log.actions)
            records.message(outcome_channel, last, last, text.encode())
        records.finish()
    finally:
        records.close()
    os.replace(temporary, path)
    return scan_log(folder), len(torn), False


def _leftovers(store: Path, live: Collection[str]) -> list[Path]:
    """Recordings that nobody works on any more."""
    folder = store / "recording"
    return sorted(p for p in folder.iterdir() if p.name not in live) if folder.is_dir() else []


def _unlisted(store: Path, journal: Journal) -> list[Path]:
    """Sealed folders whose journal line was never written: the process died between rename and edit."""
    known, folder = journal.announced(), store / "episodes"
    return [folder / name for name in sorted(set(os.listdir(folder)) - known) if (folder / name / SEAL_NAME).is_file()]


def _abandoned(store: Path, journal: Journal) -> list[Path]:
    """Folders of episodes that a merge never finished or whose compacting was cut short."""
    gone = journal.abandoned()
    return sorted(p for p in (store / "episodes").iterdir() if p.name in gone) if gone else []


def unfinished(store: Path, journal: Journal) -> bool:
    """Whether a dead process left anything in a store; looks, changes nothing."""
    return bool(_leftovers(store, ()) or _unlisted(store, journal) or _abandoned(store, journal))


def recover(store: Path, journal: Journal, live: Collection[str]) -> Recovery:
    """Finish what a dead process began; the caller holds the writer lock.

    Args:
        store: The store's folder.
        journal: Its journal.
        live: Recordings that are going on and are left alone.

    Raises:
        StorageFull: No room to finish a log; nothing was lost, call it again.
    """
    for folder in _abandoned(store, journal):
        shutil.rmtree(_aside(folder))
    recovered: list[tuple[str, int]] = []
    completed: list[str] = []
    dropped: list[str] = []
    lost = 0
    for folder in _unlisted(store, journal):
        log = scan_log(folder, pictures=False)
        publishing.enter(store, journal, folder.name, log.observation_spec, log.action_spec)
        completed.append(folder.name)
    for folder in _leftovers(store, live):
        id = folder.name
        if not folder.is_dir() or "." in id or not (folder / LOG_NAME).is_file():
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            continue
        with room_named(f"recover the episode {id}", f"Its files in {folder} are as they were."):
            log, cut, whole = finish_log(folder)
            lost += cut
            if (summary := log.summary) is None:
                shutil.rmtree(folder)
                dropped.append(id)
                continue
            publishing.publish(store, journal, folder, id, summary, "complete" if whole else RECOVERED)
        if whole:
            completed.append(id)
        else:
            recovered.append((id, summary.steps))
    return Recovery(tuple(recovered), tuple(completed), tuple(dropped), lost)


def _aside(folder: Path) -> Path:
    """Move a folder of `episodes/` where recovery removes it, so that a kill while deleting leaves nothing half."""
    gone = folder.parents[1] / "recording" / f"{folder.name}.discarded"
    if gone.exists():
        shutil.rmtree(gone)
    folder.rename(gone)
    return gone
