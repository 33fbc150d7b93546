"""A protocol twin of a UR controller: dashboard, script and RTDE servers around `UrController`.

The client library ur_rtde (`rtde_receive`, `rtde_control`, `dashboard_client`) drives it unmodified: it uploads its
control script, which the twin recognises and emulates (`ur_script`) instead of interpreting URScript. Any other
script is logged and moves nothing. Run it in another process than the client (`TwinProcess`, `robolearn twin`).
Exercised with ur_rtde 1.6.5 only; nothing was compared with a real controller.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from hardware.kinematic_arm import ArmPhysics, KinematicArmConfig, RobotPhysics
from hardware.rtde_protocol import Kind, Recipe, frame, read_message
from hardware.simulated_arm import has_model, simulated_arm
from hardware.tcp_server import TcpServer
from hardware.twin_process import obey
from hardware.ur_controller import UrController
from hardware.ur_dashboard import serve_dashboard
from hardware.ur_models import find_ur
from hardware.ur_script import ControlScript
from robolearn.clock import Clock, MonotonicClock, Rate
from robolearn.contracts import Robot

__all__ = ["UrTwin", "UrTwinConfig"]

DASHBOARD, SCRIPT_PORTS, RTDE = 29999, (30001, 30002, 30003), 30004
MOST_CATCH_UP = 5
"""Cycles the twin computes at once after the machine held it up. More are dropped and its time falls behind the
clock, so that a busy machine does not look like a client that stopped sending."""


@dataclass(frozen=True, slots=True)
class UrTwinConfig:
    """A UR arm that lives on a loopback address."""

    model: str = "ur5e"
    """Which arm: ur3, ur5, ur10, ur3e, ur5e, ur10e or ur16e."""
    address: str = "127.0.0.1"
    """IPv4 address to listen on; give each twin its own (127.0.0.2, ...), since clients use fixed ports."""
    port: int = RTDE
    """RTDE port; dashboard and script ports keep their distance from it. ur_rtde needs 30004."""
    seed: int = 0
    """Seed of the kinematic arm's measurement noise."""
    physics: Literal["kinematic", "mujoco"] = "kinematic"
    """What moves when `build` is given nothing else: numbers only, or the simulation's model of this arm."""

    @staticmethod
    def modelled(name: str) -> bool:
        """Whether the simulation has a model of this arm and is installed."""
        return has_model(name)

    def build(self, physics: ArmPhysics | Robot | None = None, clock: Clock | None = None) -> UrTwin:
        """The twin, not yet listening; enter it or call `start`.

        Args:
            physics: What moves: an `ArmPhysics`, a `Robot` commanded by "arm.q_target" with six joints (the MuJoCo
                twin), or None for what the field `physics` says.
            clock: Paces the cycles; the machine's monotonic clock by default.

        Raises:
            UnknownName: No such model.
            BenchError: The robot has another number of joints or lacks an array.
        """
        model = find_ur(self.model)
        if physics is None and self.physics == "mujoco":
            arm: ArmPhysics = simulated_arm(model.name, 6, turned=True)
        elif physics is None:
            arm = replace(KinematicArmConfig(), max_speed=max(model.max_speed), seed=self.seed).build()
        else:
            arm = physics if isinstance(physics, ArmPhysics) else RobotPhysics(physics, 6)
        return UrTwin(self, UrController(model, arm), clock or MonotonicClock())


