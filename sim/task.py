"""What a simulated task is: a model, sensors, and pure functions over arrays.

Here are the parts that a batch (`sim.env`) and a real-time twin (`sim.twin_world`) share: the contract of a task, the
names and units of what every robot measures and takes, and the way from sensor rows to those names. The robot's base
frame is the world frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from robolearn.arm.task_space import DISPLACEMENT_SPEC, GRIPPER_SPEC
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds
from robolearn.task import Task
from sim.engine import MjModel, mujoco
from sim.robots import Level, RobotModel
from sim.scene import on_table

__all__ = [
    "DISPLACEMENT_SPEC",
    "Driven",
    "Informed",
    "Instructed",
    "SimTask",
    "Start",
    "canonical",
    "draw_start",
    "joint_command_spec",
    "measure",
    "robot_spec",
]


ASTRAY_RAD = 0.3
"""Standard deviation, per joint around home, of an arm that begins elsewhere."""
LOWEST_M, STEEPEST = 0.2, 0.7
"""There its tool is so high above the table, clear of what stands on it, and points down at least by this cosine."""


class SimTask(Protocol):
    """What makes a task. All functions are pure; arrays have a leading axis n unless said otherwise."""

    @property
    def task(self) -> Task: ...
    @property
    def robot(self) -> RobotModel: ...
    @property
    def objects(self) -> tuple[str, ...]:
        """Free objects that can be moved, in the order they were added to the scene."""
        ...

    @property
    def observation_spec(self) -> Spec:
        """The task's own arrays: "name.position" and "name.quaternion" of every object, at least."""
        ...

    def model(self, level: Level) -> MjModel: ...

    def start(self, generator: np.random.Generator) -> Arrays:
        """One start without leading axis: "arm.q" and the pose of every object."""
        ...

    def reward(self, observation: Arrays) -> Array:
        """(n,) how well it goes right now."""
        ...

    def success(self, observation: Arrays) -> Array:
        """(n,) bool, whether the goal holds right now."""
        ...

    def failure(self, observation: Arrays) -> Array:
        """(n,) bool, whether it can no longer be done."""
        ...

    def refuse_move(self, observation: Arrays, target: str, xy: Array) -> str:
        """Why an object must not be moved to `xy` (2,), or ""; arrays of one row without leading axis."""
        ...


@runtime_checkable
class Informed(Protocol):
    """A task whose start draws more than poses: facts that are kept for the episode, shown or hidden."""

    @property
    def facts(self) -> Spec:
        """The facts; `start` gives each of them beside the poses."""
        ...

    def derive(self, seen: Arrays, facts: Arrays) -> Arrays:
        """Further arrays (n, ...), from what the sensors say and the facts.

        Those of the task's `observation_spec` are shown; others only serve its reward and success.
        """
        ...


@runtime_checkable
class Instructed(Informed, Protocol):
    """A task that can be told several things, also in the middle of an episode (the perturbation "SET_CMD").

    Which of them a row was told is its fact "task.command", one-hot over `instructions`.
    """

    @property
    def instructions(self) -> tuple[str, ...]:
        """Every command it understands."""
        ...


@runtime_checkable
class Driven(Protocol):
    """A task with a mechanism that MuJoCo has no joint for, such as a thread that lets go after its last turn."""

    def drive(self, model: MjModel, seen: Arrays, inputs: Mapping[str, Array]) -> None:
        """Write the mechanism's part of the world's inputs (n, substeps, ...) for the next control period."""
        ...


def canonical(quaternion: Array, reference: Sequence[float] = (1.0, 0.0, 0.0, 0.0)) -> Array:
    """Of q and -q (..., 4), which are the same rotation, the one on the reference's side."""
    side = (quaternion * np.asarray(reference)).sum(axis=-1, keepdims=True)
    return np.where(side < 0, -quaternion, quaternion)


def robot_spec(robot: RobotModel) -> dict[str, ArraySpec]:
    """What every task measures of its robot."""
    k = len(robot.joints)
    return {
        "arm.q": ArraySpec((k,), unit="rad", names=robot.joints),
        "arm.dq": ArraySpec((k,), unit="rad/s", names=robot.joints),
        "tool.position": ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")),
        "tool.quaternion": ArraySpec((4,), frame="base", names=("w", "x", "y", "z")),
        "gripper.width": ArraySpec((1,), unit="m"),
    }


