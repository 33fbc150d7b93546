"""A protocol twin of an xArm controller: the private Modbus-TCP commands and the report streams.

The vendor's unmodified `xarm.wrapper.XArmAPI` drives it. A command is a frame of transaction, protocol, length
(16 bits each, big-endian), a function number and data (floats little-endian); answers repeat the header and carry a
status byte. Function numbers are those of xarm-python-sdk 1.18. Functions that are not modelled are acknowledged with
zeros and have no effect. Exercised with the SDK only; nothing was compared with a real controller.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hardware.kinematic_arm import ArmPhysics, KinematicArmConfig, RobotPhysics
from hardware.simulated_arm import has_model, simulated_arm
from hardware.tcp_server import TcpServer, read_exactly
from hardware.twin_process import obey
from hardware.xarm_controller import XArmController
from hardware.xarm_gripper_twin import ARM_READ, ARM_WRITE, RS485, GripperTwin
from hardware.xarm_models import find_xarm
from robolearn.clock import Clock, MonotonicClock, Rate
from robolearn.contracts import Robot

__all__ = ["XArmTwin", "XArmTwinConfig"]

CONTROL = 502
REPORTS = {30001: ("normal", 5.0), 30002: ("rich", 5.0), 30003: ("real", 100.0)}
"""Report ports: what they send and how often, per second."""
VERSION = "v1.13.0"
MOST_CATCH_UP = 5
"""Cycles computed at once after the machine held the twin up; see `rtde_twin`."""
NOT_READY, HAS_ERROR = 0x10, 0x40

Client = socket.socket


@dataclass(frozen=True, slots=True)
class XArmTwinConfig:
    """An xArm that lives on a loopback address."""

    model: str = "xarm7"
    """Which arm: xarm6 or xarm7."""
    address: str = "127.0.0.1"
    """IPv4 address to listen on; give each twin its own, since clients use fixed report ports."""
    port: int = CONTROL
    """Control port. 502 needs privileges; a client is told another one by `XCONF.SocketConf.TCP_CONTROL_PORT`."""
    seed: int = 0
    """Seed of the kinematic arm's measurement noise."""
    physics: Literal["kinematic", "mujoco"] = "kinematic"
    """What moves when `build` is given nothing else: numbers only, or the simulation's model of this arm."""

    @staticmethod
    def modelled(name: str) -> bool:
        """Whether the simulation has a model of this arm and is installed."""
        return has_model(name)

    def build(self, physics: ArmPhysics | Robot | None = None, clock: Clock | None = None) -> XArmTwin:
        """The twin, not yet listening; enter it or call `start`.

        Args:
            physics: What moves: an `ArmPhysics`, a `Robot` commanded by "arm.q_target" with as many joints (the
                MuJoCo twin), or None for what the field `physics` says.
            clock: Paces the cycles; the machine's monotonic clock by default.

        Raises:
            UnknownName: No such model.
            BenchError: The robot has another number of joints or lacks an array.
        """
        model = find_xarm(self.model)
        if physics is None and self.physics == "mujoco":
            arm: ArmPhysics = simulated_arm(model.name, model.joints)
        elif physics is None:
            start = (0.0, -0.5, -0.8, 0.0, 1.0, 0.0) if model.joints == 6 else (0.0, -0.5, 0.0, 0.8, 0.0, 1.0, 0.0)
            arm = KinematicArmConfig(start, model.max_speed, seed=self.seed).build()
        else:
            arm = physics if isinstance(physics, ArmPhysics) else RobotPhysics(physics, model.joints)
        return XArmTwin(self, XArmController(model, arm), clock or MonotonicClock())


