"""A UFACTORY xArm 6 or 7 through the vendor's xarm-python-sdk, in servo mode.

Each `write` is one `set_servo_angle_j` set point. A thread asks for joint states, so `read` never waits for the
network; when this process dies no set points come and the arm rests at the last one, a step away. Errors and
emergency stops latch and are never cleared from here. Exercised with xarm-python-sdk 1.18.4 against `xarm_twin` only;
nothing was run on a real arm.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hardware.joint_motion import within_reach
from hardware.xarm_gripper import XArmGripper
from hardware.xarm_models import XArmModel, find_xarm, quaternion_from_rpy
from robolearn.arm.kinematics import Chain
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, MissingDependency, SafetyFault, StaleReading
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check

__all__ = ["XArm", "XArmConfig", "make_log_folder"]

_SERVO_MODE, _READY, _STOP = 1, 0, 4


@dataclass(frozen=True, slots=True)
class XArmConfig:
    """An xArm 6 or 7."""

    address: str = "192.168.1.20"
    """Address of the controller."""
    model: str = "xarm7"
    """Which arm: xarm6 or xarm7; must match what the controller reports."""
    port: int = 502
    """Control port; another one than 502 (a twin without privileges) holds for every xArm of this process."""
    rate_hz: float = 100.0
    """Measurements per second, 250 at most."""
    max_speed: float = 1.0
    """Largest joint speed of a command, rad/s."""
    command_timeout_s: float = 0.2
    """Time since the last `write` counts for the speed limit only up to this long."""
    report_only: bool = False
    """Read and never take control: for a shadow, beside a program that moves the arm. `write` is refused."""
    stale_s: float = 0.1
    """A measurement older than this is refused."""
    gripper: Literal["none", "xarm"] = "none"
    """What is mounted: "xarm" is UFACTORY's own gripper."""
    gripper_speed: float = 3000.0
    """Speed of its fingers in pulses per second, 850 of which are the whole way."""

    def build(self, clock: Clock | None = None) -> XArm:
        """The arm, not yet connected.

        Raises:
            MissingDependency: xarm-python-sdk is not installed.
            UnknownName: No such model.
        """
        return XArm(self, clock or MonotonicClock(), _connector(self.port))


