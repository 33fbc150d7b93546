"""Lift a cube off the table: the smallest task that needs to see, reach, grasp and hold.

Like robosuite's Lift (Zhu et al. 2020, arXiv 2009.12293), with a wider range of starts: the 4 cm cube lies anywhere
within 10 cm of its middle place along x and y, at any yaw. The task is done when the cube has been 4 cm above its
rest for a quarter of a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel
from sim.robots import Level, RobotModel
from sim.scene import add_box, on_table, table_scene
from sim.tasks.lift_expert import LiftExpertConfig

__all__ = ["CUBE_M", "LiftConfig", "LiftExpertConfig", "LiftTask"]

CUBE_M = 0.04
"""Edge of the cube."""
REST_M = CUBE_M / 2
"""Height of its centre at rest."""
LIFTED_M = 0.04
"""How far above its rest the cube counts as lifted."""


@dataclass(frozen=True, slots=True)
class LiftTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        spread_m: Cube starts within this distance of its middle place, along x and y each.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    spread_m: float = 0.10
    arm_noise_rad: float = 0.02
    middle_m: tuple[float, float] = (0.5, 0.0)
    objects: tuple[str, ...] = ("cube",)
    observation_spec: Spec = field(
        default_factory=lambda: {
            "cube.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "cube.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
        }
    )

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        add_box(spec, "cube", [CUBE_M / 2] * 3, mass=0.08, rgba=[0.83, 0.17, 0.14, 1.0])
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        x, y = self.middle_m + generator.uniform(-self.spread_m, self.spread_m, 2)
        yaw = generator.uniform(-math.pi, math.pi)
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        return {
            "arm.q": self.robot.home + noise,
            "cube.position": np.array([x, y, REST_M]),
            "cube.quaternion": np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]),
        }

    def reward(self, observation: Arrays) -> Array:
        """Half for nearness of tool and cube, half for height; 1 at the goal."""
        gap = observation["tool.position"] - observation["cube.position"]
        distance = np.sqrt((gap * gap).sum(axis=-1))
        height = (observation["cube.position"][:, 2] - REST_M) / LIFTED_M
        return 0.5 * (1.0 - np.tanh(5.0 * distance)) + 0.5 * np.clip(height, 0.0, 1.0)

    def success(self, observation: Arrays) -> Array:
        return observation["cube.position"][:, 2] > REST_M + LIFTED_M

    def failure(self, observation: Arrays) -> Array:
        """The cube has fallen off the table."""
        return observation["cube.position"][:, 2] < -CUBE_M

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        if not on_table(xy):
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not on the table within reach"
        gap = np.abs(observation["tool.position"] - observation[f"{target}.position"]).max()
        held = gap < CUBE_M and observation["gripper.width"][0] < CUBE_M * math.sqrt(2) + 0.002
        if held or observation[f"{target}.position"][2] > REST_M + 0.005:
            return f"the {target} is grasped"
        return ""


@dataclass(frozen=True, slots=True)
class LiftConfig(SimConfig):
    """Lift in simulation."""

    spread_m: float = 0.10
    """The cube starts within this distance of its middle place, along x and y each."""

    def sim_task(self) -> LiftTask:
        task = Task("lift", "Pick up the red cube.", self.rate_hz, self.horizon, self.robot)
        return LiftTask(self.robot_model(), task, self.spread_m)
