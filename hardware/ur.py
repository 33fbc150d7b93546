"""A Universal Robots arm through ur_rtde (RTDE receive and control), e-Series and CB3.

Commands are servoJ targets, sent once per `write` and repeated by a thread so that the controller's watchdog stays
fed; when `write` stops coming the thread brakes and holds, and when this whole process dies the watchdog stops the
arm. Protective and emergency stops latch and are never cleared from here. ur_rtde holds Python's global lock while it
connects (0.1 s or more) and when its objects die (0.5 s): in one process, connect all arms before moving any, and
leave them together. Exercised with ur_rtde 1.6.5 against `rtde_twin` only; nothing was run on a real arm.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hardware.host_clock import HostClockMap
from hardware.joint_motion import within_reach
from hardware.robotiq import Robotiq, RobotiqConfig
from hardware.ur_models import JOINTS, UrModel, find_ur
from hardware.ur_status import (
    VARIABLES,
    WATCHDOG_HZ,
    Client,
    find_client,
    is_safety_stop,
    stop_by_dashboard,
    take_leave,
    why_absent,
    why_hung,
    why_not_ready,
    why_refused,
    why_stale,
    why_stopped,
)
from robolearn.arm.kinematics import Chain
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, SafetyFault, StaleReading
from robolearn.geometry import quaternion_from_rotation_vector
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check

__all__ = ["UR", "URConfig"]

_QUIET_S = 0.03
"""Nothing is sent to a controller that has said nothing for this long."""


@dataclass(frozen=True, slots=True)
class URConfig:
    """A UR arm, optionally with a Robotiq gripper on its URCap."""

    address: str = "192.168.1.10"
    """Address of the controller. Its remote control must be switched on at the pendant."""
    model: str = "ur5e"
    """Which arm: ur3, ur5, ur10, ur3e, ur5e, ur10e or ur16e; gives joint limits and rates."""
    rate_hz: float = 125.0
    """Measurements and repeated servo commands per second; 500 at most, 125 at most for CB3 arms."""
    max_speed: float = 1.0
    """Largest joint speed of a command, rad/s; scaled down by the pendant's speed slider."""
    deceleration: float = 8.0
    """How fast `stop` brakes, rad/s^2."""
    lookahead_s: float = 0.05
    """servoJ smoothing, 0.03 to 0.2 s; the arm lags by about this much at gain 300."""
    gain: float = 300.0
    """servoJ stiffness, 100 to 2000."""
    command_timeout_s: float = 0.2
    """Without a `write` for this long the arm brakes and holds."""
    stale_s: float = 0.05
    """A measurement older than this is refused; also the time without a new RTDE timestamp."""
    report_only: bool = False
    """Read and never take control: for a shadow, beside a program that moves the arm. `write` is refused."""
    gripper: Literal["none", "robotiq"] = "none"
    """What is mounted."""
    gripper_stroke_m: float = 0.085
    """Width of the open gripper, m."""
    gripper_port: int = 63352
    """Port of the gripper's URCap."""

    def build(self, clock: Clock | None = None) -> UR:
        """The arm, not yet connected.

        Raises:
            MissingDependency: ur_rtde is not installed.
            UnknownName: No such model.
        """
        return UR(self, clock or MonotonicClock(), find_client())


