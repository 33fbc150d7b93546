"""A learned sorter on a robot: what a person's reward taught, done by an arm with a gripper.

The learned policy thinks in the person's terms (`thinker`). The tool goes where the thought's hand goes (`Workspace`
maps the person's places to the robot's), and what the person's hand does by itself when it is at an onion or over a
place - close, look, let go - the gripper does by a fixed motion, pointing down. Which onion is taken, whether it is
looked at, and where it goes is the policy's doing.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.contracts import Env
from robolearn.keypoints.arm_maps import ArmMap
from robolearn.keypoints.deeds import Decide
from robolearn.keypoints.onions import EYE_M, EYE_RADIUS_M, HAND_M, Line, features, step_line
from robolearn.keypoints.thinker import Thinker
from robolearn.specs import Array, Arrays

__all__ = ["Phase", "Places", "WatchedSorter", "Workspace"]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where things are for the robot, in its base frame.

    Attributes:
        low: (2,) a corner of the region that onions wait in, m.
        high: (2,) the opposite corner.
        eye: (3,) of the tool.
        bin_slots: (5, 3) of the tool, where it lets onions fall.
        conveyor_slots: (5, 3) likewise.
        carry_m: Height of the tool on its way.
    """

    low: Array
    high: Array
    eye: Array
    bin_slots: Array
    conveyor_slots: Array
    carry_m: float = 0.17


class Workspace:
    """A smooth map of the person's hand to the robot's tool through pairs of places that mean the same.

    A linear map fitted to the pairs, plus the rest of each pair spread with the distance's kernel |r| (a polyharmonic
    spline), so that every place is met exactly.
    """

    def __init__(self, person: Array, robot: Array):
        self._at = person
        kernel = np.linalg.norm(person[:, None] - person, axis=-1)
        linear = np.column_stack([person, np.ones(len(person))])
        system = np.block([[kernel, linear], [linear.T, np.zeros((4, 4))]])
        self._weights = np.linalg.lstsq(system, np.concatenate([robot, np.zeros((4, 3))]), rcond=None)[0]

    def __call__(self, hand: Array) -> Array:
        """Tool positions (n, 3) of hands (n, 3)."""
        kernel = np.linalg.norm(hand[:, None] - self._at, axis=-1)
        return np.column_stack([kernel, hand, np.ones(len(hand))]) @ self._weights


class Phase(IntEnum):
    """What the arm is doing, in the note "note.subtask"."""

    THINK = 0
    MOVE = 1
    OVER = 2
    DOWN = 3
    CLOSE = 4
    LIFT = 5
    LOOK = 6
    CARRY = 7
    LOWER = 8
    OPEN = 9
    RISE = 10


_PERSON_X, _PERSON_Y = (0.61, 0.87), (-0.17, 0.19)
_TABLE_M = 0.77
_ABOVE = np.array([0.0, 0.0, 0.09])


