"""The scripted teacher of Insert: grasps the peg, brings it above the hole, aligns what it holds, and lets it down.

From the grasp on it steers the peg and not the tool: the displacement that is left is that of the peg to the hole,
with the peg's tilt and its yaw (to the nearest quarter turn) as the rotation, so that however it was grasped does not
matter. A peg that stops going down is lifted a little, turned to one side and tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.geometry import rotate, yaw
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.script import Attention, Script, toward, upright

__all__ = ["DEPTH_M", "PEG_M", "InsertExpert", "InsertExpertConfig", "peg_gap"]

PEG_M = (0.024, 0.080)
"""Width and height of the peg."""
DEPTH_M = 0.040
"""Of the hole, down to the table."""
QUARTER = np.pi / 2
ABOVE_M = DEPTH_M + 0.012
"""Height of the peg's bottom while it is aligned above the hole."""
CARRY_M = DEPTH_M + 0.06
"""Height of the peg's bottom on its way."""


class Subtask(IntEnum):
    """What the teacher is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    LIFT = 2
    ALIGN = 3
    INSERT = 4
    RETREAT = 5


def peg_gap(observation: Arrays) -> Array:
    """(n, 3) from the hole's middle on the table to the middle of the peg's bottom, along the base's axes."""
    down = rotate(observation["peg.quaternion"], np.array([0.0, 0.0, -PEG_M[1] / 2]))
    bottom = observation["peg.position"] + down
    bottom[:, :2] -= observation["socket.place"][:, :2]
    return bottom


def _nearest(angle: Array) -> Array:
    """Angles to the nearest of four equal faces, within an eighth of a turn."""
    return angle - QUARTER * np.round(angle / QUARTER)


@dataclass(frozen=True, slots=True)
class InsertExpertConfig(TeacherConfig):
    """The scripted teacher of Insert."""

    speed_m_s: tuple[float, float] = (0.25, 0.40)
    """Range of commanded tool speeds that rows draw from."""
    insert_m_s: tuple[float, float] = (0.04, 0.08)
    """Range of speeds into the hole."""
    grasp_m: tuple[float, float] = (0.016, 0.024)
    """Range of heights of the grasp above the peg's middle."""
    other_face: float = 0.2
    """Probability of grasping the second nearest pair of faces."""
    delay_s: tuple[float, float] = (0.2, 0.6)
    """Range of reaction times to a peg that somebody moves."""

    def build(self, env: Env) -> InsertExpert:
        """A teacher for all rows of `env`."""
        return InsertExpert(self, env)


