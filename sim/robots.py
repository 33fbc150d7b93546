"""Robots as descriptions: everything the simulation needs to know about an arm with a gripper, as data.

A description names a kinematic model shipped inside the `robosuite` package and adds what that model leaves open:
a home posture, servo gains, limits, the tool point, and a handful of capsules and boxes that are both the
collision shapes and the fast-to-draw body. To add a robot, add an entry to `ROBOTS`; `sim.assembly` builds them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from robolearn.errors import UnknownName

__all__ = ["PANDA", "ROBOTS", "Level", "RobotModel", "Shape", "find_robot"]

Level = Literal["light", "full"]
"""How a robot looks: "light" shows its collision shapes, "full" the vendor's meshes. Physics is the same."""

WHITE, DARK, RUBBER = (0.93, 0.93, 0.95, 1.0), (0.28, 0.30, 0.34, 1.0), (0.12, 0.12, 0.13, 1.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """One primitive on a body, in the body's frame, metres.

    Attributes:
        body: The body of the vendor's model that carries it.
        kind: "capsule" and "cylinder" run from `a` to `b` with radius `size[0]`; a "box" sits at `a` with
            half sizes `size`.
        a: First end, or the centre.
        size: Radius, or half sizes.
        b: Second end.
        rgba: Colour.
        pad: Whether it is a fingertip pad: it grips, with more friction.
    """

    body: str
    kind: Literal["capsule", "cylinder", "box"]
    a: tuple[float, float, float]
    size: tuple[float, ...]
    b: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rgba: tuple[float, float, float, float] = WHITE
    pad: bool = False


@dataclass(frozen=True, slots=True)
class RobotModel:
    """An arm with a parallel gripper. Per-joint tuples follow `joints`.

    Attributes:
        name: Short identifier, such as "panda".
        arm_path: Arm model below robosuite's `models/assets`.
        gripper_path: Gripper model, likewise; its root body is mounted on `hand`.
        hand: Body of the arm that carries the gripper.
        joints: Names of the arm's hinge joints, base to hand.
        home: Posture the arm starts from and is drawn to, rad.
        stiffness: Position servo gain, N m / rad; about (40 rad/s)^2 times the joint's inertia at home.
        damping: Velocity gain, N m s / rad; critical for that stiffness.
        force_limits: Largest torque, N m.
        velocity_limits: Largest commanded speed, rad/s.
        fingers: The gripper's slide joints; each moves by `finger_travel` from closed to open.
        finger_open: Joint positions of the open gripper, m; closed is zero.
        finger_stiffness: Finger servo gain, N/m.
        finger_damping: Finger velocity gain, N s/m.
        finger_armature: Moving mass of a finger's drive, kg.
        finger_force: Largest finger force, N.
        tool_body: Body that carries the tool point.
        tool_position: Tool point in that body, m; midway between the pads.
        tool_quaternion: Tool axes in that body: z out of the hand, the fingers open along y.
        tool_reference: Tool orientation in the base at home, (w, x, y, z); quaternions are given the sign nearest to
            it, which keeps them continuous over the whole workspace of a tool that points down.
        wrist_camera: Eye and target of the wrist camera in `hand`, m; its picture's up is the hand's x.
        shapes: Collision and light visual primitives.
    """

    name: str
    arm_path: str
    gripper_path: str
    hand: str
    joints: tuple[str, ...]
    home: tuple[float, ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    force_limits: tuple[float, ...]
    velocity_limits: tuple[float, ...]
    fingers: tuple[str, ...]
    finger_open: tuple[float, ...]
    finger_stiffness: float
    finger_damping: float
    finger_armature: float
    finger_force: float
    tool_body: str
    tool_position: tuple[float, float, float]
    tool_quaternion: tuple[float, float, float, float]
    tool_reference: tuple[float, float, float, float]
    wrist_camera: tuple[tuple[float, float, float], tuple[float, float, float]]
    shapes: tuple[Shape, ...]

    @property
    def width(self) -> float:
        """Distance of the open fingers in metres."""
        return sum(abs(x) for x in self.finger_open)


def find_robot(name: str) -> RobotModel:
    """The description with this name.

    Raises:
        UnknownName: There is none.
    """
    if name not in ROBOTS:
        raise UnknownName("robot", name, ROBOTS)
    return ROBOTS[name]


def _capsule(body: str, a: Any, b: Any, radius: float, rgba: Any = WHITE) -> Shape:
    return Shape(body, "capsule", a, (radius,), b, rgba)


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
        _capsule("link1", (0.0, 0.0, -0.137), (0.0, 0.0, 0.0), 0.055),
        _capsule("link1", (0.0, 0.0, 0.0), (0.0, -0.074, 0.0), 0.055),
        _capsule("link2", (0.0, 0.0, 0.0), (0.0, 0.0, 0.074), 0.0565, DARK),
        _capsule("link2", (0.0, 0.0, 0.0), (0.0, -0.139, 0.0), 0.055),
        _capsule("link3", (0.0, 0.0, -0.066), (0.0, 0.0, 0.0), 0.055),
        _capsule("link3", (0.0, 0.0, 0.0), (0.083, 0.0, 0.0), 0.05),
        _capsule("link3", (0.083, 0.0, 0.0), (0.083, 0.056, 0.0), 0.0565, DARK),
        _capsule("link4", (0.0, 0.0, 0.0), (0.0, 0.0, 0.056), 0.0555),
        _capsule("link4", (0.0, 0.0, 0.0), (-0.083, 0.0, 0.0), 0.05),
        _capsule("link4", (-0.083, 0.0, 0.0), (-0.083, 0.069, 0.0), 0.055),
        _capsule("link5", (0.0, 0.0, -0.21), (0.0, 0.0, -0.16), 0.055),
        _capsule("link5", (0.0, 0.045, -0.17), (0.0, 0.075, -0.01), 0.042),
        _capsule("link5", (0.0, 0.0, 0.0), (0.0, 0.075, 0.0), 0.05),
        _capsule("link6", (0.0, 0.0, 0.0), (0.06, 0.0, 0.005), 0.047),
        _capsule("link6", (0.084, 0.0, 0.006), (0.084, 0.033, 0.006), 0.0485, DARK),
        Shape("link7", "cylinder", (0.0, 0.0, 0.05), (0.044,), (0.0, 0.0, 0.104)),
        Shape("right_gripper", "box", (0.0, 0.0, 0.022), (0.1, 0.03, 0.043)),
        Shape("leftfinger", "box", (0.0, 0.0145, 0.017), (0.0095, 0.0105, 0.017), rgba=DARK),
        Shape("leftfinger", "box", (0.0, 0.0045, 0.042), (0.0085, 0.005, 0.011), rgba=RUBBER, pad=True),
        Shape("rightfinger", "box", (0.0, -0.0145, 0.017), (0.0095, 0.0105, 0.017), rgba=DARK),
        Shape("rightfinger", "box", (0.0, -0.0045, 0.042), (0.0085, 0.005, 0.011), rgba=RUBBER, pad=True),
    ),
)

ROBOTS: dict[str, RobotModel] = {robot.name: robot for robot in (PANDA,)}
"""Every robot by name."""
