"""FRICTION, MASS and HEIGHT: another scene of the same looks, possible only before an episode begins to move.

A row of other friction, mass or height steps a model of its own (`World.own_model`); all other rows share theirs. A
table that is a fixture ("table/z", `sim.scene.add_fixture`) is raised with what stands on it. Every other table stays
where it is and the robot's base is let down instead, which is the same scene and moves one body instead of all: the
world's frame stays that of the table, in which tasks judge, and what is shown is that of the base (`raised`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robolearn.specs import Array, Arrays, Spec
from sim.acts.act import Act, Answer, Request, Scene
from sim.engine import MjModel, mujoco

__all__ = ["CHANGED", "Bodies", "raised", "set_constants"]

CHANGED = ("geom_friction", "body_mass", "body_inertia", "body_pos")
"""What these acts change in a model, beside what MuJoCo derives from it."""
HIGHEST_M = 0.12
"""Largest height: the links that pass below the table top then are the ones that do not feel it."""
GRIPPER = "gripper"
"""Target whose geoms are the fingertip pads."""
TABLE, TABLE_JOINT, BASE = "table", "table/z", "robot"


class Bodies:
    """Friction and mass of the objects, and friction of the table and of the fingertips."""

    def __init__(self, scene: Scene):
        self._scene, model = scene, scene.model
        self.heights = np.zeros(scene.n)
        """(n,) how much higher than usual the table stands above each row's base, m; 0 for tables that are fixtures."""
        self._base = int(model.body(BASE).id)
        self._fixture = any(model.joint(i).name == TABLE_JOINT for i in range(model.njnt))
        self._geoms = {name: _geoms(model, model.body(name).id) for name in scene.task.objects}
        self._geoms[TABLE] = [model.geom("table").id]
        self._geoms[GRIPPER] = [model.geom(f"robot/{i}").id for i, s in enumerate(scene.task.robot.shapes) if s.pad]

    def acts(self) -> Mapping[str, Act]:
        scene = self._scene
        table = {"FRICTION": Act(self._friction, tuple(self._geoms), {"scale": (0.3, 3.0, 1.0)}, at_start=True)}
        if objects := scene.task.objects:
            table["MASS"] = Act(self._mass, objects, {"scale": (0.2, 5.0, 1.0)}, at_start=True)
        table["HEIGHT"] = Act(self._height, params={"z": (0.0, HIGHEST_M, 0.0)}, at_start=True)
        return table

    def clear(self, rows: Sequence[int]) -> None:
        """Let the table of these rows stand as usual; their models are the environment's to give back."""
        self.heights[rows] = 0.0

    def dress(self, model: Any, row: int) -> None:
        """Let the base of a renderer's own model down as in a row."""
        model.body_pos[self._base, 2] = self._scene.model.body_pos[self._base, 2] - self.heights[row]

    def _friction(self, request: Request) -> Answer:
        """Scale the sliding friction of the model's own value."""
        geoms = self._geoms[request.target]
        model = self._scene.own_model(request.row)
        model.geom_friction[geoms, 0] = self._scene.model.geom_friction[geoms, 0] * request.params["scale"]
        return Answer()

    def _height(self, request: Request) -> Answer:
        scene = self._scene
        positions = scene.positions(request.row)
        if not self._fixture:
            self.heights[request.row] = request.params["z"]
            self.dress(scene.own_model(request.row), request.row)
            scene.restart(request.row, positions)
            return Answer()
        table = scene.model.joint(TABLE_JOINT).qposadr[0]
        rise = request.params["z"] - positions[table]
        heights = [scene.model.joint(name).qposadr[0] + 2 for name in scene.task.objects]
        positions[[table, *heights]] += rise
        scene.restart(request.row, positions)
        return Answer()

    def _mass(self, request: Request) -> Answer:
        body, scale = self._scene.model.body(request.target).id, request.params["scale"]
        model = self._scene.own_model(request.row)
        model.body_mass[body] = self._scene.model.body_mass[body] * scale
        model.body_inertia[body] = self._scene.model.body_inertia[body] * scale
        set_constants(model, mujoco.MjData(model), self._scene.model)
        return Answer()


def set_constants(model: MjModel, data: Any, plain: MjModel) -> None:
    """Derive again what MuJoCo derives from masses, such as the scaling of its constraints.

    The statistics stay those of the plain model: solver tolerances are relative to the mean inertia, and how far a
    renderer sees to the extent, which scenes set themselves.
    """
    mujoco.mj_setConst(model, data)
    for name in ("meaninertia", "extent"):
        setattr(model.stat, name, getattr(plain.stat, name))


def raised(seen: Arrays, spec: Spec, heights: Array) -> Arrays:
    """Arrays (n, ...) in the frame of the base, given in that of a table that stands `heights` (n,) higher in it."""
    if not heights.any():
        return seen
    out: dict[str, Array] = {}
    for name, value in seen.items():
        axes = [2] if name.endswith(".position") else [i for i, axis in enumerate(_names(spec, name)) if axis == "z"]
        if axes and not name.startswith("task."):
            value = value.copy()
            value[..., axes] += heights.reshape(-1, *(1,) * (value.ndim - 1))
        out[name] = value
    return out


def _names(spec: Spec, name: str) -> Sequence[str]:
    # Only places: the z of a quaternion or of a turn is none.
    return spec[name].names or () if name.endswith(".place") and name in spec else ()


def _geoms(model: MjModel, body: int) -> list[int]:
    start = int(model.body_geomadr[body])
    return list(range(start, start + int(model.body_geomnum[body])))
