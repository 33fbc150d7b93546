"""The scripted sorter: takes the nearest onion, holds it up to the eye, remembers what it saw, puts it away.

It sees only observations and believes them with the reaction time of its row; a moved onion is followed, an empty or
slipped grasp is tried again. Rows differ in speed, in the heading of the hand, in where they grip and in how long
they look.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.script import Attention, Script, toward, upright
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, RADIUS_M, on_place, slots

__all__ = ["SortOnionsExpert", "SortOnionsExpertConfig", "Subtask"]

CARRY_M = 0.17
"""Height of the tool on its way with an onion."""
RELEASE_M = {"bin": 0.085, "conveyor": 0.065}
"""Height of the tool at which it lets an onion fall."""


class Subtask(IntEnum):
    """What the sorter is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    INSPECT = 2
    PLACE = 3
    RELEASE = 4
    RETREAT = 5


@dataclass(frozen=True, slots=True)
class SortOnionsExpertConfig(TeacherConfig):
    """The scripted sorter of onions."""

    speed_m_s: tuple[float, float] = (0.35, 0.55)
    """Range of commanded tool speeds that rows draw from."""
    heading_rad: float = 0.4
    """Largest turn of the hand away from straight ahead."""
    offset_m: float = 0.004
    """Largest distance of the grasp from the onion's middle, along the pads and along the vertical."""
    pause_s: tuple[float, float] = (0.0, 0.10)
    """Range of pauses before the gripper closes."""
    look_s: tuple[float, float] = (0.05, 0.25)
    """Range of times that an onion is looked at."""
    delay_s: tuple[float, float] = (0.2, 0.5)
    """Range of reaction times to a moved onion."""

    def build(self, env: Env) -> SortOnionsExpert:
        """A sorter for all rows of `env`."""
        return SortOnionsExpert(self, env)


