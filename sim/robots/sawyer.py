"""Rethink Sawyer with a Robotiq 2F-85 gripper, the same as on the UR5e."""

from __future__ import annotations

import dataclasses

from sim.robots.model import DARK, Shape
from sim.robots.ur5e import UR5E

__all__ = ["SAWYER"]

RED, CHARCOAL = (0.62, 0.12, 0.14, 1.0), (0.22, 0.22, 0.24, 1.0)
_ARM = (
    Shape("right_arm_base_link", "cylinder", (0.0, 0.0, 0.0), (0.08,), (0.0, 0.0, 0.24), DARK),
    Shape.capsule("right_l0", (0.0, 0.0, 0.18), (0.081, 0.0, 0.237), 0.07, CHARCOAL),
    Shape.capsule("right_l1", (0.0, 0.0, 0.0), (0.0, 0.0, 0.14), 0.065, RED),
    Shape.capsule("right_l1", (0.0, 0.0, 0.1425), (0.0, -0.13, 0.1425), 0.058, RED),
    Shape.capsule("right_l2", (0.0, 0.0, 0.0), (0.0, 0.0, 0.25), 0.055, CHARCOAL),
    Shape.capsule("right_l3", (0.0, 0.0, 0.0), (0.0, 0.0, -0.12), 0.055, RED),
    Shape.capsule("right_l3", (0.0, 0.0, -0.1265), (0.0, -0.12, -0.1265), 0.05, RED),
    Shape.capsule("right_l4", (0.0, 0.0, 0.0), (0.0, 0.0, 0.27), 0.045, CHARCOAL),
    Shape.capsule("right_l5", (0.0, 0.0, 0.0), (0.0, 0.0, 0.1), 0.05, RED),
    Shape.capsule("right_l5", (0.0, 0.0, 0.105), (0.0, -0.08, 0.105), 0.045, CHARCOAL),
    Shape("right_l6", "cylinder", (0.0, 0.0, -0.03), (0.045,), (0.0, 0.0, 0.024), DARK),
)

SAWYER = dataclasses.replace(
    UR5E,
    name="sawyer",
    arm_path="robots/sawyer/robot.xml",
    joints=tuple(f"right_j{i}" for i in range(7)),
    home=(-0.2189, -1.5115, -0.1775, 2.0421, 0.0121, 1.0412, -1.7985),  # tool straight down, 0.45 m ahead, 0.25 m up
    stiffness=(1440.0, 1800.0, 840.0, 920.0, 230.0, 180.0, 160.0),
    damping=(72.0, 90.0, 42.0, 46.0, 11.5, 9.0, 8.0),
    force_limits=(80.0, 80.0, 40.0, 40.0, 9.0, 9.0, 9.0),  # the control range of the package's model
    velocity_limits=(1.74, 1.33, 1.96, 1.96, 3.49, 3.49, 4.54),  # Rethink Robotics, sawyer_robot URDF
    shapes=_ARM + tuple(shape for shape in UR5E.shapes if "robotiq" in shape.body or "knuckle" in shape.body),
    armature=0.1,
)
