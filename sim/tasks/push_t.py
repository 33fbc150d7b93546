"""Push a T across the table onto the place where its outline lies, with a stick held in the hand.

The task of Florence et al. 2021 (arXiv 2109.00137) and Chi et al. 2023 (arXiv 2303.04137) in three dimensions: the T
and its place lie anywhere in a region of 16 x 30 cm before the robot, each at any yaw. The task is done when the T has
been within 1.5 cm and 0.15 rad of its place for half a second. In the moving variant the place swings to and fro,
a few centimetres per second, and must be caught.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robolearn.geometry import rotate
from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, mujoco
from sim.robots import ROBOTS, Level, RobotModel
from sim.scene import add_fixture, add_object, on_table, table_scene
from sim.tasks.push_t_expert import BAR_M, BAR_Y_M, HEIGHT_M, STEM_M, STICK_M, PushTExpertConfig, pose_error
from sim.tasks.script import wrap

__all__ = ["PushTConfig", "PushTExpertConfig", "PushTTask"]

NEAR_M, NEAR_RAD = 0.015, 0.15
"""Errors within which the T counts as in place."""
MIDDLE_M, SPREAD_M = np.array([0.50, 0.0]), np.array([0.08, 0.15])
"""Region of the T and of its place: middle and half sizes."""
SWING_HZ = (0.02, 0.015, 0.0)
"""Of the moving place along x, y and yaw."""


@dataclass(frozen=True, slots=True)
class PushTTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        moving: Whether the place swings.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    moving: bool = False
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ("tee",)
    observation_spec: Spec = field(
        default_factory=lambda: {
            "tee.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "tee.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
            "goal.place": ArraySpec((3,), unit="m, rad", frame="base", names=("x", "y", "yaw")),
        }
    )

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        swing = tuple(zip((*MIDDLE_M, 0.0), SWING_HZ, strict=True)) if self.moving else ()
        goal = add_fixture(spec, "goal", ("x", "y", "yaw"), swing=swing)
        for name, size, middle in _boxes():
            goal.add_geom(
                name=f"goal/{name}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[*size, 0.0005],
                pos=[*middle, 0.0006],
                rgba=[0.45, 0.75, 0.50, 1.0],
                contype=0,
                conaffinity=0,
                group=1,
            )
        tee = add_object(spec, "tee", (*MIDDLE_M, 0.0))
        for name, size, middle in _boxes():
            tee.add_geom(
                name=f"tee/{name}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[*size, HEIGHT_M / 2 - 0.001],
                pos=[*middle, HEIGHT_M / 2 + 0.001],
                density=1000.0,
                rgba=[0.35, 0.42, 0.62, 1.0],
                group=1,
            )
        # It slides on three round feet: the same friction as on its faces, with a quarter of the contacts.
        for index, (x, y) in enumerate(((-0.07, BAR_Y_M), (0.07, BAR_Y_M), (0.0, BAR_Y_M - 0.11))):
            tee.add_geom(
                name=f"tee/foot/{index}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[0.004, 0.0, 0.0],
                pos=[x, y, 0.004],
                mass=0.0,
                friction=[0.4, 0.005, 0.0001],
                priority=1,
                group=3,
            )
        down = rotate(np.array(self.robot.tool_quaternion), np.array([0.0, 0.0, 1.0]))
        tip = np.array(self.robot.tool_position)
        hand = next(body for body in spec.bodies if body.name == self.robot.tool_body)
        hand.add_geom(
            name="stick",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[STICK_M[0], 0.0, 0.0],
            fromto=[*(tip - 0.01 * down), *(tip + STICK_M[1] * down)],
            rgba=[0.80, 0.55, 0.20, 1.0],
            contype=0,
            friction=[0.2, 0.005, 0.0001],
            priority=2,
            mass=0.0,
            group=1,
        )
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        while True:
            x, y = MIDDLE_M + generator.uniform(-SPREAD_M, SPREAD_M)
            goal = MIDDLE_M + generator.uniform(-SPREAD_M, SPREAD_M)
            turn, goal_turn = generator.uniform(-math.pi, math.pi, 2)
            if math.dist((x, y), goal) > 0.05 or abs(wrap(goal_turn - turn)) > 0.5:
                break  # otherwise there is hardly anything to do
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        return {
            "arm.q": self.robot.home + noise,
            "tee.position": np.array([x, y, 0.0]),
            "tee.quaternion": np.array([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)]),
            "goal/x": goal[0],
            "goal/y": goal[1],
            "goal/yaw": goal_turn,
        }

    def reward(self, observation: Arrays) -> Array:
        """Half for nearness of T and place, half for the same heading; 1 at the goal."""
        shift, turn = pose_error(observation)
        distance = np.sqrt((shift * shift).sum(axis=-1))
        return 0.5 * (1.0 - np.tanh(5.0 * distance)) + 0.25 * (1.0 + np.cos(turn))

    def success(self, observation: Arrays) -> Array:
        shift, turn = pose_error(observation)
        return (np.sqrt((shift * shift).sum(axis=-1)) < NEAR_M) & (np.abs(turn) < NEAR_RAD)

    def failure(self, observation: Arrays) -> Array:
        """The T is off the table, or out of every arm's reach."""
        tee = observation["tee.position"]
        return (tee[:, 2] < -0.5 * HEIGHT_M) | (np.hypot(tee[:, 0], tee[:, 1]) > 0.85)

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        return "" if on_table(xy) else f"({xy[0]:.3f}, {xy[1]:.3f}) m is not on the table within reach"


@dataclass(frozen=True, slots=True)
class PushTConfig(SimConfig):
    """Push-T in simulation."""

    robots = tuple(name for name in ROBOTS if name != "iiwa")
    # The elbow of the iiwa does not fold far enough to bring a stick down near its base.

    horizon: int = 400
    """Most control steps of an episode."""
    hold_s: float = 0.5
    """How long the T must lie in place."""
    moving: bool = False
    """Whether the place swings to and fro (dynamic Push-T)."""

    def sim_task(self) -> PushTTask:
        task = Task("push_t", "Push the T onto its outline.", self.rate_hz, self.horizon, self.robot)
        return PushTTask(self.robot_model(), task, self.moving)


def _boxes() -> tuple[tuple[str, Array, Array], ...]:
    """Name, half sizes (2,) and middle (2,) of the bar and the stem."""
    stem_y = BAR_Y_M - (BAR_M[1] + STEM_M[1]) / 2
    return ("bar", np.array(BAR_M) / 2, np.array([0.0, BAR_Y_M])), (
        "stem",
        np.array(STEM_M) / 2,
        np.array([0.0, stem_y]),
    )