class SortOnionsExpert(Script):
    """A `Policy` of n independent rows. Build it with `SortOnionsExpertConfig`."""

    def __init__(self, config: SortOnionsExpertConfig, env: Env):
        names = ("tool.position", "tool.quaternion", "gripper.width", "onions.label")
        super().__init__(config, env, [*names, *(f"{name}.position" for name in ONIONS)], ("onion0.position", RADIUS_M))
        n = env.n
        self._config = config
        self._world = Attention(n, 3 * len(ONIONS), 0.004)
        self._speed, self._heading, self._offset = np.zeros(n), np.zeros(n), np.zeros((n, 2))
        self._pause, self._look = np.zeros(n, int), np.zeros(n, int)
        self._held, self._label, self._known = np.zeros(n, int), np.zeros(n), np.zeros(n, int)
        self._open, self._width, self._calm = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self._anchor = np.zeros((n, 3))
        self._slots = {"bin": slots(BIN), "conveyor": slots(CONVEYOR)}
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        n, rows = self._n, np.arange(self._n)
        tool, width = observation["tool.position"], observation["gripper.width"][:, 0]
        truth = np.stack([observation[f"{name}.position"] for name in ONIONS], axis=1)
        belief = self._world.see(truth.reshape(n, -1)).reshape(n, -1, 3)
        self._open = np.maximum(self._open, width)
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        self._width = width.copy()

        waiting = ~(on_place(truth, BIN) | on_place(truth, CONVEYOR))
        distance = np.where(waiting, np.hypot(*(belief - tool[:, None])[..., :2].transpose(2, 0, 1)), np.inf)
        nearest = np.argmin(distance, axis=1)
        # Stay with the chosen onion unless another one is clearly nearer.
        better = distance[rows, nearest] < distance[rows, self._held] - 0.05
        self._held = np.where((self._phase == Subtask.APPROACH) & better, nearest, self._held)
        finished = ~waiting.any(axis=1)

        grasp = belief[rows, self._held].copy()
        grasp[:, 0] += self._offset[:, 0] * np.cos(self._heading)
        grasp[:, 1] += self._offset[:, 0] * np.sin(self._heading)
        grasp[:, 2] = np.maximum(grasp[:, 2] + self._offset[:, 1], 0.02)
        turn = upright(observation["tool.quaternion"], self._heading)
        label = observation["onions.label"][rows, self._held]
        self._decide(tool, truth[rows, self._held], grasp, turn[:, 2], width, label, finished)
        goal = self._goal(tool, grasp, finished)
        closed = np.isin(self._phase, (Subtask.INSPECT, Subtask.PLACE))
        closed |= (self._phase == Subtask.GRASP) & (self._clock > self._pause)
        return self._decision(toward(goal - tool, self._speed, self._period_s), turn, np.where(closed, 1.0, -1.0))

    def _place(self) -> Array:
        """(n, 3) where each row's onion is let go of."""
        out = np.zeros((self._n, 3))
        for name, rows in (("bin", self._label < 0), ("conveyor", self._label >= 0)):
            out[rows, :2], out[rows, 2] = self._slots[name][self._held[rows]], RELEASE_M[name]
        return out

    def _goal(self, tool: Array, grasp: Array, finished: Array) -> Array:
        goal, phase = self._anchor.copy(), self._phase
        for rows, place, top, slack in (
            (phase == Subtask.APPROACH, grasp, 0.12, 0.006),
            (phase == Subtask.PLACE, self._place(), CARRY_M - 0.07, 0.012),
        ):
            # A funnel makes one motion of going there and going down.
            aside = np.hypot(*(place - tool)[:, :2].T)
            goal[rows] = place[rows]
            goal[rows, 2] += np.clip(2.5 * (aside - slack), 0.0, top)[rows]
        inspect = phase == Subtask.INSPECT
        low = inspect & (tool[:, 2] < CARRY_M - 0.06)
        goal[inspect] = EYE_M
        goal[low, :2] = tool[low, :2]  # first out of the others' way
        rest = finished & (phase == Subtask.APPROACH)
        goal[rest] = EYE_M
        return goal

    def _decide(
        self, tool: Array, onion: Array, grasp: Array, turn: Array, width: Array, label: Array, finished: Array
    ) -> None:
        """Advance each row's phase."""
        before = self._phase.copy()
        self._clock += 1
        gap = grasp - tool
        near = (np.hypot(gap[:, 0], gap[:, 1]) < 0.008) & (np.abs(gap[:, 2]) < 0.008) & (np.abs(turn) < 0.08)
        begin = (before == Subtask.APPROACH) & near & ~finished
        self._enter(begin, Subtask.GRASP)
        self._anchor[begin] = grasp[begin]
        nearness = np.linalg.norm(onion - tool, axis=1)
        shut = (before == Subtask.GRASP) & (self._clock > self._pause + 3) & (self._calm >= 1)
        got = shut & (width > 0.03) & (nearness < 0.03)
        self._enter(got, Subtask.INSPECT)
        self._label[got], self._known[got] = 0.0, 0
        looking = (before == Subtask.INSPECT) & (label != 0)
        self._label = np.where(looking, label, self._label)
        self._known += looking
        self._enter(looking & (self._known > self._look), Subtask.PLACE)
        down = (before == Subtask.PLACE) & (tool[:, 2] < self._place()[:, 2] + 0.02)
        self._enter(down, Subtask.RELEASE)
        self._anchor[down] = tool[down]
        holding = np.isin(before, (Subtask.INSPECT, Subtask.PLACE))
        lost = (
            (shut & ~got) | (holding & (nearness > 0.05)) | ((before == Subtask.RELEASE) & (width > 0.8 * self._open))
        )
        self._enter(lost, Subtask.RETREAT)
        self._anchor[lost] = np.column_stack([tool[:, :2], np.maximum(tool[:, 2], 0.0) + 0.08])[lost]
        high = (before == Subtask.RETREAT) & (tool[:, 2] > self._anchor[:, 2] - 0.03) & (width > 0.85 * self._open)
        self._enter(high & ~lost, Subtask.APPROACH)
        self._calm[self._phase != before] = 0

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config, period = self._config, self._period_s
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._heading[row] = generator.uniform(-config.heading_rad, config.heading_rad)
        self._offset[row] = generator.uniform(-config.offset_m, config.offset_m, 2)
        self._pause[row] = round(generator.uniform(*config.pause_s) / period)
        self._look[row] = round(generator.uniform(*config.look_s) / period)
        self._world.reset(row, round(generator.uniform(*config.delay_s) / period))
        self._held[row], self._label[row], self._known[row] = 0, 0.0, 0
        self._open[row], self._width[row], self._calm[row] = 0.0, 0.0, 0