class UR:
    """A `Robot`: enter to connect, leave to stop and disconnect. Build it with `URConfig`.

    Observation: "arm.q" (6,) rad, "arm.dq" (6,) rad/s, "tool.position" (3,) m and "tool.quaternion" (4,) of the tool
    centre point in the base frame, "tool.wrench" (6,) N and N m in the base frame's axes (e-Series only: CB3 arms
    estimate it), and what the gripper measures. Action: "arm.q_target" (6,) rad and the gripper's command.
    """

    def __init__(self, config: URConfig, clock: Clock, client: Client):
        self.config, self._clock, self._client = config, clock, client
        self.model: UrModel = find_ur(config.model)
        self._gripper: Robotiq | None = None
        if config.gripper == "robotiq" and not config.report_only:  # connecting to one would activate it
            gripper = RobotiqConfig(config.address, config.gripper_port, config.gripper_stroke_m)
            self._gripper = gripper.build(clock)
        self._low, self._high = bounds(self.action_spec["arm.q_target"])
        self._receive: Any = None
        self._control: Any = None
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        self._target: Array | None = None
        self._held, self._fault = True, ""
        self._written = -np.inf
        self._stamp_lock = threading.Lock()
        self._stamp, self._stamp_seen, self._time, self._map = -1.0, -np.inf, -np.inf, HostClockMap(2.0)

    @property
    def observation_spec(self) -> Spec:
        spec = {
            "arm.q": ArraySpec((6,), unit="rad", names=JOINTS),
            "arm.dq": ArraySpec((6,), unit="rad/s", names=JOINTS),
            "tool.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "tool.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
        }
        if self.model.e_series:
            spec["tool.wrench"] = ArraySpec((6,), unit="N, N m", frame="base")
        return spec | (dict(self._gripper.observation_spec) if self._gripper else {})

    @property
    def action_spec(self) -> Spec:
        spec = {"arm.q_target": ArraySpec((6,), low=self.model.low, high=self.model.high, unit="rad", names=JOINTS)}
        return spec | (dict(self._gripper.action_spec) if self._gripper else {})

    @property
    def chain(self) -> Chain:
        """The nominal geometry of the arm, up to its flange."""
        return self.model.chain

    def __enter__(self) -> UR:
        if self._control is not None:
            raise BenchError("The arm is already connected.")
        config = self.config
        try:
            self._receive = self._connect_receive()
            self._require_ready()
            if self._gripper is not None:
                self._gripper.__enter__()
            if config.report_only:
                return self
            try:
                self._control = self._client.control(config.address, config.rate_hz)
            except RuntimeError as error:
                raise BenchError(why_refused(config.address, error)) from error
            self._fault, self._held, self._written = "", True, -np.inf
            self._target = np.array(self._receive.getActualQ())
            if not self._control.setWatchdog(WATCHDOG_HZ):
                raise BenchError(f"The UR at {config.address} refused the watchdog; not arming without it.")
            self._closing.clear()
            self._keeper = threading.Thread(target=self._keep, name="ur-keeper", daemon=True)
            self._keeper.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._closing.set()
        parts: list[tuple[Any, ...]] = [(self._receive, "disconnect")]
        if self._keeper is not None:
            self._keeper.join(1.0)
        # ur_rtde retries for ever on a link that hangs, and crashes when disconnected meanwhile. A control connection
        # that does not come back is left to its thread; the dashboard has told the program to stop.
        if self._keeper is None or not self._keeper.is_alive():
            parts.append((self._control, "servoStop", "stopScript", "disconnect"))
        self._keeper = self._control = self._receive = None
        goodbyes = [threading.Thread(target=take_leave, args=part, name="ur-goodbye", daemon=True) for part in parts]
        for goodbye in goodbyes:
            goodbye.start()
        for goodbye in goodbyes:
            goodbye.join(3.0)
        if self._gripper is not None:
            self._gripper.__exit__()

    def read(self) -> Reading:
        """The newest measurement, waiting for the next package at most two RTDE periods.

        `time` is the controller's timestamp moved onto this machine's monotonic clock.

        Raises:
            BenchError: Not connected.
            StaleReading: The RTDE timestamp no longer advances.
        """
        receive = self._require(self._receive)
        deadline = self._clock.now() + 2.0 / self.config.rate_hz
        while (stamp := receive.getTimestamp()) == self._stamp and self._clock.now() < deadline:
            self._clock.sleep_until(min(deadline, self._clock.now() + 0.0005))
        # A package may arrive between two calls: take all values from one.
        while True:
            q, dq, pose = receive.getActualQ(), receive.getActualQd(), receive.getActualTCPPose()
            wrench = receive.getActualTCPForce()
            if (again := receive.getTimestamp()) == stamp:
                break
            stamp = again
        time, age = self._stamped(stamp)
        if not age <= self.config.stale_s:
            raise StaleReading(self._why_stale(age))
        arrays = {
            "arm.q": np.array(q),
            "arm.dq": np.array(dq),
            "tool.position": np.array(pose[:3]),
            "tool.quaternion": quaternion_from_rotation_vector(np.array(pose[3:])),
        }
        if self.model.e_series:
            arrays["tool.wrench"] = np.array(wrench)
        captured: dict[str, float | Array] = {}
        if self._gripper is not None:
            grip = self._gripper.read()
            arrays |= grip.arrays
            captured = dict.fromkeys(grip.arrays, grip.time)
        return Reading(time, arrays, captured)

    def write(self, action: Arrays) -> Arrays:
        """Send a target and return what was sent: inside joint limits, no further than the speed limit allows.

        The step from the last command is at most `max_speed` times the pendant's speed scaling times the time since
        the last command; the target leads the measured joints by at most what 0.3 s at `max_speed` covers, so that a
        slowed arm accumulates nothing to catch up with.

        Raises:
            SpecError: Wrong names, shapes or types, or not finite.
            SafetyFault: The arm is in a protective or emergency stop; a person must clear it.
            StaleReading: The RTDE timestamp no longer advances.
            BenchError: Not connected, the control program has ended or its connection hangs.
        """
        check(action, self.action_spec, where="UR action")
        if not self._lock.acquire(timeout=0.1):
            self._fault = self._fault or why_hung(self.config.address)
            raise BenchError(self._fault)
        try:
            control = self._require(self._control)
            self._require_ready()
            if (age := self._age()) > self.config.stale_s:
                raise StaleReading(self._why_stale(age))
            now, q = self._clock.now(), np.array(self._receive.getActualQ())
            if self._held or self._target is None:
                self._target = q
                since = 1.0 / self.config.rate_hz
            else:
                since = min(now - self._written, self.config.command_timeout_s)
            reach = self.config.max_speed * self._receive.getSpeedScaling() * since
            lead = 0.3 * self.config.max_speed
            target = np.clip(action["arm.q_target"], self._low, self._high)
            target = within_reach(target, last=self._target, measured=q, step=reach, lead=lead)
            self._servo(control, target)
            self._held, self._written = False, now
            sent: dict[str, Array] = {"arm.q_target": target}
        finally:
            self._lock.release()
        if self._gripper is not None:
            sent |= self._gripper.write({"gripper.command": action["gripper.command"]})
        return sent

    def stop(self) -> None:
        """Brake and hold where the arm comes to rest; the next `write` moves it again.

        When the control connection does not answer within 0.3 s, the dashboard server is told to stop the program.
        """
        if self._gripper is not None:
            self._gripper.stop()
        if not self._lock.acquire(timeout=0.3):
            stop_by_dashboard(self.config.address)
            return
        try:
            if self._control is None or self._held or self._fault:
                return
            self._hold()
        except SafetyFault:
            pass  # The controller has stopped the arm itself.
        except BenchError:
            stop_by_dashboard(self.config.address)
        finally:
            self._lock.release()

    def _keep(self) -> None:
        """Repeat the last target so that the watchdog sees us; brake when nobody writes any more."""
        period = 1.0 / self.config.rate_hz
        while not self._closing.wait(period):
            with self._lock:
                if self._fault or self._target is None:
                    return
                try:
                    self._require_ready()
                    if self._age() > _QUIET_S:
                        continue  # servoJ on a dead link never returns; the watchdog is counting.
                    if not self._held and self._clock.now() - self._written > self.config.command_timeout_s:
                        self._hold()
                    else:
                        self._servo(self._control, self._target)
                except (BenchError, SafetyFault):
                    return  # Latched: the next write says why.

    def _hold(self) -> None:
        q, dq = np.array(self._receive.getActualQ()), np.array(self._receive.getActualQd())
        # Where braking at this rate ends, seen from where the lagging arm is.
        ahead = np.sign(dq) * dq**2 / (2 * self.config.deceleration)
        self._held = True
        self._servo(self._control, np.clip(q + ahead, self._low, self._high))

    def _servo(self, control: Any, target: Array) -> None:
        config = self.config
        sent = control.servoJ(target.tolist(), 0.0, 0.0, 1.0 / config.rate_hz, config.lookahead_s, config.gain)
        if not sent:
            # The two connections may tell it a package apart: give the measured state a moment to say why.
            until = self._clock.now() + 0.05
            while self._clock.now() < until:
                self._require_ready()
                self._clock.sleep_until(self._clock.now() + 0.002)
            self._fault = self._fault or why_stopped()
            raise BenchError(self._fault)
        self._target = target

    def _require_ready(self) -> None:
        receive = self._require(self._receive)
        commanding = self._keeper is not None
        bits = receive.getSafetyStatusBits()
        stopped = is_safety_stop(bits)
        if stopped or not self._fault:
            self._fault = why_not_ready(receive, bits, commanding=commanding)
        if not self._fault and commanding:
            # A link that comes back must not find us still commanding.
            age = self._age()
            if not age <= max(self.config.stale_s, 1.0 / WATCHDOG_HZ) or not self._control.isConnected():
                self._fault = self._why_stale(age)
        if self._fault:
            raise SafetyFault(self._fault) if stopped else BenchError(self._fault)

    def _connect_receive(self) -> Any:
        config = self.config
        try:
            receive = self._client.receive(config.address, config.rate_hz, VARIABLES)
        except RuntimeError as error:
            raise BenchError(why_absent(config.address, error)) from error
        with self._stamp_lock:
            self._stamp, self._time, self._map = -1.0, -np.inf, HostClockMap(2.0)
        return receive

    def _stamped(self, stamp: float) -> tuple[float, float]:
        """Time of a controller's timestamp on our clock, and how long ago the last new one was seen, s."""
        with self._stamp_lock:
            now = self._clock.now()
            if stamp != self._stamp:
                # A better guess of the offset may point back in time; readings only go forward.
                passed = 0.0 if self._stamp < 0 else max(0.0, stamp - self._stamp)
                self._stamp, self._stamp_seen = stamp, now
                self._time = max(self._time + 0.1 * passed, self._map.to_host(stamp, now))
            return self._time, now - self._stamp_seen

    def _age(self) -> float:
        return self._stamped(self._receive.getTimestamp())[1]

    def _why_stale(self, age: float) -> str:
        return why_stale(self.config.address, age, self.config.stale_s)

    def _require(self, part: Any) -> Any:
        if part is None:
            raise BenchError("The UR is not connected; use it as a context manager (with robot: ...).")
        return part
