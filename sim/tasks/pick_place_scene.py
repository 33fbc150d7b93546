"""What stands on the table of pick-and-place: three fruits, two containers, and a table top that can be raised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robolearn.specs import Array, Arrays
from sim.engine import MjSpec, mujoco
from sim.scene import add_fixture, add_object

__all__ = ["CONTAINERS", "FRUITS", "HIGH_M", "INSTRUCTIONS", "LOW_M", "RADIUS_M", "add_table", "chosen", "inside"]

FRUITS, CONTAINERS = ("orange", "peach", "kiwi"), ("plate", "basket")
INSTRUCTIONS = tuple(f"Put the {fruit} into the {container}." for fruit in FRUITS for container in CONTAINERS)
"""Every command; number 2 i + j asks for fruit i in container j."""
RADIUS_M = {"orange": 0.031, "peach": 0.026, "kiwi": 0.022}
"""Heights of the fruits' middles above the table; the kiwi is a capsule that lies on its side."""
LOW_M, HIGH_M = np.array([0.34, -0.30]), np.array([0.68, 0.30])
"""Corners of the region that things stand in."""
WALL_M = 0.026
"""Height of a container's wall."""
INNER_M = 0.07
"""Distance of a container's walls from its middle."""
INSIDE_M = (0.060, 0.055)
"""Distance of a fruit from the middle of a container, aside and upward, within which it lies in it."""
COLOURS = {
    "orange": (0.93, 0.52, 0.13, 1.0),
    "peach": (0.93, 0.66, 0.56, 1.0),
    "kiwi": (0.45, 0.36, 0.18, 1.0),
    "plate": (0.50, 0.36, 0.66, 1.0),
    "basket": (0.30, 0.58, 0.38, 1.0),
}


def chosen(observation: Arrays) -> tuple[Array, Array]:
    """Positions (n, 3) of the fruit and of the container that each row was told."""
    index = np.argmax(observation["task.command"], axis=1)
    rows = np.arange(len(index))
    fruits = np.stack([observation[f"{name}.position"] for name in FRUITS], axis=1)
    containers = np.stack([observation[f"{name}.position"] for name in CONTAINERS], axis=1)
    return fruits[rows, index // len(CONTAINERS)], containers[rows, index % len(CONTAINERS)]


def inside(fruit: Array, container: Array) -> Array:
    """(...,) whether fruits lie in containers, given their positions (..., 3)."""
    gap = fruit - container
    return (np.hypot(gap[..., 0], gap[..., 1]) < INSIDE_M[0]) & (gap[..., 2] < INSIDE_M[1])


def add_table(spec: MjSpec) -> None:
    """Add the table top, the fruits and the containers, in the order of `FRUITS` and `CONTAINERS`."""
    top = add_fixture(spec, "table", ("z",), (0.51, 0.0, -0.1))
    top.add_geom(
        name="table/top",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.25, 0.40, 0.0999],
        rgba=[0.72, 0.74, 0.76, 1.0],
        friction=[1.0, 0.005, 0.0001],
        group=1,
    )
    spec.add_exclude(bodyname1="world", bodyname2="table")  # it rises out of the table
    for name in FRUITS:
        _add_fruit(add_object(spec, name), name)
    for name in CONTAINERS:
        _add_container(add_object(spec, name), name, sides=4 if name == "basket" else 10)


def _add_fruit(body: Any, name: str) -> None:
    kiwi = name == "kiwi"
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE if kiwi else mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[RADIUS_M[name], 0.0, 0.0],
        **({"fromto": [-0.012, 0.0, 0.0, 0.012, 0.0, 0.0]} if kiwi else {}),
        mass=0.1,
        rgba=COLOURS[name],
        condim=6,
        # Rolling friction as of something soft: a nudged fruit comes to rest within its own length.
        friction=[1.0, 0.01, 0.003],
        group=1,
    )


def _add_container(body: Any, name: str, sides: int) -> None:
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX if sides == 4 else mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[INNER_M, INNER_M, 0.002] if sides == 4 else [INNER_M, 0.002, 0.0],
        pos=[0.0, 0.0, 0.004],
        mass=0.25,
        rgba=COLOURS[name],
        group=1,
    )
    half = INNER_M * math.tan(math.pi / sides) + 0.002
    for index in range(sides):
        angle = 2 * math.pi * index / sides
        body.add_geom(
            name=f"{name}/wall/{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.003, half, WALL_M / 2 - 0.001],
            pos=[INNER_M * math.cos(angle), INNER_M * math.sin(angle), WALL_M / 2 + 0.001],
            quat=[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)],
            mass=0.01,
            rgba=COLOURS[name],
            group=1,
        )
    # Three round feet: a quarter of the contacts of a flat bottom.
    for index in range(3):
        angle = 2 * math.pi * index / 3
        body.add_geom(
            name=f"{name}/foot/{index}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[0.004, 0.0, 0.0],
            pos=[0.06 * math.cos(angle), 0.06 * math.sin(angle), 0.004],
            mass=0.0,
            group=3,
        )
