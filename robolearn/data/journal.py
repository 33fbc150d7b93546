"""The store's journal: `manifest.jsonl`, an append-only list of edits whose fold is the state of the store.

Every edit appends one line, synced before the call returns, so an edit is instant, can be undone, and a kill or power
loss costs at most a line that was not acknowledged. Every line carries a checksum; a torn last line is ignored, a
damaged one in the middle is an error and never guessed at.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robolearn.data.sealing import sync_folder
from robolearn.data.state import Edit, State
from robolearn.errors import StoreError

__all__ = ["JOURNAL_NAME", "JOURNAL_VERSION", "Edit", "Journal", "State", "line_of"]

JOURNAL_NAME = "manifest.jsonl"
JOURNAL_VERSION = 1


_UNDOABLE = ("delete", "restore", "tag", "split", "label", "order", "rename split", "rename tag", "merge")


class Journal:
    """Reads the edits and appends new ones.

    Args:
        path: The file; it must exist.
        durable: Wait for the disk with every edit.
    """

    def __init__(self, path: Path, *, durable: bool):
        self.path, self.durable = path, durable
        self.edits: list[dict[str, Any]] = []
        self.state = State()
        self._end = 0
        self._seen: tuple[int, int, int] | None = None
        self.refresh()

    @staticmethod
    def create(path: Path, *, durable: bool) -> None:
        """Start a journal; it must not exist."""
        _append(path, line_of({"n": 0, "op": "create", "version": JOURNAL_VERSION}), 0, durable=durable, new=True)
        if durable:
            sync_folder(path.parent)

    def refresh(self) -> None:
        """Read what is on disk now; quick when nothing has changed.

        Raises:
            StoreError: A line is damaged and not just torn at the end, or the journal is from a newer version.
        """
        stamp = self._stamp()  # before reading: what is written meanwhile is read the next time
        if stamp == self._seen:
            return
        self._seen = None
        data = self.path.read_bytes()
        lines = data.splitlines(keepends=True)
        self.edits = _parse_all(lines)
        self._end = sum(map(len, lines[: len(self.edits)]))
        if (number := len(self.edits)) < len(lines):
            line = lines[number]
            torn = not line.endswith(b"\n") or b"\0" in line  # cut short, or blocks that never reached the disk
            if number + 1 < len(lines) or not torn:
                raise StoreError(
                    f"Line {number + 1} of {self.path} is damaged (its checksum does not fit). The episodes "
                    "themselves are untouched; restore this one file from a copy."
                )
            # Torn by a kill while it was written, so never acknowledged.
        if not self.edits or self.edits[0].get("version") != JOURNAL_VERSION:
            found = self.edits[0].get("version") if self.edits else "nothing"
            raise StoreError(
                f"Expected a store journal of version {JOURNAL_VERSION} in {self.path}; found {found!r}. "
                "Install the version of robolearn that wrote it, or a newer one."
            )
        self._fold()
        self._seen = stamp

    def _stamp(self) -> tuple[int, int, int]:
        """Changes whenever anybody writes the file."""
        facts = self.path.stat()
        return facts.st_ino, facts.st_size, facts.st_mtime_ns

    def append(self, edit: Edit) -> None:
        """Write one edit and apply it."""
        entry = {"n": len(self.edits), **edit}
        line = line_of(entry)
        _append(self.path, line, self._end, durable=self.durable)
        self._end += len(line)
        self._seen = self._stamp()
        self.edits.append(entry)
        if edit["op"] == "undo":
            self._fold()
        else:
            self.state.apply(entry)

    def last_undoable(self) -> dict[str, Any] | None:
        """The newest edit since the last compacting that can be undone and was not yet."""
        undone: set[int] = set()
        for edit in reversed(self.edits):
            if edit["op"] == "compact":
                return None
            if edit["op"] == "undo":
                undone.add(edit["edit"])
            elif edit["op"] in _UNDOABLE and edit["n"] not in undone:
                return edit
        return None

    def announced(self) -> set[str]:
        """Ids of all episodes that ever were in the store or were going to be merged into it."""
        found: set[str] = set()
        for edit in self.edits:
            if edit["op"] in ("add", "merging"):
                found.update(edit["ids"])
        return found

    def abandoned(self) -> set[str]:
        """Ids whose files may go: of merges that a kill cut short, and compacted ones."""
        found: set[str] = set()
        for edit in self.edits:
            if edit["op"] in ("merging", "compact"):
                found.update(edit["ids"])
            elif edit["op"] == "merge":
                found.difference_update(edit["ids"])
        return found

    def _fold(self) -> None:
        undone = {edit["edit"] for edit in self.edits if edit["op"] == "undo"}
        self.state = State()
        for edit in self.edits:
            if edit["n"] not in undone:
                self.state.apply(edit)


def line_of(edit: Edit) -> bytes:
    """The line of an edit: a checksum and its JSON."""
    text = json.dumps(edit, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _parse_all(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The edits of all lines up to the first that is not whole or not in its place."""
    texts: list[bytes] = []
    for line in lines:
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            break
        texts.append(text)
    # Read as one list: a call of the parser per line costs more than the parsing.
    edits: list[dict[str, Any]] = json.loads(b"[" + b",".join(texts) + b"]")
    whole = next((k for k, edit in enumerate(edits) if edit.get("n") != k), len(texts))
    return edits[:whole]


def _append(path: Path, line: bytes, end: int, *, durable: bool, new: bool = False) -> None:
    """Write a line at `end`, over a torn one if there is any; on failure the file is as before."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0), 0o644)
    try:
        os.ftruncate(fd, end)
        try:
            written = os.pwrite(fd, line, end)
            while written < len(line):
                written += os.pwrite(fd, line[written:], end + written)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell; a torn line is ignored anyway
                os.ftruncate(fd, end)
            raise
        if durable:
            os.fdatasync(fd)
    finally:
        os.close(fd)
