"""A Franka Research 3 arm and hand through the vendor's pylibfranka.

pylibfranka is the maintained client that installs from PyPI. Its asynchronous handler brakes at every target and its
state cannot be read meanwhile, so this driver runs the 1 kHz loop itself, in a thread, and moves set points with
limited acceleration towards the last target. The arm stops by itself when 20 cycles are missed; a real-time kernel
is needed in practice. There is no twin of the Franka protocol: with pylibfranka 0.21.3 only importing, specs and a
refused connection were exercised, and the loop on a stand-in for the client (`franka_fake`); nothing was run on a real
arm. Older Panda arms need an older libfranka.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.joint_motion import JointMotion, within_reach
from robolearn.arm.frames import chain_from_frames, modified_frame
from robolearn.arm.kinematics import Chain
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, MissingDependency, SafetyFault, StaleReading
from robolearn.geometry import quaternion_from_matrix
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check

__all__ = ["Franka", "FrankaConfig"]

JOINTS = tuple(f"joint{k + 1}" for k in range(7))
# Franka's published FR3 position limits, rad, drawn in by 0.1 rad.
_LOW = (-2.6437, -1.6837, -2.8007, -2.9421, -2.7065, 0.6445, -2.9159)
_HIGH = (2.6437, 1.6837, 2.8007, -0.2518, 2.7065, 4.4169, 2.9159)
_MAX_ACCELERATION = 2.0
"""rad/s^2: a change of sign within one millisecond stays below the arm's jerk limit of 5000 rad/s^3."""
_HOME = (0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4)
_PERIOD_S = 1e-3
# Modified Denavit-Hartenberg (twist rad, length m, offset m), Franka's "Robot and interface specifications".
_RIGHT = np.pi / 2
_FRAMES = (
    (0.0, 0.0, 0.333),
    (-_RIGHT, 0.0, 0.0),
    (_RIGHT, 0.0, 0.316),
    (_RIGHT, 0.0825, 0.0),
    (-_RIGHT, -0.0825, 0.384),
    (_RIGHT, 0.0, 0.0),
    (_RIGHT, 0.088, 0.0),
)
_GAIN = 10.0


@dataclass(frozen=True, slots=True)
class FrankaConfig:
    """A Franka Research 3 with the Franka Control Interface."""

    address: str = "172.16.0.2"
    """Address of the arm. FCI must be activated in Desk."""
    realtime: bool = True
    """Insist on real-time scheduling; without it expect the arm to stop for missed cycles."""
    max_speed: float = 1.0
    """Largest joint speed, rad/s."""
    command_timeout_s: float = 0.2
    """Without a `write` for this long the arm brakes and holds."""
    stale_s: float = 0.05
    """A measurement older than this is refused."""

    def build(self, clock: Clock | None = None) -> Franka:
        """The arm, not yet connected; raises `MissingDependency` without pylibfranka."""
        try:
            import pylibfranka
        except ImportError as error:
            raise MissingDependency("pylibfranka", "hardware", "The Franka driver") from error
        return Franka(self, clock or MonotonicClock(), pylibfranka)