class InsertExpert(Script):
    """A `Policy` of n independent rows. Build it with `InsertExpertConfig`."""

    def __init__(self, config: InsertExpertConfig, env: Env):
        names = ("tool.position", "tool.quaternion", "gripper.width", "peg.position", "peg.quaternion", "socket.place")
        super().__init__(config, env, names, ("peg.position", PEG_M[1] / 2))
        n = env.n
        self._config, self._attention = config, Attention(n, 3, 0.004)
        self._speed, self._slow, self._grasp = np.zeros(n), np.zeros(n), np.zeros(n)
        self._other, self._face, self._heading = np.zeros(n, bool), np.zeros(n), np.zeros(n)
        self._anchor, self._bottom, self._wiggle = np.zeros((n, 3)), np.zeros(n), np.zeros((n, 3))
        self._width, self._calm, self._open = np.zeros(n), np.zeros(n, int), np.zeros(n)
        self._generators = [np.random.default_rng(0)] * n
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        tool, peg = observation["tool.position"], observation["peg.position"]
        width, heading = observation["gripper.width"][:, 0], yaw(observation["peg.quaternion"])
        gap = peg_gap(observation)
        self._open = np.maximum(self._open, width)
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        self._width = width.copy()

        grasp = self._attention.see(peg)
        grasp[:, 2] += self._grasp
        now = yaw(observation["tool.quaternion"])
        # The nearest pair of faces, or the next one round; chosen anew while approaching.
        face = heading + QUARTER * np.round((now - heading) / QUARTER)
        fresh = (self._phase == Subtask.APPROACH) & (self._clock == 0)
        self._face = np.where(fresh, face - heading + QUARTER * self._other, self._face)
        self._heading = np.where(self._phase == Subtask.APPROACH, heading + self._face, self._heading)
        turn = upright(observation["tool.quaternion"], self._heading)
        # What is held must stand straight, with its faces along the hole's.
        lean = np.cross(rotate(observation["peg.quaternion"], np.array([0.0, 0.0, 1.0])), np.array([0.0, 0.0, 1.0]))
        spin = _nearest(observation["socket.place"][:, 2] - heading)
        carry = np.column_stack([lean[:, :2], spin])
        self._decide(tool, peg, grasp, gap, turn, carry, width)

        goal = grasp - tool
        aside = np.hypot(goal[:, 0], goal[:, 1])
        goal[:, 2] += np.clip(2.5 * (aside - 0.006) + 0.25 * (np.abs(turn[:, 2]) - 0.1), 0.0, 0.12)
        still = np.isin(self._phase, (Subtask.GRASP, Subtask.LIFT, Subtask.RETREAT))
        goal[still] = (self._anchor - tool)[still]
        aligning, inserting = self._phase == Subtask.ALIGN, self._phase == Subtask.INSERT
        to_hole = self._wiggle * inserting[:, None] - gap
        aside = np.hypot(gap[:, 0], gap[:, 1])
        to_hole[:, 2] += np.where(inserting, 0.0, ABOVE_M + np.clip(2.5 * (aside - 0.006), 0.0, CARRY_M - ABOVE_M))
        held = aligning | inserting
        goal[held] = to_hole[held]
        turn[held] = np.clip(0.7 * carry, -0.2, 0.2)[held]
        move = toward(goal, np.where(inserting, self._slow, self._speed), self._period_s)
        # Sideways it stays exact while it goes down slowly.
        move[inserting, :2] = np.clip(0.8 * to_hole[inserting, :2], -0.004, 0.004)
        closed = held | (self._phase == Subtask.LIFT) | (self._phase == Subtask.GRASP)
        return self._decision(move, turn, np.where(closed, 1.0, -1.0))

    def _decide(
        self, tool: Array, peg: Array, grasp: Array, gap: Array, turn: Array, carry: Array, width: Array
    ) -> None:
        """Advance each row's phase."""
        before = self._phase.copy()
        self._clock += 1
        left = grasp - tool
        near = (np.hypot(left[:, 0], left[:, 1]) < 0.004) & (np.abs(left[:, 2]) < 0.006)
        begin = (before == Subtask.APPROACH) & near & (np.abs(turn).max(axis=1) < 0.03)
        self._enter(begin, Subtask.GRASP)
        self._anchor[begin] = grasp[begin]
        shut = (before == Subtask.GRASP) & (self._clock > 3) & (self._calm >= 1)
        away = np.linalg.norm(peg - tool, axis=1)
        got = shut & (width > 0.6 * PEG_M[0]) & (away < 0.05)
        self._enter(got, Subtask.LIFT)
        self._anchor[got] = tool[got] + [0.0, 0.0, CARRY_M]
        self._enter((before == Subtask.LIFT) & (gap[:, 2] > CARRY_M - 0.015), Subtask.ALIGN)
        straight = np.abs(carry).max(axis=1) < 0.01
        aside = np.hypot(gap[:, 0], gap[:, 1])
        ready = (before == Subtask.ALIGN) & straight & (aside < 0.0003) & (gap[:, 2] < ABOVE_M + 0.003)
        self._enter(ready, Subtask.INSERT)
        self._bottom[ready] = gap[ready, 2]
        inserting = before == Subtask.INSERT
        look = inserting & (self._clock % 12 == 0)
        stuck = look & (self._bottom - gap[:, 2] < 0.002) & (gap[:, 2] > 0.003)
        self._bottom[look] = gap[look, 2]
        self._enter(stuck, Subtask.ALIGN)
        for row in np.flatnonzero(stuck):
            self._wiggle[row, :2] = self._generators[row].normal(0.0, 0.0003, 2)
        holding = np.isin(before, (Subtask.LIFT, Subtask.ALIGN, Subtask.INSERT))
        lost = (shut & ~got) | (holding & (away > 0.06))
        self._enter(lost, Subtask.RETREAT)
        self._anchor[lost] = tool[lost] + [0.0, 0.0, 0.10]
        high = (before == Subtask.RETREAT) & (width > 0.85 * self._open) & (self._clock > 8)
        self._enter(high, Subtask.APPROACH)
        self._calm[self._phase != before] = 0

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config = self._config
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._slow[row] = generator.uniform(*config.insert_m_s)
        self._grasp[row] = generator.uniform(*config.grasp_m)
        self._other[row] = generator.uniform() < config.other_face
        self._attention.reset(row, round(generator.uniform(*config.delay_s) / self._period_s))
        self._wiggle[row], self._open[row], self._width[row], self._calm[row] = 0.0, 0.0, 0.0, 0
        self._generators[row] = generator
