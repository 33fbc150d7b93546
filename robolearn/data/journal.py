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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robolearn.data.sealing import EpisodeInfo, sync_folder
from robolearn.episode import Outcome
from robolearn.errors import StoreError
from robolearn.specs import ArraySpec, from_json

__all__ = ["JOURNAL_NAME", "JOURNAL_VERSION", "Edit", "Journal", "State"]

JOURNAL_NAME = "manifest.jsonl"
JOURNAL_VERSION = 1
Edit = Mapping[str, Any]


@dataclass(slots=True)
class State:
    """What the edits add up to.

    Attributes:
        facts: What was sealed by id, as plain values, deleted ones too (see `sealed`).
        tags: Tags by id.
        splits: Split by id; ids without one are not in it.
        deleted: Ids that are hidden.
        schema: Observation and action spec, None before the first episode.
        labels: Corrected facts by id, such as {"outcome": "FAILURE"}; `facts` has what was sealed.
        order: Ids that were put in front, in this order.
        batch: Number of the merge an id came with; recorded ones have none.
    """

    facts: dict[str, Mapping[str, Any]] = field(default_factory=lambda: {})
    tags: dict[str, frozenset[str]] = field(default_factory=lambda: {})
    splits: dict[str, str] = field(default_factory=lambda: {})
    deleted: set[str] = field(default_factory=lambda: set())
    schema: tuple[dict[str, ArraySpec], dict[str, ArraySpec]] | None = None
    labels: dict[str, dict[str, Any]] = field(default_factory=lambda: {})
    order: list[str] = field(default_factory=lambda: [])
    batch: dict[str, int] = field(default_factory=lambda: {})

    def sorted_ids(self) -> list[str]:
        """All ids: first those put in front, then in order of recording, then each merge in its own order."""
        place = {id: k for k, id in enumerate(self.order)}
        last = len(place)
        return sorted(self.facts, key=lambda id: (place.get(id, last), self.batch.get(id, 0), id))

    def sealed(self, id: str) -> EpisodeInfo:
        """Facts of an episode as it was sealed; made when asked for, since opening a store needs none."""
        return EpisodeInfo.from_json(self.facts[id])

    def info(self, id: str) -> EpisodeInfo:
        """Facts of an episode with its corrections."""
        labels = self.labels.get(id)
        if not labels:
            return self.sealed(id)
        outcome = {"outcome": Outcome[labels["outcome"]]} if "outcome" in labels else {}
        return replace(self.sealed(id), **{**labels, **outcome})

    def apply(self, edit: Edit) -> None:
        """One edit; an unknown one is refused.

        Raises:
            StoreError: The edit is from a newer version.
        """
        op, ids = edit["op"], edit.get("ids", [])
        if op == "add":
            id = edit["episode"]["id"]
            self.facts[id] = edit["episode"]
            self.tags[id] = frozenset(edit.get("tags", []))
        elif op == "schema":
            self.schema = (from_json(edit["observation_spec"]), from_json(edit["action_spec"]))
        elif op == "delete":
            self.deleted.update(ids)
        elif op == "restore":
            self.deleted.difference_update(ids)
        elif op == "tag":
            for id in ids:
                self.tags[id] = (self.tags[id] | set(edit["add"])) - set(edit["remove"])
        elif op == "split":
            for id in ids:
                self.splits[id] = edit["name"]
                if not edit["name"]:
                    del self.splits[id]
        elif op == "label":
            for id in ids:
                self.labels[id] = {**self.labels.get(id, {}), **edit["facts"]}
        elif op == "order":
            rest = set(ids)
            self.order = [*ids, *(id for id in self.order if id not in rest)]
        elif op == "rename split":
            self.splits = {id: edit["new"] if name == edit["old"] else name for id, name in self.splits.items()}
        elif op == "rename tag":
            swap = {edit["old"]}
            self.tags = {
                id: (tags - swap) | {edit["new"]} if edit["old"] in tags else tags for id, tags in self.tags.items()
            }
        elif op == "merge":
            for one in edit["episodes"]:
                id = one["episode"]["id"]
                self.facts[id] = one["episode"]
                self.tags[id] = frozenset(one["tags"])
                self.batch[id] = edit["n"]
                for kept, key in ((self.splits, "split"), (self.labels, "labels")):
                    if one[key]:
                        kept[id] = one[key]
        elif op == "compact":
            for id in ids:
                for facts in (self.facts, self.tags, self.splits, self.labels, self.batch):
                    facts.pop(id, None)
            self.deleted.difference_update(ids)
            self.order = [id for id in self.order if id in self.facts]
        elif op not in ("create", "undo", "merging"):
            raise StoreError(f"Unknown edit {op!r} in the journal; the store was written by a newer version.")


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
        self.refresh()

    @staticmethod
    def create(path: Path, *, durable: bool) -> None:
        """Start a journal; it must not exist."""
        _append(path, _line({"n": 0, "op": "create", "version": JOURNAL_VERSION}), 0, durable=durable, new=True)
        if durable:
            sync_folder(path.parent)

    def refresh(self) -> None:
        """Read what is on disk now.

        Raises:
            StoreError: A line is damaged and not just torn at the end, or the journal is from a newer version.
        """
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

    def append(self, edit: Edit) -> None:
        """Write one edit and apply it."""
        entry = {"n": len(self.edits), **edit}
        line = _line(entry)
        _append(self.path, line, self._end, durable=self.durable)
        self._end += len(line)
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


def _line(edit: Edit) -> bytes:
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
