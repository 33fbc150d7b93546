"""The store: a folder of sealed episodes and a journal of edits, safe against kills, full disks and second writers.

    episodes/<id>/   sealed: log.mcap, videos, seal.json; never changed again
    recording/<id>/  being recorded; whatever a dead process left here is recovered when the store is opened
    manifest.jsonl   the journal (see `journal.py`); lock: who may write; cache/: training views, deletable

An episode becomes visible by one rename after all of its files are on disk; so it is there whole or not at all.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from robolearn.clock import Clock
from robolearn.data import publishing
from robolearn.data.catalogue import Catalogue
from robolearn.data.episode_writer import EpisodeWriter, record_episode
from robolearn.data.journal import JOURNAL_NAME, Journal
from robolearn.data.lock import WriterLock
from robolearn.data.recovery import Recovery, recover, unfinished
from robolearn.data.room import room_needed
from robolearn.data.sealing import EpisodeInfo, Summary, room_named
from robolearn.data.state import DEGRADED, RECOVERED
from robolearn.episode import Episode, EpisodeMeta
from robolearn.errors import RobolearnError, StorageFull, StoreError
from robolearn.specs import Spec, first_difference

__all__ = ["DEGRADED", "RECOVERED", "RESERVE_BYTES", "EpisodeInfo", "EpisodeWriter", "Recovery", "Store"]

RESERVE_BYTES = 64 << 20
_SHOWN = 20  # ids in a message


@final
class Store(Catalogue):
    """Use `create` or `open`. Reading needs no lock; the first change takes the writer lock until `close`.

    Attributes:
        path: The folder.
        durable: Whether every seal and edit waits for the disk; False is for simulated data that can be made again.
        recovery: What opening did about leftovers.
    """

    def __init__(self, path: Path, journal: Journal, recovery: Recovery):
        super().__init__(path, journal)
        self.recovery = recovery
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
        if unfinished(path, store.journal):
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
        made = (Path(path) / JOURNAL_NAME).exists()
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
        publishing.publish(self.path, self._journal, writer.folder, writer.id, summary, status)
        self._live.pop(writer.id, None)

    def forget(self, writer: EpisodeWriter) -> None:
        """Stop tracking a writer that was discarded or failed; called by the writer."""
        self._live.pop(writer.id, None)

    def _new_id(self) -> str:
        self._counter += 1
        return f"{self._counter:06d}-{secrets.token_hex(3)}"

    def recover(self) -> Recovery:
        """Save what is valid in unfinished recordings that no writer of this store works on. Idempotent.

        Raises:
            StoreError: Another writer has the store.
            StorageFull: No room to finish a log; nothing was lost, call it again.
        """
        self._write()
        self.recovery = recover(self.path, self._journal, self._live)
        return self.recovery

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
            self._known(id)
        self._write()
        with room_named("write an edit", "The store is as before."):
            self._journal.append({"op": op, "ids": wanted, **facts})

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
