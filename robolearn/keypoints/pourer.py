"""A learned pourer on a robot: what a person's pouring taught, done by an arm with a gripper.

The policy thinks in the person's terms (`thinker`), on a table that is laid as the person's is. `Landmarks` says where
a thought is in the robot's scene; while the bottle is held its mouth is led there and the hand goes around the mouth as
far as the thought tips. Which bowl, when and how far the bottle is tipped, when that was long enough and where it is
put is the policy's doing. Taking the bottle from the side and letting go of it in the crate are fixed motions that a
thought begins. Four rules hold that a person's arm does not need: the bottle is carried above the bowls, tips far only
where its thought is, is not led away before it is turned up again, and keeps its mouth low while it is tipped. How many
beads are left is counted.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.contracts import Env
from robolearn.geometry import quaternion_conjugate, quaternion_from_rotation_vector, quaternion_to_matrix, rotate
from robolearn.geometry import yaw as yaw_of
from robolearn.keypoints.arm_maps import ArmMap
from robolearn.keypoints.deeds import Decide
from robolearn.keypoints.landmarks import Landmarks
from robolearn.keypoints.pouring import BOWL_M, GRIP_M, HOLD_M, REST_M, TABLE_M, Pour, features, mouth_of, step_pour
from robolearn.keypoints.thinker import Thinker
from robolearn.specs import Array, Arrays

__all__ = ["PourPhase", "Vessels", "WatchedPourer"]

_UP = np.array([0.0, 0.0, 1.0])
_BOTTLE, _CRATE = np.array([0.67, -0.30, TABLE_M]), np.array([0.56, 0.34, TABLE_M])
_BOWLS = np.array([[0.66, -0.10, TABLE_M], [0.66, 0.11, TABLE_M]])
"""The person's table in the middle of what was recorded; the nearer bowl first."""
_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])
"""From the person's directions on the table to the robot's: who tips to the left there tips away from the base here."""
_HEADING_RAD, _DIP_RAD = -np.pi / 2, 0.2
"""The hand points to the right, a little down, so that a roll about its own axis tips the bottle away from the base."""
_FRAME_S = 1.0 / 3.0
"""A thought about a tipped bottle lasts at least as long as the recordings' frame."""
_FAR_RAD = 1.25
"""A tip beyond which beads may move."""
_SHORT_M, _HIGHER_M = 0.025, 0.02
"""How far the mouth stays short of a bowl's middle, since beads fly ahead, and higher than the person's."""
_OVER_M, _MOST_M, _HIGH_M = 0.08, 0.10, 0.32
"""The mouth's least height above a bowl's rim, its most while it is tipped, and its most above the table at all."""
_SWING_M = 0.05
"""How much higher the mouth stays while the wide side of the hand swings past the bowl."""
_CARRY_M, _SET_M = 0.10, 0.012
"""Height of the bottle's bottom on its way, and where it is let go of in the crate."""
_BEHIND_M, _STANDOFF_M, _ABOVE_M = 0.012, 0.09, 0.12
"""The tool stays short of the bottle's axis; from how far behind and above it comes."""


@dataclass(frozen=True, slots=True)
class Vessels:
    """What bottle and bowls are to the robot.

    Attributes:
        bottle: Name of the bottle, whose origin is the middle of its bottom.
        bowls: Names of the bowls, in the order of the command.
        half_m: Half of the bottle's width.
        height_m: Of the bottle.
        grip_m: Height of the grasp above its bottom.
        rim_m: Height of the bowls' rims.
        bowl_m: Their radius.
    """

    bottle: str
    bowls: tuple[str, str]
    half_m: float
    height_m: float
    grip_m: float
    rim_m: float
    bowl_m: float


class PourPhase(IntEnum):
    """What the arm is doing, in the note "note.subtask"."""

    THINK = 0
    MOVE = 1
    OVER = 2
    BESIDE = 3
    INTO = 4
    CLOSE = 5
    LIFT = 6
    CROSS = 7
    LOWER = 8
    OPEN = 9
    BACK = 10
    RISE = 11


