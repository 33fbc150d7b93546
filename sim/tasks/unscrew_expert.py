"""The scripted teacher of Unscrew: grips the cap, turns the hand through its stroke, lets go, turns back, again.

While gripping it leads the hand by a fixed angle against the thread's friction and follows the cap as it rises. The
length of the stroke, the speed of turning and the height of the grip are each row's own. A grip that closes on
nothing is tried again; a cap that has come off is lifted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.geometry import yaw
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.script import Script, toward, upright

__all__ = ["CAP_M", "FREE_RAD", "SEAT_M", "UnscrewExpert", "UnscrewExpertConfig"]

CAP_M = (0.023, 0.032)
"""Radius and height of the cap."""
SEAT_M = 0.098
"""Height of the middle of a cap that is screwed down."""
FREE_RAD = 2.5 * 2 * math.pi
"""Turn of the screw at which the cap comes off."""


class Subtask(IntEnum):
    """What the teacher is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    TURN = 2
    OPEN = 3
    BACK = 4
    LIFT = 5


@dataclass(frozen=True, slots=True)
class UnscrewExpertConfig(TeacherConfig):
    """The scripted teacher of Unscrew."""

    speed_m_s: tuple[float, float] = (0.20, 0.35)
    """Range of commanded tool speeds that rows draw from."""
    turn_rad: tuple[float, float] = (0.20, 0.30)
    """Range of the commanded turn per control step while gripping."""
    stroke_rad: tuple[float, float] = (1.0, 1.35)
    """Range of half strokes: the hand turns from minus this to this."""
    grip_m: tuple[float, float] = (0.003, 0.008)
    """Range of heights of the grip above the cap's middle."""
    lift_m: float = 0.12
    """How high it lifts the cap."""

    def build(self, env: Env) -> UnscrewExpert:
        """A teacher for all rows of `env`."""
        return UnscrewExpert(self, env)


class UnscrewExpert(Script):
    """A `Policy` of n independent rows. Build it with `UnscrewExpertConfig`."""

    def __init__(self, config: UnscrewExpertConfig, env: Env):
        names = ("tool.position", "tool.quaternion", "gripper.width", "cap.position", "screw.turn")
        super().__init__(config, env, names)
        n = env.n
        self._config = config
        self._speed, self._rate, self._stroke, self._grip = (np.zeros(n) for _ in range(4))
        self._width, self._calm, self._open = np.zeros(n), np.zeros(n, int), np.zeros(n)
        self._anchor = np.zeros((n, 3))
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        tool, width = observation["tool.position"], observation["gripper.width"][:, 0]
        self._open = np.maximum(self._open, width)
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        self._width = width.copy()
        grip = observation["cap.position"] + np.column_stack([np.zeros((self._n, 2)), self._grip])
        heading = yaw(observation["tool.quaternion"])
        self._decide(tool, grip, heading, observation["screw.turn"][:, 0], width)

        goal = grip.copy()
        aside = np.hypot(*(grip - tool)[:, :2].T)
        goal[:, 2] += np.clip(2.5 * (aside - 0.004), 0.0, 0.12)
        lifting, turning = self._phase == Subtask.LIFT, self._phase == Subtask.TURN
        goal[lifting] = self._anchor[lifting]
        end = np.where(turning | lifting, self._stroke, -self._stroke)
        turn = upright(observation["tool.quaternion"], end)
        # Half of a commanded turn is covered in one step, so the lead is twice the rate.
        turn[:, 2] = np.where(turning, np.minimum(2.0 * self._rate, 0.45), turn[:, 2])
        still = np.isin(self._phase, (Subtask.GRASP, Subtask.OPEN, Subtask.LIFT))
        turn[still, 2] = 0.0
        closed = turning | lifting | (self._phase == Subtask.GRASP)
        return self._decision(toward(goal - tool, self._speed, self._period_s), turn, np.where(closed, 1.0, -1.0))

    def _decide(self, tool: Array, grip: Array, heading: Array, screw: Array, width: Array) -> None:
        """Advance each row's phase."""
        gap = np.linalg.norm(grip - tool, axis=1)
        self._notice(gap, width)
        before = self._phase.copy()
        self._clock += 1
        ready = (gap < 0.006) & (np.abs(heading + self._stroke) < 0.10)
        self._enter(np.isin(before, (Subtask.APPROACH, Subtask.BACK)) & ready, Subtask.GRASP)
        shut = (before == Subtask.GRASP) & (self._clock > 3) & (self._calm >= 1)
        got = shut & (width > 1.5 * CAP_M[0])
        self._enter(got, Subtask.TURN)
        free = screw > FREE_RAD
        off = (before == Subtask.TURN) & free
        self._enter(off, Subtask.LIFT)
        self._anchor[off] = tool[off] + [0.0, 0.0, self._config.lift_m]
        at_end = (before == Subtask.TURN) & (heading > self._stroke - 0.05) & ~off
        stalled = (before == Subtask.TURN) & (self._clock > 40) & ~off
        lost = (before == Subtask.LIFT) & (gap > 0.03)
        self._enter(at_end | stalled | (shut & ~got) | lost, Subtask.OPEN)
        opened = (before == Subtask.OPEN) & (width > 0.85 * self._open)
        self._enter(opened, Subtask.BACK)
        self._calm[self._phase != before] = 0

    def _notice(self, gap: Array, width: Array) -> None:
        """Whoever else moves the hand may have gripped the cap, or let go of it."""
        between = (width > 1.5 * CAP_M[0]) & (width < 2.4 * CAP_M[0])
        held = between & (gap < 0.012) & (self._calm >= 2)
        self._enter(np.isin(self._phase, (Subtask.APPROACH, Subtask.BACK)) & held, Subtask.TURN)
        let_go = ~between & (width > 0.85 * self._open)
        self._enter((self._phase == Subtask.TURN) & let_go, Subtask.BACK)

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config = self._config
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._rate[row] = generator.uniform(*config.turn_rad)
        self._stroke[row] = generator.uniform(*config.stroke_rad)
        self._grip[row] = generator.uniform(*config.grip_m)
        self._open[row], self._width[row], self._calm[row] = 0.0, 0.0, 0
