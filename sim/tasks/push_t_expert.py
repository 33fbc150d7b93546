"""The scripted teacher of Push-T: pushes where a model of sliding friction says that it helps most, and goes on.

A slow push with force f at r (both in the T's frame, r from its centre of mass) moves a body that slides on the table
along its limit surface (Lynch, Maekawa and Tanie 1992, "Manipulation and active sensing by pushing using tactile
feedback"; Zhou et al. 2018):

    v = f,    w = (r x f) / c^2

with c the ratio of the largest frictional torque and force. For each of some twenty places on the outline the push
along the inward normal is compared with the pose error that is left; the place whose motion points best along the
error, and is not far, is chosen. The stick comes down a funnel beside it and pushes along the normal, however the T
turns, until that no longer helps; then it rises and goes on to the next place. Each row draws its speeds and its taste
among good places from its seed.

Nothing that moves the arm is remembered: what it does is a function of what it sees. A teacher with phases of its own
cannot be copied by a policy that does not see them: clones of such a one hovered between two pushes
(docs/results/pipeline.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.geometry import yaw
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.script import Script, toward, upright, wrap

__all__ = ["BAR_M", "BAR_Y_M", "HEIGHT_M", "STEM_M", "STICK_M", "PushTExpert", "PushTExpertConfig", "pose_error"]

HEIGHT_M = 0.03
"""Of the T above the table."""
BAR_M, STEM_M = (0.16, 0.04), (0.04, 0.10)
"""Width and length of the bar of the T, and of its stem."""
BAR_Y_M = STEM_M[0] * STEM_M[1] / (BAR_M[0] * BAR_M[1] + STEM_M[0] * STEM_M[1]) * (BAR_M[1] + STEM_M[1]) / 2
"""Distance from the centre of mass, which is the T's origin, to the middle of the bar."""
STICK_M = (0.01, 0.045)
"""Radius of the stick, and how far it stands out below the tool point."""

ARM_M = 0.075
"""The ratio c of the T on its three feet."""
LOW_M, HIGH_M = STICK_M[1] + 0.008, STICK_M[1] + HEIGHT_M + 0.025
"""Height of the tool while it pushes, and on its way to the next place."""
CLEAR_M = STICK_M[0] + 0.012
"""Distance from the outline at which the stick comes down."""
FUNNEL = 2.5
"""How much higher it stays per metre beside the place where it will come down."""
DONE_M = 0.005
"""Error, in metres with angles times c, below which it rests."""


class Subtask(IntEnum):
    """What the teacher is doing, in the note "note.subtask"."""

    TRAVEL = 0
    DESCEND = 1
    PUSH = 2
    RISE = 3


def pose_error(observation: Arrays) -> tuple[Array, Array]:
    """Shift (n, 2) in metres and turn (n,) in radians that bring the T to its place."""
    shift = observation["goal.place"][:, :2] - observation["tee.position"][:, :2]
    return shift, wrap(observation["goal.place"][:, 2] - yaw(observation["tee.quaternion"]))


def outline() -> tuple[Array, Array]:
    """Places (k, 2) on the T's outline where the stick fits, and inward normals (k, 2), in the T's frame."""
    top, bottom = BAR_Y_M + BAR_M[1] / 2, BAR_Y_M - BAR_M[1] / 2
    end, side = BAR_M[0] / 2, STEM_M[0] / 2
    rows = [((x, top), (0, -1)) for x in (-0.07, -0.045, -0.02, 0.0, 0.02, 0.045, 0.07)]
    rows += [((x, bottom), (0, 1)) for x in (-0.07, -0.05, 0.05, 0.07)]
    rows += [((x, bottom - STEM_M[1]), (0, 1)) for x in (-0.012, 0.0, 0.012)]
    for sign in (-1, 1):
        rows += [((sign * end, y), (-sign, 0)) for y in (BAR_Y_M - 0.01, BAR_Y_M + 0.01)]
        rows += [((sign * side, bottom - y), (-sign, 0)) for y in (0.03, 0.06, 0.09)]
    places, normals = zip(*rows, strict=True)
    return np.array(places), np.array(normals, float)


@dataclass(frozen=True, slots=True)
class PushTExpertConfig(TeacherConfig):
    """The scripted teacher of Push-T."""

    travel_m_s: tuple[float, float] = (0.30, 0.45)
    """Range of commanded tool speeds in the air that rows draw from."""
    push_m_s: tuple[float, float] = (0.10, 0.16)
    """Range of commanded tool speeds while pushing."""
    taste: float = 0.05
    """Standard deviation of a row's liking of each place, beside a benefit of at most 1."""
    nearness: float = 2.0
    """How much less it likes a place per metre that the tool has to go there."""

    def build(self, env: Env) -> PushTExpert:
        """A teacher for all rows of `env`."""
        return PushTExpert(self, env)


