"""What moves behind a protocol twin: a small contract, a seeded arm model, and a bridge to any `Robot`.

`KinematicArm` is a second-order joint-space model (position and velocity are its state) with speed and
acceleration limits: no gravity, no contacts, good for protocols, timing and safety rules. `RobotPhysics` puts any
object with `read()` and `write()` behind the same contract, such as the MuJoCo twin, which has dynamics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from robolearn.contracts import Robot
from robolearn.errors import BenchError
from robolearn.specs import Array

__all__ = ["ArmPhysics", "FeelsContact", "KinematicArm", "KinematicArmConfig", "RobotPhysics"]


@runtime_checkable
class ArmPhysics(Protocol):
    """An arm that follows joint positions. A twin's controller calls it from one thread, once per cycle."""

    @property
    def joints(self) -> int: ...

    def state(self) -> tuple[Array, Array]:
        """Measured joint positions (joints,) in rad and velocities (joints,) in rad/s."""
        ...

    def command(self, q: Array) -> None:
        """Follow these joint positions (joints,) in rad from now on."""
        ...

    def step_to(self, time: float) -> None:
        """Let the world run until `time` in seconds since the start."""
        ...


@runtime_checkable
class FeelsContact(Protocol):
    """Physics with contacts."""

    def wrench(self) -> Array:
        """What the surroundings do to the tool, (6,) N and N m about the tool point, in the vendor's base frame."""
        ...


@dataclass(frozen=True, slots=True)
class KinematicArmConfig:
    """An arm that exists only as numbers."""

    start: tuple[float, ...] = (0.0, -1.57, 1.57, -1.57, -1.57, 0.0)
    """Joint positions at the start, rad; their number is the number of joints."""
    max_speed: float = 3.14
    """Largest joint speed, rad/s."""
    max_acceleration: float = 40.0
    """Largest joint acceleration, rad/s^2."""
    bandwidth: float = 100.0
    """How fast the joints follow a command, 1/s; the lag behind a steady motion is its inverse."""
    noise: float = 1e-5
    """Standard deviation of measured positions, rad; velocities have ten times this number, in rad/s."""
    seed: int = 0
    """Seed of the measurement noise."""

    def build(self) -> KinematicArm:
        """The arm, at rest at its start, at time 0."""
        return KinematicArm(self)


class KinematicArm:
    """The model. Build it with `KinematicArmConfig`."""

    def __init__(self, config: KinematicArmConfig):
        self._config = config
        self._q = np.array(config.start, np.float64)
        self._dq = np.zeros_like(self._q)
        self._target = self._q.copy()
        self._time = 0.0
        self._random = np.random.default_rng(config.seed)

    @property
    def joints(self) -> int:
        return len(self._q)

    def state(self) -> tuple[Array, Array]:
        noise = self._random.standard_normal((2, len(self._q))) * self._config.noise
        return self._q + noise[0], self._dq + 10 * noise[1]

    def command(self, q: Array) -> None:
        if not np.all(np.isfinite(q)):
            raise BenchError(f"The arm model was commanded {q}; a controller must refuse what is not finite.")
        self._target = np.array(q, np.float64)

    def step_to(self, time: float) -> None:
        limit = self._config
        while time - self._time > 1e-9:
            dt = min(0.002, time - self._time)
            error = self._target - self._q
            # Never faster than what can still be braked before the target.
            braking = np.sqrt(2 * limit.max_acceleration * np.abs(error))
            reach = np.minimum(braking, limit.max_speed)
            wanted = np.clip(limit.bandwidth * error, -reach, reach)
            change = limit.max_acceleration * dt
            self._dq = self._dq + np.clip(wanted - self._dq, -change, change)
            self._q = self._q + self._dq * dt
            self._time += dt


class RobotPhysics:
    """Any `Robot` with "arm.q", "arm.dq" and the action "arm.q_target" as the physics of a twin.

    Time is the robot's own clock's; `step_to` does nothing. Other actions (a gripper) keep the middle of their
    range until `hold_other` gives them values.

    Raises:
        BenchError: The robot lacks one of these arrays or has another number of joints than `joints`.
    """

    def __init__(self, robot: Robot, joints: int):
        for name, spec in (("arm.q", robot.observation_spec), ("arm.dq", robot.observation_spec)):
            if name not in spec:
                raise BenchError(f"The physics of a twin must measure {name!r}; it has {sorted(spec)}.")
        if "arm.q_target" not in robot.action_spec:
            raise BenchError(f'The physics must be commanded by "arm.q_target"; it has {sorted(robot.action_spec)}.')
        found = robot.action_spec["arm.q_target"].shape[0]
        if found != joints:
            raise BenchError(
                f"The twin has {joints} joints, the robot behind it {found}. Choose a robot with {joints} joints."
            )
        self._robot = robot
        self._other: dict[str, Array] = {}
        for name, spec in robot.action_spec.items():
            if name != "arm.q_target":
                low = np.zeros(spec.shape) if spec.low is None else np.broadcast_to(spec.low, spec.shape)
                high = np.zeros(spec.shape) if spec.high is None else np.broadcast_to(spec.high, spec.shape)
                self._other[name] = np.asarray((low + high) / 2, spec.dtype)

    @property
    def joints(self) -> int:
        return self._robot.action_spec["arm.q_target"].shape[0]

    def hold_other(self, name: str, value: Sequence[float]) -> None:
        """From now on send `value` for another action, such as "gripper.command"."""
        self._other[name] = np.asarray(value, self._robot.action_spec[name].dtype)

    def state(self) -> tuple[Array, Array]:
        arrays = self._robot.read().arrays
        return np.asarray(arrays["arm.q"], np.float64), np.asarray(arrays["arm.dq"], np.float64)

    def command(self, q: Array) -> None:
        self._robot.write({"arm.q_target": np.asarray(q, np.float64)} | self._other)

    def step_to(self, time: float) -> None:
        pass