class XArm:
    """A `Robot`: enter to connect, leave to stop and disconnect. Build it with `XArmConfig`.

    Observation: "arm.q" and "arm.dq" (6 or 7), "tool.position" (3,) m and "tool.quaternion" (4,) of the tool centre
    point in the base frame, captured at their own time (the controller's 100 Hz report), and the gripper's
    "gripper.width". Action: "arm.q_target" and the gripper's command.
    """

    def __init__(self, config: XArmConfig, clock: Clock, connect: Any):
        self.config, self._clock, self._connect = config, clock, connect
        self.model: XArmModel = find_xarm(config.model)
        gripping = config.gripper == "xarm" and not config.report_only  # connecting to one would enable it
        self._gripper = XArmGripper(config.gripper_speed, clock) if gripping else None
        self._low, self._high = bounds(self.action_spec["arm.q_target"])
        self._api: Any = None
        self._lock, self._state_lock = threading.RLock(), threading.Lock()
        self._joints: tuple[float, Array, Array] | None = None
        self._tool: tuple[float, Array, Array] | None = None
        self._target: Array | None = None
        self._held, self._fault, self._written = True, "", -np.inf
        self._closing = threading.Event()
        self._poller: threading.Thread | None = None

    @property
    def observation_spec(self) -> Spec:
        names = self.model.joint_names
        spec = {
            "arm.q": ArraySpec((self.model.joints,), unit="rad", names=names),
            "arm.dq": ArraySpec((self.model.joints,), unit="rad/s", names=names),
            "tool.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "tool.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
        }
        return spec | (dict(self._gripper.observation_spec) if self._gripper else {})

    @property
    def action_spec(self) -> Spec:
        model = self.model
        limit = ArraySpec((model.joints,), low=model.low, high=model.high, unit="rad", names=model.joint_names)
        return {"arm.q_target": limit} | (dict(self._gripper.action_spec) if self._gripper else {})

    @property
    def chain(self) -> Chain:
        """The nominal geometry of the arm, up to its flange."""
        return self.model.chain

    def __enter__(self) -> XArm:
        if self._api is not None:
            raise BenchError("The arm is already connected.")
        config = self.config
        try:
            # The SDK raises a bare Exception after several seconds; ask first, in our own words.
            socket.create_connection((config.address, config.port), 2.0).close()
        except OSError as error:
            raise BenchError(
                f"No xArm controller answers at {config.address}:{config.port} ({error}). Check the address, the "
                "cable and that the controller is switched on."
            ) from error
        api = self._connect(config.address)
        try:
            if api.axis != self.model.joints:
                raise BenchError(
                    f"The arm at {config.address} has {api.axis} joints; the bench says {config.model}. Correct the "
                    "model."
                )
            self._fault, self._held, self._written = "", True, -np.inf
            self._api = api
            api.register_report_location_callback(self._report, report_cartesian=True, report_joints=False)
            self._poll(api)
            self._require_sound(api)
            if not config.report_only:
                api.motion_enable(True)
            self._closing.clear()
            for _ in range(200):
                if self._tool is None:
                    self._closing.wait(0.005)
            if self._tool is None:
                raise StaleReading(f"The xArm at {config.address} sends no reports (port 30003); check its firewall.")
            self._poller = threading.Thread(target=self._keep, args=(api,), name="xarm-poller", daemon=True)
            self._poller.start()
            if self._gripper is not None:
                self._gripper.start(api)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._closing.set()
        if self._gripper is not None:
            self._gripper.close()
        if self._poller is not None:
            self._poller.join()
            self._poller = None
        with self._lock:
            api, self._api = self._api, None
        if api is not None:
            api.disconnect()
        self._joints = self._tool = None

    def read(self) -> Reading:
        """The newest joint state; tool arrays carry their own capture time.

        Raises:
            BenchError: Not connected.
            StaleReading: Nothing new came for `stale_s`.
        """
        self._require_api()
        now = self._clock.now()
        with self._state_lock:
            joints, tool = self._joints, self._tool
        if joints is None or tool is None or not now - min(joints[0], tool[0]) <= self.config.stale_s:
            raise StaleReading(
                f"The xArm at {self.config.address} has sent nothing new for {self.config.stale_s} s. Check the cable "
                "and the controller, then connect again."
            )
        arrays = {"arm.q": joints[1], "arm.dq": joints[2], "tool.position": tool[1], "tool.quaternion": tool[2]}
        captured: dict[str, float | Array] = {"tool.position": tool[0], "tool.quaternion": tool[0]}
        if self._gripper is not None:
            grip = self._gripper.read()
            arrays |= grip.arrays
            captured |= dict.fromkeys(grip.arrays, grip.time)
        return Reading(joints[0], {name: value.copy() for name, value in arrays.items()}, captured)

    def write(self, action: Arrays) -> Arrays:
        """Send a set point and return it: inside joint limits, no further than the speed limit allows.

        Raises:
            SpecError: Wrong names, shapes or types, or not finite.
            SafetyFault: The controller has an error or an emergency stop; a person must clear it.
            BenchError: Not connected, or the arm was stopped by somebody else.
            StaleReading: The measured joints are too old to command from.
        """
        check(action, self.action_spec, where="xArm action")
        if self.config.report_only:
            raise BenchError("This xArm only reports (report_only); it takes no commands.")
        with self._lock:
            api = self._require_api()
            self._require_sound(api)
            now, q = self._clock.now(), self.read().arrays["arm.q"]
            if self._held or self._target is None:
                self._target, since = q, 1.0 / self.config.rate_hz
                for code in (api.set_mode(_SERVO_MODE), api.set_state(_READY)):
                    self._require_accepted(api, code)
            else:
                since = min(now - self._written, self.config.command_timeout_s)
            target = np.clip(action["arm.q_target"], self._low, self._high)
            speed = self.config.max_speed
            target = within_reach(target, last=self._target, measured=q, step=speed * since, lead=0.3 * speed)
            self._require_accepted(api, api.set_servo_angle_j(target.tolist(), is_radian=True))
            self._target, self._held, self._written = target, False, now
            sent: dict[str, Array] = {"arm.q_target": target.copy()}
        if self._gripper is not None:
            sent["gripper.command"] = self._gripper.write(action["gripper.command"])
        return sent

    def stop(self) -> None:
        """Brake and hold; the next `write` makes the arm ready again (unless it has an error) and moves it."""
        api = self._api
        if api is None or self.config.report_only:
            return  # nothing of ours moves it
        # Not behind the lock: the SDK has its own, and a stop must not wait for a write that waits for the arm.
        self._held = True
        api.set_state(_STOP)
        if self._gripper is not None:
            self._gripper.stop()

    def _keep(self, api: Any) -> None:
        while not self._closing.wait(1.0 / self.config.rate_hz):
            self._poll(api)

    def _poll(self, api: Any) -> None:
        before = self._clock.now()
        code, states = api.get_joint_states(is_radian=True, num=2)
        if code != 0:
            return  # `read` notices that nothing new comes.
        time = 0.5 * (before + self._clock.now())
        joints = self.model.joints
        with self._state_lock:
            self._joints = time, np.array(states[0][:joints]), np.array(states[1][:joints])
        if api.has_err_warn:
            self._note_error(api)

    def _report(self, report: dict[str, Any]) -> None:
        x, y, z, *rpy = report["cartesian"]
        tool = self._clock.now(), np.array([x, y, z]) / 1e3, quaternion_from_rpy(rpy)
        with self._state_lock:
            self._tool = tool

    def _note_error(self, api: Any) -> None:
        code, (error, _) = api.get_err_warn_code()
        if code == 0 and error and not self._fault:
            self._fault = (
                f"The xArm reports error {error}. Look at the arm, remove the cause and clear the error in UFACTORY "
                "Studio, then connect again. This program never clears it."
            )

    def _require_sound(self, api: Any) -> None:
        if api.has_err_warn:
            self._note_error(api)
        if self._fault:
            raise SafetyFault(self._fault)

    def _require_accepted(self, api: Any, code: int) -> None:
        if code == 0:
            return
        self._held = True
        self._require_sound(api)
        raise BenchError(
            f"The xArm refused a command (code {code}, state {api.state}). It was stopped by somebody else, its motors "
            "are off or the connection is lost. Check the arm, then connect again."
        )

    def _require_api(self) -> Any:
        if self._api is None:
            raise BenchError("The xArm is not connected; use it as a context manager (with robot: ...).")
        return self._api


def make_log_folder() -> None:
    """Make where the SDK logs: it makes that itself when it is imported, and two processes that do so at once fail."""
    Path.home().joinpath(".UFACTORY", "log", "xarm", "sdk").mkdir(parents=True, exist_ok=True)


def _connector(port: int) -> Any:
    make_log_folder()
    try:
        # The SDK greets on stdout when it is imported.
        with contextlib.redirect_stdout(None):
            from xarm.core.config.x_config import XCONF
            from xarm.wrapper import XArmAPI
    except ImportError as error:
        raise MissingDependency("xarm-python-sdk", "hardware", "The xArm driver") from error
    setattr(XCONF.SocketConf, "TCP_CONTROL_PORT", port)  # noqa: B010 - the SDK declares it constant

    def connect(address: str) -> Any:
        with contextlib.redirect_stdout(None):
            return XArmAPI(address, is_radian=True, report_type="real", check_joint_limit=False)

    return connect
