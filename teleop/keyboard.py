"""The keyboard of a terminal, also over SSH: keys held together, a heartbeat, and key releases where they exist.

A plain terminal sends characters, not presses and releases. So the device asks the terminal for the kitty keyboard
protocol (progressive enhancement, flags 1 + 2 + 8: kitty, foot, WezTerm, Ghostty, Konsole, ...), which reports both; in
a terminal without it, a key counts as held for `linger_s` after its last character, so that two keys pressed in turn
add up to a diagonal. Four times in a heartbeat's time it also asks "are you well?" (DSR, CSI 5 n), which every terminal
answers by itself: no answer for 200 ms means that the terminal or the network is gone, whatever key is down.

    w s  forward, back      a d  left, right      r f  up, down      (or the arrow keys)
    q e  turn               t g  pitch            y h  roll          space  open or close the gripper
    1 start   2 stop   3 success   4 failure   5 record again   6 seen
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import termios
import tty
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import BenchError, StaleReading
from robolearn.specs import Spec
from teleop.engagement import HEARTBEAT_S
from teleop.hand import MARKS, Marks, twist_spec
from teleop.operator import HandConfig
from teleop.seeded import SeededHand

__all__ = ["KEYS", "FakeTerminal", "Keyboard", "KeyboardConfig"]

KEYS: dict[str, tuple[int, float]] = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "y": (3, 1.0), "h": (3, -1.0), "t": (4, 1.0), "g": (4, -1.0), "q": (5, 1.0), "e": (5, -1.0),
    "up": (0, 1.0), "down": (0, -1.0), "left": (1, 1.0), "right": (1, -1.0),
}  # fmt: skip
"""Which axis of the twist a key moves, and which way."""
_BUTTONS = {str(k + 1): mark for k, mark in enumerate(MARKS)}
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_ASK, _ALIVE = b"\x1b[5n", b"\x1b[0n"
_KITTY_ON, _KITTY_OFF = b"\x1b[>11u\x1b[?u", b"\x1b[<u"
_SEQUENCE = re.compile(rb"\x1b\[(\??)([0-9;:]*)([A-Za-z~])")


class Port(Protocol):
    """Where bytes from a terminal come from and go to, without ever waiting."""

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class KeyboardConfig(HandConfig):
    """The keyboard of the terminal that runs this command."""

    linger_s: float = 0.2
    """How long a key counts as held after its last character, in terminals that do not report releases."""

    def build(self, clock: Clock) -> Keyboard:
        """The keyboard, with the terminal in raw mode until it is closed.

        Raises:
            BenchError: Standard input is not a terminal.
        """
        port = FakeTerminal(SeededHand(self.seed, clock.now()), clock) if self.fake else Terminal()
        return Keyboard(port, clock, self.linger_s)


class Keyboard:
    """A `TeleopDevice`. Build it with `KeyboardConfig`, and close it to get the terminal back."""

    def __init__(self, port: Port, clock: Clock, linger_s: float):
        self._port, self._clock, self._linger_s = port, clock, linger_s
        self._held: dict[str, float] = {}
        self._closed, self._marks = False, Marks()
        self._reports_releases = False
        self._buffer = b""
        self._heard, self._asked = clock.now(), -np.inf
        self._port.write(_KITTY_ON)

    @property
    def spec(self) -> Spec:
        return twist_spec()

    def read(self) -> Reading:
        now = self._clock.now()
        if now - self._asked >= HEARTBEAT_S / 4:
            self._asked = now
            self._port.write(_ASK)
        if data := self._port.read():
            self._heard = now
            self._take(data, now)
        if now - self._heard > HEARTBEAT_S:
            self._held.clear()
            raise StaleReading(f"the terminal has been silent for {now - self._heard:.2f} s")
        if not self._reports_releases:
            self._held = {key: at for key, at in self._held.items() if now - at <= self._linger_s}
        twist = np.zeros(6)
        for key in self._held:
            axis, way = KEYS[key]
            twist[axis] += way
        arrays = {
            "hand.twist": np.clip(twist, -1, 1),
            "hand.grip": np.array([1.0 if self._closed else -1.0]),
            "hand.enable": np.array([bool(self._held)]),
            "hand.marks": self._marks.counts,
        }
        return Reading(self._heard, arrays)

    def close(self) -> None:
        """Give the terminal back; safe to call twice."""
        self._port.close()

    def _take(self, data: bytes, now: float) -> None:
        data = self._buffer + data
        self._buffer = b""
        at = 0
        while at < len(data):
            if data[at] != 0x1B:
                self._key(chr(data[at]), "press", now)
                at += 1
                continue
            found = _SEQUENCE.match(data, at)
            if found is None:
                if len(data) - at < 32 and re.fullmatch(rb"\x1b(\[[?0-9;:]*)?", data[at:]):
                    self._buffer = data[at:]  # the rest of it is on its way
                    return
                at += 1
                continue
            at = found.end()
            self._sequence(found[1].decode(), found[2].decode(), found[3].decode(), now)

    def _sequence(self, mark: str, numbers: str, end: str, now: float) -> None:
        if mark == "?" and end == "u":
            self._reports_releases = bool(int(numbers or "0") & 2)
            return
        parts = numbers.split(";")
        kind = "press"
        if len(parts) > 1 and ":" in parts[1]:
            kind = {"1": "press", "2": "repeat", "3": "release"}.get(parts[1].split(":")[1], "press")
        if end in _ARROWS:
            self._key(_ARROWS[end], kind, now)
        elif end == "u" and (code := parts[0].split(":")[0]).isdigit() and int(code) < 0x110000:
            modifiers = int(parts[1].split(":")[0] or "1") - 1 if len(parts) > 1 else 0
            if chr(int(code)) == "c" and modifiers & 4:
                raise KeyboardInterrupt  # the terminal reports Ctrl-C as a key
            self._key(chr(int(code)), kind, now)

    def _key(self, key: str, kind: str, now: float) -> None:
        if key == "\x03":
            raise KeyboardInterrupt
        key = key.lower()
        if key in KEYS:
            if kind == "release":
                self._held.pop(key, None)
            else:
                self._held[key] = now
        elif kind == "press" and key == " ":
            self._closed = not self._closed
        elif kind == "press" and key in _BUTTONS:
            self._marks.press(_BUTTONS[key])


class Terminal:
    """Standard input as a `Port`: raw, not waiting, restored on `close`."""

    def __init__(self) -> None:
        if not sys.stdin.isatty():
            raise BenchError(
                "The keyboard device needs a terminal, and standard input is not one. Run the command in a terminal "
                "(ssh -t when it is remote), or use --operator web."
            )
        self._fd = sys.stdin.fileno()
        self._before: list[object] | None = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        os.set_blocking(self._fd, False)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self._fd, 4096)
        return b""

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(sys.stdout.fileno(), data)

    def close(self) -> None:
        """Put the terminal back as it was; safe to call twice."""
        if self._before is not None:
            os.set_blocking(self._fd, True)
            os.write(sys.stdout.fileno(), _KITTY_OFF)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # pyright: ignore[reportArgumentType]
            self._before = None


class FakeTerminal:
    """A terminal with a seeded typist: answers "are you well?", reports presses and releases, or only characters.

    Args:
        hand: What the typist does; deflections above a third of the full one become keys.
        clock: The clock of the device.
        kitty: Whether it speaks the kitty keyboard protocol.
    """

    def __init__(self, hand: SeededHand, clock: Clock, *, kitty: bool = True):
        self._hand, self._clock, self._kitty = hand, clock, kitty
        self._down: set[str] = set()
        self._closed = False
        self._out = b""
        self._repeated = clock.now()

    def write(self, data: bytes) -> None:
        if self._hand.gone(self._clock.now()):
            return
        self._out += _ALIVE * data.count(_ASK)
        if self._kitty and _KITTY_ON in data:
            self._out += b"\x1b[?11u"

    def read(self) -> bytes:
        now = self._clock.now()
        if self._hand.gone(now):
            return b""
        state = self._hand.at(now)
        wanted = {
            key
            for key, (axis, way) in KEYS.items()
            if len(key) == 1 and state.enable and state.twist[axis] * way > 0.33
        }
        if self._kitty:
            self._out += b"".join(b"\x1b[%d;1:3u" % ord(key) for key in sorted(self._down - wanted))
            self._out += b"".join(b"\x1b[%d;1:1u" % ord(key) for key in sorted(wanted - self._down))
        elif now - self._repeated >= 0.03:
            self._out += "".join(sorted(wanted)).encode()
            self._repeated = now
        self._down = wanted
        if state.closed != self._closed:
            self._closed = state.closed
            self._out += b"\x1b[32;1:1u\x1b[32;1:3u" if self._kitty else b" "
        out, self._out = self._out, b""
        return out

    def close(self) -> None:
        """Nothing to give back."""