class WatchedPourer(Thinker):
    """A `Policy` of n independent rows for the task `pour` with joint targets.

    Args:
        env: The rows.
        decide: The learned policy: features (n, 12) to decisions (n, 4).
        chain: The arm, in its base frame.
        arm: Its map, upright.
        arm_fit: (4, 6) elbow and shoulder of the person's wrist (`onions.fit_arm`).
        vessels: What is on the table.
        speed_m_s: Of the tool or the mouth.
        tip_rad_s: How fast a bottle is tipped while beads may move; four times as fast otherwise.
        posture: Weight of the person's posture; a small one is plain inverse kinematics.
    """

    def __init__(
        self,
        env: Env,
        decide: Decide,
        chain: Chain,
        arm: ArmMap,
        arm_fit: Array,
        vessels: Vessels,
        *,
        speed_m_s: float = 0.3,
        tip_rad_s: float = 0.5,
        posture: float = 0.1,
    ):
        names = ["tool.quaternion", "beads.position", "crate.place", "task.command", f"{vessels.bottle}.quaternion"]
        names += [f"{name}.position" for name in (vessels.bottle, *vessels.bowls)]
        super().__init__(env, names, chain, arm, arm_fit, speed_m_s=speed_m_s, posture=posture)
        n = env.n
        self._decide, self._vessels, self._tip_speed = decide, vessels, tip_rad_s
        self._pour = _fresh(n)
        self._holding = np.zeros(n, bool)
        # Angles of the hand: heading, dip, and roll; as commanded, and as wanted. Which way its fingers are turned.
        self._angles, self._wanted, self._sense = np.zeros((n, 3)), np.zeros((n, 3)), np.ones(n)
        self._local = np.zeros((n, 3))  # from the tool to the bottle's mouth, in the hand
        self._off, self._mouth = np.zeros(n), np.zeros((n, 3))
        self._start, self._near = np.zeros((n, 2)), np.zeros(n, int)

    def _forget(self, rows: list[int]) -> None:
        fresh = _fresh(len(rows))
        for name in Pour.__slots__:
            getattr(self._pour, name)[rows] = getattr(fresh, name)
        self._holding[rows] = False

    def _begin(self, rows: Array, observation: Arrays) -> None:
        super()._begin(rows, observation)
        self._target[rows] = self._command[rows]
        hand = quaternion_to_matrix(observation["tool.quaternion"])
        z, y = hand[:, :, 2], hand[:, :, 1]
        heading = np.arctan2(z[:, 1], z[:, 0])
        dip = -np.arcsin(np.clip(z[:, 2], -1.0, 1.0))
        self._angles[rows] = np.column_stack([heading, dip, np.zeros(len(z))])[rows]
        self._wanted[rows] = [_HEADING_RAD, _DIP_RAD, 0.0]
        right = np.column_stack([np.sin(heading), -np.cos(heading), np.zeros(len(z))])
        self._sense[rows] = np.where((right * y).sum(axis=1) < 0.0, -1.0, 1.0)[rows]

    def _see(self, observation: Arrays) -> None:
        """Lay the person's table as the robot's is, and count the beads that are left."""
        v, pour = self._vessels, self._pour
        bottle, quaternion = observation[f"{v.bottle}.position"], observation[f"{v.bottle}.quaternion"]
        bowls = np.stack([observation[f"{name}.position"] for name in v.bowls], axis=1)
        standing = ~self._holding  # where it was taken from, and which bowl is the near one, is remembered
        self._start[standing] = bottle[standing, :2]
        near = np.argmin(np.linalg.norm(bowls[:, :, :2] - self._start[:, None], axis=-1), axis=1)
        self._near[standing] = near[standing]
        first = (self._near == 0)[:, None, None]
        pour.bowls[:] = np.where(first, _BOWLS, _BOWLS[::-1])
        pour.command[:] = np.argmax(observation["task.command"], axis=1)
        pour.bottle[~pour.held] = _BOTTLE
        local = rotate(quaternion_conjugate(quaternion)[:, None], observation["beads.position"] - bottle[:, None])
        inside = (np.abs(local[..., :2]).max(axis=-1) < v.half_m) & (local[..., 2] > 0.0) & (local[..., 2] < v.height_m)
        pour.left[:] = inside.mean(axis=1)
        self._mouth = bottle + v.height_m * rotate(quaternion, _UP)
        in_hand = rotate(
            quaternion_conjugate(observation["tool.quaternion"]), self._mouth - observation["tool.position"]
        )
        self._local = np.where(self._holding[:, None], self._local + 0.3 * (in_hand - self._local), in_hand)
        short = bowls[:, :, :2] - [_SHORT_M, 0.0]
        stands, crate = (np.tile(place[:2], (self._n, 1, 1)) for place in (_BOTTLE, _CRATE))
        here = np.concatenate([stands, pour.bowls[:, :, :2], crate], axis=1)
        there = np.stack([self._start, *np.moveaxis(short, 1, 0), observation["crate.place"]], axis=1)
        # What is not far from the middle of a bowl for a point is not far for a mouth as wide as the robot's bottle.
        room = (v.bowl_m - v.half_m) / (BOWL_M[0] - 0.01)
        self._map = Landmarks(here, there, np.array([1.0, room, room, 1.0])[:, None, None] * _TURN)

    def _led(self, observation: Arrays) -> Array:
        return np.where(self._holding[:, None], self._mouth, observation["tool.position"])

    def _pace(self) -> Array:
        # Is not led away before it is turned up again.
        turning_up = self._holding & (self._angles[:, 2] > _FAR_RAD) & (self._wanted[:, 2] < _FAR_RAD)
        return np.where(turning_up, 0.0, 1.0)[:, None]

    def _reach(self) -> Array:
        self._turn_on()
        forward, across = self._hand(self._angles)
        tool = self._command.copy()
        hand = np.stack([np.cross(across, forward), across, forward], axis=-1)
        held = self._holding
        tool[held] -= (hand @ self._local[..., None])[held, :, 0]
        return self._joints(self._pour.wrist, tool, forward, across)

    def _turn_on(self) -> None:
        """Turn the commanded hand on towards what is wanted."""
        gap = self._wanted - self._angles
        roll, tipping = self._angles[:, 2], gap[:, 2] > 0.0
        careful = self._holding & tipping & (roll + gap[:, 2] > _FAR_RAD) & (roll > _FAR_RAD - 0.1)
        # Tips far only where the thought is.
        away = np.linalg.norm((self._target - self._command)[:, :2], axis=1) > 0.02
        gap[:, 2] = np.where(
            self._holding & tipping & away, np.minimum(gap[:, 2], np.maximum(0.0, _FAR_RAD - 0.1 - roll)), gap[:, 2]
        )
        speed = np.column_stack([np.full((self._n, 2), 1.0), np.where(careful, 1.0, 4.0) * self._tip_speed])
        self._angles = self._angles + np.clip(gap, -speed * self._period_s, speed * self._period_s)
        self._off = np.abs(self._wanted - self._angles).max(axis=1)

    def _hand(self, angles: Array) -> tuple[Array, Array]:
        """Where a hand points and where its fingers open, (n, 3) each."""
        (heading, dip, roll), flat = angles.T, np.cos(angles[:, 1])
        forward = np.column_stack([flat * np.cos(heading), flat * np.sin(heading), -np.sin(dip)])
        level = self._sense[:, None] * np.column_stack([np.sin(heading), -np.cos(heading), np.zeros(len(angles))])
        return forward, rotate(quaternion_from_rotation_vector(-roll[:, None] * forward), level)

    def _grasp(self, observation: Arrays, back: float, up: float) -> Array:
        """(n, 3) of a tool at the bottle as it stands, so far behind and above its grasp."""
        forward, _ = self._hand(self._wanted)
        bottle = observation[f"{self._vessels.bottle}.position"]
        return bottle + (self._vessels.grip_m + up) * _UP - (_BEHIND_M + back) * forward

    def _advance(self, observation: Arrays) -> None:
        tool, before = observation["tool.position"], self._phase.copy()
        gap = np.linalg.norm(self._target - self._led(observation), axis=1)
        turned, lasted = self._off < 0.08, self._clock * self._period_s
        there, slow = (gap < 0.02) & turned, lasted > 4.0
        least = np.where(self._holding & (self._wanted[:, 2] > _FAR_RAD), _FRAME_S, 0.0)
        bottle = observation[f"{self._vessels.bottle}.position"]
        axis = bottle + self._vessels.grip_m * rotate(observation[f"{self._vessels.bottle}.quaternion"], _UP)
        off = np.linalg.norm(axis - tool, axis=1)
        self._enter((before == PourPhase.MOVE) & (there | slow) & (lasted >= least), PourPhase.THINK)

        # Taking it from the side; a hand on its way follows a bottle that is moved.
        for phase, back, up in (
            (PourPhase.OVER, _STANDOFF_M, _ABOVE_M),
            (PourPhase.BESIDE, _STANDOFF_M, 0.0),
            (PourPhase.INTO, 0.0, 0.0),
        ):
            rows = before == phase
            self._target[rows] = self._grasp(observation, back, up)[rows]
        self._enter((before == PourPhase.OVER) & (there | slow), PourPhase.BESIDE)
        self._enter((before == PourPhase.BESIDE) & ((gap < 0.012) & turned | slow), PourPhase.INTO)
        taken = (before == PourPhase.INTO) & ((gap < 0.009) | slow)
        self._closed[taken] = True
        self._enter(taken, PourPhase.CLOSE)
        lift = (before == PourPhase.CLOSE) & (lasted > 0.6)
        self._follow(lift, PourPhase.LIFT, tool + (_CARRY_M + 0.04) * _UP)
        lifted = (before == PourPhase.LIFT) & (there | slow)
        self._take(lifted & (off < 0.05))
        missed = lifted & (off >= 0.05)
        self._closed[missed] = False
        self._follow(missed, PourPhase.RISE, tool + 0.05 * _UP)

        # Letting go of it where the thought put it.
        low = np.column_stack([self._mouth[:, :2], np.full(self._n, self._vessels.height_m + _SET_M)])
        upright = (self._angles[:, 2] < 0.05) & turned
        self._follow((before == PourPhase.CROSS) & ((gap < 0.02) & upright | slow), PourPhase.LOWER, low)
        opened = (before == PourPhase.LOWER) & ((gap < 0.012) | slow)
        self._release(opened, tool)
        self._enter(opened, PourPhase.OPEN)
        forward, _ = self._hand(self._angles)
        self._follow((before == PourPhase.OPEN) & (lasted > 0.5), PourPhase.BACK, tool - 0.13 * forward)
        self._follow((before == PourPhase.BACK) & (there | slow), PourPhase.RISE, tool + 0.10 * _UP)
        self._enter((before == PourPhase.RISE) & (there | slow), PourPhase.THINK)

        lost = self._holding & np.isin(before, (PourPhase.MOVE, PourPhase.CROSS)) & (off > 0.07)
        self._release(lost, tool)
        self._pour.held[lost], self._pour.gone[lost] = False, False
        self._follow(lost, PourPhase.RISE, tool + 0.10 * _UP)
        self._think(observation)

    def _take(self, rows: Array) -> None:
        """From now on the bottle's mouth is led."""
        self._holding[rows], self._pour.held[rows] = True, True
        self._command[rows] = self._target[rows] = self._mouth[rows]
        self._wanted[rows, 0] = _HEADING_RAD
        self._enter(rows, PourPhase.THINK)

    def _release(self, rows: Array, tool: Array) -> None:
        """From now on the tool is led again."""
        self._holding[rows], self._closed[rows] = False, False
        self._command[rows] = self._target[rows] = tool[rows]
        self._wanted[rows, 2] = 0.0

    def _think(self, observation: Arrays) -> None:
        thinking = (self._phase == PourPhase.THINK) & ~self._pour.gone
        if not thinking.any():
            return
        before = self._pour
        after, _, _ = step_pour(before, self._decide(features(before)))
        pick, put = thinking & after.held & ~before.held, thinking & before.held & ~after.held
        move = thinking & ~pick & ~put
        wrist = np.where((move | pick)[:, None], after.wrist, before.wrist)
        # A bottle that is taken is in the person's hand at once, and in the robot's after a while.
        bottle = np.where(move[:, None], after.bottle, before.bottle)
        bottle = np.where(pick[:, None], wrist + HOLD_M - GRIP_M * _UP, bottle)
        tip, held = np.where(move, after.tip, before.tip), before.held & ~put
        self._pour = replace(before, wrist=wrist, tip=tip, bottle=bottle, held=held, gone=before.gone | put)
        tips = move & before.held
        self._wanted[tips, 2] = tip[tips]
        places = self._places()
        self._follow(move, PourPhase.MOVE, places)
        if pick.any():
            face = yaw_of(observation[f"{self._vessels.bottle}.quaternion"])
            face = face + np.pi / 2 * np.round((_HEADING_RAD - face) / (np.pi / 2))
            self._wanted[pick] = np.column_stack([face, np.full(self._n, _DIP_RAD), np.zeros(self._n)])[pick]
            self._follow(pick, PourPhase.OVER, self._grasp(observation, _STANDOFF_M, _ABOVE_M))
        self._wanted[put, 2] = 0.0
        self._follow(put, PourPhase.CROSS, places)

    def _places(self) -> Array:
        """(n, 3) where the led point shall be for the person's thought."""
        pour, v, held = self._pour, self._vessels, self._holding
        mouth, tip = mouth_of(pour), pour.tip
        thought = np.where(held[:, None], mouth, pour.wrist + HOLD_M)
        xy = self._map(thought[:, :2])
        swing = _SWING_M * np.clip((1.6 - tip) / 0.3, 0.0, 1.0)
        least = np.maximum(v.rim_m + _OVER_M + swing, _CARRY_M + v.height_m * np.cos(np.minimum(tip, np.pi / 2)))
        height = np.maximum(v.rim_m + _HIGHER_M + mouth[:, 2] - TABLE_M - BOWL_M[1], least)
        most = np.where(tip > _FAR_RAD, np.maximum(least, v.rim_m + _MOST_M), _HIGH_M)
        z = np.where(held, np.minimum(height, most), np.clip(thought[:, 2] - TABLE_M, 0.22, 0.36))
        return np.column_stack([xy, z])


def _fresh(n: int) -> Pour:
    """The person's table, of which nothing has been seen."""
    none = np.zeros(n, bool)
    return Pour(
        np.tile(REST_M, (n, 1)), np.zeros(n), np.tile(_BOTTLE, (n, 1)), none.copy(), np.ones(n), np.zeros(n),
        np.tile(_BOWLS, (n, 1, 1)), np.tile(_CRATE, (n, 1)), np.zeros(n, int), none.copy(),
    )  # fmt: skip
