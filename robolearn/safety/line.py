"""The line to the driver: the only place that calls a driver's `write`, and where commands stand on it.

It knows no rules. Whoever uses it has decided what may be sent; it says what was really sent, where the set point is
after that, and when an arm that was left to the driver's own brake can be taken up again.
"""

from __future__ import annotations

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Robot
from robolearn.errors import RobolearnError
from robolearn.safety.journal import Journal
from robolearn.safety.layout import Layout
from robolearn.safety.motion import SetPoint
from robolearn.specs import Array, Arrays

__all__ = ["DRIVER_ERRORS", "DriverFault", "Line"]

DRIVER_ERRORS = (RobolearnError, OSError, RuntimeError)
"""What a driver may raise."""


class DriverFault(Exception):
    """A driver that cannot be trusted with commands any more."""


class Line:
    """Commands to one driver. Not for several threads at once, but for `stop`.

    Args:
        robot: The driver.
        layout: Its actions as one vector.
        clock: The clock of commands.
        journal: Learns when the driver's stop fails.

    Attributes:
        point: Where commands stand; None when the next one starts from where the arm is measured.
        time: When that was sent, or when the line was given up.
        begun: Whether it was ever taken up: then there is something to hold to.
        settled_at: Before this the driver still brakes.
        period_s: Time between the last two commands.
    """

    def __init__(self, robot: Robot, layout: Layout, clock: Clock, journal: Journal):
        self._robot, self._layout, self._clock, self._journal = robot, layout, clock, journal
        self.point: SetPoint | None = None
        self.time, self.period_s, self.settled_at = clock.now(), np.inf, -np.inf
        self.begun = False
        self._last: dict[str, Array] = {}

    def take_up(self, q: Array) -> SetPoint:
        """Begin at rest at positions (n,), without sending anything."""
        self.point = SetPoint(q, np.zeros_like(q), np.zeros_like(q))
        self._last, self.begun = self._layout.arrays(q), True
        return self.point

    def send(self, point: SetPoint, now: float) -> Arrays:
        """Send a set point and return what was really sent.

        Raises:
            DriverFault: The driver refused it, or says that it sent something that is not finite.
        """
        before, since = self.point, now - self.time
        try:
            sent = self._robot.write(self._layout.arrays(point.q))
        except DRIVER_ERRORS as error:
            raise DriverFault(f"the driver refused a command: {error}") from error
        q = self._layout.flat(sent)
        if not np.all(np.isfinite(q)):
            raise DriverFault("the driver says that it sent something that is not finite")
        if before is not None and since > 0 and not np.array_equal(q, point.q):  # the driver's own limits
            v = (q - before.q) / since
            point = SetPoint(q, v, (v - before.v) / since)
        self.point, self._last, self.time = point, dict(sent), now
        self.period_s = since if since > 0 else self.period_s
        return self._last

    def stop(self) -> None:
        """Let the driver brake; from any thread."""
        try:
            self._robot.stop()
        except DRIVER_ERRORS as error:
            self._journal.tell("gate.fault", self._clock.now(), f"the driver's stop failed: {error}")

    def rest(self) -> None:
        """From now on commands start from where the arm is measured, once the driver has had time to brake."""
        if self.point is not None and not self.point.at_rest and np.any(np.isfinite(self._layout.caps.acceleration)):
            braking = np.abs(self.point.v) / self._layout.caps.acceleration  # about as long as the driver needs
            self.settled_at = self.time + 2.0 * float(braking.max())
        self.point, self.time = None, self._clock.now()

    def forget(self) -> None:
        """What was sent last says nothing any more."""
        self._last = {}

    def held(self, measured: Array) -> Arrays:
        """What holds: the last command, or before any was sent these positions (n,)."""
        return self._last or self._layout.arrays(measured)
