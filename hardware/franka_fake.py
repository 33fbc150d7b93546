"""A seeded stand-in for the vendor's client of a Franka arm, where there is no arm: the calls that our driver makes.

It is not a protocol twin: the Franka Control Interface is a binary stream at 1 kHz, its layout that of one version of
libfranka, and no document but its source describes it. What is imitated is how the arm answers set points: they become
the measured joints one cycle later, and one that leaves the joint range, is not finite, or asks for more speed,
acceleration or jerk than Franka publishes ends the motion with an error that names the reflex, as on the real arm.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from robolearn.clock import Clock
from robolearn.specs import Array

__all__ = ["FakeFranka", "FakeFrankaConfig"]

_LOW = np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159])
_HIGH = np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159])
_SPEED = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
_ACCELERATION, _JERK = 10.0, 5000.0
"""Franka Research 3, robot and interface specifications."""
_PERIOD_S = 1e-3


class RobotMode(enum.Enum):
    """As in libfranka."""

    Idle = 1
    Move = 2
    Reflex = 4
    UserStopped = 5


@dataclass(frozen=True, slots=True)
class FakeFrankaConfig:
    """An arm that exists only as numbers."""

    start: tuple[float, ...] = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
    """Joint positions at the start, rad."""
    noise: float = 1e-6
    """Standard deviation of measured joints, rad; ten times that for speeds, rad/s."""
    seed: int = 0
    """Seed of the noise."""

    def build(self, clock: Clock) -> FakeFranka:
        """The client, whose `Robot` is this one arm."""
        return FakeFranka(self, clock)


class FakeFranka:
    """Stands where the module pylibfranka stands. Build it with `FakeFrankaConfig`."""

    RobotMode = RobotMode
    RealtimeConfig = SimpleNamespace(kEnforce="enforce", kIgnore="ignore")
    ControllerMode = SimpleNamespace(JointImpedance="joint impedance")

    def __init__(self, config: FakeFrankaConfig, clock: Clock):
        self._config, self._clock = config, clock
        self._random = np.random.default_rng(config.seed)
        self._lock = threading.Lock()
        self.q, self._v, self._a = np.array(config.start), np.zeros(7), np.zeros(7)
        self.mode, self.reflex = RobotMode.Idle, ""
        self.commands = 0
        self.reachable = True
        self._next = 0.0

    def Robot(self, address: str, realtime: Any) -> FakeFranka:
        """Connect."""
        if not self.reachable:
            raise RuntimeError(f"libfranka: Connection to {address} timed out")
        return self

    def JointPositions(self, q: list[float]) -> Any:
        """A command."""
        return SimpleNamespace(q=q, motion_finished=False)

    def read_once(self) -> Any:
        """The arm's state."""
        with self._lock:
            noise = self._random.standard_normal((2, 7)) * self._config.noise
            pose = np.eye(4)
            pose[:3, 3] = 0.3, 0.0, 0.5
            return SimpleNamespace(
                q=self.q + noise[0],
                dq=self._v + 10 * noise[1],
                q_d=self.q.copy(),
                O_T_EE=pose.T.ravel().tolist(),
                robot_mode=self.mode,
            )

    def start_joint_position_control(self, mode: Any) -> FakeFranka:
        """Begin the 1 kHz loop."""
        self.mode, self._next = RobotMode.Move, self._clock.now()
        return self

    def readOnce(self) -> tuple[Any, float]:
        """The state at the next cycle; waits for it."""
        self._next += _PERIOD_S
        self._clock.sleep_until(self._next)
        if self.reflex:
            raise RuntimeError(f"libfranka: Move command aborted: motion aborted by reflex! [{self.reflex}]")
        return self.read_once(), _PERIOD_S

    def writeOnce(self, command: Any) -> None:
        """One set point."""
        q = np.asarray(command.q, np.float64)
        with self._lock:
            self.commands += 1
            reflex = self._judge(q)
            if reflex:
                self.reflex, self.mode = reflex, RobotMode.Reflex
                raise RuntimeError(f"libfranka: Move command aborted: motion aborted by reflex! [{reflex}]")
            v = (q - self.q) / _PERIOD_S
            self._a, self._v, self.q = (v - self._v) / _PERIOD_S, v, q
            if command.motion_finished:
                self.mode = RobotMode.Idle

    def stop_button(self) -> None:
        """Somebody presses the stop button."""
        self.reflex, self.mode = "user_stopped", RobotMode.UserStopped

    def _judge(self, q: Array) -> str:
        v = (q - self.q) / _PERIOD_S
        a = (v - self._v) / _PERIOD_S
        rules = (
            ("joint_motion_generator_position_limits_violation", np.all((q >= _LOW) & (q <= _HIGH))),
            ("joint_motion_generator_velocity_limits_violation", np.all(np.abs(v) <= _SPEED)),
            ("joint_motion_generator_velocity_discontinuity", np.all(np.abs(a) <= _ACCELERATION)),
            ("joint_motion_generator_acceleration_discontinuity", np.all(np.abs(a - self._a) / _PERIOD_S <= _JERK)),
        )
        return next((name for name, holds in rules if not holds), "")
