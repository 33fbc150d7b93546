"""Turn the cap of a jar off its thread, several revolutions with regrasps, and lift it away.

The jar is bolted down at a random place. Its thread is an invisible screw, a hinge and a slide coupled by the pitch,
with friction; the cap, a free body, is welded to it until it has been turned by `FREE_RAD` in all. A hand turns by
less than half a revolution at a time, so it must let go and grip again. The task is done when the cap has been 6 cm
above its seat for a quarter of a second, and only if it was unscrewed: pulling it off is no success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from robolearn.specs import Array, Arrays, ArraySpec, Spec
from robolearn.task import Task
from sim.config import SimConfig
from sim.engine import MjModel, MjSpec, mujoco
from sim.robots import Level, RobotModel
from sim.scene import add_fixture, add_object, table_scene
from sim.tasks.unscrew_expert import CAP_M, FREE_RAD, SEAT_M, UnscrewExpertConfig

__all__ = ["UnscrewConfig", "UnscrewExpertConfig", "UnscrewTask"]

PITCH_M = 0.004
"""How far the cap rises in one revolution."""
FRICTION_N_M = 0.15
"""Friction of the thread."""
LIFTED_M = 0.06
"""How far above its seat the cap counts as lifted away."""
STIFF = [0.99, 0.9999, 0.0001, 0.5, 2.0]
"""Impedance of the thread: with MuJoCo's own a policy that learned by trying tore the cap 9 cm off its thread."""
STARTED_RAD = 0.75 * 2 * math.pi
"""At most by so much the cap is loosened at the start, unless told otherwise."""
LOW_M, HIGH_M = np.array([0.42, -0.18]), np.array([0.60, 0.18])
"""Corners of the region of the jar."""


@dataclass(frozen=True, slots=True)
class UnscrewTask:
    """The pure functions of the task.

    Attributes:
        robot: Who does it.
        task: Facts for people and recordings.
        started_rad: At most by so much the cap is loosened at the start.
        arm_noise_rad: Standard deviation of the arm's start around home, per joint.
    """

    robot: RobotModel
    task: Task
    started_rad: float = STARTED_RAD
    arm_noise_rad: float = 0.02
    objects: tuple[str, ...] = ("cap",)
    observation_spec: Spec = field(
        default_factory=lambda: {
            "cap.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
            "cap.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
            "jar.place": ArraySpec((2,), unit="m", frame="base", names=("x", "y")),
            "screw.turn": ArraySpec((1,), unit="rad"),
        }
    )

    def model(self, level: Level) -> MjModel:
        spec = table_scene(self.robot, level)
        jar = add_fixture(spec, "jar", ("x", "y"))
        jar.add_geom(
            name="jar",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[0.036, SEAT_M / 2 - 0.009, 0.0],
            pos=[0.0, 0.0, SEAT_M / 2 - 0.009],
            rgba=[0.55, 0.68, 0.75, 1.0],
            group=1,
        )
        _add_screw(spec, jar)
        cap = add_object(spec, "cap")
        cap.add_geom(
            name="cap",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[CAP_M[0], CAP_M[1] / 2, 0.0],
            mass=0.05,
            rgba=[0.75, 0.22, 0.20, 1.0],
            group=1,
        )
        cap.add_geom(  # shows how far it has been turned
            name="cap/mark",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[CAP_M[0] / 2, 0.002, 0.001],
            pos=[CAP_M[0] / 2, 0.0, CAP_M[1] / 2],
            mass=0.0,
            rgba=[0.95, 0.95, 0.90, 1.0],
            contype=0,
            conaffinity=0,
            group=1,
        )
        weld = spec.add_equality(
            name="thread",
            type=mujoco.mjtEq.mjEQ_WELD,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            name1="screw",
            name2="cap",
            active=True,
            solref=[0.01, 1.0],
            solimp=STIFF,
        )
        weld.data = [0.0] * 6 + [1.0, 0.0, 0.0, 0.0, 1.0]
        return spec.compile()

    def drive(self, model: MjModel, seen: Arrays, inputs: Mapping[str, Array]) -> None:
        """The thread holds the cap until its last turn."""
        holds = seen["screw.turn"] < FREE_RAD
        inputs["eq_active"][:, :, model.equality("thread").id] = holds

    def start(self, generator: np.random.Generator) -> Arrays:
        x, y = generator.uniform(LOW_M, HIGH_M)
        turn = generator.uniform(0.0, self.started_rad)
        rise = PITCH_M * turn / (2 * math.pi)
        noise = self.arm_noise_rad * generator.standard_normal(len(self.robot.home))
        return {
            "arm.q": self.robot.home + noise,
            "jar/x": x,
            "jar/y": y,
            "screw/turn": np.asarray(turn),
            "screw/rise": np.asarray(rise),
            "cap.position": np.array([x, y, SEAT_M + rise]),
            "cap.quaternion": np.array([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)]),
        }

    def reward(self, observation: Arrays) -> Array:
        """A quarter for tool near cap, half for turning, a quarter for lifting; 1 when it is done."""
        gap = observation["tool.position"] - observation["cap.position"]
        near = 1.0 - np.tanh(5.0 * np.sqrt((gap * gap).sum(axis=-1)))
        turned = np.clip(observation["screw.turn"][:, 0] / FREE_RAD, 0.0, 1.0)
        rise = np.clip((observation["cap.position"][:, 2] - SEAT_M) / LIFTED_M, 0.0, 1.0)
        return np.where(self.success(observation), 1.0, 0.25 * near + 0.5 * turned + 0.25 * rise)

    def success(self, observation: Arrays) -> Array:
        lifted = observation["cap.position"][:, 2] > SEAT_M + LIFTED_M
        return lifted & (observation["screw.turn"][:, 0] >= FREE_RAD)

    def failure(self, observation: Arrays) -> Array:
        """The cap has fallen off the jar."""
        return observation["cap.position"][:, 2] < SEAT_M - 0.03

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        return "the cap is on the jar"