class Franka:
    """A `Robot`: enter to connect, leave to stop and disconnect. Build it with `FrankaConfig`.

    Observation: "arm.q" (7,) rad, "arm.dq" (7,) rad/s, "tool.position" (3,) m and "tool.quaternion" (4,) of the end
    effector in the base frame. Action: "arm.q_target" (7,) rad.
    """

    def __init__(self, config: FrankaConfig, clock: Clock, client: Any):
        self.config, self._clock, self._client = config, clock, client
        self._low, self._high = bounds(self.action_spec["arm.q_target"])
        self._lock = threading.Lock()
        self._motion: JointMotion | None = None
        self._target: Array = np.zeros(7)
        self._reading: Reading | None = None
        self._fault, self._written = "", -np.inf
        self._closing = threading.Event()
        self._loop: threading.Thread | None = None

    @property
    def observation_spec(self) -> Spec:
        return {
            "arm.q": ArraySpec((7,), unit="rad", names=JOINTS),
            "arm.dq": ArraySpec((7,), unit="rad/s", names=JOINTS),
            "tool.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "tool.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
        }

    @property
    def action_spec(self) -> Spec:
        return {"arm.q_target": ArraySpec((7,), low=_LOW, high=_HIGH, unit="rad", names=JOINTS)}

    @property
    def chain(self) -> Chain:
        """The nominal geometry of the arm, up to its flange."""
        frames, flange = [modified_frame(*frame) for frame in _FRAMES], modified_frame(0.0, 0.0, 0.107)
        return chain_from_frames("franka", JOINTS, frames, flange, low=_LOW, high=_HIGH, home=_HOME)

    def __enter__(self) -> Franka:
        if self._loop is not None:
            raise BenchError("The arm is already connected.")
        franka, config = self._client, self.config
        kind = franka.RealtimeConfig.kEnforce if config.realtime else franka.RealtimeConfig.kIgnore
        try:
            robot = franka.Robot(config.address, kind)
            state = robot.read_once()
            if state.robot_mode != franka.RobotMode.Idle:
                raise BenchError(
                    f"The Franka at {config.address} is in mode {state.robot_mode}. Release the stop button, unlock "
                    "the joints in Desk and clear errors there; this program never recovers by itself."
                )
            control = robot.start_joint_position_control(franka.ControllerMode.JointImpedance)
        except RuntimeError as error:
            raise BenchError(f"The Franka at {config.address} cannot be controlled: {error}") from error
        self._fault, self._written = "", -np.inf
        self._motion = JointMotion(np.array(state.q_d), config.max_speed, _MAX_ACCELERATION)
        self._note(state)
        self._closing.clear()
        self._loop = threading.Thread(target=self._run, args=(control, self._motion), name="franka", daemon=True)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._closing.set()
        if self._loop is not None:
            self._loop.join()
            self._loop = None
        self._motion = self._reading = None

    def read(self) -> Reading:
        with self._lock:
            reading = self._reading
        if reading is None:
            raise BenchError("The Franka is not connected; use it as a context manager (with robot: ...).")
        age = self._clock.now() - float(reading.time)
        if not age <= self.config.stale_s:
            raise StaleReading(
                f"The Franka at {self.config.address} has sent nothing new for {age:.3f} s; at most "
                f"{self.config.stale_s} s is allowed. {self._fault or 'Check the cable.'}"
            )
        return reading

    def write(self, action: Arrays) -> Arrays:
        """Move towards a target and return what was taken on: inside joint limits, led by at most 0.3 s of motion.

        Raises:
            SpecError: Wrong names, shapes or types, or not finite.
            SafetyFault: The arm stopped with a reflex or error; a person must clear it in Desk.
            BenchError: Not connected.
        """
        check(action, self.action_spec, where="Franka action")
        q, lead = self.read().arrays["arm.q"], 0.3 * self.config.max_speed
        with self._lock:
            if self._fault:
                raise SafetyFault(self._fault)
            if self._motion is None:
                raise BenchError("The Franka is not connected; use it as a context manager (with robot: ...).")
            target = np.clip(action["arm.q_target"], self._low, self._high)
            self._target = within_reach(target, last=q, measured=q, step=lead, lead=lead)
            self._motion.servo(self._target, _GAIN)
            self._written = self._clock.now()
            return {"arm.q_target": self._target.copy()}

    def stop(self) -> None:
        with self._lock:
            if self._motion is not None:
                self._motion.hold(_MAX_ACCELERATION)

    def _run(self, control: Any, motion: JointMotion) -> None:
        """The 1 kHz loop: read, advance the set point, write; ends when the arm is at rest and we are closing."""
        while True:
            try:
                state, _ = control.readOnce()
                with self._lock:
                    if self._closing.is_set() or self._clock.now() - self._written > self.config.command_timeout_s:
                        motion.hold(_MAX_ACCELERATION)
                    command = self._client.JointPositions(motion.step(_PERIOD_S).tolist())
                    command.motion_finished = self._closing.is_set() and motion.at_rest
                control.writeOnce(command)
            except RuntimeError as error:
                with self._lock:
                    self._fault = (
                        f"The Franka stopped: {error}. Look at the arm, remove the cause and clear the error in Desk, "
                        "then connect again. This program never recovers by itself."
                    )
                return
            self._note(state)
            if command.motion_finished:
                return

    def _note(self, state: Any) -> None:
        pose = np.array(state.O_T_EE).reshape(4, 4).T  # column-major
        arrays = {
            "arm.q": np.array(state.q, np.float64),
            "arm.dq": np.array(state.dq, np.float64),
            "tool.position": pose[:3, 3].copy(),
            "tool.quaternion": quaternion_from_matrix(pose[:3, :3]),
        }
        with self._lock:
            self._reading = Reading(self._clock.now(), arrays)
