"""The controller of an xArm as a state machine in memory: modes, states, errors, one `step` per cycle.

It knows nothing of sockets (see `xarm_twin`). Modelled: position, servo and joint-velocity mode, the states ready,
moving, paused and stopped, errors that latch until a client clears them, joint limits, the emergency stop. As on the
real one, a velocity without a duration runs on when the client dies. Nothing here was compared with a real arm.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from hardware.joint_motion import JointMotion, Moment
from hardware.kinematic_arm import ArmPhysics
from hardware.xarm_models import XArmModel, flange_pose
from robolearn.errors import BenchError
from robolearn.specs import Array

__all__ = ["ERROR_EMERGENCY", "ERROR_JOINT_LIMIT", "XArmController"]

PERIOD_S = 0.004
"""One cycle: the controller takes servo commands at up to 250 Hz."""
STOP_DECELERATION = 20.0
"""How fast a stop brakes, rad/s^2."""
SERVO_GAIN = 60.0
"""How fast servo set points are followed, 1/s."""

MOVING, READY, PAUSED, STOPPED = 1, 2, 3, 4
POSITION_MODE, SERVO_MODE, VELOCITY_MODE = 0, 1, 4
ERROR_EMERGENCY, ERROR_JOINT_LIMIT, ERROR_COLLISION = 2, 23, 31


class XArmController:
    """Everything inside the box. Methods may be called from any thread.

    Args:
        model: Which arm.
        physics: What moves; it must have as many joints.
        history_s: How much of the past `history` keeps, in s.
    """

    def __init__(self, model: XArmModel, physics: ArmPhysics, history_s: float = 10.0):
        if physics.joints != model.joints:
            raise BenchError(f"An {model.name} has {model.joints} joints; the physics has {physics.joints}.")
        self.model, self._physics, self.lock = model, physics, threading.RLock()
        self.period_s, self.cycles = PERIOD_S, 0
        self.q, self.dq = physics.state()
        self.motion = JointMotion(self.q, model.max_speed, 20.0)
        self.mode, self.error, self.enabled, self.emergency = POSITION_MODE, 0, False, False
        self._stopped, self._paused = True, False
        self.frozen = False
        self.clears, self.commands, self.last_command = 0, 0, 0.0
        self._velocity_until = np.inf
        self.log: list[str] = []
        self.history: deque[Moment] = deque(maxlen=int(history_s / PERIOD_S))

    @property
    def time(self) -> float:
        """Seconds since the controller started, on its own clock."""
        return self.cycles * self.period_s

    @property
    def state(self) -> int:
        """What the controller reports: 1 moving, 2 ready, 3 paused, 4 stopped."""
        if self._stopped or self.error or not self.enabled:
            return STOPPED
        if self._paused:
            return PAUSED
        moving = self.motion.mode == "move" or bool(np.any(np.abs(self.motion.dq) > 1e-3))
        return MOVING if moving else READY

    @property
    def ready(self) -> bool:
        """Whether motion commands are taken."""
        return self.state in (MOVING, READY)

    def step(self) -> None:
        """One control cycle."""
        with self.lock:
            if self.frozen:
                return
            self.cycles += 1
            if self.motion.mode == "speed" and self.time >= self._velocity_until:
                self.motion.hold(STOP_DECELERATION)
            self._physics.command(self.motion.step(self.period_s))
            self._physics.step_to(self.time)
            self.q, self.dq = self._physics.state()
            if not self.error and not self.inside(self.q, 1e-3):
                self.fail(ERROR_JOINT_LIMIT)
            self.history.append(Moment(self.time, self.q, self.dq, self.ready))

    def inside(self, q: Array, margin: float = 0.0) -> bool:
        """Whether joint positions are finite and inside the limits."""
        low, high = np.array(self.model.low) - margin, np.array(self.model.high) + margin
        return bool(np.all(q >= low) and np.all(q <= high))

    def pose(self) -> tuple[float, ...]:
        """Flange pose as the vendor reports it: mm and rad (roll, pitch, yaw)."""
        x, y, z, *rpy = flange_pose(self.model, self.q.tolist())
        return 1e3 * x, 1e3 * y, 1e3 * z, *rpy

    def enable(self, on: bool) -> None:
        """Motors on or off."""
        with self.lock:
            self.enabled = on and not self.emergency
            if not on:
                self.stop()

    def set_mode(self, mode: int) -> None:
        """Change the mode; as on the real one, the arm stops and waits for `set_state(0)`."""
        with self.lock:
            if mode != self.mode:
                self.stop()
            self.mode = mode

    def set_state(self, state: int) -> None:
        """0 ready, 3 paused, 4 stopped."""
        with self.lock:
            if state == 0 and not self.error:
                self._stopped = self._paused = False
            elif state == PAUSED:
                self._paused = True
                self.motion.hold(STOP_DECELERATION)
            elif state == STOPPED:
                self.stop()

    def stop(self) -> None:
        """Brake and take no motion command until made ready again."""
        with self.lock:
            self._stopped = True
            self.motion.hold(STOP_DECELERATION)

    def fail(self, code: int) -> None:
        """Latch an error: the arm brakes."""
        with self.lock:
            self.error = code
            self.log.append(f"error {code}")
            self.stop()

    def clear_error(self) -> None:
        """What a client's `clean_error` does; an emergency stop stays while its button is pressed."""
        with self.lock:
            self.clears += 1
            if not self.emergency:
                self.error = 0

    def emergency_stop(self) -> None:
        """Somebody hit the red button: the arm brakes and the motors go off."""
        with self.lock:
            self.emergency, self.enabled = True, False
            self.fail(ERROR_EMERGENCY)

    def release_emergency_stop(self) -> None:
        """Somebody turned the red button; the error stays until it is cleared."""
        with self.lock:
            self.emergency = False

    def move(self, target: Array, speed: float, acceleration: float) -> None:
        """Point to point, in position mode."""
        if self._accept(POSITION_MODE, target):
            self.motion.move(target, min(speed, self.model.max_speed), acceleration)

    def servo(self, target: Array) -> None:
        """Follow a set point, in servo mode."""
        if self._accept(SERVO_MODE, target):
            self.motion.servo(target, SERVO_GAIN)

    def velocity(self, speed: Array, duration: float) -> None:
        """Joint speeds for `duration` s (infinite: until told otherwise), in joint velocity mode."""
        if self._accept(VELOCITY_MODE, self.q) and np.all(np.isfinite(speed)):
            self._velocity_until = self.time + duration
            self.motion.speed(np.clip(speed, -self.model.max_speed, self.model.max_speed), 20.0)

    def _accept(self, mode: int, target: Array) -> bool:
        with self.lock:
            self.commands += 1
            self.last_command = self.time
            if self.mode != mode or not self.ready:
                return False
            if not self.inside(target):
                self.log.append(f"target {np.round(target, 3).tolist()} outside the joint limits")
                self.fail(ERROR_JOINT_LIMIT)
                return False
            return True
