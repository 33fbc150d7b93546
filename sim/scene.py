"""The stage tasks play on: a table with a robot, things on it, lights and cameras.

The base frame of the robot is the world frame: x ahead, y left, z up, and the table top is z = 0. Every object
hangs on an invisible hand (a mocap body and an idle weld) with which `sim.drag` can pull it around.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.specs import Array
from sim.assembly import add_robot, look_at
from sim.distractors import add_distractors
from sim.engine import MjSpec, mujoco
from sim.robots import Level, RobotModel

__all__ = [
    "REACH_M",
    "TABLE_HIGH_M",
    "TABLE_LOOKS",
    "TABLE_LOW_M",
    "TIMESTEP_S",
    "add_box",
    "add_fixture",
    "add_object",
    "on_table",
    "table_scene",
]

TIMESTEP_S = 0.005
"""Ten substeps per control step at 20 Hz. A lifted cube slips 0.2 mm in 9.5 s, as much as at half the step."""
TABLE_LOW_M, TABLE_HIGH_M = np.array([-0.25, -0.55]), np.array([0.95, 0.55])
"""Corners of the table top in the base frame."""
TABLE_LOOKS = ("wood", "cloth", "stone")
"""Materials that the table top can have; scenes start with the first."""
REACH_M = (0.30, 0.72)
"""Distances from the base axis within which a downward tool reaches the table."""

_FIXTURE_KG = 100.0


def on_table(xy: Array) -> Array:
    """Whether points (..., 2) lie on the table within comfortable reach, with a hand's breadth to the edge."""
    distance = np.hypot(xy[..., 0], xy[..., 1])
    inside = np.all((xy > TABLE_LOW_M + 0.05) & (xy < TABLE_HIGH_M - 0.05), axis=-1)
    return inside & (distance > REACH_M[0]) & (distance < REACH_M[1])