class XArmTwin:
    """The twin: servers, and a thread that runs the controller's cycles on the clock. Use as a context manager."""

    def __init__(self, config: XArmTwinConfig, controller: XArmController, clock: Clock):
        self.config, self.controller, self._clock = config, controller, clock
        self.overruns = 0
        self.gripper = GripperTwin()
        self._running = False
        self._servers: list[TcpServer] = []
        self._listeners: dict[int, set[Client]] = {port: set() for port in REPORTS}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and run; raises `BenchError` when a port is taken."""
        try:
            self._servers.append(TcpServer(self.config.address, self.config.port, self._control))
            for port in REPORTS:
                self._servers.append(TcpServer(self.config.address, port, self._listen(port)))
        except BaseException:
            self.close()
            raise
        self._running = True
        self._thread = threading.Thread(target=self._cycles, name="xarm-twin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and stop the clockwork; safe to call twice."""
        self._running = False
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for server in self._servers:
            server.close()
        self._servers.clear()

    def drop_clients(self) -> None:
        """Cut all connections, as a pulled cable would."""
        for server in self._servers:
            server.drop_clients()

    def command(self, line: str) -> Any:
        """Play the person beside the arm, or trouble on the line: "help" lists what there is."""
        box = self.controller
        return obey(
            {
                "error": lambda code: box.fail(int(code)),
                "emergency_stop": box.emergency_stop,
                "release_emergency_stop": box.release_emergency_stop,
                "thing": lambda pulses: setattr(self.gripper, "thing", float(pulses)),
                "gripper_error": lambda code: self.gripper.fail(int(code)),
                "freeze": lambda: setattr(box, "frozen", True),
                "thaw": lambda: setattr(box, "frozen", False),
                "drop": self.drop_clients,
                "state": self._state,
                "history": lambda: [[m.time, m.q.tolist(), m.dq.tolist(), m.playing] for m in list(box.history)],
                "log": lambda: list(box.log),
            },
            line,
        )

    def __enter__(self) -> XArmTwin:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _state(self) -> dict[str, Any]:
        box = self.controller
        with box.lock:
            return {
                "time": box.time,
                "last_command": box.last_command,
                "commands": box.commands,
                "state": box.state,
                "mode": box.mode,
                "error": box.error,
                "clears": box.clears,
                "gripper": self.gripper.position,
                "holds": self.gripper.holds,
                "gripper_commands": self.gripper.commands,
                "overruns": self.overruns,
                "actual_q": box.q.tolist(),
                "actual_qd": box.dq.tolist(),
            }

    def _cycles(self) -> None:
        box = self.controller
        rate = Rate(1.0 / box.period_s, self._clock)
        sent = dict.fromkeys(REPORTS, 0)
        while self._running:
            late = rate.wait()
            for _ in range(1 + min(int(late / rate.period_s), MOST_CATCH_UP)):
                box.step()
                if not box.frozen:
                    self.gripper.step(box.period_s)
            self.overruns = rate.overruns
            for port, (kind, rate_hz) in REPORTS.items():
                due = int(box.time * rate_hz + 1e-6)
                if due > sent[port] and self._listeners[port]:
                    report = self._report(kind)
                    for client in list(self._listeners[port]):
                        # A client that does not read loses its connection, never the controller its cycle.
                        with contextlib.suppress(OSError):
                            if client.send(report, socket.MSG_DONTWAIT) < len(report):
                                client.shutdown(socket.SHUT_RDWR)
                sent[port] = due

    def _listen(self, port: int) -> Any:
        def serve(client: Client) -> None:
            listeners = self._listeners[port]
            listeners.add(client)
            try:
                while client.recv(1024):
                    pass
            finally:
                listeners.discard(client)

        return serve

    def _control(self, client: Client) -> None:
        while True:
            transaction, protocol, size = struct.unpack(">HHH", read_exactly(client, 6))
            body = read_exactly(client, size)
            answer = self._answer(body[0], body[1:])
            box = self.controller
            status = (0 if box.ready else NOT_READY) | (HAS_ERROR if box.error else 0)
            header = struct.pack(">HHH", transaction, protocol, len(answer) + 2)
            client.sendall(header + bytes([body[0], status]) + answer)

    def _answer(self, function: int, data: bytes) -> bytes:
        box, joints = self.controller, self.controller.model.joints
        box.log.append(f"function {function}") if function not in (13, 15, 29, 41, 42, 91, RS485) else None
        if function == RS485:
            return self.gripper.answer(data)
        if function in (ARM_READ, ARM_WRITE):
            return self.gripper.board(function, data)
        if function == 1:
            text = f"{joints},{box.model.type_code},XT1304,AC1300,{VERSION}"
            return text.encode().ljust(40, b"\0")
        if function == 11:
            box.enable(bool(data[1]) if len(data) > 1 else True)
        elif function == 12:
            box.set_state(data[0])
        elif function == 13:
            return bytes([box.state])
        elif function == 14:
            return struct.pack(">H", int(not box.motion.at_rest))
        elif function == 15:
            return bytes([box.error, 0])
        elif function == 16:
            box.clear_error()
        elif function == 19:
            box.set_mode(data[0])
        elif function in (23, 29):
            values = struct.unpack("<10f", data[:40])
            if function == 23:
                box.move(np.array(values[:joints]), values[7], values[8])
            else:
                box.servo(np.array(values[:joints]))
            return struct.pack(">H", int(not box.motion.at_rest))
        elif function == 81:
            speed = np.array(struct.unpack("<7f", data[:28]))[:joints]
            # Without a duration the motion never ends by itself; 0 means the same.
            (duration,) = struct.unpack("<f", data[29:33]) if len(data) >= 33 else (0.0,)
            box.velocity(speed, duration if duration > 0 else np.inf)
        elif function == 41:
            return struct.pack("<6f", *box.pose())
        elif function == 42:
            count = data[0] & 0x0F if data else 1
            q, dq = _seven(box.q.tolist()), _seven(box.dq.tolist())
            return struct.pack("<21f", *q, *dq, *[0.0] * 7)[: 28 * count]
        else:
            return bytes(64)
        return b""

    def _report(self, kind: str) -> bytes:
        box = self.controller
        with box.lock:
            motors = (1 << box.model.joints) - 1 if box.enabled else 0
            body = bytes([box.state | box.mode << 4]) + struct.pack(">H", int(not box.motion.at_rest))
            body += struct.pack("<20f", *_seven(box.q.tolist()), *box.pose(), *[0.0] * 7)
            if kind == "real":
                body += bytes(48)
            else:
                body += bytes([motors, motors, box.error, 0]) + struct.pack("<10f", *[0.0] * 10) + bytes([3, 3])
                body += struct.pack("<3f", 0.0, 0.0, -1.0)
            if kind == "rich":
                model = box.model
                body += bytes([model.type_code, model.joints, 0, 0, 0, 0]) + VERSION.encode().ljust(30, b"\0")
                body += struct.pack("<5f", 1000.0, 1.0, 50000.0, 0.1, 1000.0)
                body += struct.pack("<5f", 20.0, 0.01, 20.0, 0.0001, model.max_speed)
                body += struct.pack("<2f", 2.3, 2.7) + bytes(23)
                body += struct.pack("<8f", 0.0, *_seven(box.dq.tolist())) + bytes(28)
        return struct.pack(">I", len(body) + 4) + body


def _seven(values: list[float]) -> list[float]:
    return values + [0.0] * (7 - len(values))
