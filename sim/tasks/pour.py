"""Pour the beads of a bottle into the bowl that was asked for, then put the empty bottle into the crate.

The pouring task of Asali and Doshi (arXiv 2412.11360) and of its use in adversarial collection: two bowls, of which
the command names one and may name the other in the middle of an episode. The task is done when nine tenths of the
beads have lain in that bowl and the bottle in the crate for a quarter of a second, let go of.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from robolearn.errors import UnknownName
from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel
from sim.robots import Level, RobotModel
from sim.scene import on_table, table_scene
from sim.tasks.pour_expert import PourExpertConfig
from sim.tasks.pour_scene import (
    BEAD_M,
    BOTTLE_M,
    BOWLS,
    CRATE_M,
    INSTRUCTIONS,
    add_things,
    caught,
    in_crate,
    lattice,
    told,
)

__all__ = ["PourConfig", "PourExpertConfig", "PourTask"]

FEWEST, MOST = 20, 40
"""How many beads a bottle may hold."""
ENOUGH = 0.9
"""The share of beads that must be in the right bowl."""
AWAY_M = 0.09
"""Distance of the tool from the bottle's axis at which it has been let go of."""
BOTTLE_M2 = np.array([[0.46, 0.13], [0.57, 0.21]])
"""Corners of the region that the bottle starts in."""
BOWLS_M2 = np.array([[[0.48, -0.07], [0.60, 0.0]], [[0.48, -0.31], [0.60, -0.25]]])
"""Corners of the regions of the two bowls; which of them stands in which differs."""
CRATE_M2 = np.array([[0.28, 0.31], [0.33, 0.36]])
"""Corners of the region of the crate."""
HOMES = {
    "panda": ((0.7994, 0.7782, 0.0344, -1.3547, -0.8954, 1.0351, 0.0675), (0.5, 0.5, 0.5, -0.5)),
    "sawyer": ((0.9948, -0.0128, -1.4248, 0.9239, 0.109, 1.6239, 0.2964), (0.5, 0.5, -0.5, 0.5)),
}
"""Per robot the posture it starts from, in which the hand is level, points right and can roll, and the reference of
its tool's orientation (see `RobotModel.tool_reference`)."""


def _spec(beads: int) -> dict[str, ArraySpec]:
    spec: dict[str, ArraySpec] = {}
    for name in ("bottle", *BOWLS):
        spec[f"{name}.position"] = ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))
        spec[f"{name}.quaternion"] = ArraySpec((4,), frame="base", names=("w", "x", "y", "z"))
    spec["beads.position"] = ArraySpec((beads, 3), unit="m", frame="base")
    spec["crate.place"] = ArraySpec((2,), unit="m", frame="base", names=("x", "y"))
    spec["task.command"] = ArraySpec((len(INSTRUCTIONS),), low=0.0, high=1.0, names=INSTRUCTIONS)
    return spec


