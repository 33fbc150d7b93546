"""Joint set points: the generator inside an arm's controller, and the reach of one command.

`JointMotion` holds, servos, keeps a speed or goes point to point; the twins' controllers and the Franka loop use it.
Each step turns the present intention into the next joint set point, never exceeding the given speeds and
accelerations; a speed scaling of s makes everything s times as fast, as a pendant's slider does.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from robolearn.specs import Array

__all__ = ["JointMotion", "Moment", "within_reach"]

Mode = Literal["hold", "servo", "speed", "move"]


class Moment(NamedTuple):
    """What a twin did in one cycle: its own time in s, measured q and dq, and whether it took motion commands."""

    time: float
    q: Array
    dq: Array
    playing: bool


def within_reach(target: Array, *, last: Array, measured: Array, step: float, lead: float) -> Array:
    """The point nearest to `target`, per joint, at most `step` rad from `last` and at most `lead` rad from `measured`.

    The step bounds the speed of commands; the lead keeps a slowed or blocked arm from having much to catch up with.
    """
    return np.clip(np.clip(target, last - step, last + step), measured - lead, measured + lead)


class JointMotion:
    """Joint set points over time. All vectors are (joints,), rad, rad/s and rad/s^2.

    Args:
        q: Where the arm is.
        max_speed: Speed of a joint in a servo motion.
        max_acceleration: Acceleration of a joint in a servo motion.
    """

    def __init__(self, q: Array, max_speed: float, max_acceleration: float):
        self.q, self.dq = np.array(q, np.float64), np.zeros(len(q))
        self._max_speed, self._max_acceleration = max_speed, max_acceleration
        self.mode: Mode = "hold"
        self._target = self.q.copy()
        self._gain = 1.0
        self._speeds = self._accelerations = np.full(len(q), max_acceleration)

    @property
    def at_rest(self) -> bool:
        """Whether the set point stands still and has nothing left to do."""
        return self.mode == "hold" and not np.any(self.dq)

    def hold(self, deceleration: float) -> None:
        """Slow down with `deceleration` rad/s^2 and stay."""
        self.mode = "hold"
        self._accelerations = np.full(len(self.q), deceleration)

    def servo(self, target: Array, gain: float) -> None:
        """Follow `target`; the lag behind a steady motion is 1 / `gain` seconds."""
        self.mode, self._target, self._gain = "servo", np.array(target, np.float64), gain

    def speed(self, speed: Array, acceleration: float) -> None:
        """Move with joint speeds until told otherwise."""
        self.mode, self._speeds = "speed", np.array(speed, np.float64)
        self._accelerations = np.full(len(self.q), acceleration)

    def move(self, target: Array, speed: float, acceleration: float) -> None:
        """Go to `target` and hold there; joints arrive together, the one with the longest way sets the pace."""
        self.mode, self._target = "move", np.array(target, np.float64)
        way = np.abs(self._target - self.q)
        share = way / max(float(np.max(way)), 1e-12)
        self._speeds, self._accelerations = speed * share, acceleration * np.maximum(share, 1e-6)

    def step(self, dt: float, scaling: float = 1.0) -> Array:
        """The set point `dt` seconds later."""
        limit = self._accelerations
        wanted = np.zeros_like(self.q)
        error = self._target - self.q
        if self.mode == "servo":
            limit = np.full(len(self.q), self._max_acceleration)
            reach = np.minimum(np.sqrt(1.6 * self._max_acceleration * np.abs(error)), self._max_speed * scaling)
            wanted = np.clip(min(self._gain, 0.5 / dt) * scaling * error, -reach, reach)
        elif self.mode == "speed":
            wanted = self._speeds * scaling
        elif self.mode == "move":
            reach = np.minimum(np.sqrt(1.6 * limit * np.abs(error)), self._speeds * scaling)
            wanted = np.sign(error) * np.minimum(reach, np.abs(error) / dt)
        self.dq = self.dq + np.clip(wanted - self.dq, -limit * dt, limit * dt)
        self.q = self.q + self.dq * dt
        if self.mode == "move" and np.all(np.abs(self._target - self.q) < 1e-4) and np.all(np.abs(self.dq) < 0.05):
            self.q, self.dq = self._target.copy(), np.zeros_like(self.dq)
            self.hold(self._max_acceleration)
        return self.q
