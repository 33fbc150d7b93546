"""The controller of a UR arm as a state machine in memory: safety, power, program, registers, one `step` a cycle.

It knows nothing of sockets (see `rtde_twin`), so that every rule can be tested cycle by cycle. What it models of the
real controller: protective and emergency stops that only a person clears, remote control, the speed slider, joint
limits that end in a protective stop, a program that stops the arm when it ends, and the RTDE watchdog. What it does
not: payload, force control, singularities. Nothing here was compared with a real arm.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np

from hardware.joint_motion import JointMotion, Moment
from hardware.kinematic_arm import ArmPhysics, FeelsContact
from hardware.rtde_protocol import SafetyMode
from hardware.ur_models import UrModel, flange_pose
from hardware.ur_script import ControlScript
from robolearn.errors import BenchError
from robolearn.specs import Array

__all__ = ["UrController"]

STOP_DECELERATION = 25.0
"""Deceleration when a program ends or a stop is triggered, rad/s^2."""
MAX_ACCELERATION = 40.0
"""Joint acceleration of servo motions, rad/s^2."""
UNLOCK_AFTER_S = 5.0
"""A protective stop can be unlocked only this long after it happened."""

ROBOT_OFF, ROBOT_IDLE, ROBOT_RUNNING = 3, 5, 7
PROGRAM_STOPPED, PROGRAM_PLAYING = 1, 2


class UrController:
    """Everything inside the box. Methods may be called from any thread.

    Args:
        model: Which arm.
        physics: What moves; it must have six joints.
        history_s: How much of the past `history` keeps, in s.
    """

    def __init__(self, model: UrModel, physics: ArmPhysics, history_s: float = 10.0):
        if physics.joints != 6:
            raise BenchError(f"A {model.name} has 6 joints; the physics behind its twin has {physics.joints}.")
        self.model, self._physics, self.lock = model, physics, threading.RLock()
        self.period_s = 1.0 / model.rate_hz
        self.cycles = 0
        self._q, self._dq = physics.state()
        self.motion = JointMotion(self._q, float(min(model.max_speed)), MAX_ACCELERATION)
        self.robot_mode, self.safety_mode = ROBOT_RUNNING, SafetyMode.NORMAL
        self.remote_control, self.speed_slider = True, 1.0
        self.script: ControlScript | None = None
        self.inputs: dict[str, float] = {}
        self.input_times: dict[str, float] = {}
        self.input_count = 0
        self.outputs: dict[str, tuple[float, ...]] = {}
        self.log: list[str] = []
        self.unlocks = 0
        self.frozen = False
        self.history: deque[Moment] = deque(maxlen=int(history_s * model.rate_hz))
        self._stopped_at = 0.0
        self._force: tuple[float, ...] = ()
        self._contacts = physics if isinstance(physics, FeelsContact) else None
        self._values: dict[str, tuple[float, ...]] | None = None

    @property
    def time(self) -> float:
        """Seconds since the controller started, on its own clock."""
        return self.cycles * self.period_s

    @property
    def playing(self) -> bool:
        """Whether a program runs."""
        return self.script is not None

    def step(self) -> None:
        """One control cycle: the program acts, the set point moves, physics follows, limits are checked."""
        with self.lock:
            if self.frozen:
                return
            self.cycles += 1
            if self.script is not None:
                ended = self.script.cycle(self)
                if ended:
                    self.stop_program(ended)
            self._physics.command(self.motion.step(self.period_s, self.speed_slider))
            self._physics.step_to(self.time)
            self._q, self._dq = self._physics.state()
            if self._contacts is not None:
                self._force = tuple(self._contacts.wrench().tolist())
            beyond = (self._q < np.array(self.model.low) - 1e-3) | (self._q > np.array(self.model.high) + 1e-3)
            if np.any(beyond) and self.safety_mode == SafetyMode.NORMAL:
                self.protective_stop(f"joint {int(np.argmax(beyond))} is beyond its limit")
            self._values = None
            self.history.append(Moment(self.time, self._q, self._dq, self.playing))

    # What a program, a client or a person at the pendant can do.

    def start_program(self, script: ControlScript) -> None:
        """Run an uploaded program, if the arm is powered and not stopped."""
        with self.lock:
            if self.safety_mode == SafetyMode.NORMAL and self.robot_mode == ROBOT_RUNNING:
                self.script = script
                self.outputs.clear()
                self.log.append("program started")
            else:
                self.log.append(f"program refused in safety mode {self.safety_mode.name}")

    def stop_program(self, reason: str) -> None:
        """End the program; the arm decelerates and holds."""
        with self.lock:
            if self.script is not None:
                self.log.append(f"program stopped: {reason}")
            self.script = None
            self.motion.hold(STOP_DECELERATION)

    def set_inputs(self, values: Mapping[str, tuple[float, ...]]) -> None:
        """Input registers that an RTDE client sent, all at once."""
        with self.lock:
            self.input_count += 1
            for name, value in values.items():
                self.inputs[name] = value[0]
                self.input_times[name] = self.time
            if "speed_slider_fraction" in values and values.get("speed_slider_mask", (0,))[0]:
                self.set_speed_slider(values["speed_slider_fraction"][0])

    def protective_stop(self, reason: str = "injected") -> None:
        """Stop the arm and latch. Only a person (`unlock_protective_stop`) ends it."""
        self._safety_stop(SafetyMode.PROTECTIVE_STOP, reason)

    def emergency_stop(self) -> None:
        """Somebody hit the red button: the arm brakes and power goes off."""
        self._safety_stop(SafetyMode.ROBOT_EMERGENCY_STOP, "emergency stop button")
        self.robot_mode = ROBOT_OFF

    def release_emergency_stop(self) -> None:
        """Somebody turned the red button: power stays off until it is switched on and brakes are released."""
        with self.lock:
            if self.safety_mode == SafetyMode.ROBOT_EMERGENCY_STOP:
                self.safety_mode = SafetyMode.NORMAL

    def power_on(self) -> None:
        """Power and brakes, after an emergency stop was released."""
        with self.lock:
            if self.safety_mode == SafetyMode.NORMAL:
                self.robot_mode = ROBOT_RUNNING

    def unlock_protective_stop(self) -> bool:
        """What the pendant's "enable robot" does; False in the first five seconds, as the real one refuses."""
        with self.lock:
            self.unlocks += 1
            if self.time - self._stopped_at < UNLOCK_AFTER_S:
                return False
            if self.safety_mode == SafetyMode.PROTECTIVE_STOP:
                self.safety_mode = SafetyMode.NORMAL
            return True

    def set_speed_slider(self, fraction: float) -> None:
        """The pendant's speed slider, 0 to 1."""
        with self.lock:
            self.speed_slider = min(1.0, max(0.0, fraction))

    def freeze(self, frozen: bool = True) -> None:
        """A hung controller: time, motion and data stop, connections stay open."""
        self.frozen = frozen

    def joints_inside(self, q: Array) -> bool:
        """Whether all joints of a target are finite and inside the arm's limits."""
        return bool(np.all(q >= self.model.low) and np.all(q <= self.model.high))

    def values(self) -> dict[str, tuple[float, ...]]:
        """RTDE output variables by name as of the last cycle; what is not modelled is missing."""
        with self.lock:
            if self._values is None:
                self._values = self._measure() | self.outputs
            return self._values

    def _measure(self) -> dict[str, tuple[float, ...]]:
        powered, playing = self.robot_mode == ROBOT_RUNNING, self.playing
        stopped = self.safety_mode != SafetyMode.NORMAL
        emergency = self.safety_mode == SafetyMode.ROBOT_EMERGENCY_STOP
        safety_bits = (
            (not stopped)
            | (self.safety_mode == SafetyMode.PROTECTIVE_STOP) << 2
            | emergency << 6
            | emergency << 7
            | stopped << 10
        )
        return {
            "timestamp": (self.time,),
            "actual_q": tuple(self._q.tolist()),
            "actual_qd": tuple(self._dq.tolist()),
            "target_q": tuple(self.motion.q.tolist()),
            "target_qd": tuple(self.motion.dq.tolist()),
            "actual_TCP_pose": flange_pose(self.model, self._q.tolist()),
            "target_TCP_pose": flange_pose(self.model, self.motion.q.tolist()),
            "robot_mode": (self.robot_mode,),
            "safety_mode": (int(self.safety_mode),),
            "safety_status": (int(self.safety_mode),),
            "safety_status_bits": (int(safety_bits),),
            "robot_status_bits": (int(powered | playing << 1),),
            "runtime_state": (PROGRAM_PLAYING if playing else PROGRAM_STOPPED,),
            "speed_scaling": (self.speed_slider if playing else 0.0,),
            "target_speed_fraction": (self.speed_slider,),
            "joint_mode": (253 if powered else 239,) * 6,
        } | ({"actual_TCP_force": self._force} if self._force else {})

    def _safety_stop(self, mode: SafetyMode, reason: str) -> None:
        with self.lock:
            self.safety_mode, self._stopped_at = mode, self.time
            self.log.append(f"{mode.name}: {reason}")
            self.stop_program(mode.name)
