"""Sort five onions: look at each, then blemished ones into the bin and good ones onto the conveyor.

The sorting line of Asali and Doshi (arXiv 2412.11360) and of their laboratory's public environment. A blemish is
hidden: "onions.label" tells it (+1 good, -1 blemished, 0 unknown) only of an onion that is held up to the eye, at the
inspection pose; whoever sorts has to remember it. The task is done when all five have lain where they belong for a
quarter of a second, let go of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, MjSpec, mujoco
from sim.robots import Level, RobotModel
from sim.scene import add_object, table_scene
from sim.tasks.sort_onions_expert import SortOnionsExpertConfig
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, RADIUS_M, on_place

__all__ = ["SortOnionsConfig", "SortOnionsExpertConfig", "SortOnionsTask"]

LOW_M, HIGH_M = np.array([0.44, -0.16]), np.array([0.66, 0.16])
"""Corners of the region that onions start in."""
APART_M = 0.095
"""Smallest distance between two onions at the start: a finger fits between."""
HELD_M, EYE_RADIUS_M = 0.035, 0.05
"""An onion this near to the tool, and a tool this near to the eye, show the label."""


def _spec() -> dict[str, ArraySpec]:
    spec: dict[str, ArraySpec] = {}
    for name in ONIONS:
        spec[f"{name}.position"] = ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))
        spec[f"{name}.quaternion"] = ArraySpec((4,), frame="base", names=("w", "x", "y", "z"))
    spec["onions.label"] = ArraySpec((len(ONIONS),), low=-1.0, high=1.0, names=ONIONS)
    return spec


@dataclass(frozen=True, slots=True)
class SortOnionsTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        blemished: Probability that an onion is blemished.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    blemished: float = 0.5
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ONIONS
    observation_spec: Spec = field(default_factory=_spec)
    facts: Spec = field(default_factory=lambda: {"onions.blemished": ArraySpec((len(ONIONS),))})

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        _add_tray(spec, "bin", BIN, (0.25, 0.36, 0.50, 1.0))
        _add_tray(spec, "conveyor", CONVEYOR, (0.20, 0.20, 0.22, 1.0))
        for name in ONIONS:
            _add_onion(add_object(spec, name, (0.5, 0.0, RADIUS_M)), name)
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        start: dict[str, Array] = {
            "arm.q": self.robot.home + self.arm_noise_rad * generator.standard_normal(len(self.robot.home)),
            "onions.blemished": (generator.uniform(size=len(ONIONS)) < self.blemished).astype(float),
        }
        for name, xy in zip(ONIONS, _scatter(generator), strict=True):
            turn = generator.standard_normal(4)
            start[f"{name}.position"] = np.array([*xy, RADIUS_M])
            start[f"{name}.quaternion"] = turn / np.linalg.norm(turn)
        return start

    def derive(self, seen: Arrays, facts: Arrays) -> Arrays:
        onions, tool = _onions(seen), seen["tool.position"]
        held = np.sqrt(((onions - tool[:, None]) ** 2).sum(axis=-1)) < HELD_M
        shown = held & (np.sqrt(((tool - EYE_M) ** 2).sum(axis=-1)) < EYE_RADIUS_M)[:, None]
        return {"onions.label": np.where(shown, 1.0 - 2.0 * facts["onions.blemished"], 0.0), **_copy(facts)}

    def reward(self, observation: Arrays) -> Array:
        """The share of onions that are right less that of wrong ones, and a little for reaching for the next."""
        onions, blemished = _onions(observation), observation["onions.blemished"] > 0.5
        binned, conveyed = on_place(onions, BIN), on_place(onions, CONVEYOR)
        right, wrong = np.where(blemished, binned, conveyed), np.where(blemished, conveyed, binned)
        gap = np.sqrt(((onions - observation["tool.position"][:, None]) ** 2).sum(axis=-1))
        near = 1.0 - np.tanh(5.0 * np.where(right | wrong, np.inf, gap).min(axis=1))
        return (right.sum(axis=1) - 1.0 * wrong.sum(axis=1)) / len(ONIONS) * 0.8 + 0.2 * np.where(
            right.all(axis=1), 1.0, near
        )

    def success(self, observation: Arrays) -> Array:
        onions, blemished = _onions(observation), observation["onions.blemished"] > 0.5
        right = np.where(blemished, on_place(onions, BIN), on_place(onions, CONVEYOR)).all(axis=1)
        gap = np.sqrt(((onions - observation["tool.position"][:, None]) ** 2).sum(axis=-1)).min(axis=1)
        return right & (gap > 2.0 * RADIUS_M)

    def failure(self, observation: Arrays) -> Array:
        """An onion has fallen off the table."""
        return _onions(observation)[..., 2].min(axis=1) < -RADIUS_M

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        position = observation[f"{target}.position"]
        if not np.all((xy > LOW_M - 0.03) & (xy < HIGH_M + 0.03)):
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not where onions wait to be sorted"
        if on_place(position, BIN) or on_place(position, CONVEYOR):
            return f"the {target} has been sorted"
        if position[2] > RADIUS_M + 0.005 or np.abs(observation["tool.position"] - position).max() < HELD_M:
            return f"the {target} is grasped"
        return ""


def _copy(facts: Arrays) -> dict[str, Array]:
    return {name: value.copy() for name, value in facts.items()}


def _onions(observation: Arrays) -> Array:
    return np.stack([observation[f"{name}.position"] for name in ONIONS], axis=1)


def _scatter(generator: np.random.Generator) -> Array:
    """Places (5, 2) apart from each other; the region holds five in almost any arrangement, else all are drawn anew."""
    while True:
        places = generator.uniform(LOW_M, HIGH_M, (len(ONIONS), 2))
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(len(ONIONS))
        if gaps.min() > APART_M:
            return places


def _add_onion(body: Any, name: str) -> None:
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[RADIUS_M, 0.0, 0.0],
        mass=0.1,
        rgba=[0.84, 0.62, 0.34, 1.0],
        condim=6,
        # Rolling friction as of something soft: a nudged onion comes to rest within its own length.
        friction=[1.0, 0.01, 0.003],
        group=1,
    )


def _add_tray(spec: MjSpec, name: str, place: Array, rgba: tuple[float, ...]) -> None:
    """A floor with four walls around a place (`sim.tasks.sort_onions_places`)."""
    (x, y), (half_x, half_y), (floor, wall) = place
    box, thick = mujoco.mjtGeom.mjGEOM_BOX, 0.004
    spec.worldbody.add_geom(name=name, type=box, size=[half_x, half_y, floor / 2], pos=[x, y, floor / 2], rgba=rgba)
    for side, (dx, dy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        size = [thick, half_y + 2 * thick, wall / 2] if dx else [half_x, thick, wall / 2]
        spec.worldbody.add_geom(
            name=f"{name}/wall/{side}",
            type=box,
            size=size,
            pos=[x + dx * (half_x + thick), y + dy * (half_y + thick), wall / 2],
            rgba=[min(1.0, c + 0.12) for c in rgba[:3]] + [1.0],
        )


@dataclass(frozen=True, slots=True)
class SortOnionsConfig(SimConfig):
    """Onion sorting in simulation."""

    robots = ("sawyer", "iiwa")

    robot: str = "sawyer"
    """Which robot."""
    horizon: int = 1000
    """Most control steps of an episode."""
    blemished: float = 0.5
    """Probability that an onion is blemished."""

    def sim_task(self) -> SortOnionsTask:
        if not (math.isfinite(self.blemished) and 0.0 <= self.blemished <= 1.0):
            raise ValueError(f"The probability `blemished` must lie within [0, 1]; found {self.blemished}.")
        instruction = "Inspect each onion; put blemished ones into the bin and good ones onto the conveyor."
        task = Task("sort_onions", instruction, self.rate_hz, self.horizon, self.robot)
        return SortOnionsTask(self.robot_model(), task, self.blemished)
