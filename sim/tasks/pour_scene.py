"""What stands on the table of pouring: a bottle full of beads, two bowls, and a crate for the empty bottle.

The beads are the liquid: 20 to 40 spheres without friction that cannot turn, so that each has three degrees of
freedom instead of six and a contact of one row, and a little drag that calms them. The bottle is square, so that two
flat pads hold it firmly; one solid box is what the hand and the table touch, and thin walls that nothing but beads can
feel keep these inside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robolearn.geometry import quaternion_conjugate, rotate
from robolearn.specs import Array, Arrays
from sim.engine import MjSpec, mujoco
from sim.scene import add_fixture, add_object

__all__ = [
    "BEAD_M",
    "BOTTLE_M",
    "BOWLS",
    "CRATE_M",
    "INSTRUCTIONS",
    "add_things",
    "caught",
    "contents",
    "in_crate",
    "lattice",
    "told",
]

BOWLS = ("red_bowl", "blue_bowl")
INSTRUCTIONS = tuple(
    f"Pour the beads into the {colour} bowl and put the bottle into the crate." for colour in ("red", "blue")
)
"""Every command; number i asks for bowl i."""
BEAD_M = 0.007
"""Radius of a bead."""
BOTTLE_M = (0.026, 0.0225, 0.13)
"""Half the outer and half the inner width of the bottle, and its height; its origin is the middle of its bottom."""
FLOOR_M = 0.004
"""Thickness of the bottoms of bottle and crate."""
BOWL_M = (0.065, 0.05)
"""Distance of a bowl's walls from its middle, and their height."""
BOWL_FLOOR_M = 0.012
"""Thickness of a bowl's bottom: a falling bead covers half of it in one timestep, and must not fall through."""
CRATE_M = (0.10, 0.03)
"""Half the inner width of the crate, and the height of its walls."""
PER_LAYER = 9

_BEADS, _WORLD = 2, 1  # bits of contact: beads feel everything, the bottle's inner walls only beads
_RGBA = {"red_bowl": (0.78, 0.25, 0.22, 1.0), "blue_bowl": (0.22, 0.42, 0.75, 1.0)}


def told(observation: Arrays) -> Array:
    """(n,) the index of the bowl that each row was told."""
    return np.argmax(observation["task.command"], axis=1)


def contents(bottle: Array, quaternion: Array, beads: Array) -> Array:
    """(n, k) whether beads (n, k, 3) are inside bottles at (n, 3), (n, 4)."""
    local = rotate(quaternion_conjugate(quaternion)[:, None], beads - bottle[:, None])
    aside = np.abs(local[..., :2]).max(axis=-1)
    return (aside < BOTTLE_M[0]) & (local[..., 2] > 0.0) & (local[..., 2] < BOTTLE_M[2])


def caught(bowl: Array, beads: Array) -> Array:
    """(n, k) whether beads (n, k, 3) lie in bowls at (n, 3), which stand upright."""
    gap = beads - bowl[:, None]
    return (np.hypot(gap[..., 0], gap[..., 1]) < BOWL_M[0]) & (gap[..., 2] > 0.0) & (gap[..., 2] < BOWL_M[1])


def in_crate(bottle: Array, quaternion: Array, crate: Array) -> Array:
    """(n,) whether the middle of bottles at (n, 3), (n, 4) is low inside crates at (n, 2)."""
    middle = bottle + rotate(quaternion, np.array([0.0, 0.0, BOTTLE_M[2] / 2]))
    return (np.abs(middle[:, :2] - crate).max(axis=1) < CRATE_M[0]) & (middle[:, 2] < BOTTLE_M[2] / 2 + 0.015)


