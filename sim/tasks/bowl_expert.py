"""The scripted bowler: gets behind the ball with nearly closed fingers, pushes it toward the pins, stops, watches.

Two fingertips cradle the ball, so it stays on its line while it is pushed, the line from the ball to the standing
pins. When the ball has come to rest within reach and pins still stand, it bowls again.
Rows differ in speed, run-up, aim and in how long they settle before the push.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.script import Attention, Script, toward, upright

__all__ = ["BALL_M", "PINS", "BowlExpert", "BowlExpertConfig", "Subtask"]

BALL_M, PINS = 0.035, ("pin0", "pin1", "pin2")
"""Radius of the ball, and the pins' names."""
HEIGHT_M = 0.032
"""Height of the tool while it pushes."""
GRIP = 0.7
"""How far the gripper is closed: the two fingertips are near enough that the ball cannot get between."""
RAMP_STEPS = 12
"""Control periods until the push is at full speed."""
REACH_M = 0.60
"""The tool never goes farther ahead than this."""


class Subtask(IntEnum):
    """What the bowler is doing, in the note "note.subtask"."""

    APPROACH = 0
    PUSH = 1
    WATCH = 2


@dataclass(frozen=True, slots=True)
class BowlExpertConfig(TeacherConfig):
    """The scripted bowler."""

    speed_m_s: tuple[float, float] = (0.30, 0.45)
    """Range of speeds on the way that rows draw from."""
    push_m_s: tuple[float, float] = (0.55, 0.75)
    """Range of commanded speeds of the push."""
    behind_m: tuple[float, float] = (0.065, 0.085)
    """Range of distances behind the ball at which the push begins."""
    push_m: tuple[float, float] = (0.13, 0.17)
    """Range of lengths of the push."""
    aim_rad: float = 0.006
    """Largest error of the aim."""
    pause_s: tuple[float, float] = (0.0, 0.2)
    """Range of pauses before the push."""
    delay_s: tuple[float, float] = (0.2, 0.5)
    """Range of reaction times to a moved ball or moved pins."""

    def build(self, env: Env) -> BowlExpert:
        """A bowler for all rows of `env`."""
        return BowlExpert(self, env)


class BowlExpert(Script):
    """A `Policy` of n independent rows. Build it with `BowlExpertConfig`."""

    def __init__(self, config: BowlExpertConfig, env: Env):
        names = ["tool.position", "tool.quaternion", *(f"{name}.position" for name in ("ball", *PINS))]
        super().__init__(config, env, names, ("ball.position", BALL_M))
        n = env.n
        self._config = config
        self._world = Attention(n, 3 * (1 + len(PINS)), 0.006)
        self._speed, self._push, self._aim = np.zeros(n), np.zeros(n), np.zeros(n)
        self._behind, self._length, self._pause = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self._start, self._line, self._last = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros((n, 2))
        self._settled = np.zeros(n, int)
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        n, tool = self._n, observation["tool.position"]
        truth = np.stack([observation[f"{name}.position"] for name in ("ball", *PINS)], axis=1)
        belief = self._world.see(truth.reshape(n, -1)).reshape(n, -1, 3)
        ball, pins = truth[:, 0], belief[:, 1:]
        standing = pins[..., 2] > 0.04
        weight = np.where(standing.any(axis=1, keepdims=True), standing, 1.0)
        target = (pins[..., :2] * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
        line = target - belief[:, 0, :2]
        heading = np.arctan2(line[:, 1], line[:, 0]) + self._aim
        line = np.column_stack([np.cos(heading), np.sin(heading)])

        behind = np.column_stack([belief[:, 0, :2] - self._behind[:, None] * line, np.full(n, HEIGHT_M)])
        gap = behind - tool
        aside = np.hypot(gap[:, 0], gap[:, 1])
        turn = upright(observation["tool.quaternion"], np.clip(heading, -0.6, 0.6))
        self._decide(tool, ball, aside, gap[:, 2], turn[:, 2], line)

        goal = behind.copy()
        goal[:, 2] += np.clip(2.5 * (aside - 0.006) + 0.25 * (np.abs(turn[:, 2]) - 0.1), 0.0, 0.11)
        move = toward(goal - tool, self._speed, self._period_s)
        pushing = self._phase == Subtask.PUSH
        # Along the line, and back onto it from beside it.
        across = np.column_stack([-self._line[:, 1], self._line[:, 0]])
        off = ((tool[:, :2] - self._start) * across).sum(axis=1, keepdims=True)
        # Gently first: a ball that is struck leaves where the tool's servos happen to be, a pushed one is led.
        pace = np.minimum((self._clock + 2.0) / RAMP_STEPS, 1.0) * np.minimum(2.0 * self._push * self._period_s, 0.05)
        step = pace[:, None] * self._line - 1.6 * off * across
        move[pushing, :2], move[pushing, 2] = step[pushing], 0.8 * (HEIGHT_M - tool[pushing, 2])
        watching = self._phase == Subtask.WATCH
        move[watching] = [0.0, 0.0, 0.02]
        move[watching & (tool[:, 2] > 0.15)] = 0.0
        return self._decision(move, turn, np.full(n, GRIP))

    def _decide(self, tool: Array, ball: Array, aside: Array, above: Array, turn: Array, line: Array) -> None:
        """Advance each row's phase."""
        before = self._phase.copy()
        self._clock += 1
        rolling = np.hypot(*(ball[:, :2] - self._last).T) > 0.001
        self._last = ball[:, :2].copy()
        ready = (aside < 0.004) & (np.abs(above) < 0.008) & (np.abs(turn) < 0.05) & ~rolling
        self._settled = np.where((before == Subtask.APPROACH) & ready, self._settled + 1, 0)
        begin = self._settled > self._pause
        self._enter(begin, Subtask.PUSH)
        self._start[begin], self._line[begin] = ball[begin, :2], line[begin]
        gone = ((tool[:, :2] - self._start) * self._line).sum(axis=1) > self._length - self._behind
        over = (before == Subtask.PUSH) & (gone | (tool[:, 0] > REACH_M) | (self._clock > 30))
        self._enter(over, Subtask.WATCH)
        again = (before == Subtask.WATCH) & (self._clock > 30) & ~rolling & (ball[:, 0] < REACH_M - 0.05)
        self._enter(again, Subtask.APPROACH)

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config, period = self._config, self._period_s
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._push[row] = generator.uniform(*config.push_m_s)
        self._behind[row] = generator.uniform(*config.behind_m)
        self._length[row] = generator.uniform(*config.push_m)
        self._aim[row] = generator.uniform(-config.aim_rad, config.aim_rad)
        self._pause[row] = round(generator.uniform(*config.pause_s) / period)
        self._world.reset(row, round(generator.uniform(*config.delay_s) / period))
        self._last[row], self._settled[row] = np.inf, 0