class PushTExpert(Script):
    """A `Policy` of n independent rows. Build it with `PushTExpertConfig`."""

    def __init__(self, config: PushTExpertConfig, env: Env):
        names = ("tool.position", "tool.quaternion", "gripper.width", "tee.position", "tee.quaternion", "goal.place")
        super().__init__(config, env, names, ("tee.position", 0.0))
        self._config = config
        self._places, self._normals = outline()
        turn = np.cross(self._places, self._normals) / ARM_M
        self._motions = np.column_stack([self._normals, turn])  # metres, with angles times c
        self._reach = np.linalg.norm(self._motions, axis=1)
        self._travel, self._push = np.zeros(env.n), np.zeros(env.n)
        self._taste, self._open = np.zeros((env.n, len(turn))), np.zeros(env.n)
        self.reset(range(env.n), range(env.n))

    def _act(self, observation: Arrays) -> Arrays:
        tool, tee = observation["tool.position"], observation["tee.position"]
        self._open = np.maximum(self._open, observation["gripper.width"][:, 0])
        heading = yaw(observation["tee.quaternion"])
        error = self._error(observation)
        benefit = np.matmul(error[:, None, :], self._motions.T)[:, 0] / self._reach  # (n, k)
        size = np.sqrt((error * error).sum(axis=1))
        at = _turned(tool[:, :2] - tee[:, :2], -heading)
        gap = at[:, None] - self._places  # (n, k, 2), in the T's frame
        along = (gap * self._normals).sum(axis=2)
        across = np.abs(gap[..., 0] * self._normals[:, 1] - gap[..., 1] * self._normals[:, 0])
        # A push has begun where the stick is low and beside the outline, and lasts until it helps too little.
        low = tool[:, 2] < LOW_M + 0.012
        useful = (benefit > 0.35 * size[:, None]) & (benefit > 0.001)
        ready = low[:, None] & useful & (across < 0.012) & (along < 0.005) & (along > -CLEAR_M - 0.012)
        place = self._choose(benefit / np.maximum(size, 1e-9)[:, None], gap, ready)
        chosen = np.arange(self._n), place
        push, rest = ready[chosen], size < DONE_M

        inward = _turned(self._normals[place], heading)
        touch = tee[:, :2] + _turned(self._places[place], heading)
        goal = np.column_stack([touch - CLEAR_M * inward, np.full(self._n, LOW_M)])
        aside = np.hypot(*(goal - tool)[:, :2].T)
        # Down a funnel beside the place; far from it, up to where it may go across.
        goal[:, 2] += np.where(push, 0.0, np.clip(FUNNEL * (aside - 0.004), 0.0, HIGH_M - LOW_M))
        # Along the normal, as far as it helps: the benefit is the length of the motion in the metric of the error.
        ahead = np.clip(benefit[chosen] / self._reach[place], 0.0, 0.06) + 0.008
        goal[push, :2] = (touch + (ahead - STICK_M[0])[:, None] * inward)[push]
        move = toward(goal - tool, np.where(push, self._push, self._travel), self._period_s)
        # First up, then across: what stands below its way up moves aside only as far as it has risen.
        risen = np.clip(1.0 - (goal[:, 2] - tool[:, 2] - 0.005) / 0.02, 0.0, 1.0)
        move[:, :2] *= np.where(push, 1.0, risen)[:, None]
        move[rest] = 0.0
        rising = ~push & (goal[:, 2] > tool[:, 2] + 0.005)
        beside = ~push & (aside < 0.02) & ~rising
        self._phase = np.select([push, rising, beside], [Subtask.PUSH, Subtask.RISE, Subtask.DESCEND], Subtask.TRAVEL)
        turn = upright(observation["tool.quaternion"], np.zeros(self._n))
        grip = 1.0 - 2.0 * (2.0 * STICK_M[0]) / np.maximum(self._open, 1e-3)
        return self._decision(move, turn, grip)

    def _error(self, observation: Arrays) -> Array:
        """(n, 3) what is left, in the T's frame: metres, with the angle times c."""
        shift, turn = pose_error(observation)
        return np.column_stack([_turned(shift, -yaw(observation["tee.quaternion"])), ARM_M * turn])

    def _choose(self, benefit: Array, gap: Array, ready: Array) -> Array:
        """Each row's place (n,): where it pushes already, or of best benefit (n, k) and near, by its taste."""
        far = np.linalg.norm(gap + CLEAR_M * self._normals, axis=2)
        return np.argmax(benefit + self._taste - self._config.nearness * far + 10.0 * ready, axis=1)

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        self._travel[row] = generator.uniform(*self._config.travel_m_s)
        self._push[row] = generator.uniform(*self._config.push_m_s)
        self._taste[row] = self._config.taste * generator.standard_normal(self._taste.shape[1])
        self._open[row] = 0.0


def _turned(vectors: Array, angle: Array) -> Array:
    """Plane vectors (n, 2) turned by angles (n,) in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.column_stack([cosine * x - sine * y, sine * x + cosine * y])
