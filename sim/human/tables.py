"""What lies before the simulated person: onions with bin and conveyor, or a bottle, two bowls and a crate.

Things are mocap bodies: a script says where they are, and nothing here is simulated. Places are those of recorded
people (`robolearn.keypoints.onions`) and of pouring in points (`robolearn.keypoints.pouring`): the table top at 0.77 m,
0.3 to 0.95 m ahead of the person.
"""

from __future__ import annotations

import math
from typing import Any

from robolearn.keypoints.pouring import BOTTLE_HEIGHT_M, BOWL_M, TABLE_M
from sim.engine import mujoco

__all__ = ["BEADS", "BOTTLE_M", "BOWLS", "BOWL_M", "TABLE_M", "add_onions", "add_pouring"]

BEADS = 12
"""How many beads are in the bottle, "bead0" and on."""
BOTTLE_M = (0.035, BOTTLE_HEIGHT_M)
"""Radius and height of the bottle; its origin is the middle of its bottom."""
BOWLS = ("red_bowl", "blue_bowl")
_FREE = {"contype": 0, "conaffinity": 0}


def add_onions(world: Any) -> tuple[str, ...]:
    """Five onions, a bin and a conveyor; returns the names of the bodies."""
    box, sphere = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE
    for name, pos, size, rgba in (
        ("bin", (0.55, 0.52, TABLE_M + 0.09), (0.15, 0.09, 0.09), (0.25, 0.36, 0.50, 1)),
        ("conveyor", (0.70, -0.50, TABLE_M + 0.01), (0.20, 0.09, 0.01), (0.2, 0.2, 0.22, 1)),
    ):
        world.add_geom(name=name, type=box, pos=pos, size=size, rgba=rgba, **_FREE)
    names = tuple(f"onion{k}" for k in range(5))
    for k, name in enumerate(names):
        body = world.add_body(name=name, mocap=True, pos=[0.75, 0.1 * k - 0.2, TABLE_M])
        body.add_geom(type=sphere, size=[0.035, 0, 0], rgba=[0.85, 0.6, 0.3, 1], **_FREE)
    return names


def add_pouring(world: Any) -> tuple[str, ...]:
    """A bottle with beads, two bowls and a crate; returns the names of the bodies."""
    cylinder, box = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_BOX
    radius, height = BOTTLE_M
    body = world.add_body(name="bottle", mocap=True, pos=[0.7, -0.2, TABLE_M])
    glass = [0.35, 0.70, 0.55, 0.55]
    body.add_geom(type=cylinder, size=[radius, 0.4 * height, 0], pos=[0, 0, 0.4 * height], rgba=glass, **_FREE)
    body.add_geom(type=cylinder, size=[0.5 * radius, 0.1 * height, 0], pos=[0, 0, 0.9 * height], rgba=glass, **_FREE)
    for name, rgba in zip(BOWLS, ([0.78, 0.25, 0.22, 1], [0.22, 0.42, 0.75, 1]), strict=True):
        bowl = world.add_body(name=name, mocap=True, pos=[0.7, 0.1, TABLE_M])
        bowl.add_geom(type=cylinder, size=[BOWL_M[0], 0.005, 0], pos=[0, 0, 0.005], rgba=rgba, **_FREE)
        for k in range(16):  # a ring of boxes, so that one sees into it
            angle = math.pi * k / 8.0
            at = [BOWL_M[0] * math.cos(angle), BOWL_M[0] * math.sin(angle), 0.5 * BOWL_M[1]]
            turn = [math.cos(angle / 2.0), 0.0, 0.0, math.sin(angle / 2.0)]
            wall = [0.004, 0.21 * BOWL_M[0], 0.5 * BOWL_M[1]]
            bowl.add_geom(type=box, size=wall, pos=at, quat=turn, rgba=rgba, **_FREE)
    crate = world.add_body(name="crate", mocap=True, pos=[0.6, 0.45, TABLE_M])
    wood = [0.50, 0.36, 0.22, 1]
    crate.add_geom(type=box, size=[0.09, 0.09, 0.006], pos=[0, 0, 0.006], rgba=wood, **_FREE)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        size = [0.006, 0.096, 0.045] if x else [0.09, 0.006, 0.045]
        crate.add_geom(type=box, size=size, pos=[0.096 * x, 0.096 * y, 0.045], rgba=wood, **_FREE)
    beads = tuple(f"bead{k}" for k in range(BEADS))
    for name in beads:
        bead = world.add_body(name=name, mocap=True, pos=[0.7, -0.2, TABLE_M + 0.02])
        bead.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.012, 0, 0], rgba=[0.96, 0.75, 0.20, 1], **_FREE)
    return ("bottle", *BOWLS, "crate", *beads)
