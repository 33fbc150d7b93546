"""One episode being recorded into a store: append rows, then commit or discard.

A full disk ends the episode, never the process: the valid prefix stays on disk, `commit` seals it as "recovered" once
there is room, and earlier episodes are not touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, final

import numpy as np

from robolearn.clock import Clock
from robolearn.data.freshness import NO_COUNTER
from robolearn.data.log import LogWriter
from robolearn.data.recovery import finish_log
from robolearn.data.sealing import FULL, Summary, room_named
from robolearn.episode import Episode, EpisodeMeta, Event, Outcome, Reading
from robolearn.errors import BadEpisode, StorageFull, StoreError
from robolearn.specs import Arrays, Spec

__all__ = ["EpisodeWriter", "Home", "record_episode"]


class Home(Protocol):
    """What a writer needs of the store that it records into."""

    @property
    def path(self) -> Path: ...

    @property
    def durable(self) -> bool: ...

    def seal(self, writer: EpisodeWriter, summary: Summary, status: str) -> None:
        """Publish the finished episode."""
        ...

    def forget(self, writer: EpisodeWriter) -> None:
        """Stop tracking a writer that was discarded or failed."""
        ...


@final
class EpisodeWriter:
    """Made by `Store.record`. Every `observation`, `action` and `event` that returned survives a kill.

    Attributes:
        id: What the episode will be called.
        folder: Where it is being recorded.
    """

    def __init__(
        self,
        store: Home,
        id: str,
        folder: Path,
        meta: EpisodeMeta,
        observation_spec: Spec,
        action_spec: Spec,
        clock: Clock | None,
        lossless: bool | None,
    ):
        self.id, self.folder = id, folder
        self._store = store
        self._state = "open"
        self._summary: Summary | None = None
        try:
            self._log = LogWriter.open(
                folder, meta, observation_spec, action_spec, clock=clock, lossless=lossless, durable=store.durable
            )
        except BaseException:
            shutil.rmtree(folder)
            raise

    @property
    def steps(self) -> int:
        """Whole steps so far: actions with an observation before and after."""
        return self._log.steps

    def observation(self, reading: Reading) -> None:
        """One row of observations (see `LogWriter.observation`).

        Raises:
            StorageFull: The disk is full; what was recorded before is kept.
        """
        with self._recording():
            self._log.observation(reading)

    def sample(self, arrays: Arrays, time: float, *, counter: int = NO_COUNTER, received: float | None = None) -> bool:
        """Values of one device at its own rate, from any thread (see `LogWriter.sample`).

        Raises:
            StorageFull: The disk is full; what was recorded before is kept.
        """
        with self._recording():
            return self._log.sample(arrays, time, counter=counter, received=received)

    def action(self, requested: Arrays, sent: Arrays, notes: Arrays) -> None:
        """What was asked for and what was sent, with "actor" among the notes.

        Raises:
            StorageFull: The disk is full; what was recorded before is kept.
        """
        with self._recording():
            self._log.action(requested, sent, notes)

    def event(self, event: Event) -> None:
        """Something that happened.

        Raises:
            StorageFull: The disk is full; what was recorded before is kept.
        """
        with self._recording():
            self._log.event(event)

    def finish(self) -> Summary:
        """End the recording and its videos without sealing it yet: time to look at it and decide.

        Samples that still arrive are dropped; `commit` or `discard` follows. A process that dies in between leaves an
        episode that is recovered with the outcome "aborted", because nobody has said how it ended.

        Returns:
            What would be sealed, with the outcome "running".

        Raises:
            StorageFull: No room to finish; the recording is kept as it stands.
        """
        with self._recording():
            return self._log.end()

    @property
    def high_water(self) -> dict[str, int]:
        """Most frames of each camera that ever waited for their encoder."""
        return self._log.high_water

    def commit(self, outcome: Outcome) -> str:
        """Seal the episode and return its id. After `StorageFull` it can be called again when there is room.

        Raises:
            BadEpisode: There is not one whole step; the episode is discarded.
            StorageFull: No room to finish; the recording is kept as it stands.
        """
        if self._state in ("sealed", "discarded"):
            raise StoreError(f"Episode {self.id} was {self._state} already; start another with Store.record.")
        if self.steps < 1:
            self.discard()
            raise BadEpisode(
                f"Episode {self.id} has {self._log.observations} observations and {self._log.actions} actions; a whole "
                "step needs an action between two observations. It was discarded."
            )
        kept = f"Its {self.steps} steps are kept in {self.folder}; commit it again, or open the store again."
        with room_named(f"seal the episode {self.id}", kept):
            if self._state == "open":
                try:
                    self._summary = self._log.close(outcome)
                except OSError:
                    self._fail()
                    raise
                self._state = "finished"
            elif self._state == "failed" and self._summary is None:
                self._summary = finish_log(self.folder)[0].summary
            if self._summary is None:
                raise StoreError(
                    f"Not one whole step of episode {self.id} can be read back from {self.folder} (its pictures were "
                    "not written any more). Discard it and record it again."
                )
            self._store.seal(self, self._summary, "recovered" if self._state == "failed" else "complete")
        self._state = "sealed"
        return self.id

    def discard(self) -> None:
        """Drop the episode and its files; after `commit` it does nothing."""
        if self._state in ("sealed", "discarded"):
            return
        self._log.abandon()
        published = self._store.path / "episodes" / self.id  # there already when only the journal's line failed
        gone = self.folder.with_name(self.folder.name + ".discarded")
        # A kill while deleting leaves something that recovery will not take for an episode.
        (self.folder if self.folder.is_dir() else published).rename(gone)
        shutil.rmtree(gone)
        self._state = "discarded"
        self._store.forget(self)

    def abandon(self) -> None:
        """Close the files and leave them as a killed process would, for recovery."""
        if self._state not in ("sealed", "discarded"):
            self._fail()
            self._store.forget(self)

    def _fail(self) -> None:
        self._log.abandon()
        self._state = "failed"

    @contextmanager
    def _recording(self) -> Generator[None]:
        if self._state != "open":
            raise StoreError(
                f"Episode {self.id} takes no more records: it was {self._state}. Start another with Store.record."
            )
        try:
            yield
        except OSError as error:
            self._fail()
            if error.errno not in FULL:
                raise
            raise StorageFull(
                f"No room to go on recording episode {self.id} ({error.strerror}). Its {self.steps} whole steps are "
                f"kept in {self.folder} and all earlier episodes are intact. Hold the robot, free some space and "
                "commit the episode; nothing has to be restarted."
            ) from error


def record_episode(record: Callable[[EpisodeMeta, Spec, Spec], EpisodeWriter], episode: Episode) -> str:
    """Write a whole episode through a writer and return its id; on any failure nothing of it is kept."""
    writer = record(episode.meta, episode.observation_spec, episode.action_spec)
    try:
        events = sorted(episode.events, key=lambda event: event.time, reverse=True)
        for k in range(episode.steps + 1):
            while events and events[-1].time < episode.times[k]:  # in order of time, as they would have come
                writer.event(events.pop())
            arrays = {name: np.asarray(value[k]) for name, value in episode.observations.items()}
            writer.observation(Reading(float(episode.times[k]), arrays))
            if k < episode.steps:
                notes = {name: np.asarray(value[k]) for name, value in episode.notes.items()}
                writer.action(
                    {name: np.asarray(value[k]) for name, value in episode.requested.items()},
                    {name: np.asarray(value[k]) for name, value in episode.actions.items()},
                    notes | {"actor": np.asarray(episode.actor[k])},
                )
        while events:
            writer.event(events.pop())
        return writer.commit(episode.outcome)
    except BaseException:
        writer.discard()
        raise
