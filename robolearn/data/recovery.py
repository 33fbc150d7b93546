"""What a dead recorder left behind: keep the valid prefix, mark it, and never touch a sealed episode.

Every step can be killed and repeated: the shortened log is made aside and swapped in, bytes that were cut off stay
beside it as `log.torn`, and the folder is published by the same rename as any other episode.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from robolearn.data.framing import RecordWriter, scan
from robolearn.data.log import LOG_NAME
from robolearn.data.log_reader import Log, scan_log
from robolearn.data.sealing import write_file
from robolearn.episode import Outcome

__all__ = ["Recovery", "finish_log"]


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
            facts = {"outcome": Outcome.ABORTED.name, "observations": log.observations, "actions": log.actions}
            records.message(outcome_channel, last, last, json.dumps(facts).encode())
        records.finish()
    finally:
        records.close()
    os.replace(temporary, path)
    return scan_log(folder), len(torn), False
