"""The scripted pourer: grips the bottle from the side, tips it over the bowl, and puts it away when it is empty.

The hand comes almost level, so that rolling it about its own axis tips the bottle; while it does, the tool is moved so
that the bottle's mouth, and not the hand, stays over the bowl. Beliefs follow the truth with the reaction time of the
row: a moved bottle or bowl is followed, another command turns the bottle upright again and takes it to the other bowl,
an empty grasp is tried again. Rows differ in speed, in how steeply the hand points down, in where it grips, in how fast
and how far it tips, and in how long it waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.contracts import Env
from robolearn.geometry import (
    quaternion_conjugate,
    quaternion_from_matrix,
    quaternion_from_rotation_vector,
    quaternion_multiply,
    rotate,
    rotation_vector,
    yaw,
)
from robolearn.specs import Array, Arrays
from sim.flaws import TeacherConfig
from sim.tasks.pour_scene import BOTTLE_M, BOWLS, contents, in_crate, told
from sim.tasks.script import Attention, Script, toward, wrap

__all__ = ["PourExpert", "PourExpertConfig", "Subtask"]

GRIP_M = 0.075
"""Height of the grasp above the bottle's bottom."""
BEHIND_M = 0.012
"""The tool stays this far short of the bottle's axis, so that the palm does not touch the bottle."""
STANDOFF_M, ABOVE_M = 0.07, 0.12
"""Distance along the hand from which it approaches the bottle, and how much higher it stays until it points there."""
CLEAR_M = 0.03
"""How far short of its grasp, seen from above, the hand is clear of the bottle and may come down beside it."""
LOW_M = 0.04
"""Height above its grasp below which the fingers are beside the bottle and not over it."""
CARRY_M = 0.14
"""Height of the bottle's bottom on its way."""
MOUTH_M, SHORT_M = 0.13, 0.025
"""Height of the bottle's mouth while it pours, and how far it stays short of the bowl's middle: beads fly ahead."""
HIGHER_M = 0.05
"""How much higher the mouth stays while the wide side of the hand swings past the bowl."""
LEVEL_RAD = 1.3
"""A roll from which beads may begin to flow."""
LOWER_M = 0.012
"""Height of the bottle's bottom at which it is let go of in the crate."""
HEADING_RAD = -np.pi / 2
"""Where the hand points, seen from above: to the right, so that a roll tips the bottle away from the robot."""
UP = np.array([0.0, 0.0, 1.0])


class Subtask(IntEnum):
    """What the pourer is doing, in the note "note.subtask"."""

    APPROACH = 0
    GRASP = 1
    LIFT = 2
    CARRY = 3
    POUR = 4
    DISPOSE = 5
    RELEASE = 6
    RETREAT = 7


HOLDING = (Subtask.LIFT, Subtask.CARRY, Subtask.POUR, Subtask.DISPOSE)


@dataclass(frozen=True, slots=True)
class PourExpertConfig(TeacherConfig):
    """The scripted pourer."""

    speed_m_s: tuple[float, float] = (0.25, 0.45)
    """Range of commanded tool speeds that rows draw from."""
    down_rad: tuple[float, float] = (0.15, 0.30)
    """Range of angles by which the hand points below the horizontal."""
    offset_m: float = 0.006
    """Largest distance of the grasp from its usual height."""
    tip_rad: tuple[float, float] = (1.9, 2.05)
    """Range of angles by which the hand rolls to pour."""
    tip_rad_s: tuple[float, float] = (0.4, 0.8)
    """Range of speeds at which it rolls while beads flow; before and after it rolls three times as fast."""
    pause_s: tuple[float, float] = (0.0, 0.15)
    """Range of pauses before the gripper closes."""
    delay_s: tuple[float, float] = (0.2, 0.5)
    """Range of reaction times to a moved thing or a new command."""

    def build(self, env: Env) -> PourExpert:
        """A pourer for all rows of `env`."""
        return PourExpert(self, env)


