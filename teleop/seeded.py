"""A hand that exists only as numbers: what a person does at time t, from a seed. Every fake device is moved by one.

The hand presses the clutch for a while, moves in smooth curves (sums of three sines per axis), opens and closes the
gripper, presses an episode button now and then, and may go away for good. Fakes turn it into their device's own
protocol (key codes, HID reports, axes, messages, motor positions), so the real decoders run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.geometry import quaternion_from_rotation_vector
from robolearn.specs import Array

__all__ = ["HandState", "SeededHand"]

FIRST_PRESS_S, PRESSED_S, RELEASED_S = 0.3, 3.0, 0.4
GRIP_S = 2.0
"""The gripper changes between open and closed this often."""


@dataclass(frozen=True, slots=True)
class HandState:
    """The hand at one moment.

    Attributes:
        enable: Whether the clutch is held.
        twist: (6,) deflections within [-1, 1].
        closed: Whether the gripper is to be closed.
        position: (3,) m, where the hand is in its own frame.
        quaternion: (4,) its turn there.
        bend: (8,) rad within [-0.2, 0.2], how a leader arm is bent away from its start.
    """

    enable: bool
    twist: Array
    closed: bool
    position: Array
    quaternion: Array
    bend: Array


class SeededHand:
    """The hand. Times count from `start`.

    Args:
        seed: Fixes everything it does.
        start: Clock time at which it begins.
    """

    def __init__(self, seed: int, start: float = 0.0):
        random = np.random.default_rng([seed, 77])
        self._start = start
        self._hz = random.uniform(0.1, 0.5, (20, 3))
        self._phase = random.uniform(0, 2 * np.pi, (20, 3))
        self.gone_s = np.inf
        """Seconds after which it is gone: the device is still there and says nothing more."""

    def gone(self, now: float) -> bool:
        """Whether the person has left."""
        return now - self._start >= self.gone_s

    def at(self, now: float) -> HandState:
        """What the hand does at a clock time."""
        t = now - self._start
        curves = np.sin(2 * np.pi * self._hz * t + self._phase).mean(axis=1)
        cycle = (t - FIRST_PRESS_S) % (PRESSED_S + RELEASED_S)
        enable = t >= FIRST_PRESS_S and cycle < PRESSED_S
        twist = np.clip(1.5 * curves[:6], -1, 1) * enable
        return HandState(
            enable=bool(enable),
            twist=twist,
            closed=bool(int(max(t, 0.0) / GRIP_S) % 2),
            position=0.1 * curves[6:9],
            quaternion=quaternion_from_rotation_vector(0.3 * curves[9:12]),
            bend=0.2 * curves[12:20] * min(max(t - FIRST_PRESS_S, 0.0), 1.0),
        )
