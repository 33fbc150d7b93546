"""Action chunks from a model that thinks while the arm moves: stamped with time, merged by measured latency.

A chunk belongs to the instant of its observation: its action k is for the control period k after it. While it is
played the next one is computed in a thread. When that arrives, as many of its actions are skipped as periods have
really passed since its observation, be that more or fewer than anybody expected (trusting an estimate instead has made
arms jump: lerobot issue 4223). A chunk that is older than the one being played, or of another episode, is dropped.
With nothing to play the loop waits, the gate holds the arm, and nothing is extrapolated.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import ChunkModel
from robolearn.episode import Actor
from robolearn.errors import BenchError, RobolearnError, SpecError
from robolearn.specs import Array, Arrays, Spec

__all__ = ["Ahead", "Chunk", "Timeline"]


class Chunk(NamedTuple):
    """Actions with the time they are for.

    Attributes:
        session: Which episode it belongs to.
        sequence: Which observation it answers; grows within a session.
        observed: Time of that observation on the clock, s.
        actions: Per name (k, ...), for the periods 0, 1, ... after it.
    """

    session: int
    sequence: int
    observed: float
    actions: Arrays


class Timeline:
    """What is to be played when: the newest chunk, entered at the present period.

    Args:
        period_s: One control period.
    """

    def __init__(self, period_s: float):
        self._period_s = period_s
        self._chunk: Chunk | None = None
        self._session, self._sequence = 0, -1
        self.skipped = self.dropped = 0
        """Actions of merged chunks whose time had passed; chunks that were not merged at all."""

    def begin(self, session: int) -> None:
        """Another episode: nothing of the last one counts any more."""
        self._session, self._sequence, self._chunk = session, -1, None

    def merge(self, chunk: Chunk, now: float) -> bool:
        """Play this one from now on; False when it is of another episode, out of order or altogether past."""
        past = self._slot(chunk, now)
        if chunk.session != self._session or chunk.sequence <= self._sequence or past >= _length(chunk):
            self.dropped += 1
            return False
        self._sequence, self._chunk = chunk.sequence, chunk
        self.skipped += past
        return True

    def at(self, now: float) -> dict[str, Array] | None:
        """The action of the present period, or None when there is none."""
        if self._chunk is None or (slot := self._slot(self._chunk, now)) >= _length(self._chunk):
            return None
        return {name: values[slot] for name, values in self._chunk.actions.items()}

    def left(self, now: float) -> int:
        """How many actions are there from the present period on."""
        return 0 if self._chunk is None else max(0, _length(self._chunk) - self._slot(self._chunk, now))

    def _slot(self, chunk: Chunk, now: float) -> int:
        # Half a period of room: a loop that wakes a little early or late is still in its period.
        return max(0, int(np.floor((now - chunk.observed) / self._period_s + 0.5)))


class Ahead:
    """Plays a `ChunkModel` on a bench (one row), computing the next chunk in a thread while this one is played.

    The very first chunk of an episode is waited for, however slow the first inference is: the arm has not been
    commanded yet and holds. Enter it as a context manager; leaving ends the thread.

    Args:
        model: What predicts; called from the thread only.
        period_s: The loop's control period.
        clock: The loop's clock.
        ask_s: Ask for the next chunk this long before the present one is used up; by default as early as possible.
        patience_s: Give up an episode when no action comes for this long.
    """

    def __init__(
        self, model: ChunkModel, period_s: float, clock: Clock, *, ask_s: float = np.inf, patience_s: float = 10.0
    ):
        self._model, self._clock, self._patience_s = model, clock, patience_s
        self._period_s, self._ask_s = period_s, ask_s
        self.timeline = Timeline(period_s)
        self.latencies_s: list[float] = []
        """From observation to chunk, in the order of arrival."""
        self._history: list[Arrays] = []
        self._session = self._sequence = 0
        self._random = np.random.default_rng(0)
        self._changed = threading.Condition()
        self._request: tuple[int, int, float, dict[str, Array], Array] | None = None
        self._answers: list[Chunk] = []
        self._error: RobolearnError | None = None
        self._busy = self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def observation_spec(self) -> Spec:
        return self._model.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._model.action_spec

    def __enter__(self) -> Self:
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        if list(rows) != [0]:
            raise SpecError(f"Chunks computed ahead are for a bench of one row; found rows {list(rows)}. Use Chunked.")
        self._session += 1
        self._random = np.random.default_rng(seeds[0])
        self._history.clear()
        with self._changed:
            self._request = None
            self._answers.clear()
        self.timeline.begin(self._session)

    def act(self, observation: Arrays) -> Arrays:
        """The action of this period; waits while there is none, and the arm with it.

        Raises:
            BenchError: Nothing came within `patience_s`, or the thread is not running.
            RobolearnError: What the model raised.
        """
        if self._thread is None:
            raise BenchError("Nobody computes chunks; use it as a context manager (with policy: ...).")
        now = began = self._clock.now()
        self._remember(observation)
        if self.timeline.left(now) * self._period_s <= self._ask_s:
            self._ask(now)
        while True:
            self._merge()
            if (action := self.timeline.at(self._clock.now())) is not None:
                break
            if self._clock.now() - began > self._patience_s:
                raise BenchError(f"The policy has sent nothing for {self._patience_s} s; the arm holds. Look at it.")
            self._wait(0.005)
            # What was asked may come back altogether past (a slow first inference): ask again with what is seen now.
            if not self._pending():
                self._ask(self._clock.now())
        return {name: value[None] for name, value in action.items()} | {
            "note.actor": np.full(1, Actor.POLICY, np.int8),
            "note.ahead": np.full(1, self.timeline.left(self._clock.now()), np.int32),
        }

    def _remember(self, observation: Arrays) -> None:
        seen = {name: np.array(observation[name][0]) for name in self._model.observation_spec}
        self._history.append(seen)
        del self._history[: -self._model.history]

    def _ask(self, now: float) -> None:
        with self._changed:
            if self._request is not None or self._busy:
                return
            first = [self._history[0]] * (self._model.history - len(self._history))
            history = [*first, *self._history]
            stacked = {name: np.stack([h[name] for h in history])[None] for name in history[0]}
            self._sequence += 1
            noise = np.asarray(self._random.integers(2**63, size=1), np.uint64)  # pyright: ignore[reportUnknownMemberType]
            self._request = (self._session, self._sequence, now, stacked, noise)
            self._changed.notify_all()

    def _pending(self) -> bool:
        with self._changed:
            return self._request is not None or self._busy or bool(self._answers)

    def _merge(self) -> None:
        with self._changed:
            answers, self._answers = self._answers, []
            error, self._error = self._error, None
        if error is not None:
            raise error
        for chunk in answers:
            now = self._clock.now()
            self.latencies_s.append(now - chunk.observed)
            self.timeline.merge(chunk, now)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)
        self._clock.sleep_until(self._clock.now())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._request is not None)
                if self._closing:
                    return
                assert self._request is not None
                session, sequence, observed, history, noise = self._request
                self._request, self._busy = None, True
            answer: list[Chunk] = []
            try:
                actions = self._model.predict(history, noise)
                answer.append(Chunk(session, sequence, observed, {name: value[0] for name, value in actions.items()}))
            except RobolearnError as error:
                with self._changed:
                    self._error = error
            finally:
                with self._changed:
                    self._busy = False
                    self._answers += answer
                    self._changed.notify_all()


def _length(chunk: Chunk) -> int:
    return len(next(iter(chunk.actions.values())))