class WatchedSorter(Thinker):
    """A `Policy` of n independent rows for the task `sort_onions` with joint targets.

    Args:
        env: The rows.
        decide: The learned policy: features (n, 9) to displacements (n, 3) of the wrist.
        chain: The arm, in its base frame.
        arm: Its map, upright.
        arm_fit: (4, 6) elbow and shoulder of the person's wrist (`onions.fit_arm`).
        places: Of the robot.
        onions: Names of the onions.
        speed_m_s: Of the tool.
        posture: Weight of the person's posture; a small one is plain inverse kinematics.
    """

    def __init__(
        self,
        env: Env,
        decide: Decide,
        chain: Chain,
        arm: ArmMap,
        arm_fit: Array,
        places: Places,
        onions: Sequence[str],
        *,
        speed_m_s: float = 0.55,
        posture: float = 0.3,
    ):
        names = ["onions.label", *(f"{o}.position" for o in onions)]
        super().__init__(env, names, chain, arm, arm_fit, speed_m_s=speed_m_s, posture=posture)
        n = env.n
        self._decide, self._places, self._onions = decide, places, tuple(onions)
        self._map = Workspace(*_pairs(places))
        self._line = _fresh(n)
        self._target, self._command = np.tile(places.eye, (n, 1)), np.tile(places.eye, (n, 1))
        self._pick, self._binned = np.full(n, -1), np.zeros(n, bool)

    def _forget(self, rows: list[int]) -> None:
        fresh = _fresh(len(rows))
        for name in Line.__slots__:
            getattr(self._line, name)[rows] = getattr(fresh, name)
        self._pick[rows], self._binned[rows] = -1, False

    def _reach(self) -> Array:
        down = np.broadcast_to([0.0, 0.0, -1.0], self._command.shape)
        return self._joints(self._line.wrist, self._command, down)

    def _waiting(self, observation: Arrays) -> Array:
        return np.stack([observation[f"{o}.position"] for o in self._onions], axis=1)

    def _see(self, observation: Arrays) -> None:
        """Onions that wait, where the person would see them; a label where the robot sees one."""
        line, onions, label = self._line, self._waiting(observation), observation["onions.label"]
        share = (onions[..., :2] - self._places.low) / (self._places.high - self._places.low)
        x = _PERSON_X[0] + share[..., 0] * (_PERSON_X[1] - _PERSON_X[0])
        y = _PERSON_Y[0] + share[..., 1] * (_PERSON_Y[1] - _PERSON_Y[0])
        waiting = ~line.gone & (np.arange(onions.shape[1]) != line.held[:, None])
        line.onions[waiting] = np.stack([x, y, np.full_like(x, _TABLE_M)], axis=-1)[waiting]
        seen = label != 0.0
        line.good[seen] = label[seen] > 0

    def _advance(self, observation: Arrays) -> None:
        tool, onions = observation["tool.position"], self._waiting(observation)
        places, rows = self._places, np.arange(self._n)
        there = np.linalg.norm(self._target - tool, axis=1) < 0.02
        slow = self._clock * self._period_s > 2.5
        before = self._phase.copy()
        onion = onions[rows, np.maximum(self._pick, 0)]
        close = np.linalg.norm(onion - tool, axis=1) < 0.045

        self._enter((before == Phase.MOVE) & (there | slow), Phase.THINK)
        self._follow(
            (before == Phase.OVER) & (there | slow),
            Phase.DOWN,
            np.column_stack([onion[:, :2], np.maximum(onion[:, 2], 0.02)]),
        )
        precise = np.linalg.norm(self._target - tool, axis=1) < 0.009
        down = (before == Phase.DOWN) & (precise | slow)
        self._closed[down] = True
        self._enter(down, Phase.CLOSE)
        lift = (before == Phase.CLOSE) & (self._clock * self._period_s > 0.6)
        self._follow(lift, Phase.LIFT, np.column_stack([tool[:, :2], np.full(self._n, places.carry_m)]))
        lifted = (before == Phase.LIFT) & (there | slow)
        got, missed = lifted & close, lifted & ~close
        self._line.held[got] = self._pick[got]
        self._line.looked[got] = 0
        self._closed[missed] = False
        self._enter(lifted, Phase.THINK)
        known = (before == Phase.LOOK) & there & (self._clock * self._period_s > 0.3)
        self._enter(known | ((before == Phase.LOOK) & slow), Phase.THINK)
        slot = self._slot()
        self._follow((before == Phase.CARRY) & (there | slow), Phase.LOWER, slot)
        opened = (before == Phase.LOWER) & (there | slow)
        self._closed[opened] = False
        self._enter(opened, Phase.OPEN)
        rise = (before == Phase.OPEN) & (self._clock * self._period_s > 0.4)
        self._follow(rise, Phase.RISE, slot + _ABOVE)
        done = (before == Phase.RISE) & (there | slow)
        held = np.maximum(self._line.held, 0)
        self._line.gone[rows[done], held[done]] = True
        self._line.held[done], self._line.looked[done] = -1, 0
        self._enter(done, Phase.THINK)
        lost = (self._line.held >= 0) & np.isin(before, (Phase.MOVE, Phase.LOOK, Phase.CARRY))
        lost &= np.linalg.norm(onions[rows, held] - tool, axis=1) > 0.07
        self._line.held[lost], self._closed[lost] = -1, False
        self._enter(lost, Phase.THINK)
        self._think(onions)

    def _think(self, onions: Array) -> None:
        thinking = (self._phase == Phase.THINK) & ~self._line.gone.all(axis=1)
        if not thinking.any():
            return
        places = self._places
        after, _, deed = step_line(self._line, self._decide(features(self._line)))
        new_pick = thinking & (self._line.held < 0) & (after.held >= 0)
        put = thinking & (deed > 0)
        eye = thinking & (self._line.held >= 0) & ~put & (np.linalg.norm(after.wrist - EYE_M, axis=1) < EYE_RADIUS_M)
        move = thinking & ~new_pick & ~put
        rows = np.arange(self._n)
        self._line.wrist[thinking] = after.wrist[thinking]
        self._line.looked[eye] += 1
        held = np.maximum(self._line.held, 0)
        self._line.onions[rows[move], held[move]] = np.where(
            (self._line.held >= 0)[move, None], after.wrist[move] + HAND_M, self._line.onions[rows[move], held[move]]
        )
        target = self._map(self._line.wrist + HAND_M)
        target[:, 2] = np.clip(target[:, 2], places.carry_m - 0.04, 0.36)
        radius = np.hypot(target[:, 0], target[:, 1])
        target[:, :2] *= (np.clip(radius, 0.36, 0.62) / np.maximum(radius, 1e-6))[:, None]
        self._follow(move, Phase.MOVE, target)
        self._follow(eye, Phase.LOOK, np.tile(places.eye, (self._n, 1)))
        self._pick = np.where(new_pick, after.held, self._pick)
        onion = onions[rows, np.maximum(self._pick, 0)]
        self._follow(new_pick, Phase.OVER, np.column_stack([onion[:, :2], np.full(self._n, 0.13)]))
        self._binned = np.where(put, (deed == 2) | (deed == 3), self._binned)
        self._follow(put, Phase.CARRY, self._slot() + _ABOVE)

    def _slot(self) -> Array:
        held = np.maximum(self._line.held, 0)
        return np.where(self._binned[:, None], self._places.bin_slots[held], self._places.conveyor_slots[held])


def _fresh(n: int) -> Line:
    """A line of which nothing is known yet."""
    wrist = np.tile([0.45, -0.12, 1.05], (n, 1))
    none = np.zeros((n, 5), bool)
    return Line(wrist, np.full((n, 5, 3), _TABLE_M), none.copy(), none.copy(), np.full(n, -1), np.zeros(n, int))


def _pairs(places: Places) -> tuple[Array, Array]:
    """The person's places and the robot's that mean the same."""
    person: list[Array] = []
    robot: list[Array] = []
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        person.append(np.array([_PERSON_X[i], _PERSON_Y[j], _TABLE_M]))
        robot.append(np.array([(places.low, places.high)[i][0], (places.low, places.high)[j][1], 0.03]))
    for mine, theirs in (
        (np.add(EYE_M, HAND_M), places.eye),
        (np.array([0.45, 0.35, 1.12]) + HAND_M, places.bin_slots.mean(axis=0) + np.array([0.0, 0.0, 0.1])),
        (np.array([0.60, -0.38, 0.92]) + HAND_M, places.conveyor_slots.mean(axis=0) + np.array([0.0, 0.0, 0.05])),
    ):
        person.append(mine)
        robot.append(np.asarray(theirs, float))
    return np.array(person), np.array(robot)
