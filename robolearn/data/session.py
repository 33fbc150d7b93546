"""Recording at a bench, phase by phase: idle, armed, recording, review, and then committed or rejected.

Device threads hand in their samples at any time and at their own rates; the control loop writes rows. An episode is
decided on before anything else happens: while one is in review no other can be armed, so no reset of the scene can come
between the end of an episode and its place on the disk.

    with Session(store, meta, observation_spec, action_spec, clock, longest_s=60.0) as session:
        session.arm()                                   # room on the disk, files and encoders ready
        session.start()
        session.sample({"wrist.rgb": frame}, captured, counter=n)           # from the camera's thread
        session.observation(reading); session.action(requested, sent, notes)  # from the loop
        review = session.stop()
        session.commit(Outcome.SUCCESS)                 # or session.reject()

It is also an observer of the loop (`rollout(..., observers=[session])`), with `decide` as the person in the review.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from robolearn.clock import Clock
from robolearn.contracts import Env, Tick
from robolearn.data.episode_writer import EpisodeWriter
from robolearn.data.freshness import NO_COUNTER
from robolearn.data.store import Store
from robolearn.episode import EpisodeMeta, Event, Outcome, Reading
from robolearn.errors import BadEpisode, StorageFull, StoreError
from robolearn.recorder import row_of, row_reading
from robolearn.specs import Arrays, Spec

__all__ = ["Phase", "Review", "Session"]


class Phase(StrEnum):
    """Where a recording session stands."""

    IDLE = "idle"
    ARMED = "armed"
    RECORDING = "recording"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Review:
    """What there is to decide about.

    Attributes:
        id: The episode's name, once committed.
        proposed: The outcome that the loop found, RUNNING when nobody said.
        steps: Whole steps.
        duration_s: From the first to the last observation.
        degraded: Why its cameras are not to be trusted, "" when they are.
        fault: Why the recording stopped by itself (a full disk), "" when it did not.
    """

    id: str
    proposed: Outcome
    steps: int
    duration_s: float
    degraded: str = ""
    fault: str = ""


class Session:
    """One bench being recorded into a store.

    Args:
        store: Where to.
        meta: The facts around the episodes; task, instruction, rate and robot.
        observation_spec: What is observed, in rows and in samples.
        action_spec: What is commanded.
        clock: The clock of all capture times; it stamps the receive times.
        longest_s: The longest allowed episode; arming makes sure that there is room for it.
        lossless: Keep every bit of pictures; None decides by their size.
        decide: Says in the review what an episode that the loop ended is worth; None rejects it.
    """

    def __init__(
        self,
        store: Store,
        meta: EpisodeMeta,
        observation_spec: Spec,
        action_spec: Spec,
        clock: Clock,
        *,
        longest_s: float,
        lossless: bool | None = None,
        decide: Callable[[Review], Outcome | None] = lambda review: review.proposed,
    ):
        self.phase = Phase.IDLE
        self.kept: list[str] = []
        self.last: Review | None = None
        self._store, self._meta, self._clock, self._decide = store, meta, clock, decide
        self._specs = (observation_spec, action_spec)
        self._longest_s, self._lossless = longest_s, lossless
        self._writer: EpisodeWriter | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- phases -------------------------------------------------------------------------------------------------

    def arm(self, *, seed: int | None = None, instruction: str | None = None) -> None:
        """Idle to armed: open the files and encoders of an episode. Samples are not recorded yet.

        Args:
            seed: Of the start state, when it has one.
            instruction: The command at the start, when it is not the session's.

        Raises:
            StorageFull: Less room than the longest episode needs; the session stays idle.
            StoreError: Another phase, another writer, or specs that do not fit the store.
        """
        self._expect(Phase.IDLE, "arm")
        meta = replace(self._meta, seed=seed, instruction=instruction or self._meta.instruction)
        self._writer = self._store.record(
            meta, *self._specs, clock=self._clock, longest_s=self._longest_s, lossless=self._lossless
        )
        self.phase = Phase.ARMED

    def start(self) -> None:
        """Armed to recording: from now on every sample and row counts.

        Raises:
            StoreError: Another phase.
        """
        self._expect(Phase.ARMED, "start")
        self.phase = Phase.RECORDING

    def stop(self, proposed: Outcome = Outcome.RUNNING) -> Review:
        """Recording to review: take no more samples, finish the videos and say what there is.

        Raises:
            StoreError: Another phase.
        """
        if self.phase is Phase.REVIEW and self.last is not None and self.last.fault:
            return self.last  # it ended by itself
        with self._lock:  # a sample that is being written gets done first
            self._expect(Phase.RECORDING, "stop")
            self.phase = Phase.REVIEW
        writer = self._live()
        try:
            summary = writer.finish()
        except StorageFull as error:
            self.last = Review(writer.id, proposed, writer.steps, 0.0, fault=str(error))
        else:
            self.last = Review(writer.id, proposed, summary.steps, summary.duration_s, summary.degraded)
        return self.last

    def commit(self, outcome: Outcome) -> str:
        """Review to idle: seal the episode with this outcome and return its id.

        Raises:
            StoreError: Another phase.
            BadEpisode: It has no whole step; it was discarded.
            StorageFull: No room; the session stays in review, nothing is lost.
        """
        self._expect(Phase.REVIEW, "commit")
        try:
            id = self._live().commit(outcome)
        except BadEpisode:
            self.phase, self._writer = Phase.IDLE, None
            raise
        self.phase, self._writer = Phase.IDLE, None
        self.kept.append(id)
        return id

    def reject(self) -> None:
        """Review or armed to idle: drop the episode and its files.

        Raises:
            StoreError: Another phase.
        """
        if self.phase is not Phase.ARMED:
            self._expect(Phase.REVIEW, "reject")
        self._live().discard()
        self.phase, self._writer = Phase.IDLE, None

    def close(self) -> None:
        """Seal what is unfinished as aborted; an error or Ctrl-C loses no demonstration."""
        with self._lock:
            writer, self._writer, self.phase = self._writer, None, Phase.IDLE
        if writer is not None and writer.steps:
            self.kept.append(writer.commit(Outcome.ABORTED))
        elif writer is not None:
            writer.discard()

    # -- records ------------------------------------------------------------------------------------------------

    def sample(self, arrays: Arrays, time: float, *, counter: int = NO_COUNTER, received: float | None = None) -> bool:
        """Values of one device at its own rate, from any thread; ignored unless recording (see `LogWriter.sample`).

        Raises:
            StorageFull: The disk is full; the episode is in review, with the prefix kept.
        """
        with self._lock, self._guard() as writer:
            return writer is not None and writer.sample(arrays, time, counter=counter, received=received)

    def observation(self, reading: Reading) -> None:
        """One row (see `LogWriter.observation`); raises `StorageFull` as `sample` does."""
        with self._guard(Phase.RECORDING) as writer:
            assert writer is not None
            writer.observation(reading)

    def action(self, requested: Arrays, sent: Arrays, notes: Arrays) -> None:
        """What was asked for and sent after the newest row; raises `StorageFull` as `sample` does."""
        with self._guard(Phase.RECORDING) as writer:
            assert writer is not None
            writer.action(requested, sent, notes)

    def event(self, event: Event) -> None:
        """Something that happened; raises `StorageFull` as `sample` does."""
        with self._guard(Phase.RECORDING) as writer:
            assert writer is not None
            writer.event(event)

    # -- as an observer of the loop -----------------------------------------------------------------------------

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        if env.n != 1:
            raise StoreError(f"A session records one bench; found an environment of {env.n} rows. Use a Recorder.")
        if self.phase is Phase.IDLE:
            self.arm(seed=seeds[0])
        self.start()

    def step(self, tick: Tick) -> None:
        self.observation(row_reading(tick.reading, 0))
        for _, event in tick.events:
            self.event(event)
        self.action(row_of(tick.requested, 0), row_of(tick.sent, 0), row_of(tick.notes, 0))

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        """The last row, the review and the decision, before anything is reset."""
        self.observation(row_reading(reading, 0))
        verdict = self._decide(self.stop(outcomes[0]))
        if verdict is None:
            self.reject()
        else:
            self.commit(verdict)

    def _live(self) -> EpisodeWriter:
        assert self._writer is not None  # every phase but idle has one
        return self._writer

    def _expect(self, phase: Phase, what: str) -> None:
        if self.phase is not phase:
            raise StoreError(
                f"Cannot {what} while {self.phase}: expected the phase {phase}. The order is idle, armed, recording, "
                "review, and then commit or reject."
            )

    @contextmanager
    def _guard(self, expected: Phase | None = None) -> Generator[EpisodeWriter | None]:
        if expected is not None:
            self._expect(expected, "record")
        writer = self._writer if self.phase is Phase.RECORDING else None
        try:
            yield writer
        except StorageFull as error:
            if writer is not None and self.phase is Phase.RECORDING:
                self.phase = Phase.REVIEW
                self.last = Review(writer.id, Outcome.ABORTED, writer.steps, 0.0, fault=str(error))
            raise
