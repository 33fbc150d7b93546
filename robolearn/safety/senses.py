"""What the gate sees: the arm's newest reading, and how old everything is that it depends on."""

from __future__ import annotations

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Robot
from robolearn.episode import Reading
from robolearn.errors import StaleReading
from robolearn.safety.limits import COMMAND, DECISION, OPERATOR, ROBOT, Limits
from robolearn.safety.line import DRIVER_ERRORS
from robolearn.safety.watch import Streams
from robolearn.specs import Array, Arrays

__all__ = ["Senses"]


class Senses:
    """One arm and the streams beside it.

    Args:
        robot: The driver, which is only read here.
        limits: How old what is known may be.
        clock: The clock of readings.
    """

    def __init__(self, robot: Robot, limits: Limits, clock: Clock):
        self._robot, self._limits, self._clock = robot, limits, clock
        self._streams = Streams(limits.stale_s)
        self._reading: Reading | None = None
        self.heard = self._streams.heard
        """Something of a stream, captured at a time, has arrived."""

    def read(self) -> Reading:
        """The driver's newest reading."""
        reading = self._robot.read()
        self.heard(ROBOT, float(reading.time))
        self._reading = reading
        return reading

    def fresh(self, now: float) -> Reading:
        """A reading that is not too old, asking the robot if need be.

        Raises:
            StaleReading: There is none.
        """
        limit = self._limits.stale_s.get(ROBOT, 0.0)
        if self._reading is None or not self._streams.age(ROBOT, now) <= limit / 2:
            self.read()
        if why := self._streams.why_stale(ROBOT, now):
            raise StaleReading(why)
        assert self._reading is not None
        return self._reading

    def why_late(self, now: float, made: float | None, *, moving: bool) -> str:
        """Which stream is too old, or "". A command that does not say what it answers is not judged by that.

        Args:
            now: The time.
            made: Capture time of the observation that a command answers.
            moving: Whether commands are under way, which needs the arm's state; else engaging will look.
        """
        stale_s = self._limits.stale_s
        if ROBOT in stale_s and moving:
            try:
                self.fresh(now)
            except DRIVER_ERRORS as error:
                return str(error)
        for stream in stale_s:
            if stream == DECISION and made is not None and (why := self._streams.why_stale(stream, now, made)):
                return why
            if stream in (COMMAND, ROBOT, DECISION) or (stream == OPERATOR and self._limits.dead_man):
                continue
            if why := self._streams.why_stale(stream, now):
                return why
        return ""

    def measured(self, otherwise: Array, slices: dict[str, slice]) -> Array:
        """Actions (n,) as they were last measured; what nobody measures stays as in `otherwise`."""
        seen: Arrays = {} if self._reading is None else self._reading.arrays
        q = otherwise.copy()
        for name, where in slices.items():
            if (source := self._limits.measured.get(name, "")) in seen:
                q[where] = np.ravel(seen[source])
        return q
