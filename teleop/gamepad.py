"""A gamepad through SDL (the package pygame): two sticks, triggers, and a shoulder button that must be held.

The right shoulder button is the clutch. It has to be held, and the console shows it in large type, because "the robot
does not move" is what people report when they do not know that. SDL needs no window here: its video driver is the
dummy one, and events are pumped when the device is read.

    left stick   forward, left       right stick  up, turn        triggers  roll
    RB hold      clutch              A            open or close the gripper
    start/back   begin / end         X, Y, B      success, record again, failure
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import BenchError, MissingDependency, StaleReading
from robolearn.specs import Spec
from teleop.hand import Marks, twist_spec
from teleop.operator import HandConfig
from teleop.seeded import SeededHand

__all__ = ["FakePad", "Gamepad", "GamepadConfig"]

LEFT_X, LEFT_Y, TRIGGER_L, RIGHT_X, RIGHT_Y, TRIGGER_R = range(6)
A, B, X, Y, LB, RB, BACK, START = range(8)
"""Axes and buttons as SDL numbers them on an Xbox pad under Linux, and on most others."""
_MARKS = {START: "start", BACK: "stop", X: "success", Y: "rerecord", B: "failure"}


class Pad(Protocol):
    """The part of pygame's joystick that is used, with what a poll needs."""

    def pump(self) -> bool:
        """Take what has happened; False when the pad is gone."""
        ...

    def axis(self, index: int) -> float: ...
    def button(self, index: int) -> bool: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class GamepadConfig(HandConfig):
    """A gamepad on USB or Bluetooth."""

    index: int = 0
    """Which one, when there are several."""

    def build(self, clock: Clock) -> Gamepad:
        """The device.

        Raises:
            MissingDependency: pygame is not installed.
            BenchError: There is no such gamepad.
        """
        if self.fake:
            return Gamepad(FakePad(SeededHand(self.seed, clock.now()), clock), clock)
        return Gamepad(_SdlPad(self.index), clock)


class Gamepad:
    """A `TeleopDevice`. Build it with `GamepadConfig`."""

    def __init__(self, pad: Pad, clock: Clock):
        self._pad, self._clock = pad, clock
        self._down = dict.fromkeys((A, *_MARKS), False)
        self._closed, self._marks = False, Marks()

    @property
    def spec(self) -> Spec:
        return twist_spec()

    def read(self) -> Reading:
        pad = self._pad
        if not pad.pump():
            raise StaleReading("the gamepad is gone (unplugged, out of reach or its battery is empty)")
        for button, was in self._down.items():
            now = pad.button(button)
            if now and not was:
                if button == A:
                    self._closed = not self._closed
                else:
                    self._marks.press(_MARKS[button])
            self._down[button] = now
        # SDL's sticks are right and down; its triggers rest at -1.
        roll = (pad.axis(TRIGGER_R) - pad.axis(TRIGGER_L)) / 2
        twist = np.array([-pad.axis(LEFT_Y), -pad.axis(LEFT_X), -pad.axis(RIGHT_Y), roll, 0.0, -pad.axis(RIGHT_X)])
        arrays = {
            "hand.twist": np.clip(twist, -1, 1),
            "hand.grip": np.array([1.0 if self._closed else -1.0]),
            "hand.enable": np.array([bool(pad.button(RB))]),
            "hand.marks": self._marks.counts,
        }
        return Reading(self._clock.now(), arrays)

    def close(self) -> None:
        """Give the device back; safe to call twice."""
        self._pad.close()


class _SdlPad:
    def __init__(self, index: int):
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
            os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
            import pygame
        except ModuleNotFoundError as error:
            raise MissingDependency("pygame", "teleop", "The gamepad") from error
        self._sdl: Any = pygame
        self._sdl.display.init()
        self._sdl.joystick.init()
        count = self._sdl.joystick.get_count()
        if index >= count:
            self.close()
            raise BenchError(
                f"There is no gamepad {index}: {count} found. Plug one in (Linux: see that /dev/input/js* is there and "
                "that you are in the group input), or use --operator web or --operator.fake."
            )
        self._pad: Any = self._sdl.joystick.Joystick(index)
        self._id, self._here = self._pad.get_instance_id(), True

    def pump(self) -> bool:
        for event in self._sdl.event.get():
            if event.type == self._sdl.JOYDEVICEREMOVED and event.instance_id == self._id:
                self._here = False
        return self._here

    def axis(self, index: int) -> float:
        return float(self._pad.get_axis(index)) if index < self._pad.get_numaxes() else 0.0

    def button(self, index: int) -> bool:
        return index < self._pad.get_numbuttons() and bool(self._pad.get_button(index))

    def close(self) -> None:
        self._sdl.joystick.quit()
        self._sdl.display.quit()


class FakePad:
    """A pad with a seeded hand on it, as SDL would describe it."""

    def __init__(self, hand: SeededHand, clock: Clock):
        self._hand, self._clock = hand, clock
        self._state, self._closed = hand.at(clock.now()), False
        self._press_a = False

    def pump(self) -> bool:
        now = self._clock.now()
        self._state = self._hand.at(now)
        self._press_a = self._state.closed != self._closed
        self._closed = self._state.closed
        return not self._hand.gone(now)

    def axis(self, index: int) -> float:
        twist = self._state.twist
        return {
            LEFT_X: -twist[1], LEFT_Y: -twist[0], RIGHT_X: -twist[5], RIGHT_Y: -twist[2],
            TRIGGER_R: twist[3], TRIGGER_L: -twist[3],
        }[index]  # fmt: skip

    def button(self, index: int) -> bool:
        return (index == RB and self._state.enable) or (index == A and self._press_a)

    def close(self) -> None:
        """Nothing to give back."""