@dataclass(frozen=True, slots=True)
class PourTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        beads: How many beads the bottle holds.
        commands: The commands that starts draw from.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    beads: int = 24
    commands: tuple[str, ...] = INSTRUCTIONS
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ("bottle", *BOWLS)
    containers: tuple[str, ...] = BOWLS
    instructions: tuple[str, ...] = INSTRUCTIONS
    facts: Spec = field(default_factory=lambda: {"task.command": _spec(1)["task.command"]})

    @property
    def observation_spec(self) -> Spec:
        return _spec(self.beads)

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        add_things(spec, self.beads)
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        start: dict[str, Array] = {"arm.q": self.robot.home + noise}
        places = {"bottle": generator.uniform(*BOTTLE_M2)}
        for index, corners in zip(generator.permutation(2), BOWLS_M2, strict=True):
            places[BOWLS[index]] = generator.uniform(*corners)
        for name, xy in places.items():
            turn = generator.uniform(-0.3, 0.3)
            start[f"{name}.position"] = np.array([*xy, 0.0])
            start[f"{name}.quaternion"] = np.array([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)])
            if name == "bottle":
                inside = lattice(self.beads) + generator.uniform(-0.0002, 0.0002, (self.beads, 3))
                x, y, z = inside.T
                c, s = math.cos(turn), math.sin(turn)
                where = np.column_stack([xy[0] + c * x - s * y, xy[1] + s * x + c * y, z])
                start |= {
                    f"bead{i}/{axis}": where[i, k] for i in range(self.beads) for k, axis in enumerate(("x", "y", "z"))
                }
        start["crate/x"], start["crate/y"] = generator.uniform(*CRATE_M2)
        command = self.commands[generator.integers(len(self.commands))]
        start["task.command"] = np.array([float(command == other) for other in INSTRUCTIONS])
        return start

    def derive(self, seen: Arrays, facts: Arrays) -> Arrays:
        return {"task.command": facts["task.command"].copy()}

    def reward(self, observation: Arrays) -> Array:
        """Reaching and holding the bottle up to 0.3, what was poured up to 0.4, the bottle's way to the crate 0.2."""
        right, _ = _shares(observation)
        grip = observation["bottle.position"] + np.array([0.0, 0.0, 0.5 * BOTTLE_M[2]])
        near = 1.0 - np.tanh(5.0 * _length(observation["tool.position"] - grip))
        rise = np.clip(observation["bottle.position"][:, 2] / 0.08, 0.0, 1.0)
        poured = np.clip(right / ENOUGH, 0.0, 1.0)
        home = 1.0 - np.tanh(3.0 * _length(observation["bottle.position"][:, :2] - observation["crate.place"]))
        # The beads count first: what the bottle is worth in the crate grows with what was poured.
        staged = 0.4 * poured + 0.15 * np.maximum(near, poured) + 0.15 * np.maximum(rise, poured) + 0.2 * home * poured
        return np.where(self.success(observation), 1.0, staged)

    def success(self, observation: Arrays) -> Array:
        right, _ = _shares(observation)
        bottle, quaternion = observation["bottle.position"], observation["bottle.quaternion"]
        away = _length(observation["tool.position"] - bottle) > AWAY_M
        return (right >= ENOUGH - 1e-9) & in_crate(bottle, quaternion, observation["crate.place"]) & away

    def failure(self, observation: Arrays) -> Array:
        """Too many beads lie in the wrong bowl or have fallen off the table, or the bottle has."""
        _, lost = _shares(observation)
        return (lost > 1.0 - ENOUGH + 1e-9) | (observation["bottle.position"][:, 2] < -0.05)

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        if not on_table(xy) or abs(xy[1]) > 0.34:
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not on the table within reach"
        moves = np.hypot(*(observation[f"{target}.position"][:2] - xy)) > 1e-6
        if moves and np.abs(observation["crate.place"] - xy).max() < CRATE_M[0] + 0.08:
            return "the crate is in the way"
        if target == "bottle":
            tool, bottle = observation["tool.position"], observation["bottle.position"]
            if bottle[2] > 0.005 or np.abs(tool - bottle - [0.0, 0.0, 0.06]).max() < 0.06:
                return "the bottle is grasped or is not standing where it was"
        elif np.any(caught(observation[f"{target}.position"][None], observation["beads.position"][None])):
            return f"beads lie in the {target}"
        elif np.hypot(*(observation["bottle.position"] - observation[f"{target}.position"])[:2]) < 0.13:
            return "the bottle is over it"
        return ""


def _length(v: Array) -> Array:
    return np.sqrt((v * v).sum(axis=-1))


def _shares(observation: Arrays) -> tuple[Array, Array]:
    """(n,) the shares of beads that are in the right bowl, and lost: in the wrong one or below the table."""
    beads, index = observation["beads.position"], told(observation)
    bowls = np.stack([caught(observation[f"{name}.position"], beads) for name in BOWLS], axis=1)
    rows = np.arange(len(index))
    below = beads[..., 2] < -2.0 * BEAD_M
    return bowls[rows, index].mean(axis=1), (bowls[rows, 1 - index] | below).mean(axis=1)


@dataclass(frozen=True, slots=True)
class PourConfig(SimConfig):
    """Pouring in simulation."""

    robots = ("panda", "sawyer")

    horizon: int = 500
    """Most control steps of an episode."""
    beads: int = 24
    """How many beads the bottle holds, 20 to 40."""
    commands: tuple[str, ...] = INSTRUCTIONS
    """Commands that starts draw from; leave one out to hold it back."""

    def sim_task(self) -> PourTask:
        if not FEWEST <= self.beads <= MOST:
            raise ValueError(f"The bottle holds {FEWEST} to {MOST} beads; found {self.beads}.")
        for command in self.commands:
            if command not in INSTRUCTIONS:
                raise UnknownName("instruction", command, INSTRUCTIONS)
        instruction = "Pour the beads into a bowl and put the bottle into the crate."
        task = Task("pour", instruction, self.rate_hz, self.horizon, self.robot)
        home, reference = HOMES[self.robot_model().name]
        robot = dataclasses.replace(self.robot_model(), home=home, tool_reference=reference)
        return PourTask(robot, task, self.beads, self.commands)
