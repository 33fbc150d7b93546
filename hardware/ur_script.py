"""What the control program of ur_rtde does inside the controller, register by register.

ur_rtde uploads a URScript program that reads a command number from integer input register 0 and its arguments from
double registers, and answers in output register 0: 1 is "ready", 2 is "done". Streamed commands (servoJ, speedJ)
keep it at 1; the others hold it at 2 until the client clears the command. The numbers are those of the program inside
ur_rtde 1.6.5. A command that this twin does not model ends the program, as a script error does on a real controller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hardware.ur_models import flange_pose
from robolearn.specs import Array

if TYPE_CHECKING:
    from hardware.ur_controller import UrController

__all__ = ["ControlScript"]

READY, DONE = 1, 2
STREAMED = {9: "speedJ", 11: "servoJ", 26: "get_steptime", 58: "get_actual_tool_flange_pose"}
IGNORED = {8, 17, 29, 59, 65, 99}
"""Zeroing a sensor, payload, tool offset, gravity, watchdog kick: accepted, without effect on this model."""


class ControlScript:
    """One upload of the program. `cycle` is called once per controller cycle and says why the program ended.

    Args:
        offset: First register in use: 0, or 24 when the client asks for the upper range.
    """

    def __init__(self, offset: int = 0):
        self._command = f"input_int_register_{offset}"
        self._offset = offset
        self._executing = False
        self._waiting: Callable[[UrController], bool] | None = None
        self._operations = 0
        self._asynchronous = False
        self.watchdog_s = np.inf

    def cycle(self, box: UrController) -> str:
        """Read the registers once; "" to go on, else the reason to stop the program."""
        if box.time - box.input_times.get(self._command, box.time) > self.watchdog_s:
            return f"watchdog: no command for {self.watchdog_s * 1e3:.0f} ms"
        if self._asynchronous and box.motion.at_rest:
            self._progress(box, running=False)
        if self._waiting is not None:
            if not self._waiting(box):
                return ""
            self._waiting = None
            self._signal(box, DONE)
        command = int(box.inputs.get(self._command, 0))
        if command == 0:
            self._executing = False
            self._signal(box, READY)
        elif command in STREAMED:
            self._executing = False
            self._signal(box, READY)
            return self._stream(box, command)
        elif not self._executing:
            self._executing = True
            ended = self._run(box, command)
            if ended:
                return ended
            if self._waiting is None:
                self._signal(box, DONE)
        return ""

    def _stream(self, box: UrController, command: int) -> str:
        if command == 11:
            target = self._doubles(box, 0, 6)
            lookahead, gain = self._doubles(box, 9, 2)
            if not box.joints_inside(target):
                box.protective_stop(f"servoj to {np.round(target, 3)}, outside the joint limits")
                return ""
            box.motion.servo(target, gain / 300.0 / max(lookahead, 0.03))
        elif command == 9:
            speed = self._doubles(box, 0, 6)
            if not np.all(np.isfinite(speed)):
                return f"speedj to {speed}"
            (acceleration,) = self._doubles(box, 6, 1)
            box.motion.speed(speed, acceleration)
        elif command == 26:
            self._answer(box, [box.period_s])
        elif command == 58:
            self._answer(box, flange_pose(box.model, box.values()["actual_q"]))
        return ""

    def _run(self, box: UrController, command: int) -> str:
        if command == 255:
            return "stopScript"
        if command == 1:
            target, (speed, acceleration) = self._doubles(box, 0, 6), self._doubles(box, 6, 2)
            if not box.joints_inside(target):
                box.protective_stop(f"movej to {np.round(target, 3)}, outside the joint limits")
                return ""
            box.motion.move(target, speed, acceleration)
            if self._int(box, 1) == 1:
                self._progress(box, running=True)
            else:
                self._waiting = lambda box: box.motion.at_rest
        elif command in (15, 16, 33, 34):  # speedStop, servoStop, stopL, stopJ
            (deceleration,) = self._doubles(box, 0, 1)
            box.motion.hold(deceleration if deceleration > 0 else 10.0)
            self._waiting = lambda box: box.motion.at_rest
        elif command == 31:
            box.protective_stop("asked for by the program")
        elif command == 35:
            (frequency,) = self._doubles(box, 0, 1)
            self.watchdog_s = 1.0 / frequency if frequency > 0 else np.inf
        elif command == 37:
            self._set_int(box, 1, int(box.joints_inside(self._doubles(box, 0, 6))))
        elif command == 40:
            self._answer(box, [0.0] * 6)
        elif command == 43:
            self._answer(box, flange_pose(box.model, box.values()["actual_q"]))
        elif command == 44:
            self._answer(box, flange_pose(box.model, self._doubles(box, 0, 6).tolist()))
        elif command == 47:
            self._set_int(box, 1, int(box.motion.at_rest))
        elif command not in IGNORED:
            return f"command {command} of the control script is not modelled by this twin"
        return ""

    def _doubles(self, box: UrController, first: int, count: int) -> Array:
        base = self._offset + first
        return np.array([box.inputs.get(f"input_double_register_{base + k}", 0.0) for k in range(count)])

    def _int(self, box: UrController, number: int) -> int:
        return int(box.inputs.get(f"input_int_register_{self._offset + number}", 0))

    def _set_int(self, box: UrController, number: int, value: int) -> None:
        box.outputs[f"output_int_register_{self._offset + number}"] = (value,)

    def _answer(self, box: UrController, values: Sequence[float]) -> None:
        for k, value in enumerate(values):
            box.outputs[f"output_double_register_{self._offset + k}"] = (float(value),)

    def _signal(self, box: UrController, state: int) -> None:
        self._set_int(box, 0, state)

    def _progress(self, box: UrController, *, running: bool) -> None:
        # Bits 16-22 count changes, 24-30 operations, bit 15 says that one is running.
        self._asynchronous = running
        self._operations = (self._operations + 1) % 128
        self._set_int(box, 2, self._operations << 24 | self._operations << 16 | running << 15)
