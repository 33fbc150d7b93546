"""The person: the CMU humanoid of the `dm_control` package at a table, to sort onions or to pour.

Only the model's XML file is used. It stands upright (the file has y up), looks along +x and has its own root frozen;
the right arm, its clavicle and the lower spine move (who sorts leans over the table). Lengths and places are those of
the recorded people (`robolearn.keypoints.onions`): table top at 0.77 m, onions 0.6 to 0.9 m ahead. A person here has
no face, which confuses detectors about left and right; the option `face` draws eyes, a nose and hair.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.errors import MissingDependency
from robolearn.specs import Array
from sim.assembly import look_at
from sim.engine import MjModel, mujoco
from sim.human.tables import TABLE_M, add_onions, add_pouring

__all__ = ["CAMERA", "POINTS", "Person", "Table", "build_person"]

Table = Literal["onions", "pouring"]

CAMERA = "front"
POINTS = {
    "left_shoulder": "lhumerus",
    "left_elbow": "lradius",
    "left_wrist": "lwrist",
    "right_shoulder": "rhumerus",
    "right_elbow": "rradius",
    "right_wrist": "rwrist",
}
"""Names of tracked points and the bodies whose frames they are."""
ARM_JOINTS = (
    *("lowerbackrx", "lowerbackry", "upperbackrx", "upperbackry"),
    *("rclaviclerz", "rclaviclery", "rhumerusrz", "rhumerusry", "rhumerusrx", "rradiusrx"),
)
ASSET = "locomotion/walkers/assets/humanoid_CMU_V2020.xml"
_REST = {"lhumerusry": 0.0, "lhumerusrx": -0.25, "lhumerusrz": 1.15, "rhumerusrz": -1.0, "lradiusrx": 0.5}


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A compiled scene and the arm in it.

    Attributes:
        model: Everything, with the camera "front"; what is on the table are mocap bodies (`sim.human.tables`).
        arm: Lower spine and right arm to the wrist, in the world's frame; its tool is the wrist.
        rest: (nq,) a standing posture with the left arm down.
    """

    model: MjModel
    arm: Chain
    rest: Array


def build_person(
    *, face: bool = False, shoulder: tuple[float, float, float] = (0.40, -0.15, 1.36), table: Table = "onions"
) -> Person:
    """The scene, with the shoulders around `shoulder`, m, at one of the tables.

    Raises:
        MissingDependency: The package `dm_control`, which brings the body, is not installed.
    """
    spec = mujoco.MjSpec.from_file(str(_asset()))
    spec.compiler.degree = False
    root = spec.body("root")
    # y up becomes z up, and the model, which looks along its z, looks along the world's x.
    root.quat = _times((np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)), (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0))
    _furnish(spec, face, table)
    model = spec.compile()
    data = mujoco.MjData(model)
    rest = model.qpos0.copy()
    for joint, angle in _REST.items():
        rest[model.joint(joint).qposadr[0]] = angle
    data.qpos[:] = rest
    mujoco.mj_kinematics(model, data)
    offset = np.array(shoulder) - data.body(POINTS["right_shoulder"]).xpos
    model.body_pos[model.body("root").id] += offset
    mujoco.mj_kinematics(model, data)
    return Person(model, _arm(model, rest), rest)


def _asset() -> Path:
    found = importlib.util.find_spec("dm_control")
    if found is None or not found.submodule_search_locations:
        raise MissingDependency("dm_control", "human", "The simulated person")
    return Path(found.submodule_search_locations[0]) / ASSET


def _arm(model: MjModel, rest: Array) -> Chain:
    data = mujoco.MjData(model)
    data.qpos[:] = rest
    joints = [model.joint(name).id for name in ARM_JOINTS]
    data.qpos[model.jnt_qposadr[joints]] = 0.0
    mujoco.mj_kinematics(model, data)
    wrist = data.body(POINTS["right_wrist"])
    low, high = model.jnt_range[joints].T
    home = np.zeros(len(joints))
    return Chain(
        "person", ARM_JOINTS, data.xanchor[joints].copy(), data.xaxis[joints].copy(), low.copy(), high.copy(), home,
        wrist.xpos.copy(), wrist.xmat.reshape(3, 3).copy(),
    )  # fmt: skip


def _furnish(spec: object, face: bool, table: Table) -> None:
    s: mujoco.MjSpec = spec  # type: ignore[assignment]
    box, sphere = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE
    s.visual.global_.offwidth, s.visual.global_.offheight = 640, 480
    s.visual.quality.shadowsize, s.visual.quality.offsamples = 0, 4
    s.visual.headlight.ambient = [0.45, 0.45, 0.45]
    s.visual.headlight.diffuse = [0.45, 0.45, 0.45]
    s.visual.map.znear = 0.02
    s.stat.extent, s.stat.center = 2.0, [0.4, 0.0, 1.0]
    s.add_texture(
        name="room", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.88, 0.90], rgb2=[0.66, 0.69, 0.73], width=64, height=384,
    )  # fmt: skip
    world = s.worldbody
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4, 4, 0.1], rgba=[0.55, 0.57, 0.6, 1], contype=0, conaffinity=0
    )
    world.add_geom(
        name="table", type=box, pos=(0.62, 0.0, TABLE_M - 0.02), size=(0.33, 0.62, 0.02), rgba=(0.78, 0.66, 0.50, 1),
        contype=0, conaffinity=0,
    )  # fmt: skip
    props = add_onions(world) if table == "onions" else add_pouring(world)
    eye = (2.55, 0.0, 1.60)
    world.add_camera(name=CAMERA, pos=eye, quat=look_at(eye, (0.55, 0.0, 1.10), (0.0, 0.0, 1.0)), fovy=45.0)
    for geom in s.geoms:
        if geom.parent.name not in ("world", "head", "lowerneck", "upperneck", *props):
            hand = any(part in geom.parent.name for part in ("hand", "wrist", "fingers", "thumb", "radius"))
            leg = any(part in geom.parent.name for part in ("femur", "tibia", "hip", "foot", "toes", "root"))
            if face:
                geom.material = ""
                geom.rgba = [0.87, 0.67, 0.53, 1] if hand else ([0.2, 0.22, 0.3, 1] if leg else [0.2, 0.4, 0.55, 1])
    if face:
        head = s.body("head")
        for pos, size, rgba in (
            ((0.035, 0.085, 0.10), 0.013, (0.05, 0.05, 0.08, 1)),
            ((-0.035, 0.085, 0.10), 0.013, (0.05, 0.05, 0.08, 1)),
            ((0.0, 0.05, 0.12), 0.018, (0.80, 0.55, 0.42, 1)),
        ):
            head.add_geom(type=sphere, pos=pos, size=[size, 0, 0], rgba=rgba, mass=0.0)


def _times(a: tuple[float, ...], b: tuple[float, ...]) -> Array:
    out = np.zeros(4)
    mujoco.mju_mulQuat(out, np.array(a), np.array(b))
    return out
