"""The scripted teacher of Lift: sees only observations, and moves so that a learner can follow.

The command is a smooth function of what is seen: a funnel above the cube turns the distance that is left into height,
so that approaching and descending are one motion without phases to guess. Three states remain (approach, grasp,
lift), told apart by the gripper's width and the cube's pose. Each row draws a style (speed, face of the cube, where on
the face, a short pause) from its seed, because people differ too. A grasp that closes on nothing is tried again.
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

__all__ = ["LiftExpert", "LiftExpertConfig", "Subtask"]


class Subtask(IntEnum):
    """What the teacher is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    LIFT = 2
    RETREAT = 3


@dataclass(frozen=True, slots=True)
class LiftExpertConfig(TeacherConfig):
    """The scripted teacher of Lift."""

    speed_m_s: tuple[float, float] = (0.20, 0.35)
    """Range of commanded tool speeds that rows draw from."""
    lift_m: float = 0.12
    """Height of the cube that it lifts to."""
    other_face: float = 0.15
    """Probability of grasping at the second nearest pair of faces instead of the nearest."""
    offset_m: float = 0.005
    """Largest distance of the grasp from the middle of the face, along the face and along the vertical."""
    pause_steps: int = 2
    """Longest pause before closing, in control steps."""

    def build(self, env: Env) -> LiftExpert:
        """A teacher for all rows of `env`."""
        return LiftExpert(self, env)


class LiftExpert(Script):
    """A `Policy` of n independent rows. Build it with `LiftExpertConfig`."""

    def __init__(self, config: LiftExpertConfig, env: Env):
        names = ("tool.position", "tool.quaternion", "gripper.width", "cube.position", "cube.quaternion")
        super().__init__(config, env, names, ("cube.position", 0.02))
        n = env.n
        self._config, self._calm = config, np.zeros(n, int)
        self._width, self._speed, self._pause = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self._face, self._offset, self._anchor = np.zeros(n), np.zeros((n, 2)), np.zeros((n, 3))
        self._second, self._choose = np.zeros(n, bool), np.zeros(n, bool)
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        tool, cube = observation["tool.position"], observation["cube.position"]
        width = observation["gripper.width"][:, 0]
        turn = self._turn(observation)
        # Along the face: the tool's x axis at the grasp, seen from above.
        along = yaw(observation["tool.quaternion"]) + turn
        grasp = cube + np.stack(
            [self._offset[:, 0] * np.cos(along), self._offset[:, 0] * np.sin(along), self._offset[:, 1]], axis=1
        )
        grasp[:, 2] = np.maximum(grasp[:, 2], 0.012)
        gap = grasp - tool
        aside = np.hypot(gap[:, 0], gap[:, 1])
        self._decide(tool, cube, width, gap, aside, turn)

        goal = grasp.copy()
        # The funnel: 2.5 m up per metre aside beyond half a centimetre, and up while the tool still has to turn.
        goal[:, 2] += np.clip(2.5 * (aside - 0.005) + 0.25 * (np.abs(turn) - 0.1), 0.0, 0.10)
        still = np.isin(self._phase, (Subtask.GRASP, Subtask.LIFT, Subtask.RETREAT))
        goal[still] = self._anchor[still]
        # Level where it is, and turn to the face; `upright` would take the shorter way of both together.
        spin = upright(observation["tool.quaternion"], yaw(observation["tool.quaternion"]))
        spin[:, 2] = np.where(still, 0.0, np.clip(0.7 * turn, -0.25, 0.25))
        closed = (self._phase == Subtask.LIFT) | ((self._phase == Subtask.GRASP) & (self._clock > self._pause))
        self._width = width.copy()
        return self._decision(toward(goal - tool, self._speed, self._period_s), spin, np.where(closed, 1.0, -1.0))

    def _turn(self, observation: Arrays) -> Array:
        """Yaw (n,) that is left to the chosen faces."""
        heading = yaw(observation["tool.quaternion"])
        quarter, cube = np.pi / 2, yaw(observation["cube.quaternion"])
        # The face is chosen once per approach: the nearest, or for some rows the nearest on the other side.
        nearest = np.round((heading - cube) / quarter)
        rest = cube + quarter * nearest - heading
        chosen = nearest - np.where(self._second, np.sign(rest), 0.0)
        self._face = np.where(self._choose, chosen, self._face)
        self._choose[:] = False
        turn = cube + quarter * self._face - heading
        return wrap(turn)

    def _decide(self, tool: Array, cube: Array, width: Array, gap: Array, aside: Array, turn: Array) -> None:
        """Advance each row's state."""
        phase, before = self._phase, self._phase.copy()
        self._clock += 1
        ready = (aside < 0.008) & (np.abs(gap[:, 2]) < 0.008) & (np.abs(turn) < 0.08)
        begin = (before == Subtask.APPROACH) & ready
        phase[begin] = Subtask.GRASP
        self._anchor[begin] = (tool + gap)[begin]
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        shut = (before == Subtask.GRASP) & (self._clock > self._pause + 3) & (self._calm >= 1)
        held = shut & (width > 0.030) & (np.linalg.norm(cube - tool, axis=1) < 0.03)
        phase[held] = Subtask.LIFT
        self._anchor[held] = tool[held]
        self._anchor[held, 2] += self._config.lift_m
        lost = (before == Subtask.LIFT) & (np.linalg.norm(cube - tool, axis=1) > 0.04)
        empty = (shut & ~held) | lost
        phase[empty] = Subtask.RETREAT
        self._anchor[empty] = tool[empty]
        self._anchor[empty, 2] = np.maximum(tool[empty, 2], 0.0) + 0.06
        again = (before == Subtask.RETREAT) & (width > 0.07) & (self._clock > 4)
        phase[again] = Subtask.APPROACH
        self._choose |= again
        changed = phase != before
        self._clock[changed] = self._calm[changed] = 0

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        self._calm[row] = 0
        self._speed[row] = generator.uniform(*self._config.speed_m_s)
        self._second[row] = generator.uniform() < self._config.other_face
        self._choose[row] = True
        self._offset[row] = generator.uniform(-self._config.offset_m, self._config.offset_m, 2)
        self._pause[row] = generator.integers(0, self._config.pause_steps + 1)
        self._width[row] = 0.0
