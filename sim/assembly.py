"""Descriptions of robots put into MuJoCo scenes.

The tree, masses and meshes come from the models inside robosuite 1.5.2 (MIT; the meshes from the vendors' ROS
packages), which is found on disk without being imported. Collision shapes are the primitives of the description, so
that physics is the same and fast at both visual levels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from robolearn.errors import MissingDependency, UnknownName
from robolearn.geometry import quaternion_from_matrix
from robolearn.specs import Array
from sim.engine import MjSpec, mujoco
from sim.robots import Level, RobotModel, Shape

__all__ = ["add_robot", "look_at"]

VISIBLE, HIDDEN = 1, 3
"""Geom groups; MuJoCo draws groups 0 to 2 unless told otherwise."""


def add_robot(spec: MjSpec, robot: RobotModel, level: Level = "light") -> None:
    """Put a robot with its base at the world's origin into a scene, with actuators and sensors.

    Bodies and joints keep the vendor's names. The sensors, in this order: "arm.q" and "arm.dq" (k each),
    "finger.q", "joint.anchor" and "joint.axis" (k times 3, world frame), "tool.position", "tool.quaternion";
    multi-part sensors are numbered "arm.q/0" and so on. Controls are the k joint targets, then one per finger.

    Args:
        spec: The scene; it is changed.
        robot: What to add.
        level: How it looks.

    Raises:
        MissingDependency: robosuite, which ships the models, is not installed.
    """
    assets = _assets()
    base = spec.worldbody.add_body(name="robot")
    _copy_children(spec, assets / robot.arm_path, base, level, robot)
    _copy_children(spec, assets / robot.gripper_path, _body(spec, robot.hand), level, robot)
    for index, shape in enumerate(robot.shapes):
        _add_shape(_body(spec, shape.body), f"robot/{index}", shape, level)
    eye, target = robot.wrist_camera
    _body(spec, robot.hand).add_camera(name="wrist", pos=eye, quat=look_at(eye, target, (1.0, 0.0, 0.0)), fovy=75.0)
    _body(spec, robot.tool_body).add_site(
        name="tool", pos=robot.tool_position, quat=robot.tool_quaternion, size=[0.005] * 3, group=5
    )
    for joint in spec.joints:
        if joint.name in robot.joints:
            # A site whose z axis is the joint's axis turns "anchor and axis" into two ordinary frame sensors.
            joint.parent.add_site(name=joint.name, pos=joint.pos, zaxis=joint.axis, size=[0.005] * 3, group=5)
    _add_actuators(spec, robot)
    _add_sensors(spec, robot)
    # A base that is let down stands in a recess of the table, whose rim the shoulder does not feel.
    for joint in spec.joints:
        if joint.name in robot.joints[:2]:
            spec.add_exclude(bodyname1="world", bodyname2=joint.parent.name)


def look_at(eye: Sequence[float], target: Sequence[float], up: Sequence[float]) -> Array:
    """Quaternion (4,) of a camera at `eye` that looks at `target`; MuJoCo's cameras look along -z with y up."""
    z = np.subtract(eye, target)
    x = np.cross(up, z)
    axes = [v / np.linalg.norm(v) for v in (x, np.cross(z, x), z)]
    return quaternion_from_matrix(np.stack(axes, axis=-1))


def _assets() -> Path:
    # find_spec does not run robosuite, whose import is slow and prints.
    found = importlib.util.find_spec("robosuite")
    if found is None or found.origin is None:
        raise MissingDependency("robosuite", "sim", "The robot models")
    return Path(found.origin).parent / "models" / "assets"


def _copy_children(spec: MjSpec, path: Path, parent: Any, level: Level, robot: RobotModel) -> None:
    """Copy a vendor model's bodies, inertias and joints, and its meshes when asked, below `parent`.

    Copying what we want is shorter than deleting what we do not, and works with every MuJoCo version alike.
    """
    source = mujoco.MjSpec.from_string(_readable(path))
    if level == "full":
        drawn = {geom.meshname for geom in source.geoms if _is_drawn(geom)}
        # The Robotiq's file names two meshes alike, the second of which is not shipped: the first counts.
        for name, mesh in {mesh.name: mesh for mesh in reversed(source.meshes) if mesh.name in drawn}.items():
            # As shells, because some pictures of parts have no volume.
            shell = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
            spec.add_mesh(name=name, file=str(path.parent / mesh.file), scale=mesh.scale, inertia=shell)
        known = {material.name for material in spec.materials}
        for old in source.materials:
            if old.name not in known:
                spec.add_material(name=old.name, rgba=old.rgba, specular=old.specular, shininess=old.shininess)
    for child in source.worldbody.bodies:
        _copy_body(child, parent, level, robot)


def _readable(path: Path) -> str:
    """A vendor model's text without what MuJoCo refuses: robosuite 1.5.2's xArm gripper gives a default a group."""
    tree = ElementTree.parse(path)
    for default in tree.iter("default"):
        default.attrib.pop("group", None)
    return ElementTree.tostring(tree.getroot(), encoding="unicode")


