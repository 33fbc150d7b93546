"""Bowl: push a ball so that it rolls on by itself and knocks three pins over.

A task of contact and then free motion: the pins stand beyond the hand's reach, so the ball has to be let go with the
right speed and direction. Ball and rack start anywhere in their regions. The task is done when all pins have been
down for a quarter of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, mujoco
from sim.robots import Level, RobotModel
from sim.scene import add_object, table_scene
from sim.tasks.bowl_expert import BALL_M, PINS, BowlExpertConfig

__all__ = ["BowlConfig", "BowlExpertConfig", "BowlTask"]

PIN_M, PIN_HALF_M = 0.012, 0.05
"""Radius and half height of a pin."""
DOWN_COSINE = 0.9
"""A pin is down when it leans by more than 26 degrees, be it against the ball."""
RACK_M = np.array([[0.0, 0.0], [0.0, 0.028], [0.0, -0.028]])
"""Where the pins stand from the first: abreast, so that a well-aimed ball meets all three."""
BALL_LOW_M, BALL_HIGH_M = np.array([0.40, -0.09]), np.array([0.46, 0.09])
PINS_LOW_M, PINS_HIGH_M = np.array([0.74, -0.08]), np.array([0.78, 0.08])
"""Corners of the regions that ball and first pin start in."""


def _spec() -> dict[str, ArraySpec]:
    spec: dict[str, ArraySpec] = {}
    for name in ("ball", *PINS):
        spec[f"{name}.position"] = ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))
        spec[f"{name}.quaternion"] = ArraySpec((4,), frame="base", names=("w", "x", "y", "z"))
    return spec


@dataclass(frozen=True, slots=True)
class BowlTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ("ball", *PINS)
    observation_spec: Spec = field(default_factory=_spec)

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        _add_ball(add_object(spec, "ball", (0.45, 0.0, BALL_M)))
        for name, (x, y) in zip(PINS, RACK_M + np.array([0.8, 0.0]), strict=True):
            _add_pin(add_object(spec, name, (x, y, PIN_HALF_M)), name)
        for name, size, middle in (
            ("stop", [0.006, 0.30, 0.03], [0.93, 0.0, 0.03]),
            ("rail/left", [0.18, 0.006, 0.03], [0.756, 0.30, 0.03]),
            ("rail/right", [0.18, 0.006, 0.03], [0.756, -0.30, 0.03]),
        ):
            spec.worldbody.add_geom(
                name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=middle, rgba=[0.35, 0.24, 0.16, 1.0]
            )
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        start = {
            "arm.q": self.robot.home + self.arm_noise_rad * generator.standard_normal(len(self.robot.home)),
            "ball.position": np.array([*generator.uniform(BALL_LOW_M, BALL_HIGH_M), BALL_M]),
        }
        rack = generator.uniform(PINS_LOW_M, PINS_HIGH_M)
        for name, xy in zip(PINS, rack + RACK_M, strict=True):
            start[f"{name}.position"] = np.array([*xy, PIN_HALF_M])
        for name in self.objects:
            start[f"{name}.quaternion"] = np.array([1.0, 0.0, 0.0, 0.0])
        return start

    def reward(self, observation: Arrays) -> Array:
        """A fifth for the tool near the ball, three for the ball near the pins, and half for pins that are down."""
        ball = observation["ball.position"]
        near = 1.0 - np.tanh(5.0 * _length(ball - observation["tool.position"]))
        pins = np.stack([observation[f"{name}.position"] for name in PINS], axis=1)
        home = 1.0 - np.tanh(3.0 * _length((ball[:, None] - pins)[..., :2]).min(axis=1))
        down = _down(observation)
        return np.where(down.all(axis=1), 1.0, 0.2 * near + 0.3 * home + 0.5 * down.mean(axis=1))

    def success(self, observation: Arrays) -> Array:
        return _down(observation).all(axis=1)

    def failure(self, observation: Arrays) -> Array:
        """The ball has fallen off the table."""
        return observation["ball.position"][:, 2] < -BALL_M

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        low, high = (BALL_LOW_M, BALL_HIGH_M) if target == "ball" else (PINS_LOW_M - 0.03, PINS_HIGH_M + 0.06)
        if not np.all((xy > low - 0.02) & (xy < high + 0.02)):
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not where the {target} belongs"
        if target == "ball" and observation["ball.position"][0] > BALL_HIGH_M[0] + 0.05:
            return "the ball is rolling"
        if target != "ball" and observation[f"{target}.position"][2] < PIN_HALF_M - 0.003:
            return f"the {target} is down"
        return ""


def _down(observation: Arrays) -> Array:
    """(n, 3) which pins are down."""
    q = np.stack([observation[f"{name}.quaternion"] for name in PINS], axis=1)
    return 1.0 - 2.0 * (q[..., 1] ** 2 + q[..., 2] ** 2) < DOWN_COSINE


def _length(v: Array) -> Array:
    return np.sqrt((v * v).sum(axis=-1))


def _add_ball(body: Any) -> None:
    body.add_geom(
        name="ball",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[BALL_M, 0.0, 0.0],
        mass=0.8,
        rgba=[0.15, 0.25, 0.65, 1.0],
        condim=6,
        # Polished, and deciding for both: rubber pads would grip a rolling ball and jam it against the table.
        friction=[0.3, 0.005, 0.0005],
        priority=2,
        group=1,
    )


def _add_pin(body: Any, name: str) -> None:
    # A thin pin that spins about its axis is faster than the timestep can follow; this slows it down.
    body.first_joint().armature, body.first_joint().damping = 1e-5, 2e-5
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[PIN_M, PIN_HALF_M, 0.0],
        mass=0.02,
        rgba=[0.95, 0.94, 0.90, 1.0],
        friction=[0.8, 0.005, 0.0001],
        group=1,
    )


@dataclass(frozen=True, slots=True)
class BowlConfig(SimConfig):
    """Bowling in simulation."""

    robots = ("panda", "ur5e")

    horizon: int = 160
    """Most control steps of an episode."""

    def sim_task(self) -> BowlTask:
        task = Task("bowl", "Roll the ball so that it knocks over all pins.", self.rate_hz, self.horizon, self.robot)
        return BowlTask(self.robot_model(), task)
