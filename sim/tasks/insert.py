"""Pick up a square peg and put it into a square hole: contact within a fraction of a millimetre.

A peg of 24 x 24 x 80 mm stands on the table; the hole, 40 mm deep, is wider by `clearance_m` (2 mm, or 0.5 mm for the
hard variant, so a quarter of a millimetre on each side), and its socket is bolted down anywhere, at any yaw. The task
is done when the peg has been 28 mm deep in the hole for a quarter of a second.

The peg's last 3 mm are four small spheres, which round its tip as a chamfer does and carry it on the table; its faces
touch the socket's walls and the finger pads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robolearn.geometry import rotate
from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, MjSpec, mujoco
from sim.robots import Level, RobotModel
from sim.scene import add_fixture, add_object, on_table, table_scene
from sim.tasks.insert_expert import DEPTH_M, PEG_M, InsertExpertConfig, peg_gap

__all__ = ["InsertConfig", "InsertExpertConfig", "InsertTask"]

DEEP_M = 0.028
"""How deep the peg must be in the hole."""
CORNER_M, TIP_M = 0.002, 0.003
"""Radius of the peg's lower corners, and how far they stand out below its faces."""
STIFF = {"solref": [0.01, 1.0], "solimp": [0.97, 0.995, 0.001, 0.5, 2.0]}
"""As stiff as the timestep allows: a soft wall would give more than the clearance."""
WALL_M = 0.02
"""Thickness of the socket's walls."""
LOW_M, HIGH_M = np.array([0.40, -0.22]), np.array([0.62, 0.22])
"""Corners of the region of peg and socket."""
APART_M = 0.15
"""Smallest distance between them at the start."""


@dataclass(frozen=True, slots=True)
class InsertTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        clearance_m: Width of the hole beyond that of the peg.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    clearance_m: float = 0.002
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ("peg",)
    observation_spec: Spec = field(
        default_factory=lambda: {
            "peg.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "peg.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
            "socket.place": ArraySpec((3,), unit="m, rad", frame="base", names=("x", "y", "yaw")),
        }
    )

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        self._add_socket(spec)
        self._add_peg(spec)
        return spec.compile()

    def _add_socket(self, spec: MjSpec) -> None:
        socket = add_fixture(spec, "socket", ("x", "y", "yaw"))
        inner = (PEG_M[0] + self.clearance_m) / 2
        for index in range(4):
            angle = index * math.pi / 2
            middle = inner + WALL_M / 2
            socket.add_geom(
                name=f"socket/{index}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[WALL_M / 2, inner + WALL_M, DEPTH_M / 2],
                pos=[middle * math.cos(angle), middle * math.sin(angle), DEPTH_M / 2],
                quat=[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)],
                rgba=[0.45, 0.50, 0.56, 1.0],
                group=1,
            )

    def _add_peg(self, spec: MjSpec) -> None:
        peg = add_object(spec, "peg")
        half, long = PEG_M[0] / 2, PEG_M[1] / 2
        peg.add_geom(
            name="peg",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[half, half, long - TIP_M / 2],
            pos=[0.0, 0.0, TIP_M / 2],
            mass=0.08,
            rgba=[0.90, 0.72, 0.25, 1.0],
            contype=0,
            conaffinity=0,
            group=1,
        )
        for index, (x, y) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
            peg.add_geom(
                name=f"peg/corner/{index}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[CORNER_M, 0.0, 0.0],
                pos=[x * (half - CORNER_M), y * (half - CORNER_M), CORNER_M - long],
                mass=0.0,
                solref=STIFF["solref"],
                solimp=STIFF["solimp"],
                friction=[0.3, 0.005, 0.0001],
                priority=2,
                group=3,
            )
        pads = [f"robot/{index}" for index, shape in enumerate(self.robot.shapes) if shape.pad]
        for names, friction in ((pads, 1.5), ([f"socket/{index}" for index in range(4)], 0.3)):
            for name in names:
                spec.add_pair(
                    name=f"peg/{name}",
                    geomname1="peg",
                    geomname2=name,
                    condim=4,
                    friction=[friction, friction, 0.01, 0.0001, 0.0001],
                    **STIFF,
                )

    def start(self, generator: np.random.Generator) -> Arrays:
        while True:
            peg, socket = generator.uniform(LOW_M, HIGH_M, (2, 2))
            if math.dist(peg, socket) > APART_M:
                break
        turn, socket_turn = generator.uniform(-math.pi, math.pi, 2)
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        return {
            "arm.q": self.robot.home + noise,
            "peg.position": np.array([*peg, PEG_M[1] / 2]),
            "peg.quaternion": np.array([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)]),
            "socket/x": socket[0],
            "socket/y": socket[1],
            "socket/yaw": socket_turn,
        }

    def reward(self, observation: Arrays) -> Array:
        """A quarter each for tool near peg, peg lifted or in the hole, peg near hole, and depth; 1 when it is done."""
        gap = peg_gap(observation)
        aside = np.hypot(gap[:, 0], gap[:, 1])
        reach = _length(observation["tool.position"] - observation["peg.position"])
        deep = np.clip(DEPTH_M - gap[:, 2], 0.0, DEEP_M) / DEEP_M * (aside < 0.005)
        rise = np.maximum(np.clip(gap[:, 2] / 0.05, 0.0, 1.0), deep)
        staged = 0.25 * (1.0 - np.tanh(5.0 * reach) + rise + 1.0 - np.tanh(5.0 * aside) + deep)
        return np.where(self.success(observation), 1.0, staged)

    def success(self, observation: Arrays) -> Array:
        gap = peg_gap(observation)
        return (np.hypot(gap[:, 0], gap[:, 1]) < 0.005) & (gap[:, 2] < DEPTH_M - DEEP_M)

    def failure(self, observation: Arrays) -> Array:
        """The peg lies on its side, or has left the table."""
        up = rotate(observation["peg.quaternion"], np.array([0.0, 0.0, 1.0]))[:, 2]
        return (up < 0.5) | (observation["peg.position"][:, 2] < 0.0)

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        if not on_table(xy):
            return f"({xy[0]:.3f}, {xy[1]:.3f}) m is not on the table within reach"
        moves = np.hypot(*(observation["peg.position"][:2] - xy)) > 1e-6
        if moves and np.hypot(*(observation["socket.place"][:2] - xy)) < 0.10:
            return "the socket is in the way"
        near = np.abs(observation["tool.position"] - observation["peg.position"]).max() < 0.06
        if near or observation["peg.position"][2] > PEG_M[1] / 2 + 0.005:
            return "the peg is grasped"
        return ""


def _length(v: Array) -> Array:
    return np.sqrt((v * v).sum(axis=-1))


@dataclass(frozen=True, slots=True)
class InsertConfig(SimConfig):
    """Peg in hole in simulation."""

    robots = ("panda", "ur5e")

    horizon: int = 240
    """Most control steps of an episode."""
    clearance_m: float = 0.002
    """Width of the hole beyond that of the peg; 0.0005 is the hard variant."""

    def sim_task(self) -> InsertTask:
        task = Task("insert", "Put the peg into the hole.", self.rate_hz, self.horizon, self.robot)
        return InsertTask(self.robot_model(), task, self.clearance_m)
