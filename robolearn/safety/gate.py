"""The one gate every command passes on its way to a driver.

`SafeRobot` wraps any `Robot` and is the only module that calls a driver's `write`. Checks read "refuse unless
provably inside", so a NaN in a command or in a limit can never switch a limit off. A refused command becomes
a hold within the same tick, the fault latches with its reason, and only a person clears it.

These are software limits. They are not a safety-rated function; the controller's own safety settings and the
emergency stop stay the last line.
"""

from __future__ import annotations

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Robot
from robolearn.episode import Reading
from robolearn.errors import SafetyFault, SpecError
from robolearn.safety.limits import Limits
from robolearn.specs import Array, Arrays, Spec, bounds, check

__all__ = ["SafeRobot"]


class SafeRobot:
    """A `Robot` that cannot be given a bad command.

    Args:
        robot: The driver. Its action spec must have finite `low` and `high` for every array.
        limits: Rates of change.
        clock: Measures the time since the last command.

    Raises:
        SafetyFault: On construction, when a limit is missing: the arm refuses to arm.
    """

    def __init__(self, robot: Robot, limits: Limits, clock: Clock):
        limits.require_fit(robot.observation_spec, robot.action_spec)
        self._robot, self._limits, self._clock = robot, limits, clock
        self._last: dict[str, Array] = {}
        self._last_time = clock.now()
        self.fault = ""

    @property
    def observation_spec(self) -> Spec:
        return self._robot.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._robot.action_spec

    def read(self) -> Reading:
        return self._robot.read()

    def write(self, action: Arrays) -> Arrays:
        """Send a command inside all limits and return what was sent.

        A command that cannot be made safe stops the arm in this tick and latches `fault`; until `clear`, every
        command is answered by the last one that was sent.

        Raises:
            SafetyFault: A command was refused before any was ever sent, so there is nothing to hold to.
        """
        if not self.fault:
            try:
                check(action, self.action_spec, where="command")
            except SpecError as error:
                self.fault = str(error)
        if self.fault:
            self._robot.stop()
            if not self._last:
                raise SafetyFault(f"The first command was refused and the arm is stopped. {self.fault}")
            return self._last
        now = self._clock.now()
        if not self._last:
            arrays = self._robot.read().arrays
            self._last = {name: arrays[source].copy() for name, source in self._limits.measured.items()}
        command: dict[str, Array] = {}
        for name, spec in self.action_spec.items():
            low, high = bounds(spec)
            value = np.clip(action[name], low, high)
            if name in self._last:
                reach = np.asarray(self._limits.rate[name], float) * (now - self._last_time)
                value = np.clip(value, self._last[name] - reach, self._last[name] + reach)
            command[name] = np.asarray(value, spec.dtype)
        self._last, self._last_time = dict(self._robot.write(command)), now
        return self._last

    def stop(self) -> None:
        self._robot.stop()

    def clear(self) -> None:
        """Acknowledge the fault; the next command starts from where the arm is measured to be."""
        self.fault = ""
        self._last = {}
        self._last_time = self._clock.now()