def lattice(beads: int) -> Array:
    """(beads, 3) where the beads lie in a standing bottle, in its frame: layers of three by three, not touching."""
    k = np.arange(beads)
    layer, place = k // PER_LAYER, k % PER_LAYER
    pitch = 2.0 * BEAD_M + 0.0006
    return np.column_stack(
        [pitch * (place % 3 - 1), pitch * (place // 3 - 1), FLOOR_M + BEAD_M + 0.0003 + pitch * layer]
    )


def add_things(spec: MjSpec, beads: int) -> None:
    """Add the bottle, the bowls, the crate and the beads, objects in the order of `SimTask.objects`."""
    _add_bottle(add_object(spec, "bottle"))
    for name in BOWLS:
        _add_bowl(add_object(spec, name), name)
    _add_crate(add_fixture(spec, "crate", ("x", "y")))
    for index in range(beads):
        _add_bead(spec, index)
    for index in range(beads):
        kind, body = mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtObj.mjOBJ_XBODY
        spec.add_sensor(name=f"beads.position/{index}", type=kind, objtype=body, objname=f"bead{index}")


def _add_bottle(body: Any) -> None:
    outer, inner, height = BOTTLE_M
    box = mujoco.mjtGeom.mjGEOM_BOX
    body.add_geom(
        name="bottle",
        type=box,
        size=[outer, outer, height / 2],
        pos=[0.0, 0.0, height / 2],
        mass=0.08,
        contype=_WORLD,
        conaffinity=0,
        condim=4,
        friction=[1.0, 0.005, 0.0001],
        group=3,  # what is drawn are the walls
    )
    glass, thick = [0.55, 0.80, 0.70, 0.45], (outer - inner) / 2
    sides = [((outer + inner) / 2 * x, (outer + inner) / 2 * y) for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    shapes = [([inner, inner, FLOOR_M / 2], (0.0, 0.0, FLOOR_M / 2))]
    shapes += [([thick, outer, height / 2] if x else [inner, thick, height / 2], (x, y, height / 2)) for x, y in sides]
    for index, (size, position) in enumerate(shapes):
        body.add_geom(
            name=f"bottle/{index}",
            type=box,
            size=size,
            pos=position,
            rgba=glass,
            mass=0.0,
            contype=_BEADS,
            conaffinity=_BEADS,
            group=1,
        )


def _add_bowl(body: Any, name: str) -> None:
    radius, wall = BOWL_M
    rgba, sides = _RGBA[name], 8
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[radius, BOWL_FLOOR_M / 2, 0.0],
        pos=[0.0, 0.0, BOWL_FLOOR_M / 2 + 0.001],
        mass=0.3,
        rgba=rgba,
        group=1,
    )
    for index in range(sides):
        angle = 2 * math.pi * index / sides
        body.add_geom(
            name=f"{name}/wall/{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.004, radius * math.tan(math.pi / sides) + 0.003, wall / 2 - 0.001],
            pos=[(radius + 0.004) * math.cos(angle), (radius + 0.004) * math.sin(angle), wall / 2 + 0.001],
            quat=[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)],
            mass=0.01,
            rgba=rgba,
            group=1,
        )
    # Three round feet: a quarter of the contacts of a flat bottom.
    for index in range(3):
        angle = 2 * math.pi * index / 3
        body.add_geom(
            name=f"{name}/foot/{index}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[0.004, 0.0, 0.0],
            pos=[0.055 * math.cos(angle), 0.055 * math.sin(angle), 0.004],
            mass=0.0,
            group=3,
        )


def _add_crate(body: Any) -> None:
    half, wall = CRATE_M
    box, thick = mujoco.mjtGeom.mjGEOM_BOX, 0.004
    look = {"rgba": [0.55, 0.42, 0.28, 1.0], "group": 1}
    body.add_geom(name="crate", type=box, size=[half, half, FLOOR_M / 2], pos=[0.0, 0.0, FLOOR_M / 2], **look)
    for side, (x, y) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        long = half + 2 * thick
        size = [thick, long, wall / 2] if x else [half, thick, wall / 2]
        middle = [x * (half + thick), y * (half + thick), wall / 2]
        body.add_geom(name=f"crate/wall/{side}", type=box, size=size, pos=middle, **look)


def _add_bead(spec: MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"bead{index}")
    for axis, direction in (("x", (1, 0, 0)), ("y", (0, 1, 0)), ("z", (0, 0, 1))):
        slide = mujoco.mjtJoint.mjJNT_SLIDE
        body.add_joint(name=f"bead{index}/{axis}", type=slide, axis=direction, damping=0.003)
    body.add_geom(
        name=f"bead{index}",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[BEAD_M, 0.0, 0.0],
        mass=0.004,
        rgba=[0.96, 0.75, 0.20, 1.0],
        contype=_WORLD | _BEADS,
        conaffinity=_BEADS,
        condim=1,
        priority=1,
        solref=[0.01, 1.0],  # as stiff as the timestep allows
        group=1,
    )
