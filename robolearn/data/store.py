"""The store: a folder of sealed episodes and a journal of edits, safe against kills, full disks and second writers.

    episodes/<id>/   sealed: log.mcap, videos, seal.json; never changed again
    recording/<id>/  being recorded; whatever a dead process left here is recovered when the store is opened
    manifest.jsonl   the journal (see `journal.py`); lock: who may write; cache/: training views, deletable

An episode becomes visible by one rename after all of its files are on disk; so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from robolearn.clock import Clock
from robolearn.data.episode_writer import EpisodeWriter, record_episode
from robolearn.data.journal import JOURNAL_NAME, Journal
from robolearn.data.lock import WriterLock
from robolearn.data.log_reader import Log, scan_log
from robolearn.data.recovery import Recovery, finish_log
from robolearn.data.room import room_needed
from robolearn.data.sealing import (
    SEAL_NAME,
    EpisodeInfo,
    Summary,
    check_id,
    damages,
    read_seal,
    room_named,
    sync_folder,
    write_seal,
)
from robolearn.episode import Episode, EpisodeMeta, Outcome
from robolearn.errors import DataFileError, RobolearnError, StorageFull, StoreError, UnknownName
from robolearn.specs import Spec, first_difference, to_json

__all__ = ["DEGRADED", "RECOVERED", "RESERVE_BYTES", "EpisodeInfo", "EpisodeWriter", "Recovery", "Store"]

RECOVERED = "recovered"
DEGRADED = "degraded"
RESERVE_BYTES = 64 << 20
_SHOWN = 20  # ids in a message


@final
class Store:
    """Use `create` or `open`. Reading needs no lock; the first change takes the writer lock until `close`.

    Attributes:
        path: The folder.
        durable: Whether every seal and edit waits for the disk; False is for simulated data that can be made again.
        recovery: What opening did about leftovers.
    """

    def __init__(self, path: Path, journal: Journal, recovery: Recovery):
        self.path, self.recovery = path, recovery
        self._journal = journal
        self._lock: WriterLock | None = None
        self._live: dict[str, EpisodeWriter] = {}
        self._counter = 0
        self._schema: tuple[Spec, Spec] | None = None

    # -- opening ------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path | str, *, durable: bool = True) -> Store:
        """Make a new, empty store.

        Raises:
            StoreError: There is something at `path` already.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            found = "a store" if (path / JOURNAL_NAME).exists() else "other files"
            raise StoreError(
                f"Expected nothing or an empty folder at {path}; found {found}. "
                "Use Store.open for an existing store, or choose another folder."
            )
        with room_named(f"make a store at {path}", "Nothing was changed."):
            for folder in ("episodes", "recording"):
                (path / folder).mkdir(parents=True, exist_ok=True)
            Journal.create(path / JOURNAL_NAME, durable=durable)
        return cls(path, Journal(path / JOURNAL_NAME, durable=durable), Recovery())

    @classmethod
    def open(cls, path: Path | str, *, durable: bool = True) -> Store:
        """Open a store and recover what a dead recorder left in it, unless another process is writing.

        Raises:
            StoreError: There is no store, or its journal is damaged.
        """
        path = Path(path)
        if not (path / JOURNAL_NAME).is_file():
            raise StoreError(
                f"Expected a store at {path}; there is no {JOURNAL_NAME} in it. "
                "Check the path, or make a store with Store.create."
            )
        store = cls(path, Journal(path / JOURNAL_NAME, durable=durable), Recovery())
        if store._leftovers() or store._unlisted() or store._abandoned():
            try:
                store.recovery = store.recover()
            except RobolearnError as error:  # whatever it is, reading goes on; nothing was lost by it
                store.recovery = Recovery(skipped=str(error))
            finally:
                store.close()  # the lock; reading goes on
        return store

    @classmethod
    def open_or_create(cls, path: Path | str, *, durable: bool = True) -> Store:
        """Open the store at `path`, making it when there is none."""
        made = (Path(path) / "manifest.jsonl").exists()
        return cls.open(path, durable=durable) if made else cls.create(path, durable=durable)

    def close(self) -> None:
        """Give back the writer lock; unfinished episodes stay as leftovers for recovery. Safe to call twice."""
        for writer in list(self._live.values()):
            writer.abandon()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def durable(self) -> bool:
        return self._journal.durable

    # -- recording ----------------------------------------------------------------------------------------------

    def record(
        self,
        meta: EpisodeMeta,
        observation_spec: Spec,
        action_spec: Spec,
        *,
        clock: Clock | None = None,
        longest_s: float = 0.0,
        lossless: bool | None = None,
    ) -> EpisodeWriter:
        """Start an episode. Many may be recorded at the same time.

        Args:
            meta: The facts around it.
            observation_spec: What is observed; the same for all episodes of a store.
            action_spec: What is commanded; likewise.
            clock: Stamps receive times of a live recording (see `LogWriter`); None when nothing is received live.
            longest_s: Longest allowed episode; there must be room for it.
            lossless: Keep every bit of pictures; None decides by their size.

        Raises:
            StoreError: The specs differ from the store's, or another writer has the store.
            StorageFull: There is less room than `RESERVE_BYTES` and the longest episode need.
        """
        self._write()
        self._check_schema(observation_spec, action_spec)
        needed = RESERVE_BYTES + room_needed(meta.rate_hz, observation_spec, action_spec, longest_s, lossless)
        kept = f"All {len(self._journal.state.facts)} episodes of {self.path} are intact; no new one was started."
        if (free := shutil.disk_usage(self.path).free) < needed:
            raise StorageFull(
                f"Expected {needed >> 20} MiB of free space to start an episode; found {free >> 20} MiB. {kept} "
                "Free some space and go on; nothing has to be restarted."
            )
        id = self._new_id()
        folder = self.path / "recording" / id
        with room_named("start an episode", kept):
            folder.mkdir()
            writer = EpisodeWriter(self, id, folder, meta, observation_spec, action_spec, clock, lossless)
        self._live[id] = writer
        return writer

    def append(self, episode: Episode) -> str:
        """Store a whole episode the way it would have been recorded; returns its id.

        Raises:
            StoreError: The specs differ from the store's, or another writer has the store.
            StorageFull: No room; nothing of the episode is kept.
        """
        return record_episode(self.record, episode)

    def _check_schema(self, observation_spec: Spec, action_spec: Spec) -> None:
        state = self._journal.state
        if state.schema is None and not self._live:
            self._schema = (observation_spec, action_spec)
        expected = state.schema or self._schema or (observation_spec, action_spec)
        for kind, want, have in zip(("observation", "action"), expected, (observation_spec, action_spec), strict=True):
            if (difference := first_difference(want, have)) is not None:
                raise StoreError(
                    f"The episode's {kind} spec does not fit the store {self.path}: {difference}. A store holds "
                    "episodes of one kind, fixed by its first; record into another store or correct the device."
                )

    def seal(self, writer: EpisodeWriter, summary: Summary, status: str) -> None:
        """Publish a finished episode; called by its writer and by recovery."""
        self._publish(writer.folder, writer.id, summary, status)
        self._live.pop(writer.id, None)

    def forget(self, writer: EpisodeWriter) -> None:
        """Stop tracking a writer that was discarded or failed; called by the writer."""
        self._live.pop(writer.id, None)

    def _publish(self, folder: Path, id: str, summary: Summary, status: str) -> None:
        target = self.path / "episodes" / id
        if not target.is_dir():  # else only the journal's line is missing, after a full disk
            write_seal(folder, id, status, summary, durable=self.durable)
            folder.rename(target)
            if self.durable:
                sync_folder(target.parent)
                sync_folder(folder.parent)
        self._list(id, summary.observation_spec, summary.action_spec)

    def _list(self, id: str, observation_spec: Spec, action_spec: Spec) -> None:
        """Enter a sealed episode into the journal, after fixing the schema if it is the first."""
        info, _ = read_seal(self.path / "episodes" / id)
        if self._journal.state.schema is None:
            specs = {"observation_spec": to_json(observation_spec), "action_spec": to_json(action_spec)}
            self._journal.append({"op": "schema", **specs})
        tags = [DEGRADED] if info.degraded else []
        tags += [RECOVERED] if info.status == RECOVERED else []
        self._journal.append({"op": "add", "ids": [id], "episode": info.to_json(), "tags": tags})

    def _new_id(self) -> str:
        self._counter += 1
        return f"{self._counter:06d}-{secrets.token_hex(3)}"

    # -- recovery -----------------------------------------------------------------------------------------------

    def _leftovers(self) -> list[Path]:
        folder = self.path / "recording"
        return sorted(p for p in folder.iterdir() if p.name not in self._live) if folder.is_dir() else []

    def _unlisted(self) -> list[Path]:
        """Sealed folders whose journal line was never written: the process died between rename and edit."""
        known, folder = self._journal.announced(), self.path / "episodes"
        return [folder / n for n in sorted(set(os.listdir(folder)) - known) if (folder / n / SEAL_NAME).is_file()]

    def _abandoned(self) -> list[Path]:
        """Folders of episodes that a merge never finished or whose compacting was cut short."""
        gone = self._journal.abandoned()
        return sorted(p for p in (self.path / "episodes").iterdir() if p.name in gone) if gone else []

    def recover(self) -> Recovery:
        """Save what is valid in unfinished recordings that no writer of this store works on. Idempotent.

        Raises:
            StoreError: Another writer has the store.
            StorageFull: No room to finish a log; nothing was lost, call it again.
        """
        self._write()
        for folder in self._abandoned():
            shutil.rmtree(_aside(folder))
        recovered: list[tuple[str, int]] = []
        completed: list[str] = []
        dropped: list[str] = []
        lost = 0
        for folder in self._unlisted():
            log = scan_log(folder, pictures=False)
            self._list(folder.name, log.observation_spec, log.action_spec)
            completed.append(folder.name)
        for folder in self._leftovers():
            id = folder.name
            if not folder.is_dir() or "." in id or not (folder / "log.mcap").is_file():
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
                continue
            with room_named(f"recover the episode {id}", f"Its files in {folder} are as they were."):
                log, cut, whole = finish_log(folder)
                lost += cut
                if (summary := log.summary) is None:
                    shutil.rmtree(folder)
                    dropped.append(id)
                    continue
                self._publish(folder, id, summary, "complete" if whole else RECOVERED)
            if whole:
                completed.append(id)
            else:
                recovered.append((id, summary.steps))
        self.recovery = Recovery(tuple(recovered), tuple(completed), tuple(dropped), lost)
        return self.recovery

    # -- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[Episode]:
        return (self[id] for id in self.ids())

    def __getitem__(self, id: str) -> Episode:
        """A whole episode, with corrected facts (see `edits.relabel`).

        Raises:
            UnknownName: No episode has this id.
            DataFileError: Its files are damaged.
        """
        episode = self.log(id).episode
        assert episode is not None  # `log` has compared its steps with the journal
        labels = self._journal.state.labels.get(id)
        if not labels:
            return episode
        meta = {key: value for key, value in labels.items() if key != "outcome"}
        return replace(episode, outcome=self.info(id).outcome, meta=replace(episode.meta, **meta))

    def log(self, id: str, *, pictures: bool = True) -> Log:
        """An episode as it was recorded, with its capture and receive times (see `Log`).

        Args:
            id: Which.
            pictures: Decode the videos; otherwise pictures are left out of the episode.
        """
        info = self.info(id)
        log = scan_log(self.folder(id), pictures=pictures)
        if log.episode is None or not log.finished or log.episode.steps != info.steps:
            steps = log.episode.steps if log.episode is not None else 0
            raise DataFileError(
                f"Episode {id} of {self.path} is damaged: expected {info.steps} steps, found {steps} valid ones"
                f"{'' if log.finished else ' and a wrong checksum'}. Restore its folder from a copy, or delete the "
                "episode (store.delete) so that training skips it; store.verify() lists all damage."
            )
        return log

    def folder(self, id: str) -> Path:
        """Where the files of an episode are; they never change.

        Raises:
            UnknownName: No episode has this id.
        """
        return self.path / "episodes" / check_id(self.info(id).id)

    def info(self, id: str) -> EpisodeInfo:
        """Facts about an episode, from the journal, with corrections made since (see `edits.relabel`).

        Raises:
            UnknownName: No episode has this id.
        """
        episodes = self._journal.state.facts
        if id not in episodes:
            raise UnknownName("episode", id, list(episodes)[-20:], hint="(At most the newest 20 are listed.)")
        return self._journal.state.info(id)

    def ids(
        self,
        *,
        split: str | None = None,
        tags: Collection[str] = (),
        outcome: Outcome | None = None,
        include_deleted: bool = False,
        include_recovered: bool = False,
    ) -> list[str]:
        """Ids in order of recording, unless they were put in another one (see `edits.reorder`).

        Args:
            split: Only of this split, such as "train".
            tags: Only episodes with all of these tags.
            outcome: Only with this outcome.
            include_deleted: Also deleted ones.
            include_recovered: Also those tagged "recovered", cut short by a crash (remove the tag to accept one).
        """
        state = self._journal.state
        tags = {tags} if isinstance(tags, str) else set(tags)
        return [
            id
            for id in state.sorted_ids()
            if (include_deleted or id not in state.deleted)
            and (include_recovered or RECOVERED in tags or RECOVERED not in state.tags[id])
            and (split is None or state.splits.get(id) == split)
            and tags <= state.tags[id]
            and (outcome is None or state.info(id).outcome == outcome)
        ]

    @property
    def specs(self) -> tuple[Spec, Spec] | None:
        """Observation and action spec of all episodes, None in an empty store."""
        return self._journal.state.schema

    def tags_of(self, id: str) -> frozenset[str]:
        """The tags of an episode."""
        return self._journal.state.tags[self.info(id).id]

    def split_of(self, id: str) -> str:
        """The split of an episode, "" when it has none."""
        return self._journal.state.splits.get(self.info(id).id, "")

    def refresh(self) -> None:
        """See what another process has added or edited since this store was opened.

        Raises:
            StoreError: The journal was damaged in between.
        """
        self._journal.refresh()

    def fingerprint(self) -> str:
        """SHA-256 of what training would see: contents, tags, splits and corrections of the live episodes.

        It does not depend on ids, so two stores with the same files in the same order agree.
        """
        labels = self._journal.state.labels
        lines = [
            f"{self.info(id).content} {self.split_of(id)} {sorted(self.tags_of(id))}"
            f"{json.dumps(labels[id], sort_keys=True) if labels.get(id) else ''}\n"
            for id in self.ids(include_recovered=True)
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def verify(self, ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Hash all files again: damaged episodes with what is wrong, empty when all are intact."""
        wanted = self.ids(include_deleted=True, include_recovered=True) if ids is None else ids
        found: dict[str, list[str]] = {}
        for id in wanted:
            info = self.info(id)
            wrong = damages(self.path / "episodes" / check_id(id))
            if not wrong and read_seal(self.path / "episodes" / id)[0] != self._journal.state.sealed(info.id):
                wrong = [f"the seal of {id} says something else than the journal"]
            if wrong:
                found[id] = wrong
        return found

    # -- editing ------------------------------------------------------------------------------------------------

    def delete(self, ids: str | Sequence[str]) -> None:
        """Hide episodes; their files stay, `restore` or `undo` brings them back."""
        self.edit("delete", ids)

    def restore(self, ids: str | Sequence[str]) -> None:
        """Bring deleted episodes back."""
        self.edit("restore", ids)

    def tag(self, ids: str | Sequence[str], add: Collection[str] = (), remove: Collection[str] = ()) -> None:
        """Add and remove tags."""
        added, removed = ([words] if isinstance(words, str) else sorted(words) for words in (add, remove))
        self.edit("tag", ids, add=added, remove=removed)

    def split(self, ids: str | Sequence[str], name: str) -> None:
        """Put episodes into a split such as "train" or "valid"; "" takes them out of any."""
        self.edit("split", ids, name=name)

    def undo(self) -> str | None:
        """Take back the newest edit that was not taken back yet; says which, None when there is none."""
        self._write()
        edit = self._journal.last_undoable()
        if edit is None:
            return None
        with room_named("write an edit", "The store is as before."):
            self._journal.append({"op": "undo", "edit": edit["n"]})
        shown = ", ".join(edit["ids"][:_SHOWN]) + (
            f" and {more} more" if (more := len(edit["ids"]) - _SHOWN) > 0 else ""
        )
        return f"undid {edit['op']} of {shown or 'all'}"

    def edit(self, op: str, ids: str | Sequence[str], **facts: Any) -> None:
        """Append one edit to the journal, for episodes that are there (see `journal.State.apply`).

        Raises:
            UnknownName: No episode has one of the ids.
            StoreError: Another writer has the store.
            StorageFull: No room; the store is as before.
        """
        wanted = [ids] if isinstance(ids, str) else list(ids)
        for id in wanted:
            self.info(id)
        self._write()
        with room_named("write an edit", "The store is as before."):
            self._journal.append({"op": op, "ids": wanted, **facts})

    @property
    def journal(self) -> Journal:
        """The journal, for the functions of `edits`."""
        return self._journal

    def lock(self) -> None:
        """Become the writer until `close`.

        Raises:
            StoreError: Another writer has the store.
        """
        self._write()

    def _write(self) -> None:
        """Become the writer, and see what the writer before us did."""
        if self._lock is None:
            with room_named(f"write to the store {self.path}", "It is as before."):
                self._lock = WriterLock(self.path / "lock")
            self._journal.refresh()
            folders = [p.name for kind in ("episodes", "recording") for p in (self.path / kind).iterdir()]
            numbers = [int(name.split("-")[0]) for name in folders if name.split("-")[0].isdigit()]
            self._counter = max(numbers, default=0)


def _aside(folder: Path) -> Path:
    """Move a folder of `episodes/` where recovery removes it, so that a kill while deleting leaves nothing half."""
    gone = folder.parents[1] / "recording" / f"{folder.name}.discarded"
    if gone.exists():
        shutil.rmtree(gone)
    folder.rename(gone)
    return gone
