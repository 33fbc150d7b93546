"""A SpaceMouse: six axes under one hand, over USB HID, through the package hidapi.

The devices of 3Dconnexion (and the older ones under Logitech's vendor id) send report 1 with the translation, report 2
with the rotation (three little-endian int16 each, about -350 to 350) and report 3 with the buttons as bits; newer ones
put all six axes into report 1. Wired and wireless models send the state at about 60 Hz while the cap is moved and
nothing while it rests, so silence is not loss: what says that the device is there is the handle itself. Touching the
cap beyond the dead-band is the clutch; at the resting cap it is released.
"""

from __future__ import annotations

import struct
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

__all__ = ["FakeSpaceMouse", "SpaceMouse", "SpaceMouseConfig"]

FULL = 350.0
"""Counts of a full deflection."""
VENDORS = (0x256F, 0x046D)
_PRODUCTS_046D = (0xC603, 0xC605, 0xC606, 0xC621, 0xC623, 0xC625, 0xC626, 0xC627, 0xC628, 0xC629, 0xC62B)
# The device's x is right, y towards the person, z down; ours are forward, left, up.
_ORDER, _WAY = np.array([1, 0, 2, 4, 3, 5]), np.array([-1.0, -1.0, -1.0, -1.0, -1.0, -1.0])
_PRESS = {0: "grip", 1: "start", 2: "success", 3: "failure", 4: "rerecord"}
"""Buttons by bit. Models with two buttons have the gripper and start; the rest of an episode is on the page."""


class Handle(Protocol):
    """The part of hidapi's device that is used."""

    def read(self, max_length: int) -> list[int]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SpaceMouseConfig(HandConfig):
    """A SpaceMouse on USB."""

    touch: float = 0.05
    """Deflection, as a part of the full one, from which the cap counts as touched."""

    def build(self, clock: Clock) -> SpaceMouse:
        """The device.

        Raises:
            MissingDependency: hidapi is not installed.
            BenchError: No SpaceMouse, or no right to open it.
        """
        if self.fake:
            return SpaceMouse(FakeSpaceMouse(SeededHand(self.seed, clock.now()), clock), clock, self.touch)
        return SpaceMouse(_open(), clock, self.touch)


def _open() -> Handle:
    try:
        import hid
    except ModuleNotFoundError as error:
        raise MissingDependency("hid", "teleop", "The SpaceMouse") from error
    library: Any = hid
    ours = [
        d
        for d in library.enumerate()
        if d["vendor_id"] == VENDORS[0] or (d["vendor_id"] == VENDORS[1] and d["product_id"] in _PRODUCTS_046D)
    ]
    if not ours:
        raise BenchError("There is no SpaceMouse on USB. Plug it in, or use --operator web or --operator.fake.")
    handle: Any = library.device()
    try:
        handle.open_path(ours[0]["path"])
    except OSError as error:
        raise BenchError(
            f"The SpaceMouse {ours[0].get('product_string') or ''} cannot be opened ({error}). Give yourself the right "
            'to it: a udev rule with SUBSYSTEM=="hidraw", ATTRS{idVendor}=="256f", MODE="0660", TAG+="uaccess".'
        ) from error
    handle.set_nonblocking(1)
    return handle


class SpaceMouse:
    """A `TeleopDevice`. Build it with `SpaceMouseConfig`."""

    def __init__(self, handle: Handle, clock: Clock, touch: float):
        self._handle, self._clock, self._touch = handle, clock, touch
        self._axes = np.zeros(6)
        self._buttons, self._closed, self._marks = 0, False, Marks()
        self._gone = ""

    @property
    def spec(self) -> Spec:
        return twist_spec()

    def read(self) -> Reading:
        try:
            while not self._gone and (report := bytes(self._handle.read(64))):
                self._take(report)
        except (OSError, ValueError) as error:
            self._gone = str(error) or "read error"
        if self._gone:
            self._axes[:] = 0.0
            raise StaleReading(f"the SpaceMouse is gone ({self._gone})")
        arrays = {
            "hand.twist": np.clip(self._axes[_ORDER] * _WAY / FULL, -1, 1),
            "hand.grip": np.array([1.0 if self._closed else -1.0]),
            "hand.enable": np.array([bool(np.abs(self._axes).max() > self._touch * FULL)]),
            "hand.marks": self._marks.counts,
        }
        return Reading(self._clock.now(), arrays)

    def close(self) -> None:
        """Give the device back; safe to call twice."""
        self._handle.close()

    def _take(self, report: bytes) -> None:
        kind, body = report[0], report[1:]
        if kind == 1 and len(body) >= 12:
            self._axes[:] = struct.unpack("<6h", body[:12])
        elif kind in (1, 2) and len(body) >= 6:
            self._axes[3 * (kind - 1) : 3 * kind] = struct.unpack("<3h", body[:6])
        elif kind == 3 and body:
            now = int.from_bytes(body[:4], "little")
            for bit, name in _PRESS.items():
                if now >> bit & 1 and not self._buttons >> bit & 1:
                    if name == "grip":
                        self._closed = not self._closed
                    else:
                        self._marks.press(name)
            self._buttons = now


class FakeSpaceMouse:
    """The device as its reports: a seeded hand on the cap, two reports each 16 ms, silence at rest."""

    def __init__(self, hand: SeededHand, clock: Clock):
        self._hand, self._clock = hand, clock
        self._sent, self._queue = clock.now(), list[bytes]()
        self._closed, self._resting = False, True

    def read(self, max_length: int) -> list[int]:
        now = self._clock.now()
        if self._hand.gone(now):
            raise OSError("read error")
        if not self._queue and now - self._sent >= 0.016:
            self._sent = now
            state = self._hand.at(now)
            twist = np.zeros(6)
            twist[_ORDER] = state.twist * _WAY
            counts = np.round(twist * FULL).astype(int)
            if state.enable or not self._resting:
                self._queue += [struct.pack("<B3h", 1, *counts[:3]), struct.pack("<B3h", 2, *counts[3:])]
            self._resting = not state.enable
            if state.closed != self._closed:
                self._closed = state.closed
                self._queue += [bytes([3, 1, 0]), bytes([3, 0, 0])]
        return list(self._queue.pop(0)) if self._queue else []

    def close(self) -> None:
        """Nothing to give back."""