class PourExpert(Script):
    """A `Policy` of n independent rows. Build it with `PourExpertConfig`."""

    def __init__(self, config: PourExpertConfig, env: Env):
        names = ["tool.position", "tool.quaternion", "gripper.width", "crate.place", "task.command", "beads.position"]
        names += ["bottle.quaternion", *(f"{name}.position" for name in ("bottle", *BOWLS))]
        super().__init__(config, env, names, ("bottle.position", 0.0))
        n = env.n
        self._config = config
        self._world, self._told = Attention(n, 3 * 3 + 2, 0.006), Attention(n, 2, 0.5)
        self._speed, self._down, self._offset = np.zeros(n), np.zeros(n), np.zeros(n)
        self._tip, self._tip_speed, self._pause = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self._roll, self._sense, self._left = np.zeros(n), np.zeros(n), np.zeros(n)
        self._heading, self._anchor = np.zeros(n), np.zeros((n, 3))
        self._open, self._width, self._calm = np.zeros(n), np.zeros(n), np.zeros(n, int)
        self.reset(range(n), range(n))

    def _act(self, observation: Arrays) -> Arrays:
        n, rows = self._n, np.arange(self._n)
        tool, width = observation["tool.position"], observation["gripper.width"][:, 0]
        bottle, quaternion = observation["bottle.position"], observation["bottle.quaternion"]
        truth = np.concatenate(
            [bottle, *(observation[f"{name}.position"] for name in BOWLS), observation["crate.place"]], axis=1
        )
        belief = self._world.see(truth)
        bowl = belief[:, 3:9].reshape(n, 2, 3)[
            rows, told({"task.command": self._told.see(observation["task.command"])})
        ]
        self._open = np.maximum(self._open, width)
        self._calm = np.where(np.abs(width - self._width) < 0.0005, self._calm + 1, 0)
        self._width = width.copy()
        left = contents(bottle, quaternion, observation["beads.position"]).sum(axis=1)

        up = rotate(quaternion, UP)
        mouth = bottle + BOTTLE_M[2] * up
        self._face(quaternion, observation["tool.quaternion"])
        forward = self._forward()
        grasp = belief[:, :3] + np.array([0.0, 0.0, GRIP_M]) + self._offset[:, None] * UP - BEHIND_M * forward
        self._decide(observation, tool, width, grasp, forward, bowl, belief[:, 9:], mouth, left)

        pour = self._phase == Subtask.POUR
        flowing = pour & (self._roll < -LEVEL_RAD)
        largest = self._tip_speed * self._period_s * np.where(flowing, 1.0, 3.0)
        self._roll += np.clip(np.where(pour, -self._tip, 0.0) - self._roll, -largest, largest)
        turn = self._turn(observation["tool.quaternion"])
        move = toward(
            self._goal(tool, grasp, forward, bowl, belief[:, 9:], bottle, mouth) - tool, self._speed, self._period_s
        )
        # Turn about the mouth while the bottle is held: the tool goes around it.
        holding = np.isin(self._phase, HOLDING)[:, None]
        move = np.clip(np.where(holding, move + np.cross(turn, tool - mouth), move), -0.05, 0.05)
        closed = holding[:, 0] | ((self._phase == Subtask.GRASP) & (self._clock > self._pause))
        return self._decision(move, turn, np.where(closed, 1.0, -1.0))

    def _forward(self) -> Array:
        """(n, 3) where each row's hand points."""
        flat = np.cos(self._down)
        return np.column_stack([flat * np.cos(self._heading), flat * np.sin(self._heading), -np.sin(self._down)])

    def _face(self, quaternion: Array, tool: Array) -> None:
        """Choose which way the hand points and which of its sides is up, by the bottle's faces and as it already is."""
        quarter = np.pi / 2
        face = yaw(quaternion)
        face = face + quarter * np.round((HEADING_RAD - face) / quarter)
        aim = np.where(self._phase == Subtask.APPROACH, face, self._heading)
        carried = np.isin(self._phase, (Subtask.CARRY, Subtask.POUR, Subtask.DISPOSE))
        straight = self._heading + np.clip(wrap(HEADING_RAD - self._heading), -0.05, 0.05)
        self._heading = np.where(carried, straight, aim)
        right = np.column_stack([np.sin(self._heading), -np.cos(self._heading), np.zeros(self._n)])
        fingers = rotate(tool, np.array([0.0, 1.0, 0.0]))
        fresh = self._sense == 0
        self._sense[fresh] = np.where((right * fingers).sum(axis=1) < 0, -1.0, 1.0)[fresh]

    def _turn(self, tool: Array) -> Array:
        """(n, 3) rotation vectors towards the heading, the dip and the roll of each row's hand."""
        z = self._forward()
        # The fingers open along y, which is horizontal before the roll.
        y = self._sense[:, None] * np.column_stack([np.sin(self._heading), -np.cos(self._heading), np.zeros(self._n)])
        x = np.cross(y, z)
        level = quaternion_from_matrix(np.stack([x, y, z], axis=-1))
        goal = quaternion_multiply(quaternion_from_rotation_vector(self._roll[:, None] * z), level)
        turn = rotation_vector(quaternion_multiply(goal, quaternion_conjugate(tool)))
        self._left = np.sqrt((turn * turn).sum(axis=1))
        length = np.sqrt((turn * turn).sum(axis=1, keepdims=True))
        return 0.7 * turn * np.minimum(1.0, 0.25 / np.maximum(0.7 * length, 1e-9))

    def _goal(
        self, tool: Array, grasp: Array, forward: Array, bowl: Array, crate: Array, bottle: Array, mouth: Array
    ) -> Array:
        """(n, 3) where the tool should be."""
        goal = grasp.copy()
        gap = grasp - tool
        along = (gap * forward).sum(axis=1)
        aside = np.sqrt(np.maximum((gap * gap).sum(axis=1) - along**2, 0.0))
        back = np.clip(2.5 * (aside - 0.006), 0.0, STANDOFF_M)  # a funnel along the hand
        # Until the hand points at the bottle it stays behind and above it.
        away = np.clip(2.5 * (self._left - 0.12), 0.0, 1.0)
        goal -= np.maximum(back, STANDOFF_M * away)[:, None] * forward
        # The same when it is beside or above the bottle: an open finger must not come down on it. An outstretched arm
        # does not get farther out than `CLEAR_M`, and a hand that is low enough already must not rise again.
        c, s = np.cos(self._heading), np.sin(self._heading)
        behind, beside = gap[:, 0] * c + gap[:, 1] * s, np.abs(gap[:, 0] * s - gap[:, 1] * c)
        away = np.maximum(away, (behind < CLEAR_M) & ((beside > 0.02) | (-gap[:, 2] > LOW_M)))
        goal[:, 2] += ABOVE_M * away
        still = np.isin(self._phase, (Subtask.GRASP, Subtask.LIFT, Subtask.RELEASE, Subtask.RETREAT))
        goal[still] = self._anchor[still]
        # While something is held, the goal is one of the bottle's mouth or bottom and the tool goes along.
        over = self._over(bowl)
        far = np.hypot(*(over - mouth)[:, :2].T) > 0.08
        over[:, 2] = np.where(far | (self._phase == Subtask.CARRY), CARRY_M + BOTTLE_M[2], over[:, 2])
        tipped = (self._phase == Subtask.DISPOSE) & (self._roll < -0.6)  # turns upright before it goes away
        for rows, wanted, have in (
            (np.isin(self._phase, (Subtask.CARRY, Subtask.POUR)), over, mouth),
            (self._phase == Subtask.DISPOSE, self._disposal(bottle, crate), bottle),
            (tipped, self._over(bowl), mouth),
        ):
            goal[rows] = (tool + wanted - have)[rows]
        return goal

    def _over(self, bowl: Array) -> Array:
        """(n, 3) where the bottle's mouth should be to pour into bowls (n, 3)."""
        over = bowl + np.array([-SHORT_M, 0.0, MOUTH_M])
        over[:, 2] += HIGHER_M * np.clip((LEVEL_RAD + 0.3 + self._roll) / 0.3, 0.0, 1.0)
        return over

    def _disposal(self, bottle: Array, crate: Array) -> Array:
        aside = np.hypot(*(crate - bottle[:, :2]).T)
        height = LOWER_M + np.clip(2.5 * (aside - 0.02), 0.0, CARRY_M - LOWER_M)
        return np.column_stack([crate, height])

    def _decide(
        self,
        observation: Arrays,
        tool: Array,
        width: Array,
        grasp: Array,
        forward: Array,
        bowl: Array,
        crate: Array,
        mouth: Array,
        left: Array,
    ) -> None:
        """Advance each row's phase."""
        before = self._phase.copy()
        self._clock += 1
        bottle, quaternion = observation["bottle.position"], observation["bottle.quaternion"]
        gap = np.sqrt(((grasp - tool) ** 2).sum(axis=1))
        turn = np.sqrt((self._turn(observation["tool.quaternion"]) ** 2).sum(axis=1))
        done = in_crate(bottle, quaternion, crate)
        begin = (before == Subtask.APPROACH) & (gap < 0.008) & (turn < 0.08) & ~done
        self._enter(begin, Subtask.GRASP)
        self._anchor[begin] = grasp[begin]
        axis = bottle + rotate(quaternion, np.array([0.0, 0.0, GRIP_M])) - tool
        slipped = np.sqrt((axis * axis).sum(axis=1)) > 0.05
        shut = (before == Subtask.GRASP) & (self._clock > self._pause + 3) & (self._calm >= 1)
        got = shut & (width > 0.03) & ~slipped
        self._enter(got, Subtask.LIFT)
        self._anchor[got] = (tool + CARRY_M * UP)[got]
        lifted = (before == Subtask.LIFT) & (tool[:, 2] > self._anchor[:, 2] - 0.03)
        self._enter(lifted & (left > 0), Subtask.CARRY)
        self._enter(lifted & (left == 0), Subtask.DISPOSE)
        over = np.hypot(*(mouth - self._over(bowl))[:, :2].T)
        self._enter((before == Subtask.CARRY) & (over < 0.02) & (turn < 0.15), Subtask.POUR)
        self._enter((before == Subtask.POUR) & (over > 0.10), Subtask.CARRY)  # another bowl, or it was moved
        tipped = (before == Subtask.POUR) & (np.abs(self._roll) > self._tip - 0.05)
        self._enter(tipped & (left == 0) & (self._clock > 4), Subtask.DISPOSE)
        aside = np.hypot(*(bottle[:, :2] - crate).T)
        down = (before == Subtask.DISPOSE) & (aside < 0.03) & (bottle[:, 2] < LOWER_M + 0.012) & (turn < 0.2)
        self._enter(down, Subtask.RELEASE)
        self._anchor[down] = tool[down]
        lost = (shut & ~got) | (np.isin(before, HOLDING) & slipped)
        lost |= (before == Subtask.RELEASE) & (width > 0.8 * self._open)
        self._enter(lost, Subtask.RETREAT)
        self._anchor[lost] = (tool - 0.12 * forward)[lost]
        clear = np.sqrt(((self._anchor - tool) ** 2).sum(axis=1)) < 0.03
        self._enter((before == Subtask.RETREAT) & clear & (width > 0.85 * self._open) & ~done, Subtask.APPROACH)
        self._calm[self._phase != before] = 0

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        config, period = self._config, self._period_s
        self._speed[row] = generator.uniform(*config.speed_m_s)
        self._down[row] = generator.uniform(*config.down_rad)
        self._offset[row] = generator.uniform(-config.offset_m, config.offset_m)
        self._tip[row], self._tip_speed[row] = generator.uniform(*config.tip_rad), generator.uniform(*config.tip_rad_s)
        self._pause[row] = round(generator.uniform(*config.pause_s) / period)
        delay = round(generator.uniform(*config.delay_s) / period)
        self._world.reset(row, delay)
        self._told.reset(row, delay)
        self._roll[row] = self._sense[row] = 0.0
        self._open[row], self._width[row], self._calm[row] = 0.0, 0.0, 0