def _is_drawn(geom: Any) -> bool:
    """Whether a vendor's geom is a visual mesh: by robosuite's custom, those are group 1."""
    return geom.type == mujoco.mjtGeom.mjGEOM_MESH and bool(geom.meshname) and geom.group == 1


def _copy_body(source: Any, parent: Any, level: Level, robot: RobotModel) -> None:
    # Gravity compensation: a real controller carries the weight of its own arm and gripper.
    body = parent.add_body(name=source.name, pos=source.pos, quat=source.quat, gravcomp=1.0)
    if source.explicitinertial and source.mass > 0:
        body.explicitinertial = True
        body.mass, body.ipos, body.iquat, body.inertia = source.mass, source.ipos, source.iquat, source.inertia
    slides = {slide.joint: slide for slide in robot.slides}
    for joint in source.joints:
        finger = joint.name in robot.fingers
        if joint.name in slides:
            slide = slides[joint.name]
            body.add_joint(
                name=joint.name,
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=slide.axis,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[0.0, slide.travel_m],
                ref=slide.travel_m,  # drawn open
                armature=robot.finger_armature,
            )
            continue
        if not finger and joint.name not in robot.joints:
            continue  # a linkage's passive joint
        body.add_joint(
            name=joint.name,
            type=joint.type,
            pos=joint.pos,
            axis=joint.axis,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=joint.range,
            damping=0.0 if finger else joint.damping,
            armature=robot.finger_armature if finger else joint.armature + robot.armature,
        )
    if level == "full":
        for geom in source.geoms:
            if _is_drawn(geom):
                body.add_geom(
                    type=geom.type,
                    meshname=geom.meshname,
                    material=geom.material,
                    rgba=geom.rgba,
                    pos=geom.pos,
                    quat=geom.quat,
                    contype=0,
                    conaffinity=0,
                    mass=0.0,
                    group=VISIBLE,
                )
    for child in source.bodies:
        _copy_body(child, body, level, robot)


def _add_shape(body: Any, name: str, shape: Shape, level: Level) -> None:
    ends = {} if shape.kind == "box" else {"fromto": [*shape.a, *shape.b]}
    body.add_geom(
        name=name,
        type={"capsule": mujoco.mjtGeom.mjGEOM_CAPSULE, "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER}.get(
            shape.kind, mujoco.mjtGeom.mjGEOM_BOX
        ),
        size=[*shape.size, 0.0, 0.0][:3],
        rgba=shape.rgba,
        # The robot touches the world (contype 1) and never itself: our capsules overlap at the joints.
        contype=0,
        conaffinity=1,
        condim=4 if shape.pad else 3,
        friction=[1.5, 0.01, 0.0001] if shape.pad else [0.6, 0.005, 0.0001],
        # Rubber against a light object: as stiff as the timestep allows, and the pad decides for both.
        priority=1 if shape.pad else 0,
        solref=[0.01, 1.0] if shape.pad else [0.02, 1.0],
        solimp=[0.97, 0.995, 0.001, 0.5, 2.0] if shape.pad else [0.9, 0.95, 0.001, 0.5, 2.0],
        group=VISIBLE if level == "light" else HIDDEN,
        **(ends or {"pos": shape.a}),
    )


def _add_actuators(spec: MjSpec, robot: RobotModel) -> None:
    gains = [
        *zip(robot.joints, robot.stiffness, robot.damping, robot.force_limits, strict=True),
        *((f, robot.finger_stiffness, robot.finger_damping, robot.finger_force) for f in robot.fingers),
    ]
    for joint, kp, kv, force in gains:
        # force = kp * (target - q) - kv * dq, which implicitfast integrates without stability limit on kv.
        spec.add_actuator(
            name=joint,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            target=joint,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            gainprm=[kp] + [0.0] * 9,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            biasprm=[0.0, -kp, -kv] + [0.0] * 7,
            forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            forcerange=[-force, force],
        )


def _add_sensors(spec: MjSpec, robot: RobotModel) -> None:
    kinds, joint, site = mujoco.mjtSensor, mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtObj.mjOBJ_SITE
    rows = [
        ("arm.q", kinds.mjSENS_JOINTPOS, joint, robot.joints),
        ("arm.dq", kinds.mjSENS_JOINTVEL, joint, robot.joints),
        ("finger.q", kinds.mjSENS_JOINTPOS, joint, robot.fingers),
        ("joint.anchor", kinds.mjSENS_FRAMEPOS, site, robot.joints),
        ("joint.axis", kinds.mjSENS_FRAMEZAXIS, site, robot.joints),
        ("tool.position", kinds.mjSENS_FRAMEPOS, site, ("tool",)),
        ("tool.quaternion", kinds.mjSENS_FRAMEQUAT, site, ("tool",)),
    ]
    for name, kind, objects, targets in rows:
        for index, target in enumerate(targets):
            spec.add_sensor(name=f"{name}/{index}", type=kind, objtype=objects, objname=target)


def _body(spec: MjSpec, name: str) -> Any:
    for body in spec.bodies:
        if body.name == name:
            return body
    raise UnknownName("body", name, [b.name for b in spec.bodies])
