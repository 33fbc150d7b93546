"""The scripted teacher of pick-and-place: does what it was told last, and starts over where things have changed.

It holds a belief of where things are and of what it was told, which follows the truth with the reaction time of its
row (`Attention`). Told to take another fruit while holding one, it puts that down at the nearest free spot; told
another container, it turns there. A grasp that closes on nothing, or a fruit that slipped, is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.geometry import yaw
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.pick_place_scene import CONTAINERS, FRUITS, HIGH_M, LOW_M, RADIUS_M, inside
from sim.tasks.script import Attention, Script, toward, upright, wrap

__all__ = ["PickPlaceExpert", "PickPlaceExpertConfig"]

CARRY_M = 0.15
"""Height of the tool above the table on its way with a fruit."""
RELEASE_M = 0.055
"""Height of the tool above the table at which it lets a fruit fall into a container."""
FREE_M = (0.10, 0.14)
"""Distance of a free spot from the middles of fruits and of containers."""
SPOTS = np.stack(np.meshgrid(*(np.arange(a, b, 0.04) for a, b in zip(LOW_M, HIGH_M, strict=True))), -1).reshape(-1, 2)
"""(k, 2) where a fruit can be put down."""


class Subtask(IntEnum):
    """What the teacher is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    LIFT = 2
    PLACE = 3
    PUT_BACK = 4
    RELEASE = 5
    RETREAT = 6


@dataclass(frozen=True, slots=True)
class PickPlaceExpertConfig(TeacherConfig):
    """The scripted teacher of pick-and-place."""

    speed_m_s: tuple[float, float] = (0.25, 0.45)
    """Range of commanded tool speeds that rows draw from."""
    heading_rad: float = 0.5
    """Largest turn of the hand away from straight ahead, for round fruits."""
    offset_m: float = 0.005
    """Standard deviation of the grasp's height and of its place along the pads, cut off at twice that."""
    pause_s: tuple[float, float] = (0.0, 0.15)
    """Range of pauses before the gripper closes."""
    delay_s: tuple[float, float] = (0.2, 0.6)
    """Range of reaction times to a moved thing or a new command."""

    def build(self, env: Env) -> PickPlaceExpert:
        """A teacher for all rows of `env`."""
        return PickPlaceExpert(self, env)


