"""A robot drawn where a watched person stands: the same moment, seen by the same camera, as a robot.

The robot keeps its own base frame and the camera moves instead, so that an arm bolted on its side needs no model of its
own. The picture has the film's size and view; a point of the world is at the same pixel in both.
"""

from __future__ import annotations

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.keypoints.adjust import follow
from robolearn.keypoints.arm_maps import arm_directions, find_arm_map
from robolearn.keypoints.detectors import project
from robolearn.keypoints.recordings import placed_chain
from robolearn.specs import Array
from sim.assembly import add_robot
from sim.engine import mujoco
from sim.render import Renderer
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.robots.model import RobotModel

__all__ = ["draw_robot", "retargeted"]

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
_WHITE = (1.0, 1.0, 1.0)


def draw_robot(
    robot: RobotModel,
    base: Chain,
    placed: Chain,
    rotation: Array,
    q: Array,
    T_world_camera: Array,
    *,
    width: int = 640,
    height: int = 480,
    fovy_deg: float = 45.0,
) -> Array:
    """Pictures (F, height, width, 3) uint8 of a robot in postures (F, k), rad.

    Args:
        robot: What to draw.
        base: Its chain in its base frame.
        placed: The same chain where it is bolted, in the world.
        rotation: (3, 3) the base's axes in the world, as columns (`ArmMap.mount`).
        q: Postures.
        T_world_camera: (4, 4), x right, y down, z along the view.
        width: Of the picture.
        height: Of the picture.
        fovy_deg: Vertical opening of the camera.
    """
    origin = placed.tool - rotation @ base.tool
    camera = rotation.T @ T_world_camera[:3, :3] @ np.diag([1.0, -1.0, -1.0])  # MuJoCo looks along -z with y up
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.ravel())
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.headlight.ambient = [0.5, 0.5, 0.5]
    spec.visual.headlight.diffuse = [0.5, 0.5, 0.5]
    spec.visual.quality.offsamples = 4
    spec.stat.extent = 2.0
    spec.visual.map.znear = 0.02
    spec.add_texture(
        name="room", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_WHITE, rgb2=_WHITE, width=32, height=192,
    )  # fmt: skip
    add_robot(spec, robot, "full")
    spec.worldbody.add_camera(
        name="film", pos=rotation.T @ (T_world_camera[:3, 3] - origin), quat=quaternion, fovy=fovy_deg
    )
    model = spec.compile()
    states = np.zeros((len(q), mujoco.mj_stateSize(model, _STATE)))
    states[:, 1 : 1 + model.nq] = model.qpos0
    joints = [1 + model.joint(name).qposadr[0] for name in robot.joints]
    states[:, joints] = q
    with Renderer(model) as renderer:
        return renderer.rgb(states, "film", width, height)


def retargeted(robot: str, arms: Array, at: Array, camera: tuple[Array, Array]) -> tuple[str, Array, Array]:
    """A robot in the postures of a watched arm, at some moments, and where its arm is in the picture.

    Args:
        robot: Its name.
        arms: (T, 3, 3) shoulder, elbow, wrist over time, m.
        at: (F,) which moments are drawn.
        camera: Intrinsics (3, 3) and T_world_camera (4, 4) of the film.

    Returns:
        The name, pictures (F, height, width, 3), and pixels (F, 3, 2) of the robot's shoulder, elbow and tool.
    """
    arm, base = find_arm_map(robot), robot_chain(ROBOTS[robot])
    symbolic = np.unwrap(arm.symbolic(*arm_directions(arms[:, 0], arms[:, 1], arms[:, 2])), axis=0)
    chain = placed_chain(arm, base, arms[:, 0], symbolic, arms[:, 2])
    q = follow(chain, symbolic[None], arms[None, :, 2]).q[0][at]
    posture = chain.posture(q)
    points = np.stack([posture.anchors[:, 1], posture.anchors[:, arm.forearm[0]], posture.tool], axis=1)
    return robot, draw_robot(ROBOTS[robot], base, chain, arm.mount, q, camera[1]), project(points, *camera)
