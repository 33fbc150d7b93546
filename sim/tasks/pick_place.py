"""Put the fruit that was asked for into the container that was asked for: the scene of adversarial collection.

After Huang et al. 2025 (arXiv 2503.11646, sections III and IV): three fruits and two containers on a table of three
heights, "put the kiwi into the basket" and five other commands, which may change in the middle of an episode. The
whole scene differs between starts; a combination is held out by leaving it out of `commands`. The task is done when
the fruit has been let go of and has lain in the container for a quarter of a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robolearn.errors import SpecError, UnknownName
from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel
from sim.robots import Level, RobotModel
from sim.scene import on_table, table_scene
from sim.tasks.pick_place_expert import PickPlaceExpertConfig
from sim.tasks.pick_place_scene import (
    CONTAINERS,
    FRUITS,
    HIGH_M,
    INSTRUCTIONS,
    LOW_M,
    RADIUS_M,
    add_table,
    chosen,
    inside,
)

__all__ = ["PickPlaceConfig", "PickPlaceExpertConfig", "PickPlaceTask"]

AWAY_M = 0.07
"""Distance of the tool from the fruit at which it has been let go of."""
GAP_M = {"fruit": 0.11, "container": 0.19, "both": 0.14}
"""Smallest distances between the middles of two fruits, two containers, one of each."""
LARGEST_SPREAD_M = 0.015
"""Twice this, in both directions, keeps neighbours of `USUAL_M` from touching."""

USUAL_M = np.array([[0.41, -0.13], [0.41, 0.0], [0.41, 0.13], [0.62, -0.15], [0.62, 0.15]])
"""Where the fruits and then the containers stand when the table is laid as usual."""


def _spec() -> dict[str, ArraySpec]:
    spec: dict[str, ArraySpec] = {}
    for name in FRUITS + CONTAINERS:
        spec[f"{name}.position"] = ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))
        spec[f"{name}.quaternion"] = ArraySpec((4,), frame="base", names=("w", "x", "y", "z"))
    spec["table.place"] = ArraySpec((1,), unit="m", frame="base", names=("z",))
    spec["task.command"] = ArraySpec((len(INSTRUCTIONS),), low=0.0, high=1.0, names=INSTRUCTIONS)
    return spec


@dataclass(frozen=True, slots=True)
class PickPlaceTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        commands: The commands that starts draw from.
        heights_m: The heights of the table that starts draw from.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
        spread_m: Things stand around fixed places with this standard deviation, cut off at twice that; None scatters
            them over the whole region.
    """

    robot: RobotModel
    task: Task
    commands: tuple[str, ...] = INSTRUCTIONS
    heights_m: tuple[float, ...] = (0.0, 0.06, 0.12)
    arm_noise_rad: float = 0.02
    spread_m: float | None = None
    objects: tuple[str, ...] = FRUITS + CONTAINERS
    containers: tuple[str, ...] = CONTAINERS
    instructions: tuple[str, ...] = INSTRUCTIONS
    observation_spec: Spec = field(default_factory=_spec)
    facts: Spec = field(default_factory=lambda: {"task.command": _spec()["task.command"]})

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        add_table(spec)
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        height = generator.choice(self.heights_m)
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        start = {"arm.q": self.robot.home + noise, "table/z": height}
        places = _scatter(generator) if self.spread_m is None else _around(generator, self.spread_m)
        for name, xy in zip(self.objects, places, strict=True):
            turn = generator.uniform(-math.pi, math.pi)
            start[f"{name}.position"] = np.array([*xy, height + RADIUS_M.get(name, 0.0)])
            start[f"{name}.quaternion"] = np.array([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)])
        told = self.commands[generator.integers(len(self.commands))]
        start["task.command"] = np.array([float(told == command) for command in INSTRUCTIONS])
        return start

    def derive(self, seen: Arrays, facts: Arrays) -> Arrays:
        return {"task.command": facts["task.command"].copy()}

    def reward(self, observation: Arrays) -> Array:
        """A quarter each for tool near fruit, fruit lifted, fruit near container; 1 when it is done."""
        fruit, container = chosen(observation)
        near = 1.0 - np.tanh(5.0 * _length(fruit - observation["tool.position"]))
        rise = (fruit[:, 2] - observation["table.place"][:, 0] - 0.03) / 0.05
        home = 1.0 - np.tanh(5.0 * _length(fruit - container))
        return np.where(self.success(observation), 1.0, 0.25 * (near + np.clip(rise, 0.0, 1.0) + home))

    def success(self, observation: Arrays) -> Array:
        fruit, container = chosen(observation)
        away = _length(fruit - observation["tool.position"]) > AWAY_M
        return inside(fruit, container) & away

    def failure(self, observation: Arrays) -> Array:
        """The fruit or the container has fallen off the table."""
        fruit, container = chosen(observation)
        return np.minimum(fruit[:, 2], container[:, 2]) < observation["table.place"][:, 0] - 0.03

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        position = observation[f"{target}.position"]
        if not (on_table(xy) and np.all((xy > LOW_M - 0.03) & (xy < HIGH_M + 0.03))):
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not on the table within reach"
        if target in FRUITS and position[2] > observation["table.place"][0] + RADIUS_M[target] + 0.005:
            return f"the {target} is grasped or lies in a container"
        if target in FRUITS and np.abs(observation["tool.position"] - position).max() < 0.03:
            return f"the {target} is being grasped"
        if target in CONTAINERS and any(inside(observation[f"{f}.position"], position) for f in FRUITS):
            return f"a fruit lies in the {target}"
        return ""