def table_scene(robot: RobotModel, level: Level = "light") -> MjSpec:
    """A robot on a table, with the camera "agent" before it and "wrist" on the hand."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Elliptic cones and a high ratio of friction to normal stiffness keep a grasped object from creeping.
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    _add_look(spec, level)
    _add_furniture(spec, level)
    add_distractors(spec)
    add_robot(spec, robot, level)
    eye = (1.05, 0.50, 0.52)
    spec.worldbody.add_camera(name="agent", pos=eye, quat=look_at(eye, (0.43, 0.0, 0.10), (0.0, 0.0, 1.0)), fovy=42.0)
    return spec


def add_box(spec: MjSpec, name: str, half_sizes: Sequence[float], *, mass: float, rgba: Sequence[float]) -> None:
    """Add a free box: an object of one geom."""
    body = add_object(spec, name, [0.5, 0.0, half_sizes[2]])
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=list(half_sizes),
        mass=mass,
        rgba=list(rgba),
        condim=4,
        friction=[1.0, 0.005, 0.0001],
        group=1,
    )


def add_object(spec: MjSpec, name: str, position: Sequence[float] = (0.5, 0.0, 0.0)) -> Any:
    """Add a free body with its sensors "name.position" and "name.quaternion" (base frame) and its hand.

    Returns:
        The body, whose geoms the caller adds; the caller's objects must be added in the order of `SimTask.objects`.
    """
    body = spec.worldbody.add_body(name=name, pos=list(position))
    body.add_freejoint(name=name)
    spec.worldbody.add_body(name=f"hand/{name}", mocap=True)
    # Data of a weld: anchor, relative position, relative quaternion, torque scale. A time constant of 40 ms makes
    # the pull soft enough that a cube caught against the gripper yields instead of pushing through it.
    weld = spec.add_equality(
        name=f"hand/{name}",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1=f"hand/{name}",
        name2=name,
        active=False,
        solref=[0.04, 1.0],
    )
    # The torque scale lets the hand turn a small thing against the friction of the table.
    weld.data = [0.0] * 6 + [1.0, 0.0, 0.0, 0.0, 10.0]
    _add_pose_sensors(spec, name)
    return body


def add_fixture(
    spec: MjSpec,
    name: str,
    axes: Sequence[str],
    position: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    swing: Sequence[tuple[float, float]] = (),
) -> Any:
    """Add a body that stands where an episode's start puts it: a place, a target, a bolted-down socket.

    Rows share one model, so what differs between their starts must be state. A fixture hangs on joints named
    "name/x", "name/y", "name/z" or "name/yaw" (`start` gives their positions) and is so heavy and so damped that no
    contact moves it by a visible amount: 0.01 mm/s under 100 N. The sensor "name.place" tells these positions.

    Args:
        spec: The scene.
        name: Its name.
        axes: Which of "x", "y", "z" and "yaw" differ between starts, in this order.
        position: Its position when all of these are zero.
        swing: Per axis the middle and the frequency in Hz of an undamped spring on which it swings instead.

    Returns:
        The body, whose geoms the caller adds, without mass.
    """
    body = spec.worldbody.add_body(name=name, pos=list(position), gravcomp=1.0)
    body.explicitinertial = True
    body.mass, body.inertia, body.ipos = _FIXTURE_KG, [_FIXTURE_KG] * 3, [0.0] * 3
    # The solver's tolerance is relative to the mean inertia, which the weight must not spoil; this is that of Lift.
    spec.stat.meaninertia = 0.7
    directions = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1), "yaw": (0, 0, 1)}
    for index, axis in enumerate(axes):
        middle, frequency_hz = swing[index] if swing else (0.0, 0.0)
        body.add_joint(
            name=f"{name}/{axis}",
            type=mujoco.mjtJoint.mjJNT_HINGE if axis == "yaw" else mujoco.mjtJoint.mjJNT_SLIDE,
            axis=directions[axis],
            damping=0.0 if swing else 1e7,
            springref=middle,
            stiffness=_FIXTURE_KG * (2 * np.pi * frequency_hz) ** 2,
        )
        spec.add_sensor(
            name=f"{name}.place/{index}",
            type=mujoco.mjtSensor.mjSENS_JOINTPOS,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            objname=f"{name}/{axis}",
        )
    return body


def _add_pose_sensors(spec: MjSpec, name: str) -> None:
    for quantity, kind in (
        ("position", mujoco.mjtSensor.mjSENS_FRAMEPOS),
        ("quaternion", mujoco.mjtSensor.mjSENS_FRAMEQUAT),
    ):
        # XBODY is the body itself; BODY would be its principal axes of inertia.
        spec.add_sensor(name=f"{name}.{quantity}", type=kind, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=name)


def _add_furniture(spec: MjSpec, level: Level) -> None:
    half = np.append((TABLE_HIGH_M - TABLE_LOW_M) / 2, 0.025)
    middle = np.append((TABLE_HIGH_M + TABLE_LOW_M) / 2, -0.025)
    box = mujoco.mjtGeom.mjGEOM_BOX
    spec.worldbody.add_geom(
        name="table", type=box, size=half, pos=middle, material="wood", friction=[1.0, 0.005, 0.0001]
    )
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4.0, 4.0, 0.1], pos=[0.0, 0.0, -0.75], material="floor"
    )
    for index, (x, y) in enumerate(np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (half[:2] - 0.06)):
        spec.worldbody.add_geom(
            name=f"leg/{index}",
            type=box,
            size=[0.03, 0.03, 0.35],
            pos=[middle[0] + x, middle[1] + y, -0.40],
            rgba=[0.30, 0.32, 0.36, 1.0],
        )
    if level == "full":
        # The plate a real arm is bolted to.
        spec.worldbody.add_geom(
            type=box,
            size=[0.14, 0.13, 0.002],
            pos=[-0.04, 0.0, 0.001],
            rgba=[0.5, 0.52, 0.55, 1.0],
            contype=0,
            conaffinity=0,
        )


def _add_look(spec: MjSpec, level: Level) -> None:
    full = level == "full"
    spec.visual.headlight.ambient = [0.30, 0.30, 0.32]
    spec.visual.headlight.diffuse = [0.30, 0.30, 0.30]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.quality.numslices, spec.visual.quality.numstacks = (28, 16) if full else (12, 6)
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = (4096, 8) if full else (0, 0)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.map.znear = 0.01
    spec.stat.center, spec.stat.extent = [0.4, 0.0, 0.1], 1.5
    spec.worldbody.add_light(
        pos=[0.9, -1.2, 2.2],
        dir=[-0.25, 0.5, -1.0],
        diffuse=[0.55, 0.54, 0.52],
        specular=[0.2] * 3,
        castshadow=full,
        directional=True,
    )
    gradient, checker, flat = (
        mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mujoco.mjtBuiltin.mjBUILTIN_FLAT,
    )
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=gradient,
        rgb1=[0.80, 0.86, 0.93],
        rgb2=[0.45, 0.53, 0.63],
        width=64,
        height=384,
    )
    floor = spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=checker,
        rgb1=[0.42, 0.46, 0.52],
        rgb2=[0.37, 0.41, 0.47],
        width=256,
        height=256,
    )
    wood = spec.add_texture(
        name="wood",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=flat,
        rgb1=[0.80, 0.68, 0.52],
        rgb2=[0.80, 0.68, 0.52],
        mark=mujoco.mjtMark.mjMARK_RANDOM,
        markrgb=[0.76, 0.63, 0.47],
        random=0.06,
        width=256,
        height=256,
    )
    cloth = spec.add_texture(
        name="cloth",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=checker,
        rgb1=[0.86, 0.88, 0.90],
        rgb2=[0.55, 0.66, 0.80],
        width=128,
        height=128,
    )
    stone = spec.add_texture(
        name="stone",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=flat,
        rgb1=[0.46, 0.48, 0.50],
        rgb2=[0.46, 0.48, 0.50],
        mark=mujoco.mjtMark.mjMARK_RANDOM,
        markrgb=[0.66, 0.67, 0.68],
        random=0.2,
        width=128,
        height=128,
    )
    for texture, repeat, specular in ((floor, 8.0, 0.0), (wood, 1.0, 0.25), (cloth, 6.0, 0.0), (stone, 1.0, 0.25)):
        material = spec.add_material(
            name=texture.name,
            texrepeat=[repeat, repeat],
            specular=specular,
            shininess=0.3,
            reflectance=0.06 if full and texture is floor else 0.0,
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
