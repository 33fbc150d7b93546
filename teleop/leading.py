"""A leader arm: a small arm in the hand whose joints the robot's joints follow.

Two gates stand before any motion. The start-pose gate refuses to engage while any joint of leader and follower differ
by more than 0.3 rad, and names the joint. Then the robot closes what is left at a slow, fixed joint speed, and follows
at full speed only after it has caught up once. Signs and offsets turn the leader's joints into the robot's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array, ArraySpec, bounds

__all__ = ["LeaderFollower", "Leading"]


@dataclass(frozen=True, slots=True)
class Leading:
    """How a robot follows a leader arm."""

    signs: tuple[float, ...] = ()
    """+1 or -1 per joint; empty means all +1."""
    offsets_rad: tuple[float, ...] = ()
    """What is added to each of the leader's joints after its sign; empty means nothing."""
    gate_rad: float = 0.3
    """Largest difference of any joint at which the clutch engages."""
    caught_rad: float = 0.05
    """Difference below which the robot has caught up."""
    approach_rad_s: float = 0.3
    """Joint speed until it has caught up."""
    speed_rad_s: float = 1.5
    """Largest joint speed after that."""
    reach_rad: float = 0.2
    """A command is never further than this from where the joint was measured."""

    def __post_init__(self) -> None:
        if any(sign not in (-1.0, 1.0) for sign in self.signs):
            raise SpecError(f"Signs must be 1 or -1; found {self.signs}.")
        for name in ("gate_rad", "caught_rad", "approach_rad_s", "speed_rad_s", "reach_rad"):
            if not (np.isfinite(value := getattr(self, name)) and value > 0):
                raise SpecError(f"{name} must be positive and finite; found {value!r}.")


class LeaderFollower:
    """Joint targets of a robot that follows a leader.

    Args:
        leading: Signs, offsets and speeds.
        target: Spec of the robot's joint targets.
        leader: Spec of the leader's joints.
        period_s: Control period.

    Raises:
        SpecError: The two arms have different numbers of joints.
    """

    def __init__(self, leading: Leading, target: ArraySpec, leader: ArraySpec, period_s: float):
        count = target.shape[0]
        if leader.shape != target.shape:
            raise SpecError(
                f"The leader has {leader.shape[0]} joints and the robot {count}; they must have equally many. "
                "Name the motors of the joints that are to lead in --operator.motors."
            )
        for name in ("signs", "offsets_rad"):
            if len(getattr(leading, name)) not in (0, count):
                raise SpecError(f"Expected {count} {name} or none; found {len(getattr(leading, name))}.")
        self._leading, self._period_s = leading, period_s
        self._signs = np.array(leading.signs or (1.0,) * count)
        self._offsets = np.array(leading.offsets_rad or (0.0,) * count)
        self._low, self._high = bounds(target)
        self._names = target.names or tuple(f"joint {i + 1}" for i in range(count))
        self._target = np.zeros(count)
        self._caught = False

    def led(self, leader: Array) -> Array:
        """(k,) the leader's joints as joints of the robot."""
        return self._signs * leader + self._offsets

    def engage(self, leader: Array, q: Array) -> str:
        """Take the arm where it is (k,) as the start; says why not when leader and robot stand too far apart."""
        gap = self.led(leader) - q
        worst = int(np.argmax(np.abs(gap)))
        if abs(gap[worst]) > self._leading.gate_rad:
            return (
                f"{self._names[worst]} of the leader is {gap[worst]:+.2f} rad from the robot's (at most "
                f"{self._leading.gate_rad} rad); bring the leader to the robot's pose"
            )
        self._target, self._caught = q.copy(), False
        return ""

    def target(self, leader: Array, q: Array) -> Array:
        """(k,) rad, where the robot's joints should be one period from now, given the measured ones."""
        goal = np.clip(self.led(leader), self._low, self._high)
        if not self._caught and np.abs(goal - self._target).max() < self._leading.caught_rad:
            self._caught = True
        speed = self._leading.speed_rad_s if self._caught else self._leading.approach_rad_s
        step = goal - self._target
        largest = float(np.abs(step).max())
        self._target = self._target + step * min(1.0, speed * self._period_s / max(largest, 1e-12))
        self._target = np.clip(self._target, q - self._leading.reach_rad, q + self._leading.reach_rad)
        return self._target.copy()
