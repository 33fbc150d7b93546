"""KUKA LBR iiwa 7 with a Robotiq 2F-85 gripper, the same as on the UR5e."""

from __future__ import annotations

import dataclasses

from sim.robots.model import DARK, Shape
from sim.robots.ur5e import UR5E

__all__ = ["IIWA"]

ORANGE, SILVER = (0.92, 0.45, 0.10, 1.0), (0.78, 0.79, 0.80, 1.0)
_ARM = (
    Shape("fixed_base_link", "cylinder", (0.0, 0.0, 0.0), (0.09,), (0.0, 0.0, 0.12), DARK),
    Shape.capsule("link_1", (0.0, 0.0, 0.0), (0.0, 0.0, 0.19), 0.065, SILVER),
    Shape.capsule("link_2", (0.0, 0.0, 0.0), (0.0, 0.21, 0.0), 0.065, SILVER),
    Shape.capsule("link_2", (0.0, 0.0, -0.03), (0.0, 0.0, 0.05), 0.066, ORANGE),
    Shape.capsule("link_3", (0.0, 0.0, 0.0), (0.0, 0.0, 0.19), 0.062, SILVER),
    Shape.capsule("link_4", (0.0, 0.0, 0.0), (0.0, 0.21, 0.0), 0.06, SILVER),
    Shape.capsule("link_4", (0.0, 0.0, -0.03), (0.0, 0.0, 0.05), 0.061, ORANGE),
    Shape.capsule("link_5", (0.0, 0.0, 0.0), (0.0, 0.03, 0.19), 0.055, SILVER),
    Shape.capsule("link_6", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0607), 0.055, ORANGE),
    Shape("link_7", "cylinder", (0.0, 0.0, 0.0), (0.045,), (0.0, 0.0, 0.045), DARK),
)

IIWA = dataclasses.replace(
    UR5E,
    name="iiwa",
    arm_path="robots/iiwa/robot.xml",
    joints=tuple(f"joint_{i}" for i in range(1, 8)),
    home=(0.0, 0.2881, 0.0, -1.8546, 0.0, 0.9988, 0.0),  # tool straight down, 0.45 m ahead, 0.25 m up
    stiffness=(2870.0, 4410.0, 2050.0, 2260.0, 270.0, 250.0, 170.0),
    damping=(144.0, 220.0, 102.0, 113.0, 13.5, 12.5, 8.5),
    force_limits=(176.0, 176.0, 110.0, 110.0, 110.0, 40.0, 40.0),  # the control range of the package's model
    velocity_limits=(1.71, 1.71, 1.75, 2.27, 2.44, 3.14, 3.14),  # KUKA, LBR iiwa 7 R800
    shapes=_ARM + tuple(shape for shape in UR5E.shapes if "robotiq" in shape.body or "knuckle" in shape.body),
    armature=0.1,
)