class UrTwin:
    """The twin: servers, and a thread that runs the controller's cycles on the clock. Use as a context manager."""

    def __init__(self, config: UrTwinConfig, controller: UrController, clock: Clock):
        self.config, self.controller, self._clock = config, controller, clock
        self.overruns = 0
        self.packages = 0
        self._running = False
        self._servers: list[TcpServer] = []
        self._sessions: set[_Session] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and run; raises `BenchError` when a port is taken."""
        offset = self.config.port - RTDE
        try:
            for port, serve in (
                (DASHBOARD, partial(serve_dashboard, self.controller)),
                *((port, self._script) for port in SCRIPT_PORTS),
                (RTDE, self._rtde),
            ):
                self._servers.append(TcpServer(self.config.address, port + offset, serve))
        except BaseException:
            self.close()
            raise
        self._running = True
        self._thread = threading.Thread(target=self._cycles, name="ur-twin", daemon=True)
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
        """Play the person beside the arm, or trouble on the line: "help" lists what there is.

        "state" returns what the arm does, "history" the last seconds of [time, q, dq, playing], "log" all events.
        """
        box = self.controller
        return obey(
            {
                "protective_stop": box.protective_stop,
                "emergency_stop": box.emergency_stop,
                "release_emergency_stop": box.release_emergency_stop,
                "power_on": box.power_on,
                "unlock": box.unlock_protective_stop,
                "speed_slider": lambda fraction: box.set_speed_slider(float(fraction)),
                "remote_control": lambda switch: setattr(box, "remote_control", switch == "on"),
                "freeze": lambda: box.freeze(True),
                "thaw": lambda: box.freeze(False),
                "drop": self.drop_clients,
                "state": self._state,
                "history": lambda: [[m.time, m.q.tolist(), m.dq.tolist(), m.playing] for m in list(box.history)],
                "log": lambda: list(box.log),
            },
            line,
        )

    def _state(self) -> dict[str, Any]:
        box = self.controller
        with box.lock:
            return {
                "time": box.time,
                "last_input": max(box.input_times.values(), default=None),
                "inputs": box.input_count,
                "safety": box.safety_mode.name,
                "playing": box.playing,
                "unlocks": box.unlocks,
                "overruns": self.overruns,
                "packages": self.packages,
            } | {name: box.values()[name] for name in ("actual_q", "actual_qd", "target_q", "robot_mode")}

    def __enter__(self) -> UrTwin:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cycles(self) -> None:
        rate = Rate(self.controller.model.rate_hz, self._clock)
        while self._running:
            late = rate.wait()
            missed = min(int(late / rate.period_s), MOST_CATCH_UP)
            for _ in range(1 + missed):
                self.controller.step()
                # Every cycle has its package, also those that are caught up with.
                if not self.controller.frozen:
                    for session in list(self._sessions):
                        self.packages += session.publish(self.controller)
            self.overruns = rate.overruns

    def _rtde(self, client: socket.socket) -> None:
        session = _Session(client)
        try:
            while True:
                kind, payload = read_message(client)
                if kind == Kind.PAUSE:
                    self._sessions.discard(session)
                session.handle(kind, payload, self.controller)
                if kind == Kind.START:
                    self._sessions.add(session)
        finally:
            self._sessions.discard(session)

    def _script(self, client: socket.socket) -> None:
        text = ""
        while True:
            part = client.recv(65536)
            if not part:
                return
            text += part.decode(errors="replace")
            if not re.search(r"^end\s*$", text, re.MULTILINE):
                continue
            self.controller.log.append(f"script of {len(text)} characters")
            if "rtde_control" in text and "read_input_integer_reg" in text:
                offset = re.search(r"reg_offset_int\s*=\s*(\d+)", text)
                self.controller.start_program(ControlScript(int(offset.group(1)) if offset else 0))
            else:
                self.controller.log.append("script refused: this twin runs only the control script of ur_rtde")
            text = ""


class _Session:
    """One RTDE client: its recipes and what still has to be sent to it."""

    def __init__(self, client: socket.socket):
        self._client, self._lock = client, threading.Lock()
        self._inputs: dict[int, Recipe] = {}
        self._outputs: list[tuple[int, Callable[..., bytes]]] = []
        self._pending = b""

    def handle(self, kind: int, payload: bytes, box: UrController) -> None:
        """Answer one message; data goes into the controller's registers."""
        if kind == Kind.DATA:
            recipe = self._inputs.get(payload[0]) if payload else None
            if recipe is None:
                raise ConnectionError("Data for an input recipe that was never set up.")
            box.set_inputs(recipe.unpack(payload[1:]))
        elif kind == Kind.PROTOCOL_VERSION:
            (version,) = struct.unpack(">H", payload)
            self._send(frame(Kind.PROTOCOL_VERSION, bytes([version == 2])))
        elif kind == Kind.CONTROLLER_VERSION:
            numbers = (5, 12, 0, 1101319) if box.model.e_series else (3, 15, 8, 106339)
            self._send(frame(Kind.CONTROLLER_VERSION, struct.pack(">4I", *numbers)))
        elif kind == Kind.OUTPUT_SETUP:
            (rate,) = struct.unpack(">d", payload[:8])
            recipe = _recipe(len(self._outputs) + 1, payload[8:], rate)
            every = max(1, round(box.model.rate_hz / rate)) if rate > 0 else 1
            if "NOT_FOUND" not in recipe.types:
                self._outputs.append((every, recipe.packer()))
            self._send(frame(Kind.OUTPUT_SETUP, bytes([recipe.number]) + ",".join(recipe.types).encode()))
        elif kind == Kind.INPUT_SETUP:
            recipe = _recipe(len(self._inputs) + 1, payload, 0.0)
            if "NOT_FOUND" not in recipe.types:
                self._inputs[recipe.number] = recipe
            self._send(frame(Kind.INPUT_SETUP, bytes([recipe.number]) + ",".join(recipe.types).encode()))
        elif kind in (Kind.START, Kind.PAUSE):
            self._send(frame(Kind(kind), b"\x01"))

    def publish(self, box: UrController) -> int:
        """Send what is due this cycle and return the number of packages; a client that does not read misses some."""
        due = [pack for every, pack in self._outputs if box.cycles % every == 0]
        if not due:
            return 0
        values = box.values()
        with contextlib.suppress(OSError), self._lock:
            self._flush()
            if self._pending:
                return 0
            self._pending = b"".join(pack(values) for pack in due)
            self._flush()
            return len(due)
        return 0

    def _send(self, message: bytes) -> None:
        with self._lock:
            self._pending += message
            self._flush()

    def _flush(self) -> None:
        # Never wait for a client: a controller does not stop its cycle because somebody's buffer is full.
        with contextlib.suppress(BlockingIOError):
            while self._pending:
                sent = self._client.send(self._pending, socket.MSG_DONTWAIT)
                self._pending = self._pending[sent:]


def _recipe(number: int, names: bytes, rate_hz: float) -> Recipe:
    found = tuple(name for name in names.decode(errors="replace").split(",") if name)
    return Recipe(number, found, rate_hz)
