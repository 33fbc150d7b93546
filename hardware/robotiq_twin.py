"""A protocol twin of the Robotiq URCap: a gripper whose fingers are one number, behind the real socket protocol.

It answers GET and SET of the documented variables, moves at the set speed on a clock, and stops on an object of a
given width. Exercised with our own driver; nothing was compared with a real gripper.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from typing import Any

from hardware.robotiq import PORT
from hardware.tcp_server import TcpServer
from hardware.twin_process import obey
from robolearn.clock import Clock, MonotonicClock

__all__ = ["RobotiqTwin", "RobotiqTwinConfig"]

OPEN, CLOSED = 3, 228
FULL_SPEED = 450.0
"""Counts per second at speed 255: the whole way in half a second."""


@dataclass(frozen=True, slots=True)
class RobotiqTwinConfig:
    """A gripper that lives on a loopback address."""

    address: str = "127.0.0.1"
    """IPv4 address to listen on."""
    port: int = PORT
    """Port of the URCap's server; 0 takes a free one."""
    active: bool = False
    """Whether it was activated before the client came."""

    def build(self, clock: Clock | None = None) -> RobotiqTwin:
        """The twin, not yet listening; its fingers move on `clock`."""
        return RobotiqTwin(self, clock or MonotonicClock())


class RobotiqTwin:
    """The twin. Use as a context manager; `port` is known once it listens.

    Attributes:
        object_count: Position at which the fingers meet an object when closing, counts; 255 for no object.
        fault: Value of FLT.
    """

    def __init__(self, config: RobotiqTwinConfig, clock: Clock):
        self.config, self._clock, self._lock = config, clock, threading.Lock()
        self.object_count, self.fault = 255, 0
        self.received: list[str] = []
        self._variables = {"ACT": int(config.active), "GTO": 0, "POS": 0, "SPE": 255, "FOR": 255}
        self._position, self._at = float(OPEN), clock.now()
        self._server: TcpServer | None = None

    @property
    def port(self) -> int:
        """Port it listens on."""
        return self.config.port if self._server is None else self._server.port

    @property
    def position(self) -> float:
        """Where the fingers are, counts."""
        with self._lock:
            return self._advance()

    def start(self) -> None:
        """Listen; raises `BenchError` when the port is taken."""
        self._server = TcpServer(self.config.address, self.config.port, self._serve)

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def drop_clients(self) -> None:
        """Cut all connections."""
        if self._server is not None:
            self._server.drop_clients()

    def command(self, line: str) -> Any:
        """Put an object between the fingers or break something: "help" lists what there is."""
        return obey(
            {
                "object": lambda count: setattr(self, "object_count", int(count)),
                "fault": lambda code: setattr(self, "fault", int(code)),
                "drop": self.drop_clients,
                "state": lambda: {"position": self.position, "port": self.port} | self._variables,
                "log": lambda: list(self.received),
            },
            line,
        )

    def __enter__(self) -> RobotiqTwin:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advance(self) -> float:
        now = self._clock.now()
        passed, self._at = now - self._at, now
        if self._variables["ACT"] and self._variables["GTO"]:
            goal = min(float(self._variables["POS"]), self.object_count, CLOSED)
            reach = passed * FULL_SPEED * max(self._variables["SPE"], 10) / 255
            self._position += max(-reach, min(reach, max(goal, OPEN) - self._position))
        return self._position

    def _value(self, name: str) -> int:
        position = self._advance()
        if name == "POS":
            return round(position)
        if name == "PRE":
            return self._variables["POS"]
        if name == "STA":
            return 3 if self._variables["ACT"] else 0
        if name == "FLT":
            return self.fault
        if name == "OBJ":
            goal = max(OPEN, min(self._variables["POS"], CLOSED))
            if abs(position - self.object_count) < 0.5 and goal > position:
                return 2
            return 3 if abs(position - goal) < 0.5 else 0
        return self._variables[name]

    def _serve(self, client: socket.socket) -> None:
        text = b""
        while part := client.recv(1024):
            text += part
            *lines, text = text.split(b"\n")
            for line in lines:
                client.sendall(self._answer(line.decode(errors="replace").strip()).encode())

    def _answer(self, line: str) -> str:
        words = line.split()
        with self._lock:
            self.received.append(line)
            if len(words) == 2 and words[0] == "GET" and words[1] in (*self._variables, "STA", "OBJ", "FLT", "PRE"):
                return f"{words[1]} {self._value(words[1])}\n"
            pairs = list(zip(words[1::2], words[2::2], strict=False))
            if words[:1] == ["SET"] and pairs and all(n in self._variables and v.isdigit() for n, v in pairs):
                self._advance()
                for name, value in pairs:
                    self._variables[name] = min(255, int(value))
                return "ack"
        return "?\n"
