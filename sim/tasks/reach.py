"""Bring the tool to a point in the air: the task that shows in seconds whether a pipeline learns at all.

The green ball is 4 cm wide and floats anywhere in a box of 20 x 40 x 25 cm before the robot. The task is done when
the tool point has been within 1.5 cm of its middle for a quarter of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robolearn.contracts import Env
from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, mujoco
from sim.flaws import TeacherConfig
from sim.robots import Level, RobotModel
from sim.scene import add_fixture, table_scene
from sim.tasks.script import Attention, Script, toward, upright

__all__ = ["ReachConfig", "ReachExpert", "ReachExpertConfig", "ReachTask"]

NEAR_M = 0.015
"""Distance from the goal at which it counts as reached."""
LOW_M, HIGH_M = np.array([0.45, -0.20, 0.05]), np.array([0.65, 0.20, 0.30])
"""Corners of the box of goals."""


@dataclass(frozen=True, slots=True)
class ReachTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    arm_noise_rad: float = 0.05
    objects: tuple[str, ...] = ()
    observation_spec: Spec = field(
        default_factory=lambda: {"goal.place": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))}
    )

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        add_fixture(spec, "goal", ("x", "y", "z")).add_geom(
            name="goal",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[0.02, 0.0, 0.0],
            rgba=[0.15, 0.65, 0.30, 1.0],
            contype=0,
            conaffinity=0,
            group=1,
        )
        return spec.compile()

    def start(self, generator: np.random.Generator) -> Arrays:
        goal = generator.uniform(LOW_M, HIGH_M)
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        return {"arm.q": self.robot.home + noise, "goal/x": goal[0], "goal/y": goal[1], "goal/z": goal[2]}

    def reward(self, observation: Arrays) -> Array:
        """Nearness of tool and goal; 1 at the goal."""
        return 1.0 - np.tanh(5.0 * _distance(observation))

    def success(self, observation: Arrays) -> Array:
        return _distance(observation) < NEAR_M

    def failure(self, observation: Arrays) -> Array:
        """It can always still be done."""
        return np.zeros(len(observation["goal.place"]), bool)

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        return "nothing here can be moved"


def _distance(observation: Arrays) -> Array:
    gap = observation["goal.place"] - observation["tool.position"]
    return np.sqrt((gap * gap).sum(axis=-1))


@dataclass(frozen=True, slots=True)
class ReachConfig(SimConfig):
    """Reach in simulation."""

    horizon: int = 50
    """Most control steps of an episode."""

    def sim_task(self) -> ReachTask:
        return ReachTask(
            self.robot_model(), Task("reach", "Touch the green ball.", self.rate_hz, self.horizon, self.robot)
        )


@dataclass(frozen=True, slots=True)
class ReachExpertConfig(TeacherConfig):
    """The scripted teacher of Reach."""

    speed_m_s: tuple[float, float] = (0.20, 0.40)
    """Range of commanded tool speeds that rows draw from."""
    delay_s: tuple[float, float] = (0.2, 0.6)
    """Range of reaction times to a goal that has moved."""

    def build(self, env: Env) -> ReachExpert:
        """A teacher for all rows of `env`."""
        return ReachExpert(self, env)


class ReachExpert(Script):
    """Goes there in a straight line, with a fist. Build it with `ReachExpertConfig`."""

    def __init__(self, config: ReachExpertConfig, env: Env):
        super().__init__(config, env, ("tool.position", "tool.quaternion", "goal.place"))
        self._config, self._speed = config, np.zeros(env.n)
        self._attention = Attention(env.n, 3, 0.004)
        self.reset(range(env.n), range(env.n))

    def _act(self, observation: Arrays) -> Arrays:
        goal = self._attention.see(observation["goal.place"])
        move = toward(goal - observation["tool.position"], self._speed, self._period_s)
        turn = upright(observation["tool.quaternion"], np.zeros(self._n))
        return self._decision(move, turn, np.ones(self._n))

    def _draw(self, row: int, generator: np.random.Generator) -> None:
        self._speed[row] = generator.uniform(*self._config.speed_m_s)
        self._attention.reset(row, round(generator.uniform(*self._config.delay_s) / self._period_s))
