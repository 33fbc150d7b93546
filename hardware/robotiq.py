"""A Robotiq 2F gripper through the socket server of its URCap on the robot controller.

The protocol is lines of ASCII on port 63352: "SET POS 200" is answered by "ack", "GET POS" by "POS 200"; positions,
speeds and forces are counts from 0 to 255. A thread owns the connection, so `read` and `write` never wait for it.
Exercised against `robotiq_twin` only; nothing was run on a real gripper.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

import numpy as np

from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, StaleReading
from robolearn.specs import Arrays, ArraySpec, Spec, check

__all__ = ["PORT", "Robotiq", "RobotiqConfig"]

PORT = 63352
"""Port of the URCap's server."""
FAULTS = {5: "activation needed", 7: "activation needed", 8: "too hot", 9: "no communication", 10: "under voltage"}


@dataclass(frozen=True, slots=True)
class RobotiqConfig:
    """A Robotiq 2F-85 or 2F-140 gripper."""

    address: str = "192.168.1.10"
    """Address of the robot controller with the URCap."""
    port: int = PORT
    """Port of the URCap's server."""
    stroke_m: float = 0.085
    """Width between the fingertips when open, m: 0.085 or 0.140."""
    open_count: int = 3
    """Measured position when open, counts."""
    closed_count: int = 228
    """Measured position when closed on nothing, counts."""
    speed: int = 255
    """Finger speed, counts."""
    force: int = 60
    """Grip force, counts."""
    rate_hz: float = 50.0
    """How often the position is asked for."""
    stale_s: float = 0.3
    """A width older than this is refused."""

    def build(self, clock: Clock | None = None) -> Robotiq:
        """The gripper, not yet connected; `clock` stamps readings."""
        return Robotiq(self, clock or MonotonicClock())


class Robotiq:
    """A `Robot` of one joint: observation "gripper.width", action "gripper.command" (-1 open, 1 closed).

    Entering connects and activates; an unactivated gripper opens and closes fully once when it is activated.
    """

    def __init__(self, config: RobotiqConfig, clock: Clock):
        self.config, self._clock = config, clock
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._command: int | None = None
        self._stop_wanted = False
        self._failure = ""
        self._object = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def observation_spec(self) -> Spec:
        return {"gripper.width": ArraySpec((1,), low=0.0, high=self.config.stroke_m, unit="m")}

    @property
    def action_spec(self) -> Spec:
        return {"gripper.command": ArraySpec((1,), low=-1.0, high=1.0, names=("close",))}

    @property
    def holds_object(self) -> bool:
        """Whether the fingers stopped on something before reaching their target, as the gripper reports it."""
        return self._object in (1, 2)

    def read(self) -> Reading:
        with self._lock:
            reading, failure = self._reading, self._failure
        if failure:
            raise BenchError(failure)
        if reading is None:
            raise BenchError("The gripper is not connected; use it as a context manager (with gripper: ...).")
        age = self._clock.now() - float(reading.time)
        if not age <= self.config.stale_s:
            raise StaleReading(
                f"The gripper at {self.config.address} has not reported its position for {age:.2f} s; at most "
                f"{self.config.stale_s} s is allowed. Check the URCap and its cable."
            )
        return reading

    def write(self, action: Arrays) -> Arrays:
        check(action, self.action_spec, where="gripper action")
        sent = np.clip(action["gripper.command"], -1.0, 1.0)
        with self._lock:
            if self._failure:
                raise BenchError(self._failure)
            self._command = round(float(sent[0] + 1.0) / 2 * 255)
        return {"gripper.command": sent}

    def stop(self) -> None:
        with self._lock:
            self._stop_wanted, self._command = True, None

    def __enter__(self) -> Robotiq:
        if self._thread is not None:
            raise BenchError("The gripper is already connected.")
        connection = self._connect()
        self._closing.clear()
        self._failure = ""
        self._thread = threading.Thread(target=self._serve, args=(connection,), name="robotiq", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._closing.set()
            self._thread.join()
            self._thread = None

    def _connect(self) -> _Line:
        config = self.config
        try:
            line = _Line(socket.create_connection((config.address, config.port), timeout=1.0))
        except OSError as error:
            raise BenchError(
                f"No gripper answers at {config.address}:{config.port} ({error}). Check the address and that the "
                "Robotiq URCap is installed and running on the controller."
            ) from error
        try:
            if line.get("STA") != 3:
                line.set("ACT", 0)
                line.set("ACT", 1)
                deadline = self._clock.now() + 10.0
                while line.get("STA") != 3:
                    if self._clock.now() > deadline:
                        raise BenchError(
                            f"The gripper was not active after 10 s (fault {line.get('FLT')}). Check its power and "
                            "that nothing blocks the fingers, then activate it at the pendant."
                        )
                    self._closing.wait(0.05)
            line.set("SPE", config.speed)
            line.set("FOR", config.force)
            self._reading = self._measure(line)
        except BaseException:
            line.close()
            raise
        return line

    def _serve(self, line: _Line) -> None:
        sent: int | None = None
        with contextlib.closing(line):
            while not self._closing.wait(1.0 / self.config.rate_hz):
                with self._lock:
                    command, stop, self._stop_wanted = self._command, self._stop_wanted, False
                try:
                    if stop:
                        line.set("GTO", 0)
                        sent = None
                    if command is not None and command != sent:
                        line.set("POS", command)
                        line.set("GTO", 1)
                        sent = command
                    reading = self._measure(line)
                    fault = line.get("FLT")
                except (OSError, BenchError) as error:
                    with self._lock:
                        self._failure = f"The gripper at {self.config.address} is lost: {error} Connect again."
                    return
                with self._lock:
                    self._reading = reading
                    if fault in FAULTS:
                        self._failure = f"The gripper reports a fault: {FAULTS[fault]}. Clear it at the pendant."
            with contextlib.suppress(OSError, BenchError):
                line.set("GTO", 0)

    def _measure(self, line: _Line) -> Reading:
        config = self.config
        count = line.get("POS")
        self._object = line.get("OBJ")
        share = (config.closed_count - count) / (config.closed_count - config.open_count)
        width = np.array([config.stroke_m * min(1.0, max(0.0, share))])
        return Reading(self._clock.now(), {"gripper.width": width})


class _Line:
    """Question and answer, one line each."""

    def __init__(self, connection: socket.socket):
        self._connection = connection

    def get(self, name: str) -> int:
        """The value of a variable."""
        answer = self._ask(f"GET {name}")
        found, _, value = answer.partition(" ")
        if found != name or not value.lstrip("-").isdigit():
            raise BenchError(f'Asked for "{name}", the gripper answered {answer!r}.')
        return int(value)

    def set(self, name: str, value: int) -> None:
        """Set a variable and wait until it is acknowledged."""
        answer = self._ask(f"SET {name} {value}")
        if answer != "ack":
            raise BenchError(f'"SET {name} {value}" was answered by {answer!r}, not by "ack".')

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _ask(self, line: str) -> str:
        self._connection.sendall(f"{line}\n".encode())
        answer = b""
        # The URCap ends answers with a newline, except that some versions send a bare "ack".
        while not answer.endswith(b"\n") and answer != b"ack":
            part = self._connection.recv(256)
            if not part:
                raise BenchError("The gripper closed the connection.")
            answer += part
        return answer.decode(errors="replace").strip()
