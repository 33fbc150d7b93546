"""A robot of the simulation as a `Chain`, read from its own compiled model, so that nothing is written down twice."""

from __future__ import annotations

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.geometry import quaternion_to_matrix
from sim.assembly import add_robot
from sim.engine import mujoco
from sim.robots.model import RobotModel

__all__ = ["robot_chain"]


def robot_chain(robot: RobotModel) -> Chain:
    """The kinematics of an arm with its gripper's tool point, in its base frame."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    add_robot(spec, robot, "light")
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    mujoco.mj_kinematics(model, data)
    joints = [model.joint(name).id for name in robot.joints]
    body = model.body(robot.tool_body).id
    turn = data.xmat[body].reshape(3, 3)
    low, high = model.jnt_range[joints].T
    return Chain(
        name=robot.name,
        joints=robot.joints,
        anchors=data.xanchor[joints].copy(),
        axes=data.xaxis[joints].copy(),
        low=low.copy(),
        high=high.copy(),
        home=np.array(robot.home),
        tool=data.xpos[body] + turn @ np.array(robot.tool_position),
        hand=turn @ quaternion_to_matrix(np.array(robot.tool_quaternion)),
    )