def joint_command_spec(robot: RobotModel, model: MjModel) -> dict[str, ArraySpec]:
    """The other kind of command: joint targets within the model's limits, and the gripper as above."""
    low, high = model.jnt_range[[model.joint(name).id for name in robot.joints]].T
    return {
        "arm.q_target": ArraySpec(
            (len(robot.joints),), low=tuple(low.tolist()), high=tuple(high.tolist()), unit="rad", names=robot.joints
        ),
        "gripper.command": GRIPPER_SPEC,
    }


def measure(sensors: Array, layout: Mapping[str, slice], task: SimTask) -> dict[str, Array]:
    """Sensor rows (n, nsensordata) as new arrays (n, ...).

    These are the arrays of `robot_spec`, the poses of the task's objects, and what else of the task's observations is
    the name of a sensor.
    """
    robot = task.robot
    seen = {
        "arm.q": sensors[:, layout["arm.q"]].copy(),
        "arm.dq": sensors[:, layout["arm.dq"]].copy(),
        "tool.position": sensors[:, layout["tool.position"]].copy(),
        "tool.quaternion": canonical(sensors[:, layout["tool.quaternion"]], robot.tool_reference),
        "gripper.width": np.abs(sensors[:, layout["finger.q"]]).sum(axis=1, keepdims=True),
    }
    for name in task.objects:
        seen[f"{name}.position"] = sensors[:, layout[f"{name}.position"]].copy()
        seen[f"{name}.quaternion"] = canonical(sensors[:, layout[f"{name}.quaternion"]])
    for name, spec in task.observation_spec.items():
        if name in layout and name not in seen:
            seen[name] = sensors[:, layout[name]].reshape(len(sensors), *spec.shape).copy()
    return seen


class Start(NamedTuple):
    """What a task starts from.

    Attributes:
        qpos: (nq,) positions.
        ctrl: (nu,) controls, the gripper open.
        facts: What only the task knows, without leading axis; most tasks have none.
    """

    qpos: Array
    ctrl: Array
    facts: Mapping[str, Array]


def draw_start(model: MjModel, task: SimTask, seed: int, astray: float = 0.0) -> Start:
    """The start that belongs to a seed; `astray` is the probability that the arm begins elsewhere in it."""
    start = task.start(np.random.default_rng(seed))
    elsewhere = np.random.default_rng([seed, 0xA57])
    if elsewhere.uniform() < astray:
        start = dict(start) | {"arm.q": _elsewhere(model, task.robot, elsewhere)}
    qpos, ctrl = model.qpos0.copy(), np.concatenate([start["arm.q"], task.robot.finger_open])
    for name, value in zip((*task.robot.joints, *task.robot.fingers), ctrl, strict=True):
        qpos[model.joint(name).qposadr[0]] = value
    for name in (key.removesuffix(".quaternion") for key in start if key.endswith(".quaternion")):
        address = model.joint(name).qposadr[0]
        qpos[address : address + 7] = *start[f"{name}.position"], *start[f"{name}.quaternion"]
    joints = {model.joint(i).name: int(model.jnt_qposadr[i]) for i in range(model.njnt)}
    for name in start.keys() & joints.keys():  # fixtures, caps and other joints of one number
        qpos[joints[name]] = start[name]
    facts = task.facts if isinstance(task, Informed) else {}
    return Start(qpos, ctrl, {name: np.asarray(start[name], spec.dtype) for name, spec in facts.items()})


def _elsewhere(model: MjModel, robot: RobotModel, generator: np.random.Generator) -> Array:
    """Joint positions (k,) anywhere above the table, as somebody may have left the arm."""
    data = mujoco.MjData(model)
    addresses = [model.joint(name).qposadr[0] for name in robot.joints]
    low, high = bounds(joint_command_spec(robot, model)["arm.q_target"])
    while True:
        q = np.clip(robot.home + ASTRAY_RAD * generator.standard_normal(len(robot.home)), low, high)
        data.qpos[addresses] = q
        mujoco.mj_kinematics(model, data)
        tool = data.site("tool")
        if tool.xpos[2] > LOWEST_M and on_table(tool.xpos[:2]) and tool.xmat[8] < -STEEPEST:
            return q
