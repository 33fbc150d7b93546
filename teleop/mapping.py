"""From a hand's motion to a tool's: dead-band, frame, ramp and scale for twists; clutch and scale for poses.

Twists: each half (translation, rotation) of length r is re-scaled to (r - b) / (1 - b) beyond the dead-band b, so that
motion begins at zero; its speed may grow by at most one full scale in `ramp_s`, and falls at once when the hand lets
go. Poses: with references taken at the press, the tool goes to p0 + s R (h - h0), and turns by the hand's turn since
the press (Kofman et al. 2005 call this indexing; "clutch" is today's word). R turns the operator's view into the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robolearn.errors import SpecError
from robolearn.geometry import (
    quaternion_conjugate,
    quaternion_from_rotation_vector,
    quaternion_multiply,
    rotate,
    rotation_vector,
)
from robolearn.specs import Array

__all__ = ["Motion", "PoseFollower", "TwistFollower", "dead_band"]


@dataclass(frozen=True, slots=True)
class Motion:
    """How a hand's motion becomes a tool's."""

    speed_m_s: float = 0.25
    """Tool speed at full deflection."""
    speed_rad_s: float = 1.0
    """Turning speed at full deflection."""
    dead_band: float = 0.05
    """Deflections below this part of the full one mean nothing."""
    ramp_s: float = 0.15
    """Time from rest to full speed; letting go stops at once."""
    scale: float = 1.0
    """Metres of the tool per metre of the hand, for devices that give a pose."""
    frame: Literal["base", "tool"] = "base"
    """Whose axes the hand's axes are: the robot's base or the tool itself."""
    view_yaw_rad: float = 0.0
    """Turn of the operator about the vertical against the base: pi for a person who faces the robot."""
    lead: float = 1.6
    """Commanded over wanted displacement in a period: a servo covers a part of it (the twin 0.62 at 20 Hz)."""

    def __post_init__(self) -> None:
        for name in ("speed_m_s", "speed_rad_s", "ramp_s", "scale", "lead"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise SpecError(f"{name} must be positive and finite; found {value!r}.")
        if not 0 <= self.dead_band < 1:
            raise SpecError(f"dead_band must lie within [0, 1); found {self.dead_band!r}.")
        if not np.isfinite(self.view_yaw_rad):
            raise SpecError(f"view_yaw_rad must be finite; found {self.view_yaw_rad!r}.")


def dead_band(twist: Array, band: float) -> Array:
    """A twist (6,) with both halves re-scaled beyond the dead-band and never longer than 1."""
    out = np.zeros(6)
    for half in (slice(0, 3), slice(3, 6)):
        length = float(np.linalg.norm(twist[half]))
        if length > band:
            out[half] = twist[half] / length * min((length - band) / (1.0 - band), 1.0)
    return out


class TwistFollower:
    """Turns twists into displacements of one control period."""

    def __init__(self, motion: Motion, period_s: float):
        self._motion, self._period_s = motion, period_s
        self._now = np.zeros(6)
        self._view = quaternion_from_rotation_vector(np.array([0.0, 0.0, motion.view_yaw_rad]))

    def engage(self, tool: tuple[Array, Array]) -> None:
        """Begin at rest."""
        self._now[:] = 0.0

    def displacement(self, twist: Array, tool: tuple[Array, Array]) -> Array:
        """(6,) metres and a rotation vector along the base's axes, for one period.

        Args:
            twist: (6,) the hand's deflections.
            tool: Measured position (3,) in m and quaternion (4,) of the tool in the base.
        """
        motion = self._motion
        wanted = dead_band(twist, motion.dead_band)
        step = self._period_s / motion.ramp_s
        for half in (slice(0, 3), slice(3, 6)):
            change = wanted[half] - self._now[half]
            length = float(np.linalg.norm(change))
            faster = (
                np.linalg.norm(wanted[half]) > np.linalg.norm(self._now[half]) or wanted[half] @ self._now[half] < 0
            )
            self._now[half] = self._now[half] + change * (min(1.0, step / length) if faster and length > 0 else 1.0)
        frame = tool[1] if motion.frame == "tool" else self._view
        move, turn = rotate(frame, self._now[:3]), rotate(frame, self._now[3:])
        speed = motion.lead * self._period_s
        return np.concatenate([move * motion.speed_m_s * speed, turn * motion.speed_rad_s * speed])


class PoseFollower:
    """Turns poses of the hand into displacements towards where the tool should be."""

    def __init__(self, motion: Motion, period_s: float):
        self._motion = motion
        self._largest = motion.lead * period_s * np.array([motion.speed_m_s, motion.speed_rad_s])
        self._view = quaternion_from_rotation_vector(np.array([0.0, 0.0, motion.view_yaw_rad]))
        self._hand: tuple[Array, Array] | None = None
        self._tool: tuple[Array, Array] = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))

    def engage(self, tool: tuple[Array, Array]) -> None:
        """Take the references anew: the tool's now, the hand's at the next pose."""
        self._tool, self._hand = (tool[0].copy(), tool[1].copy()), None

    def displacement(self, pose: tuple[Array, Array], tool: tuple[Array, Array]) -> Array:
        """(6,) metres and a rotation vector along the base's axes, for one period.

        Args:
            pose: Position (3,) in m and quaternion (4,) of the hand in its own frame.
            tool: Measured position (3,) and quaternion (4,) of the tool in the base.
        """
        if self._hand is None:
            self._hand = (pose[0].copy(), pose[1].copy())
        frame = self._tool[1] if self._motion.frame == "tool" else self._view
        moved = rotate(frame, pose[0] - self._hand[0]) * self._motion.scale
        turned = rotation_vector(quaternion_multiply(pose[1], quaternion_conjugate(self._hand[1])))
        goal = quaternion_multiply(quaternion_from_rotation_vector(rotate(frame, turned)), self._tool[1])
        gap = self._tool[0] + moved - tool[0]
        turn = rotation_vector(quaternion_multiply(goal, quaternion_conjugate(tool[1])))
        halves = [part * min(1.0, most / max(float(np.linalg.norm(part)), 1e-12))
                  for part, most in zip((gap, turn), self._largest, strict=True)]  # fmt: skip
        return np.concatenate(halves)
