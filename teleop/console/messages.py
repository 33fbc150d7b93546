"""What pages may say, checked at the border: every message becomes a small frozen record or is refused with a reason.

JSON objects with a "type"; numbers are finite, names are short, nothing unknown is let through. Times of a page are in
seconds on its own clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.episode import Perturbation
from robolearn.specs import Array
from teleop.console.desk import WISHES, Hand

__all__ = [
    "BadMessage",
    "ClockMessage",
    "Control",
    "Disturb",
    "Halt",
    "HandMessage",
    "Message",
    "Ping",
    "Seen",
    "Touch",
    "Wish",
    "parse",
]

LONGEST_TEXT = 200


class BadMessage(ValueError):
    """A message that is not one of ours."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for the server's time."""

    time: float


@dataclass(frozen=True, slots=True)
class ClockMessage:
    """What the page found out about its clock."""

    offset: float
    rtt: float


@dataclass(frozen=True, slots=True)
class HandMessage:
    """A heartbeat."""

    hand: Hand


@dataclass(frozen=True, slots=True)
class Control:
    """Take the lease, or give it back."""

    take: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """A button of the session."""

    what: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A command is on the screen."""

    number: int
    time: float


@dataclass(frozen=True, slots=True)
class Disturb:
    """An act of the adversary."""

    number: int
    time: float
    perturbation: Perturbation


@dataclass(frozen=True, slots=True)
class Touch:
    """A hand goes into the real scene, or out of it."""

    down: bool
    kind: str
    target: str
    time: float


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop."""

    reason: str


Message = Ping | ClockMessage | HandMessage | Control | Wish | Seen | Disturb | Touch | Halt

_FIELDS = {
    "ping": {"time"},
    "clock": {"offset", "rtt"},
    "hand": {"seq", "time", "twist", "pose", "grip", "enable"},
    "control": {"take"},
    "wish": {"what"},
    "seen": {"number", "time"},
    "act": {"number", "time", "kind", "target", "params", "instruction"},
    "touch": {"down", "kind", "target", "time"},
    "halt": {"reason"},
}


def parse(text: str) -> Message:
    """A page's message.

    Raises:
        BadMessage: It is not JSON, not one of ours, or has a field too many, too few or of the wrong kind.
    """
    try:
        found: Any = json.loads(text, parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise BadMessage("not JSON") from error
    if not isinstance(found, dict):
        raise BadMessage("expected an object")
    kind = found.pop("type", None)
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise BadMessage(f"unknown type; possible: {', '.join(_FIELDS)}")
    if extra := found.keys() - _FIELDS[kind]:
        raise BadMessage(f"{kind}: unknown fields {sorted(map(str, extra))[:3]}")
    try:
        return _made(kind, found)
    except KeyError as error:
        raise BadMessage(f"{kind}: {error.args[0]} is missing") from error


def _made(kind: str, f: Mapping[str, Any]) -> Message:
    if kind == "hand":
        pose = _vector(f.get("pose") or (0, 0, 0, 1, 0, 0, 0), 7, 10.0)
        length = float(np.linalg.norm(pose[3:]))
        if not 0.9 < length < 1.1:
            raise BadMessage("hand: the quaternion must have length 1")
        twist = _vector(f["twist"], 6, 1.0)
        hand = Hand(_whole(f["seq"]), _number(f["time"]), twist, pose[:3], pose[3:] / length,
                    _number(f["grip"], 1.0), _flag(f["enable"]))  # fmt: skip
        return HandMessage(hand)
    if kind == "ping":
        return Ping(_number(f["time"]))
    if kind == "clock":
        rtt = _number(f["rtt"], 60.0)
        if rtt < 0:
            raise BadMessage("clock: rtt must not be negative")
        return ClockMessage(_number(f["offset"]), rtt)
    if kind == "control":
        return Control(_flag(f["take"]))
    if kind == "wish":
        if (what := _text(f["what"])) not in WISHES:
            raise BadMessage(f"wish: possible: {', '.join(WISHES)}")
        return Wish(what)
    if kind == "seen":
        return Seen(_whole(f["number"]), _number(f["time"]))
    if kind == "act":
        given = f.get("params") or {}
        if not isinstance(given, dict) or len(given) > 16:
            raise BadMessage("act: params must be an object of at most 16 numbers")
        params = {_text(name): _number(value, 1e6) for name, value in given.items()}
        act = Perturbation(_text(f["kind"]), _text(f.get("target", "")), params, _text(f.get("instruction", "")))
        return Disturb(_whole(f["number"]), _number(f["time"]), act)
    if kind == "touch":
        return Touch(_flag(f["down"]), _text(f.get("kind", "")), _text(f.get("target", "")), _number(f["time"]))
    return Halt(_text(f.get("reason", "")))


def _not_finite(name: str) -> float:
    raise BadMessage(f"{name} is no number")


def _number(value: Any, most: float = 1e12) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadMessage("expected a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise BadMessage("a number is too large") from error
    if not math.isfinite(number) or abs(number) > most:
        raise BadMessage(f"a number must lie within {most:g}")
    return number


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadMessage("expected a whole number that is not negative")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadMessage("expected true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise BadMessage(f"expected a text of at most {LONGEST_TEXT} printable characters")
    return value


def _vector(value: Any, size: int, most: float) -> Array:
    if not isinstance(value, list | tuple) or len(value) != size:
        raise BadMessage(f"expected {size} numbers")
    return np.array([_number(v, most) for v in value])
