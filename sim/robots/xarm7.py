"""UFACTORY xArm7 with its own gripper."""

from __future__ import annotations

import math

from sim.robots.model import DARK, RUBBER, RobotModel, Shape, Slide

__all__ = ["XARM7"]

XARM7 = RobotModel(
    name="xarm7",
    arm_path="robots/xarm7/robot.xml",
    gripper_path="grippers/xarm7_gripper.xml",
    hand="right_hand",
    joints=tuple(f"joint{i}" for i in range(1, 8)),
    home=(0.0, -0.0511, 0.0, 1.0075, 0.0, 1.0586, math.pi),  # tool straight down, 0.45 m ahead, 0.25 m up
    stiffness=(1900.0, 1900.0, 1300.0, 1200.0, 250.0, 210.0, 180.0),
    damping=(95.0, 95.0, 65.0, 60.0, 12.5, 10.5, 9.0),
    force_limits=(80.0,) * 7,  # the control range of the package's model
    velocity_limits=(math.pi,) * 7,
    fingers=("left_driver_joint", "right_driver_joint"),
    finger_open=(0.0445, 0.0445),
    finger_stiffness=600.0,
    finger_damping=40.0,
    finger_armature=0.5,
    finger_force=70.0,
    tool_body="xarm_gripper_base_link",
    tool_position=(0.0, 0.0, 0.142),
    tool_quaternion=(1.0, 0.0, 0.0, 0.0),
    tool_reference=(0.0, 1.0, 0.0, 0.0),
    wrist_camera=((0.08, 0.0, 0.03), (0.03, 0.0, 0.17)),
    shapes=(
        Shape("base", "cylinder", (0.0, 0.0, 0.0), (0.063,), (0.0, 0.0, 0.15)),
        Shape.capsule("link1", (0.0, 0.0, -0.11), (0.0, 0.0, 0.0), 0.058),
        Shape.capsule("link2", (0.0, 0.0, 0.0), (0.0, -0.18, 0.0), 0.054),
        Shape.capsule("link3", (0.0, 0.0, -0.10), (0.0, 0.0, 0.0), 0.052),
        Shape.capsule("link3", (0.0, 0.0, 0.0), (0.0525, 0.0, 0.0), 0.055),
        Shape.capsule("link4", (0.0, 0.0, 0.0), (0.07, -0.02, 0.0), 0.05),
        Shape.capsule("link4", (0.07, -0.02, 0.0), (0.0775, -0.18, 0.0), 0.045),
        Shape.capsule("link5", (0.0, 0.0, -0.16), (0.0, 0.0, -0.06), 0.045),
        Shape.capsule("link5", (0.0, 0.05, -0.06), (0.0, 0.03, 0.0), 0.04),
        Shape.capsule("link6", (0.0, 0.0, 0.0), (0.07, 0.0, 0.0), 0.045),
        Shape.capsule("link6", (0.076, 0.0, 0.0), (0.076, 0.04, 0.0), 0.042),
        Shape("link7", "cylinder", (0.0, 0.0, -0.05), (0.036,), (0.0, 0.0, -0.027), DARK),
        Shape("xarm_gripper_base_link", "cylinder", (0.0, 0.0, 0.0), (0.036,), (0.0, 0.0, 0.045)),
        Shape("xarm_gripper_base_link", "box", (0.0, 0.0, 0.065), (0.02, 0.05, 0.02)),
        Shape("left_outer_knuckle", "box", (0.0, 0.026, 0.03), (0.013, 0.009, 0.033), rgba=DARK),
        Shape("left_outer_knuckle", "box", (0.0, 0.0165, 0.083), (0.015, 0.007, 0.0185), rgba=RUBBER, pad=True),
        Shape("right_outer_knuckle", "box", (0.0, -0.026, 0.03), (0.013, 0.009, 0.033), rgba=DARK),
        Shape("right_outer_knuckle", "box", (0.0, -0.0165, 0.083), (0.015, 0.007, 0.0185), rgba=RUBBER, pad=True),
    ),
    slides=(
        Slide("left_driver_joint", (0.0, 1.0, 0.0), 0.0445),
        Slide("right_driver_joint", (0.0, -1.0, 0.0), 0.0445),
    ),
    armature=0.1,
)