def _length(v: Array) -> Array:
    return np.sqrt((v * v).sum(axis=-1))


def _scatter(generator: np.random.Generator) -> Array:
    """Places (5, 2) of the fruits and then the containers, apart from each other and within reach."""
    kinds = [*("fruit" for _ in FRUITS), *("container" for _ in CONTAINERS)]
    gaps = np.array([[GAP_M[a if a == b else "both"] for b in kinds] for a in kinds])
    order, places = [*reversed(range(len(kinds)))], np.zeros((len(kinds), 2))
    while True:  # the containers first, being the largest; a start over when a fruit finds no place
        done: list[int] = []
        for item in order:
            for xy in generator.uniform(LOW_M, HIGH_M, (40, 2)):
                if on_table(xy) and np.all(_length(places[done] - xy) > gaps[item, done]):
                    places[item] = xy
                    done.append(item)
                    break
        if len(done) == len(kinds):
            return places


def _around(generator: np.random.Generator, spread_m: float) -> Array:
    """Places (5, 2) near the usual ones, as when one person lays the table for many recordings."""
    return USUAL_M + spread_m * np.clip(generator.standard_normal(USUAL_M.shape), -2.0, 2.0)


@dataclass(frozen=True, slots=True)
class PickPlaceConfig(SimConfig):
    """Pick-and-place by command in simulation."""

    robots = ("panda", "ur5e")

    horizon: int = 240
    """Most control steps of an episode."""
    commands: tuple[str, ...] = INSTRUCTIONS
    """Commands that starts draw from; leave some out to hold combinations back."""
    heights_m: tuple[float, ...] = (0.0, 0.06, 0.12)
    """Heights of the table that starts draw from."""
    spread_m: float | None = None
    """Things stand around fixed places with this standard deviation, in m; None scatters them over the region."""

    def sim_task(self) -> PickPlaceTask:
        for command in self.commands:
            if command not in INSTRUCTIONS:
                raise UnknownName("instruction", command, INSTRUCTIONS)
        if self.spread_m is not None and not 0.0 <= self.spread_m <= LARGEST_SPREAD_M:
            raise SpecError(
                f"spread_m must lie within [0, {LARGEST_SPREAD_M}] m, so that nothing overlaps, or be None for the "
                f"whole region; found {self.spread_m}."
            )
        task = Task("pick_place", "Put a fruit into a container.", self.rate_hz, self.horizon, self.robot)
        return PickPlaceTask(self.robot_model(), task, self.commands, self.heights_m, spread_m=self.spread_m)
