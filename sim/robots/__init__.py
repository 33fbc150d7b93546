"""Robots as descriptions: everything the simulation needs to know about an arm with a gripper, as data.

A description names a kinematic model shipped inside the `robosuite` package and adds what that model leaves open:
a home posture, servo gains, limits, the tool point, and a handful of capsules and boxes that are both the
collision shapes and the fast-to-draw body. To add a robot, write its file and enter it in `ROBOTS`; `sim.assembly`
builds them all and `tests/sim/test_robots.py` finds it.
"""

from __future__ import annotations

from robolearn.errors import UnknownName
from sim.robots.iiwa import IIWA
from sim.robots.model import Level, RobotModel, Shape, Slide
from sim.robots.panda import PANDA
from sim.robots.sawyer import SAWYER
from sim.robots.ur5e import UR5E
from sim.robots.xarm7 import XARM7

__all__ = ["IIWA", "PANDA", "ROBOTS", "SAWYER", "UR5E", "XARM7", "Level", "RobotModel", "Shape", "Slide", "find_robot"]

ROBOTS: dict[str, RobotModel] = {robot.name: robot for robot in (PANDA, UR5E, XARM7, SAWYER, IIWA)}
"""Every robot by name."""


def find_robot(name: str) -> RobotModel:
    """The description with this name.

    Raises:
        UnknownName: There is none.
    """
    if name not in ROBOTS:
        raise UnknownName("robot", name, ROBOTS)
    return ROBOTS[name]
