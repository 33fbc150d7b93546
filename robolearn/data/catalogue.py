"""The sealed episodes of a store, for reading: which there are, what is said about them, and what they hold.

Reading needs no lock and never changes a file; `Store` adds recording and edits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from robolearn.data.journal import Journal
from robolearn.data.log_reader import Log, scan_log
from robolearn.data.sealing import EpisodeInfo, check_id, damages, read_seal
from robolearn.data.state import RECOVERED
from robolearn.episode import Episode, Outcome
from robolearn.errors import DataFileError, UnknownName
from robolearn.specs import Spec

__all__ = ["Catalogue"]


class Catalogue:
    """The reading half of a `Store`, which is the only class made of it.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, journal: Journal):
        self.path = path
        self._journal = journal

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
        return self.path / "episodes" / check_id(self._known(id))

    def info(self, id: str) -> EpisodeInfo:
        """Facts about an episode, from the journal, with corrections made since (see `edits.relabel`).

        Raises:
            UnknownName: No episode has this id.
        """
        return self._journal.state.info(self._known(id))

    def _known(self, id: str) -> str:
        """The id, when there is such an episode; its facts are not looked at."""
        episodes = self._journal.state.facts
        if id not in episodes:
            raise UnknownName("episode", id, list(episodes)[-20:], hint="(At most the newest 20 are listed.)")
        return id

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
        return self._journal.state.tags[self._known(id)]

    def split_of(self, id: str) -> str:
        """The split of an episode, "" when it has none."""
        return self._journal.state.splits.get(self._known(id), "")

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

    @property
    def journal(self) -> Journal:
        """The journal, for functions that work on edits."""
        return self._journal
