"""What a robot is to the simulation: an arm with a gripper, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DARK", "RUBBER", "WHITE", "Level", "RobotModel", "Shape", "Slide"]

Point = tuple[float, float, float]
Colour = tuple[float, float, float, float]
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

    @staticmethod
    def capsule(body: str, a: Point, b: Point, radius: float, rgba: Colour = WHITE) -> Shape:
        """A capsule from `a` to `b`."""
        return Shape(body, "capsule", a, (radius,), b, rgba)


@dataclass(frozen=True, slots=True)
class Slide:
    """A finger that slides where the vendor's model has a linkage.

    The parallelogram linkages of industrial grippers keep their pads parallel; what they add, a dip of the pads by
    some millimetres while closing, is left out, and so are loops of constraints that would cost half of the speed.
    The joint of this name is replaced by a slide, and the linkage's other joints stay as they are drawn, which must
    be the open gripper.

    Attributes:
        joint: The vendor's joint that the slide replaces.
        axis: Its direction in the joint's body, from closed to open.
        travel_m: How far the finger moves from closed to open.
    """

    joint: str
    axis: tuple[float, float, float]
    travel_m: float


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
        slides: Fingers that slide in place of the vendor's linkage; named in `fingers` as well.
        armature: Inertia of a joint's motor behind its gear, kg m^2, where the vendor's model leaves it out.
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
    slides: tuple[Slide, ...] = ()
    armature: float = 0.0

    @property
    def width(self) -> float:
        """Distance of the open fingers in metres."""
        return sum(abs(x) for x in self.finger_open)
