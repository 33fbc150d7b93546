"""A leader arm of Dynamixel servos (GELLO and its relatives), through ROBOTIS' own SDK and protocol 2.0.

One synchronous read fetches the positions of all joints and of the trigger; torque is switched off at the start, for
a leader is to be moved by hand. The trigger is the gripper, and a squeeze beyond its first tenth is also the clutch,
unless `always` is set for leaders that are held anyway. The fake is a protocol-level one: a pseudo terminal behind
which `teleop.dynamixel_twin` answers every packet, so the SDK and its checksums run in every test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Env, Policy
from robolearn.episode import Reading
from robolearn.errors import BenchError, MissingDependency, StaleReading
from robolearn.specs import Array, Spec
from teleop.dynamixel_twin import DynamixelTwin
from teleop.engagement import HEARTBEAT_S
from teleop.hand import Marks, joint_spec
from teleop.leading import Leading
from teleop.operator import HandConfig, Operated
from teleop.seeded import SeededHand

__all__ = ["LeaderArm", "LeaderConfig"]

TORQUE_ENABLE, PRESENT_POSITION = 64, 132
"""Addresses of the X series' control table."""
TURN = 4096
"""Positions of one turn; 2048 is zero."""


@dataclass(frozen=True, slots=True)
class LeaderConfig(HandConfig):
    """A leader arm on a serial port."""

    port: str = "/dev/ttyUSB0"
    """Serial port of the U2D2 or whatever speaks to the servos."""
    baud: int = 57600
    """Bits per second of the bus; GELLO arms use 57600, many others 1000000."""
    motors: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    """Servo ids of the joints, base first."""
    trigger: int | None = 8
    """Servo id of the gripper's trigger; None when there is none."""
    trigger_open_rad: float = 0.0
    """Trigger position with the hand open."""
    trigger_closed_rad: float = 0.7
    """Trigger position with the hand closed."""
    always: bool = False
    """The clutch is always held: for leaders without a trigger. The start-pose gate still holds."""
    leading: Leading = field(default_factory=Leading)
    """Signs, offsets, the start-pose gate and speeds."""
    start_rad: tuple[float, ...] = (0.0, -0.17, 0.0, -2.5, 0.0, 2.33, math.pi / 4)
    """Where the fake's joints begin."""

    def build(self, clock: Clock) -> LeaderArm:
        """The device.

        Raises:
            MissingDependency: dynamixel-sdk is not installed.
            BenchError: The port cannot be opened, or a servo does not answer.
        """
        if not self.fake:
            return LeaderArm(self, clock, self.port)
        twin = DynamixelTwin(self.motors, self.trigger, self.start_rad, SeededHand(self.seed, clock.now()), clock)
        return LeaderArm(self, clock, twin.port, twin)

    def operator(self, env: Env, clock: Clock) -> Policy:
        """The person at the leader as a policy."""
        return Operated(self.build(clock), env, clock, self.motion, self.leading)


class LeaderArm:
    """A `TeleopDevice`. Build it with `LeaderConfig`."""

    def __init__(self, config: LeaderConfig, clock: Clock, port: str, twin: DynamixelTwin | None = None):
        try:
            import dynamixel_sdk
        except ModuleNotFoundError as error:
            raise MissingDependency("dynamixel_sdk", "teleop", "The leader arm") from error
        self._sdk: Any = dynamixel_sdk
        self._config, self._clock, self._twin = config, clock, twin
        self._ids = (*config.motors, *(() if config.trigger is None else (config.trigger,)))
        self._port: Any = self._sdk.PortHandler(port)
        self._packets: Any = self._sdk.PacketHandler(2.0)
        self._open = False
        self._marks, self._q = Marks(), np.zeros(len(self._ids))
        self._fresh = clock.now()
        try:
            self._connect(port)
        except BenchError:
            self.close()
            raise

    @property
    def spec(self) -> Spec:
        return joint_spec([f"leader{k + 1}" for k in range(len(self._config.motors))])

    def read(self) -> Reading:
        """Joints and trigger of one synchronous read; some packets may be lost, 200 ms of them may not."""
        now = self._clock.now()
        found = self._positions()
        if found is not None:
            self._q, self._fresh = found, now
        elif now - self._fresh > HEARTBEAT_S:
            raise StaleReading(f"the leader arm has not answered for {now - self._fresh:.2f} s")
        config, count = self._config, len(self._config.motors)
        squeeze = 0.0
        if config.trigger is not None:
            span = config.trigger_closed_rad - config.trigger_open_rad
            squeeze = float(np.clip((self._q[count] - config.trigger_open_rad) / span, 0.0, 1.0))
        arrays = {
            "hand.q": self._q[:count].copy(),
            "hand.grip": np.array([2.0 * squeeze - 1.0]),
            "hand.enable": np.array([config.always or squeeze > 0.1]),
            "hand.marks": self._marks.counts,
        }
        return Reading(self._fresh, arrays)

    def close(self) -> None:
        """Give the port back; safe to call twice."""
        if self._open:
            self._port.closePort()
            self._open = False
        if self._twin is not None:
            self._twin.close()

    def _connect(self, port: str) -> None:
        try:
            self._open = bool(self._port.openPort()) and bool(self._port.setBaudRate(self._config.baud))
        except OSError as error:  # pyserial's errors are OSErrors
            raise BenchError(
                f"The serial port {port!r} of the leader arm cannot be opened ({error}). Plug it in, give yourself the "
                "right to it (group dialout), or name another with --operator.port."
            ) from error
        for motor in self._ids:
            result, _ = self._packets.write1ByteTxRx(self._port, motor, TORQUE_ENABLE, 0)
            if result != self._sdk.COMM_SUCCESS:
                said = self._packets.getTxRxResult(result)
                raise BenchError(
                    f"Servo {motor} of the leader arm does not answer on {port} at {self._config.baud} baud ({said}). "
                    "Check its power, --operator.baud and --operator.motors."
                )
        self._sync: Any = self._sdk.GroupSyncRead(self._port, self._packets, PRESENT_POSITION, 4)
        for motor in self._ids:
            self._sync.addParam(motor)
        self._positions()

    def _positions(self) -> Array | None:
        try:
            if self._sync.txRxPacket() != self._sdk.COMM_SUCCESS:
                return None
        except OSError:
            return None
        counts = np.array([self._sync.getData(motor, PRESENT_POSITION, 4) for motor in self._ids], np.int64)
        signed = np.where(counts >= 2**31, counts - 2**32, counts)
        return (signed - TURN // 2) * (2 * math.pi / TURN)