class PickPlaceExpert(Script):
    """A `Policy` of n independent rows. Build it with `PickPlaceExpertConfig`."""

    subtasks = ("APPROACH", "GRASP", "LIFT", "", "ABORT", "RELEASE", "")
    """Names of the phases in `robolearn.scene.subtasks`, "" where positions tell more than the phase."""

    def __init__(self, config: PickPlaceExpertConfig, env: Env):
        things = FRUITS + CONTAINERS
        names = ["tool.position", "tool.quaternion", "gripper.width", "table.place", "task.command", "kiwi.quaternion"]
        super().__init__(config, env, [*names, *(f"{thing}.position" for thing in things)])
        n = env.n
        self._config, self._things = config, things
        self._world, self._told = Attention(n, 3 * len(things), 0.004), Attention(n, 6, 0.5)
        self._speed, self._heading, self._pause = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self._offset, self._anchor = np.zeros((n, 2)), np.zeros((n, 3))
        self._held, self._open, self._width = np.zeros(n, int), np.zeros(n), np.zeros(n)
        self._turn, self._calm = np.zeros(n), np.zeros(n, int)
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        rows, n = np.arange(self._n), self._n
        tool, width = observation["tool.position"], observation["gripper.width"][:, 0]
        height = observation["table.place"][:, 0]
        truth = np.stack([observation[f"{name}.position"] for name in self._things], axis=1)
        belief = self._world.see(truth.reshape(n, -1)).reshape(n, -1, 3)
        told = np.argmax(self._told.see(observation["task.command"]), axis=1)
        fruit, container = told // len(CONTAINERS), len(FRUITS) + told % len(CONTAINERS)
        self._open = np.maximum(self._open, width)
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        self._width = width.copy()

        grasp = belief[rows, fruit]
        along = yaw(observation["tool.quaternion"])
        grasp = grasp + np.column_stack([self._offset[:, :1] * np.column_stack([np.cos(along), np.sin(along)]),
                                         self._offset[:, 1]])  # fmt: skip
        grasp[:, 2] = np.maximum(grasp[:, 2], height + 0.014)
        done = inside(belief[rows, fruit], belief[rows, container])
        self._aim(observation, fruit)
        turn = upright(observation["tool.quaternion"], self._turn)
        self._decide(tool, truth, height, np.where(done[:, None], np.inf, grasp), turn[:, 2], fruit, width)

        place = np.column_stack([belief[rows, container, :2], height + RELEASE_M])
        goal = grasp.copy()
        aside = np.hypot(*(grasp - tool)[:, :2].T)
        # A funnel makes one motion of going there and going down, and holds back while the hand still has to turn.
        goal[:, 2] += np.clip(2.5 * (aside - 0.006) + 0.25 * (np.abs(turn[:, 2]) - 0.1), 0.0, 0.12)
        goal[done] = np.column_stack([tool[:, :2], height + CARRY_M])[done]  # wait above for another command
        placing = self._phase == Subtask.PLACE
        aside = np.hypot(*(place - tool)[:, :2].T)
        place[:, 2] += np.clip(2.5 * (aside - 0.012), 0.0, CARRY_M - RELEASE_M)
        goal[placing] = place[placing]
        still = ~placing & (self._phase != Subtask.APPROACH)
        goal[still] = self._anchor[still]
        back = self._phase == Subtask.PUT_BACK
        aside = np.hypot(*(self._anchor - tool)[:, :2].T)
        goal[back, 2] += np.clip(2.5 * (aside - 0.012), 0.0, 0.12)[back]
        move = toward(goal - tool, self._speed, self._period_s)
        holding = np.isin(self._phase, (Subtask.LIFT, Subtask.PLACE, Subtask.PUT_BACK))
        closed = holding | ((self._phase == Subtask.GRASP) & (self._clock > self._pause))
        decision = self._decision(move, turn, np.where(closed, 1.0, -1.0))
        return {**decision, "note.goal": told.astype(np.int8)}  # the command it is serving

    def _aim(self, observation: Arrays, fruit: Array) -> None:
        """Choose the hand's heading while nothing is held: by taste, and for the kiwi along it."""
        along = yaw(observation["kiwi.quaternion"])
        # A capsule rolls about its axis, so only the axis counts; of its two directions take the one ahead.
        along = wrap(2.0 * along) / 2.0
        aim = np.where(fruit == FRUITS.index("kiwi"), along, self._heading)
        self._turn = np.where(self._phase == Subtask.APPROACH, aim, self._turn)

    def _decide(
        self, tool: Array, truth: Array, height: Array, grasp: Array, turn: Array, fruit: Array, width: Array
    ) -> None:
        """Advance each row's phase."""
        before, rows = self._phase.copy(), np.arange(self._n)
        self._clock += 1
        gap = grasp - tool
        near = (np.hypot(gap[:, 0], gap[:, 1]) < 0.008) & (np.abs(gap[:, 2]) < 0.008) & (np.abs(turn) < 0.06)
        begin = (before == Subtask.APPROACH) & near
        self._enter(begin, Subtask.GRASP)
        self._held[begin] = fruit[begin]
        self._anchor[begin] = grasp[begin]
        nearness = np.linalg.norm(truth[rows, self._held] - tool, axis=1)
        shut = (before == Subtask.GRASP) & (self._clock > self._pause + 3) & (self._calm >= 1)
        got = shut & (width > 0.03) & (nearness < 0.035)
        self._enter(got, Subtask.LIFT)
        self._anchor[got] = np.column_stack([tool[:, :2], height + CARRY_M])[got]
        lifted = (before == Subtask.LIFT) & (tool[:, 2] > height + CARRY_M - 0.03)
        self._enter(lifted, Subtask.PLACE)
        other = (self._held != fruit) & ((before == Subtask.LIFT) | (before == Subtask.PLACE))
        self._enter(other, Subtask.PUT_BACK)
        self._anchor[other] = self._spot(tool, truth, height)[other]
        again = (before == Subtask.PUT_BACK) & (self._held == fruit)
        self._enter(again, Subtask.PLACE)

        radius = np.array([RADIUS_M[name] for name in FRUITS])[self._held]
        down = (before == Subtask.PLACE) & (tool[:, 2] < height + RELEASE_M + 0.012)
        down |= (before == Subtask.PUT_BACK) & (tool[:, 2] < height + radius + 0.015)
        down &= self._phase == before
        self._enter(down, Subtask.RELEASE)
        self._anchor[down] = tool[down]
        holding = np.isin(before, (Subtask.LIFT, Subtask.PLACE, Subtask.PUT_BACK))
        lost = (shut & ~got) | (holding & (nearness > 0.05)) | ((before == Subtask.GRASP) & (self._held != fruit))
        lost |= (before == Subtask.RELEASE) & (width > 0.85 * self._open)
        self._enter(lost, Subtask.RETREAT)
        self._anchor[lost] = np.column_stack([tool[:, :2], np.maximum(tool[:, 2], height) + 0.10])[lost]
        high = (before == Subtask.RETREAT) & (tool[:, 2] > self._anchor[:, 2] - 0.03) & (width > 0.85 * self._open)
        self._enter(high & ~lost, Subtask.APPROACH)
        self._calm[self._phase != before] = 0

    def _spot(self, tool: Array, truth: Array, height: Array) -> Array:
        """(n, 3) the nearest place where the held fruit can be put down."""
        apart = np.linalg.norm(SPOTS[None, :, None] - truth[:, None, :, :2], axis=-1)  # (n, spots, things)
        wanted = np.array([FREE_M[0]] * len(FRUITS) + [FREE_M[1]] * len(CONTAINERS))
        wanted = np.where(np.arange(len(wanted)) == self._held[:, None], 0.0, wanted)
        taken = np.any(apart < wanted[:, None], axis=-1)
        far = np.linalg.norm(SPOTS - tool[:, None, :2], axis=-1) + 10.0 * taken
        radius = np.array([RADIUS_M[name] for name in FRUITS])[self._held]
        return np.column_stack([SPOTS[np.argmin(far, axis=1)], height + radius + 0.005])

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config, period = self._config, self._period_s
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._heading[row] = generator.uniform(-config.heading_rad, config.heading_rad)
        self._offset[row] = config.offset_m * np.clip(generator.standard_normal(2), -2.0, 2.0)
        self._pause[row] = round(generator.uniform(*config.pause_s) / period)
        delay = round(generator.uniform(*config.delay_s) / period)
        self._world.reset(row, delay)
        self._told.reset(row, delay)
        self._held[row], self._open[row], self._width[row], self._calm[row] = 0, 0.0, 0.0, 0
