"""What the gate did and why, as events for the episode's log."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from robolearn.episode import Event
from robolearn.safety.motion import Caps, SetPoint
from robolearn.specs import Array

__all__ = ["Journal"]

QUIET_S = 0.5
"""A limit that acts again within this time is not another event."""


class Journal:
    """Collects events until somebody takes them; the oldest go when nobody does."""

    def __init__(self, most: int = 1000):
        self._events: deque[Event] = deque(maxlen=most)
        self._limited: dict[str, float] = {}

    def tell(self, kind: str, now: float, why: str, **params: Any) -> None:
        """Something happened now."""
        self._events.append(Event(kind, now, now, source="gate", params=params, reason=why))

    def limit(self, kind: str, now: float, why: str) -> None:
        """A limit changed a command; told once when it begins to act."""
        if now - self._limited.get(kind, -np.inf) > QUIET_S:
            self.tell("gate.limit", now, why, limit=kind)
        self._limited[kind] = now

    def explain(self, point: SetPoint, target: Array, wanted: SetPoint, caps: Caps, dt: float, now: float) -> None:
        """Tell which limit turned `target` into `wanted`, if one did."""
        if np.abs(wanted.q - target).max() < 1e-6:
            return
        v = (np.clip(target, caps.low, caps.high) - point.q) / dt
        if np.any((target < caps.low) | (target > caps.high)):
            self.limit("position", now, "a command beyond the range")
        elif np.any(np.abs(v) > caps.speed):
            self.limit("speed", now, "a command faster than allowed")
        elif np.any(np.abs(v - point.v) > caps.acceleration * dt):
            self.limit("acceleration", now, "a command that accelerates more than allowed")
        else:
            self.limit("jerk", now, "a command with more jerk than allowed")

    def take(self) -> list[Event]:
        """What happened since the last call."""
        happened = list(self._events)
        self._events.clear()
        return happened