def _add_screw(spec: MjSpec, jar: object) -> None:
    """A massless-looking body at the cap's seat that turns and rises together."""
    screw = jar.add_body(name="screw", pos=[0.0, 0.0, SEAT_M], gravcomp=1.0)  # type: ignore[attr-defined]
    screw.explicitinertial = True
    screw.mass, screw.inertia, screw.ipos = 0.05, [1e-4] * 3, [0.0] * 3
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    screw.add_joint(name="screw/rise", type=slide, axis=[0, 0, 1], damping=1.0)
    screw.add_joint(
        name="screw/turn",
        type=hinge,
        axis=[0, 0, 1],
        armature=1e-3,
        damping=0.01,
        frictionloss=FRICTION_N_M,
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        range=[0.0, 2.0 * FREE_RAD],
    )
    coupling = spec.add_equality(
        name="pitch",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1="screw/rise",
        name2="screw/turn",
        solref=[0.01, 1.0],
        solimp=STIFF,
    )
    coupling.data = [0.0, PITCH_M / (2 * math.pi)] + [0.0] * 9
    spec.add_sensor(
        name="screw.turn",
        type=mujoco.mjtSensor.mjSENS_JOINTPOS,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        objname="screw/turn",
    )


@dataclass(frozen=True, slots=True)
class UnscrewConfig(SimConfig):
    """Unscrewing a cap in simulation."""

    robots = ("panda",)

    horizon: int = 500
    """Most control steps of an episode."""
    started_rad: float = STARTED_RAD
    """At most by so much the cap is loosened at the start; beyond 2.5 revolutions it lies loose on the jar."""

    def sim_task(self) -> UnscrewTask:
        task = Task("unscrew", "Take the cap off the jar.", self.rate_hz, self.horizon, self.robot)
        return UnscrewTask(self.robot_model(), task, self.started_rad)
