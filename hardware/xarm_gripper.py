"""The gripper on an xArm's tool, through the arm's own connection (its RS-485 line, a few milliseconds a question).

A thread asks for the position and passes commands on, so that the arm's set points never wait for the line. Exercised
with xarm-python-sdk 1.18.4 against `xarm_gripper_twin` only; nothing was run on a real gripper.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import BenchError, StaleReading
from robolearn.specs import Array, ArraySpec, Spec

__all__ = ["XArmGripper"]

_OPEN_PULSES, _STROKE_M = 850, 0.085
"""Open fingers in the gripper's pulses and in metres (UFACTORY, xArm gripper: 84 to 86 mm)."""
_RATE_HZ, _STALE_S = 20.0, 0.5


class XArmGripper:
    """Part of an `XArm`: it has the specs and methods of a robot, and `start` takes the arm's connection.

    Args:
        speed: Pulses per second, 1 to 5000.
        clock: Of its readings.
    """

    def __init__(self, speed: float, clock: Clock):
        self._speed, self._clock = speed, clock
        self._lock = threading.Lock()
        self._command: int | None = None
        self._stop_wanted = False
        self._reading: Reading | None = None
        self._failure = ""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def observation_spec(self) -> Spec:
        return {"gripper.width": ArraySpec((1,), low=0.0, high=_STROKE_M, unit="m")}

    @property
    def action_spec(self) -> Spec:
        return {"gripper.command": ArraySpec((1,), low=-1.0, high=1.0, names=("close",))}

    def start(self, api: Any) -> None:
        """Switch the gripper on and follow it; raises `BenchError` when it does not answer."""
        self._failure, self._command, self._reading = "", None, None
        for what, call in (
            ("be enabled", lambda: api.set_gripper_enable(True)),
            ("take its mode", lambda: api.set_gripper_mode(0)),
            ("take its speed", lambda: api.set_gripper_speed(self._speed)),
        ):
            with contextlib.redirect_stdout(None):
                code = call()
            if code != 0:
                raise BenchError(
                    f"The xArm's gripper would not {what} (code {code}). Check that one is mounted, its cable, and its "
                    'error in UFACTORY Studio; or say gripper = "none".'
                )
        self._measure(api)
        self._closing.clear()
        self._thread = threading.Thread(target=self._serve, args=(api,), name="xarm-gripper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the fingers keep what they hold."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None

    def read(self) -> Reading:
        with self._lock:
            reading, failure = self._reading, self._failure
        if failure:
            raise BenchError(failure)
        if reading is None or not (age := self._clock.now() - float(reading.time)) <= _STALE_S:
            age = np.inf if reading is None else self._clock.now() - float(reading.time)
            raise StaleReading(f"The xArm's gripper has said nothing for {age:.2f} s; at most {_STALE_S} s is allowed.")
        return reading

    def write(self, command: Array) -> Array:
        """Take a command (1,) between open (-1) and closed (1); returns it within these."""
        sent = np.clip(command, -1.0, 1.0)
        with self._lock:
            if self._failure:
                raise BenchError(self._failure)
            self._command, self._stop_wanted = round(_OPEN_PULSES * (1.0 - float(sent[0])) / 2), False
        return sent

    def stop(self) -> None:
        """Stay where the fingers are."""
        with self._lock:
            self._command, self._stop_wanted = None, True

    def _serve(self, api: Any) -> None:
        sent: int | None = None
        while not self._closing.wait(1.0 / _RATE_HZ):
            with self._lock:
                command, stop, self._stop_wanted = self._command, self._stop_wanted, False
            if stop and self._reading is not None:
                width = float(self._reading.arrays["gripper.width"][0])
                command, sent = round(width / _STROKE_M * _OPEN_PULSES), None
            if command is not None and command != sent:
                with contextlib.redirect_stdout(None):
                    # Without its checks, which would wait for the arm to rest.
                    code = api.set_gripper_position(command, wait=False, no_check=True)
                sent = command if code == 0 else sent
            try:
                self._measure(api)
            except BenchError as error:
                with self._lock:
                    self._failure = str(error)
                return

    def _measure(self, api: Any) -> None:
        with contextlib.redirect_stdout(None):
            answer = api.get_gripper_position()
            code, pulses = answer if isinstance(answer, tuple) else (answer, None)  # a bare code when it has a fault
            fault = api.get_gripper_err_code()[1] if code != 0 or pulses is None else 0
        if fault:
            raise BenchError(f"The xArm's gripper reports error {fault}. Look at it, clear it in UFACTORY Studio.")
        if code != 0 or pulses is None:
            return  # `read` notices that nothing new comes
        width = np.array([min(1.0, max(0.0, pulses / _OPEN_PULSES)) * _STROKE_M])
        with self._lock:
            self._reading = Reading(self._clock.now(), {"gripper.width": width})
