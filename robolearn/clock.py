"""Time as an argument: a monotonic clock, a fake one for tests, and a rate held by absolute deadlines.

Durations and ages come from a monotonic clock only; a step of the wall clock changes nothing but the
human-readable start time of an episode. `Rate` aims at start + k * period, so that errors do not add up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "FakeClock", "MonotonicClock", "Rate"]


class Clock(Protocol):
    """Seconds that only grow."""

    def now(self) -> float:
        """Seconds since an arbitrary origin."""
        ...

    def sleep_until(self, deadline: float) -> None:
        """Return at `deadline` or at once when it has passed."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)


class FakeClock:
    """A clock that moves only when told to; sleeping moves it to the deadline.

    What runs in a thread of its own on a real bench runs here while somebody sleeps; see `every`.
    """

    def __init__(self, start: float = 0.0):
        self._now = start
        self._regular: list[tuple[float, float, Callable[[], object]]] = []  # next time, period, what

    def now(self) -> float:
        return self._now

    def every(self, period_s: float, call: Callable[[], object]) -> None:
        """From now on call something once per period, whenever time passes over its turn."""
        self._regular.append((self._now + period_s, period_s, call))

    def sleep_until(self, deadline: float) -> None:
        while self._regular:
            k = min(range(len(self._regular)), key=lambda i: self._regular[i][0])
            due, period_s, call = self._regular[k]
            if due > deadline + 1e-9:
                break
            self._now = max(self._now, due)
            self._regular[k] = (due + period_s, period_s, call)
            call()
        self._now = max(self._now, deadline)

    def advance(self, seconds: float) -> None:
        """Let time pass (a slow computation, a stall of everything); nothing regular runs meanwhile."""
        self._now += seconds
        self._regular = [(max(due, self._now), period_s, call) for due, period_s, call in self._regular]


class Rate:
    """Holds a rate by absolute deadlines.

    A tick that comes too late is counted as an overrun; after falling behind by a whole period or more the
    grid is skipped forward, so a stall never causes a burst of catch-up ticks.
    """

    def __init__(self, hz: float, clock: Clock):
        if not 0 < hz < float("inf"):
            raise ValueError(f"A rate must be a positive, finite number of hertz; found {hz!r}.")
        self.period_s = 1.0 / hz
        self.overruns = 0
        self._clock = clock
        self._start = clock.now()
        self._tick = 0

    @property
    def next_deadline(self) -> float:
        """When the next tick is due."""
        return self._start + (self._tick + 1) * self.period_s

    def wait(self) -> float:
        """Sleep until the next deadline and return the lateness in seconds (0 when on time)."""
        self._tick += 1
        deadline = self._start + self._tick * self.period_s
        late = self._clock.now() - deadline
        if late > 0:
            self.overruns += 1
            self._tick += int(late / self.period_s)
            return late
        self._clock.sleep_until(deadline)
        return 0.0
