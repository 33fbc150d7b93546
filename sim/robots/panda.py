"""Franka Emika Panda with its own hand."""

from __future__ import annotations

import math

from sim.robots.model import DARK, RUBBER, RobotModel, Shape

__all__ = ["PANDA"]

PANDA = RobotModel(
    name="panda",
    arm_path="robots/panda/robot.xml",
    gripper_path="grippers/panda_gripper.xml",
    hand="right_hand",
    joints=tuple(f"joint{i}" for i in range(1, 8)),
    home=(0.0, -0.17, 0.0, -2.5, 0.0, 2.33, math.pi / 4),  # tool pointing straight down, 0.45 m ahead, 0.25 m up
    stiffness=(4000.0, 4000.0, 2800.0, 2400.0, 900.0, 700.0, 500.0),
    damping=(200.0, 200.0, 140.0, 120.0, 45.0, 35.0, 25.0),
    force_limits=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),  # Franka Emika, robot and interface specifications
    velocity_limits=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    fingers=("finger_joint1", "finger_joint2"),
    finger_open=(0.04, -0.04),
    finger_stiffness=600.0,
    finger_damping=40.0,
    finger_armature=0.5,
    finger_force=70.0,
    tool_body="right_gripper",
    tool_position=(0.0, 0.0, 0.097),
    tool_quaternion=(math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)),
    tool_reference=(0.0, 1.0, 0.0, 0.0),
    wrist_camera=((0.08, 0.0, 0.045), (0.03, 0.0, 0.15)),
    shapes=(
        Shape("link0", "box", (-0.045, 0.0, 0.03), (0.105, 0.085, 0.03)),
        Shape("link0", "cylinder", (0.0, 0.0, 0.02), (0.07,), (0.0, 0.0, 0.14)),
        Shape.capsule("link1", (0.0, 0.0, -0.137), (0.0, 0.0, 0.0), 0.055),
        Shape.capsule("link1", (0.0, 0.0, 0.0), (0.0, -0.074, 0.0), 0.055),
        Shape.capsule("link2", (0.0, 0.0, 0.0), (0.0, 0.0, 0.074), 0.0565, DARK),
        Shape.capsule("link2", (0.0, 0.0, 0.0), (0.0, -0.139, 0.0), 0.055),
        Shape.capsule("link3", (0.0, 0.0, -0.066), (0.0, 0.0, 0.0), 0.055),
        Shape.capsule("link3", (0.0, 0.0, 0.0), (0.083, 0.0, 0.0), 0.05),
        Shape.capsule("link3", (0.083, 0.0, 0.0), (0.083, 0.056, 0.0), 0.0565, DARK),
        Shape.capsule("link4", (0.0, 0.0, 0.0), (0.0, 0.0, 0.056), 0.0555),
        Shape.capsule("link4", (0.0, 0.0, 0.0), (-0.083, 0.0, 0.0), 0.05),
        Shape.capsule("link4", (-0.083, 0.0, 0.0), (-0.083, 0.069, 0.0), 0.055),
        Shape.capsule("link5", (0.0, 0.0, -0.21), (0.0, 0.0, -0.16), 0.055),
        Shape.capsule("link5", (0.0, 0.045, -0.17), (0.0, 0.075, -0.01), 0.042),
        Shape.capsule("link5", (0.0, 0.0, 0.0), (0.0, 0.075, 0.0), 0.05),
        Shape.capsule("link6", (0.0, 0.0, 0.0), (0.06, 0.0, 0.005), 0.047),
        Shape.capsule("link6", (0.084, 0.0, 0.006), (0.084, 0.033, 0.006), 0.0485, DARK),
        Shape("link7", "cylinder", (0.0, 0.0, 0.05), (0.044,), (0.0, 0.0, 0.104)),
        Shape("right_gripper", "box", (0.0, 0.0, 0.022), (0.1, 0.03, 0.043)),
        Shape("leftfinger", "box", (0.0, 0.0145, 0.017), (0.0095, 0.0105, 0.017), rgba=DARK),
        Shape("leftfinger", "box", (0.0, 0.0045, 0.042), (0.0085, 0.005, 0.011), rgba=RUBBER, pad=True),
        Shape("rightfinger", "box", (0.0, -0.0145, 0.017), (0.0095, 0.0105, 0.017), rgba=DARK),
        Shape("rightfinger", "box", (0.0, -0.0045, 0.042), (0.0085, 0.005, 0.011), rgba=RUBBER, pad=True),
    ),
)
