"""Universal Robots UR5e with a Robotiq 2F-85 gripper."""

from __future__ import annotations

import math

from sim.robots.model import DARK, RUBBER, RobotModel, Shape, Slide

__all__ = ["UR5E"]

BLUE, GREY = (0.49, 0.68, 0.80, 1.0), (0.80, 0.81, 0.82, 1.0)

UR5E = RobotModel(
    name="ur5e",
    arm_path="robots/ur5e/robot.xml",
    gripper_path="grippers/robotiq_gripper_85.xml",
    hand="right_hand",
    joints=(
        "shoulder_pan_joint",
        "shoulder_lift_joint",
        "elbow_joint",
        "wrist_1_joint",
        "wrist_2_joint",
        "wrist_3_joint",
    ),
    home=(-0.3024, -1.684, 1.9559, -1.8427, -math.pi / 2, -1.8732),  # tool straight down, 0.45 m ahead, 0.25 m up
    stiffness=(2000.0, 2700.0, 1400.0, 300.0, 250.0, 200.0),
    damping=(100.0, 135.0, 70.0, 15.0, 12.5, 10.0),
    force_limits=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),  # Universal Robots, UR5e joint torques
    velocity_limits=(math.pi,) * 6,
    fingers=("finger_joint", "right_outer_knuckle_joint"),
    finger_open=(0.0425, 0.0425),
    finger_stiffness=600.0,
    finger_damping=40.0,
    finger_armature=0.5,
    finger_force=70.0,
    tool_body="robotiq_85_adapter_link",
    tool_position=(0.0, 0.0, 0.132),
    tool_quaternion=(1.0, 0.0, 0.0, 0.0),
    tool_reference=(0.0, 1.0, 0.0, 0.0),
    wrist_camera=((0.08, 0.0, 0.03), (0.03, 0.0, 0.16)),
    shapes=(
        Shape("fixed_base_link", "cylinder", (0.0, 0.0, 0.0), (0.075,), (0.0, 0.0, 0.099), DARK),
        Shape.capsule("shoulder_link", (0.0, 0.0, -0.04), (0.0, 0.0, 0.0), 0.058, BLUE),
        Shape.capsule("shoulder_link", (0.0, 0.0, 0.0), (0.0, 0.06, 0.0), 0.058),
        Shape.capsule("upper_arm_link", (0.0, -0.02, 0.0), (0.0, 0.0, 0.0), 0.058, BLUE),
        Shape.capsule("upper_arm_link", (0.0, 0.0, 0.0), (0.0, 0.0, 0.425), 0.052, GREY),
        Shape.capsule("upper_arm_link", (0.0, 0.0, 0.425), (0.0, -0.06, 0.425), 0.052, BLUE),
        Shape.capsule("forearm_link", (0.0, 0.0, 0.0), (0.0, 0.04, 0.0), 0.052, BLUE),
        Shape.capsule("forearm_link", (0.0, 0.0, 0.0), (0.0, 0.0, 0.392), 0.042, GREY),
        Shape.capsule("wrist_1_link", (0.0, 0.03, 0.0), (0.0, 0.127, 0.0), 0.042, GREY),
        Shape.capsule("wrist_2_link", (0.0, 0.0, 0.0), (0.0, 0.0, 0.1), 0.042, BLUE),
        Shape("wrist_3_link", "cylinder", (0.0, 0.03, 0.0), (0.038,), (0.0, 0.098, 0.0), DARK),
        Shape("robotiq_85_adapter_link", "cylinder", (0.0, 0.0, 0.0), (0.037,), (0.0, 0.0, 0.06), DARK),
        Shape("robotiq_85_adapter_link", "box", (0.0, 0.0, 0.075), (0.018, 0.03, 0.018), rgba=DARK),
        # In the knuckles' frames y points away from the other finger; the pad stands 0.015 m outward of the knuckle.
        Shape("left_outer_knuckle", "box", (0.0, 0.034, 0.032), (0.011, 0.008, 0.03), rgba=DARK),
        Shape("left_outer_knuckle", "box", (0.0, 0.0185, 0.0754), (0.011, 0.0066, 0.0188), rgba=RUBBER, pad=True),
        Shape("right_outer_knuckle", "box", (0.0, 0.034, 0.032), (0.011, 0.008, 0.03), rgba=DARK),
        Shape("right_outer_knuckle", "box", (0.0, 0.0185, 0.0754), (0.011, 0.0066, 0.0188), rgba=RUBBER, pad=True),
    ),
    slides=(
        Slide("finger_joint", (0.0, 1.0, 0.0), 0.0425),
        Slide("right_outer_knuckle_joint", (0.0, 1.0, 0.0), 0.0425),
    ),
    armature=0.1,
)
