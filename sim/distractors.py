"""Things on the table that have nothing to do with the task; `sim.acts.clutter` sets them down and takes them away."""

from __future__ import annotations

from sim.engine import MjSpec, mujoco

__all__ = ["DISTRACTORS", "add_distractors"]

DISTRACTORS = ("can", "carton")
"""Their names; the origin of each is the middle of its bottom."""


def add_distractors(spec: MjSpec) -> None:
    """Add them as mocap bodies that wait below the floor, where they touch nothing and cost nothing."""
    kinds = mujoco.mjtGeom
    shapes = (
        (kinds.mjGEOM_CYLINDER, [0.03, 0.05, 0.0], 0.05, [0.15, 0.55, 0.35, 1.0]),
        (kinds.mjGEOM_BOX, [0.025, 0.04, 0.03], 0.03, [0.55, 0.30, 0.65, 1.0]),
    )
    for name, (kind, size, height, rgba) in zip(DISTRACTORS, shapes, strict=True):
        body = spec.worldbody.add_body(name=name, mocap=True, pos=[0.0, 0.0, -2.0])
        body.add_geom(name=name, type=kind, size=size, pos=[0.0, 0.0, height], rgba=rgba, group=1)
