"""The episode log: one folder per episode, `log.mcap` and a video per camera, appended while it happens.

Its topics are declared in `log_topics`. A stream may run at any rate (`sample`, from any thread): row k of the episode
is the last sample of every array before the k-th "/tick", and each tick carries the CRC-32 of the file up to it, so
that every row of an unfinished log can be checked. A picture's message holds its frame number in `<name>.mp4`; in a
live recording "/frames" says of every row whether its pictures are fresh (`freshness`).

Time: `nanoseconds` is the one place where seconds become integers (rounded once). A message's publish time is when its
values were captured, its log time when we received them; both are on the monotonic clock of the source.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import robolearn
from robolearn.clock import Clock
from robolearn.data.action_texts import ActionTexts
from robolearn.data.framing import RecordWriter, tick_checksum
from robolearn.data.freshness import NO_COUNTER
from robolearn.data.log_format import FORMAT_VERSION, LOG_NAME, nanoseconds, seconds
from robolearn.data.log_topics import Topics, episode_text, event_text, outcome_text, refuse
from robolearn.data.pictures import Pictures
from robolearn.data.row_texts import RowTexts
from robolearn.data.sealing import Summary
from robolearn.data.syncing import DiskSync
from robolearn.episode import EpisodeMeta, Event, Outcome, Reading
from robolearn.errors import BadEpisode
from robolearn.specs import Arrays, Spec

__all__ = ["FORMAT_VERSION", "LOG_NAME", "LogWriter", "nanoseconds", "seconds"]

_LIVE_PICTURE_HZ = 30.0  # nominal, for players and key frames; true times are in the log


class LogWriter:
    """Writes one episode: observation, action, observation, action, ..., observation, then `close`.

    Every call that returns is kept: its records have been handed to the kernel in one `write()`. With a clock the
    recording is live: samples may come from other threads between the observations, pictures are encoded in the
    background, and everything is synced to the disk each 100 ms.
    """

    def __init__(
        self,
        folder: Path,
        meta: EpisodeMeta,
        observation_spec: Spec,
        action_spec: Spec,
        records: RecordWriter,
        clock: Clock | None,
        pictures: Pictures,
    ):
        self.folder, self.meta = folder, meta
        self.observations = 0
        self.actions = 0
        self._observation_spec, self._action_spec = observation_spec, action_spec
        self._records, self._clock, self._pictures = records, clock, pictures
        self._rows = RowTexts(observation_spec, pictures)
        self._last_ns = -1
        self._times_ns: tuple[int, int] = (0, 0)  # of the first and the newest row that ends a whole step
        self._events = 0
        self._received_ns = 0
        self._begun = False
        self._ended = False
        self._lock = threading.RLock()
        self._sync: DiskSync | None = None
        frames = clock is not None and bool(pictures.spec)
        self._topics = Topics(records, observation_spec, action_spec, frames=frames)
        self._acts = ActionTexts(action_spec, self._topics)
        self._started = datetime.now(UTC).isoformat()

    @classmethod
    def open(
        cls,
        folder: Path,
        meta: EpisodeMeta,
        observation_spec: Spec,
        action_spec: Spec,
        *,
        clock: Clock | None = None,
        lossless: bool | None = None,
        durable: bool = True,
    ) -> LogWriter:
        """Start an episode in an existing, empty folder.

        Args:
            folder: Where its files go.
            meta: The facts around it; `rate_hz` is also the videos' nominal rate.
            observation_spec: Of `observation`.
            action_spec: Of `action`.
            clock: Stamps the receive times of a live recording; None when nothing is received live (a simulation, an
                import), where they equal the capture times.
            lossless: Keep every bit of pictures; None decides by their size.
            durable: Sync a live recording to the disk while it goes on.

        Raises:
            SpecError: An array that cannot be logged.
            OSError: The file cannot be made.
        """
        refuse(meta, observation_spec, action_spec)  # before a file exists
        live = clock is not None
        picture_hz = min(meta.rate_hz, _LIVE_PICTURE_HZ) if live else meta.rate_hz
        pictures = Pictures(folder, observation_spec, picture_hz, live=live, lossless=lossless)
        records = RecordWriter(folder / LOG_NAME, f"robolearn {robolearn.__version__}")
        try:
            writer = cls(folder, meta, observation_spec, action_spec, records, clock, pictures)
            records.flush()
            if live:
                pictures.prepare()
                if durable:
                    writer._sync = DiskSync(writer._descriptors, writer._lock).start()
        except BaseException:
            pictures.abandon()
            records.close()
            raise
        return writer

    def sample(self, arrays: Arrays, time: float, *, counter: int = NO_COUNTER, received: float | None = None) -> bool:
        """Append values of one device, at its own rate; from any thread, at any moment of a live recording.

        From the first sample on, the rows of these arrays come from here (see `observation`).

        Args:
            arrays: Some or all arrays of one device. A picture must not be changed afterwards.
            time: When they were captured, in seconds on the episode's clock.
            counter: The device's own number of a frame, growing by one with each that it makes.
            received: When they arrived; now when not given.

        Returns:
            False when nothing was written: the sample was there already, the recording has ended, or a picture found
            its encoder's queue full (the row that should show it says so).

        Raises:
            SpecError: Arrays of several devices, or not as declared, or not finite.
            BadEpisode: The recording is not live, or the time is not valid.
            OSError: The disk is full or failing.
        """
        if self._clock is None:
            raise BadEpisode("Samples between rows need a live recording; give Store.record a clock.")
        captured_ns = nanoseconds(time)
        with self._lock:
            if self._ended:
                return False
            self._fail_late()
            found = self._rows.sample(arrays, captured_ns, counter)
            if found is None:
                return False
            device, text = found
            received_ns = self._receive(captured_ns) if received is None else nanoseconds(received)
            self._begin(received_ns, captured_ns)
            self._topics.write(f"/observation/{device}", received_ns, captured_ns, text)
            self._records.flush()
        return True

    def observation(self, reading: Reading) -> None:
        """Append one row of observations.

        An array that comes by `sample` shows the sample with the row's capture time, which is what the policy saw; its
        value may be left out of the reading, and without a capture time it then shows the newest sample.

        Args:
            reading: Unbatched. An array captured at another time than `reading.time` says so in `captured`; one whose
                capture time and value are those of the row before is a repeated sample and is not written again.

        Raises:
            SpecError: It does not match the spec, or is not finite.
            BadEpisode: The time does not grow by at least 1 ns, or an action is due.
            OSError: The disk is full or failing.
        """
        time_ns = nanoseconds(reading.time)
        with self._lock:
            self._fail_late()
            if self.observations != self.actions:
                raise BadEpisode(
                    "Two observations in a row; an episode alternates observation, action, ..., observation. Record "
                    "the action that was sent (holding still is an action too)."
                )
            if self.observations and seconds(time_ns) <= seconds(self._last_ns):
                raise BadEpisode(
                    f"Observation times must grow by at least 1 ns; found {reading.time!r} s after "
                    f"{seconds(self._last_ns)!r} s. The source repeats or reorders readings."
                )
            captured = {name: nanoseconds(at) for name, at in reading.captured.items()}
            fresh = self._rows.row(reading.arrays, captured, time_ns)
            received_ns = self._receive(time_ns)
            self._begin(received_ns, time_ns)
            for device, captured_ns, text in fresh:
                self._topics.write(f"/observation/{device}", received_ns, captured_ns, text)
            if self._topics.frames:
                self._topics.write("/frames", received_ns, time_ns, self._rows.frames(time_ns))
            crc = tick_checksum(self._records.crc, self.observations, received_ns, time_ns)
            tick = f'{{"tick":{self.observations},"crc":{crc}}}'
            self._topics.write("/tick", received_ns, time_ns, tick)
            self._records.flush()
            self._last_ns = time_ns
            self._times_ns = (self._times_ns[0] if self.observations else time_ns, time_ns)
            self.observations += 1

    def action(self, requested: Arrays, sent: Arrays, notes: Arrays) -> None:
        """Append what was asked for and what was really sent after the newest observation.

        Args:
            requested: Arrays of the action spec; may be out of limits or not finite.
            sent: Likewise, after limits and the safety gate; always finite.
            notes: Annotations of the step; "actor" (an `Actor` code) must be there.

        Raises:
            SpecError: Names, shapes or types do not fit, or a number is not finite.
            BadEpisode: There is no observation before it.
            OSError: The disk is full or failing.
        """
        with self._lock:
            self._fail_late()
            if self.observations != self.actions + 1:
                raise BadEpisode("An action without an observation before it; record the observation first.")
            texts = self._acts.texts(requested, sent, notes)
            received_ns = self._receive(self._last_ns)
            for topic, text in texts:
                self._topics.write(topic, received_ns, self._last_ns, text)
            self._records.flush()
            self.actions += 1

    def event(self, event: Event) -> None:
        """Append something that happened, at its own time; possible at any moment of the episode.

        Raises:
            BadEpisode: Its times are not valid or end before they start.
            SpecError: Its parameters are not plain JSON values.
            OSError: The disk is full or failing.
        """
        start_ns, text = event_text(event)
        with self._lock:
            self._fail_late()
            received_ns = self._receive(start_ns)
            self._begin(received_ns, start_ns)
            self._topics.write("/event", received_ns, start_ns, text)
            self._records.flush()
            self._events += 1

    @property
    def steps(self) -> int:
        """Whole steps so far: actions with an observation before and after."""
        return max(0, self.observations - 1)

    @property
    def high_water(self) -> dict[str, int]:
        """Most frames of each camera that ever waited for their encoder; `QUEUE_FRAMES` is the limit."""
        return self._pictures.high_water

    def end(self) -> Summary:
        """Take no more records and finish the videos; `close` follows when somebody has said how it ended.

        Raises:
            OSError: The disk is full or failing.
        """
        with self._lock:
            self._ended = True
            self._pictures.close()
        return self._summary(Outcome.RUNNING)

    def close(self, outcome: Outcome) -> Summary:
        """Write the outcome and finish all files (sealing syncs the rest)."""
        summary = replace(self.end(), outcome=outcome)
        if self._sync is not None:
            self._sync.stop()
        with self._lock:
            self._begin(self._received_ns, self._received_ns)
            text = outcome_text(outcome, self.observations, self.actions)
            self._topics.write("/outcome", self._received_ns, max(self._last_ns, 0), text)
            self._records.finish()
        return summary

    def _summary(self, outcome: Outcome) -> Summary:
        return Summary(
            self.meta,
            self._observation_spec,
            self._action_spec,
            outcome,
            self._started,
            self.steps,
            seconds(self._times_ns[1] - self._times_ns[0]),
            self.observations,
            self.actions,
            self._events,
            "" if self._clock is None else self._pictures.doubts(max(self._last_ns, 0)),
        )

    def abandon(self) -> None:
        """Close all files as they stand: what a killed process would leave behind, or better."""
        if self._sync is not None:
            self._sync.stop()
        with self._lock:
            self._pictures.abandon()
            self._records.close()

    def _descriptors(self) -> list[int]:
        return [fd for fd in (self._records.fd, *self._pictures.descriptors.values()) if fd >= 0]

    def _fail_late(self) -> None:
        """Refuse a record after the end, and raise what a thread of this recording met since the last call."""
        if self._ended:
            raise BadEpisode("The recording has ended; it takes no more records.")
        self._pictures.fail()
        if self._sync is not None and self._sync.fault is not None:
            raise self._sync.fault

    def _receive(self, captured_ns: int) -> int:
        """Receive time; without a clock the capture time, held so that it never runs backwards."""
        now_ns = captured_ns if self._clock is None else nanoseconds(self._clock.now())
        self._received_ns = max(self._received_ns, now_ns)
        return self._received_ns

    def _begin(self, received_ns: int, time_ns: int) -> None:
        """Put "/episode" in front of the first record, stamped like it so that players start there."""
        if self._begun:
            return
        self._begun = True
        self._started = datetime.now(UTC).isoformat()
        text = episode_text(self.meta, self._started, self._observation_spec, self._action_spec)
        self._topics.write("/episode", received_ns, time_ns, text)
