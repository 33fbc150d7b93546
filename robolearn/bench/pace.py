"""From the policy's rate to the robot's: a thread that writes interpolated targets on absolute deadlines.

A policy decides ten to fifty times a second, an arm wants set points a hundred times or more. The `Pacer` moves a
reference from target to target on cubic Hermite pieces, whose slopes are limited as by Fritsch and Carlson (1980) so
that it never overshoots, and writes it through the safety gate once per robot period. It never extrapolates: after the
last target's time the reference stays there, and one policy period later the gate is told that nothing comes.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple, Self

import numpy as np

from robolearn.clock import Clock, FakeClock, Rate
from robolearn.errors import BenchError, RobolearnError, SpecError
from robolearn.safety import SafeRobot
from robolearn.specs import Array, Arrays, check

__all__ = ["Lateness", "Pacer"]


class Lateness(NamedTuple):
    """How well a loop held its deadlines.

    Attributes:
        ticks: How many there were.
        overruns: How many came later than their deadline.
        p50_s: Median lateness of the last ticks, s; 0 is on time.
        p99_s: Its 99th percentile.
        worst_s: The largest.
    """

    ticks: int
    overruns: int
    p50_s: float
    p99_s: float
    worst_s: float


class _Piece(NamedTuple):
    """The reference on its way from one target to the next."""

    start: float
    due: float
    grace_s: float
    made: float | None
    from_q: Array
    to_q: Array
    from_v: Array
    to_v: Array

    def at(self, now: float) -> tuple[Array, Array]:
        """Position and speed at a time; before and after the piece it rests at its ends."""
        span = self.due - self.start
        if now >= self.due or span <= 0:
            return self.to_q, np.zeros_like(self.to_q)
        u = max(0.0, (now - self.start) / span)
        way, m0, m1 = self.to_q - self.from_q, self.from_v * span, self.to_v * span
        q = self.from_q + u * (m0 + u * ((3 * way - 2 * m0 - m1) + u * (m0 + m1 - 2 * way)))
        v = (m0 + u * (2 * (3 * way - 2 * m0 - m1) + 3 * u * (m0 + m1 - 2 * way))) / span
        return q, v


class Pacer:
    """Writes to a gated robot at its own rate. As a context manager it runs in a thread; on a `FakeClock`, while others
    sleep; a test may also call `tick` itself.

    Args:
        robot: The arm inside its gate; nobody else writes to it meanwhile.
        rate_hz: Set points per second.
        clock: The clock of deadlines.
    """

    def __init__(self, robot: SafeRobot, rate_hz: float, clock: Clock):
        self.robot, self.rate_hz, self._clock = robot, rate_hz, clock
        self._layout = robot.layout
        self._lock = threading.Lock()
        self._piece: _Piece | None = None
        self._late: deque[float] = deque(maxlen=100_000)
        self._rate: Rate | None = None
        self._ticks = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._why_dead = ""

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise BenchError("The pacer runs already.")
        self._closing.clear()
        self._why_dead = ""
        if isinstance(self._clock, FakeClock):
            self._clock.every(1.0 / self.rate_hz, self._turn)
            return self
        self._rate = Rate(self.rate_hz, self._clock)
        self._thread = threading.Thread(target=self._run, args=(self._rate,), name="pacer", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        self.robot.stop()

    def send(self, target: Arrays, *, due: float, made: float | None = None) -> Arrays:
        """Be at `target` at time `due`; returns what the arm is now being led to.

        That is the target inside the ranges, and no further from the last one than full speed allows until `due`; the
        gate limits acceleration, jerk and space on the way. While the gate holds, it is what is held.

        Args:
            target: Arrays of the action spec.
            due: When, on the clock; usually one policy period from now.
            made: Capture time of the observation that the target answers.

        Raises:
            BenchError: The pacer's thread has died.
        """
        if self._why_dead:
            raise BenchError(self._why_dead)
        now = self._clock.now()
        try:
            check(target, self.robot.action_spec, where="target")
        except (SpecError, TypeError, ValueError) as error:
            self.robot.trip(str(error))
        if self.robot.fault:
            self.clear()
            return self.robot.held()
        goal, caps = self._layout.flat(target), self._layout.caps
        with self._lock:
            from_q, from_v = self._reference(goal, now)
            span = max(due - now, 1e-3)
            to_q = np.clip(np.clip(goal, caps.low, caps.high), from_q - caps.speed * span, from_q + caps.speed * span)
            # Go on as fast as from the last target to this one, if the one before went that way too.
            secant = (to_q - from_q) / span
            before = np.zeros_like(secant) if self._piece is None else self._piece.to_q - self._piece.from_q
            to_v = np.where(before * secant > 0, secant, 0.0)
            from_v = np.where(from_v * secant > 0, np.sign(secant) * np.minimum(abs(from_v), 3 * abs(secant)), 0.0)
            self._piece = _Piece(now, due, span, made, from_q, to_q, from_v, to_v)
            return self._layout.arrays(to_q)

    def clear(self) -> None:
        """Forget the target: the arm comes to rest."""
        with self._lock:
            self._piece = None

    def tick(self) -> Arrays:
        """One robot period: write the reference, or tell the gate that there is none."""
        self._ticks += 1
        with self._lock:
            piece, now = self._piece, self._clock.now()
            if piece is not None and now > piece.due + piece.grace_s:
                piece = None
            if piece is not None:
                # Still under the lock: after `clear` no target from before it may reach the robot.
                return self.robot.write(self._layout.arrays(piece.at(now)[0]), made=piece.made)
        return self.robot.idle("no new target comes")

    def lateness(self) -> Lateness:
        """How well the robot's rate was held since the start."""
        late = np.array(self._late or [0.0])
        overruns = 0 if self._rate is None else self._rate.overruns
        p50, p99 = np.percentile(late, [50, 99])
        return Lateness(self._ticks, overruns, float(p50), float(p99), float(late.max()))

    def _turn(self) -> None:
        if self._closing.is_set():
            return
        try:
            self.tick()
        except RobolearnError as error:  # latched in the gate: keep braking
            self.robot.trip(str(error))

    def _run(self, rate: Rate) -> None:
        why = "The thread that writes to the robot has ended."
        try:
            while not self._closing.is_set():
                deadline = rate.next_deadline
                rate.wait()
                self._late.append(max(0.0, self._clock.now() - deadline))
                self._turn()
        except BaseException as error:
            why = f"The thread that writes to the robot has died: {error!r}."
            raise
        finally:
            if not self._closing.is_set():
                self._why_dead = why
                self.robot.trip(why)
                self.robot.stop()

    def _reference(self, target: Array, now: float) -> tuple[Array, Array]:
        """Where the reference is and how fast; before there is one, where the arm is held."""
        piece = self._piece
        if piece is not None:
            q, v = piece.at(now)
            # The next target comes when the last one is due, or a little later: that is no reason to stop in between.
            return q, piece.to_v if piece.due <= now <= piece.due + 0.5 * piece.grace_s else v
        start = self._layout.flat(self.robot.held())
        for name, where in self._layout.slices.items():
            if name not in self.robot.limits.measured:
                start[where] = target[where]  # what nobody measures (a gripper's command) begins at its first target
        return start, np.zeros_like(start)
