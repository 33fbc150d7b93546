"""FRICTION, MASS and HEIGHT: another scene of the same looks, possible only before an episode begins to move.

A row of other friction or mass steps a model of its own (`World.own_model`); all other rows share theirs. The height
is that of a table that is a fixture ("table/z", `sim.scene.add_fixture`); what stands on it moves with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sim.acts.act import Act, Answer, Request, Scene
from sim.engine import MjModel, mujoco

__all__ = ["CHANGED", "Bodies"]

CHANGED = ("geom_friction", "body_mass", "body_inertia")
"""What these acts change in a model, beside what MuJoCo derives from it."""
GRIPPER = "gripper"
"""Target whose geoms are the fingertip pads."""
TABLE, TABLE_JOINT = "table", "table/z"


class Bodies:
    """Friction and mass of the objects, and friction of the table and of the fingertips."""

    def __init__(self, scene: Scene):
        self._scene, model = scene, scene.model
        self._geoms = {name: _geoms(model, model.body(name).id) for name in scene.task.objects}
        self._geoms[TABLE] = [model.geom("table").id]
        self._geoms[GRIPPER] = [model.geom(f"robot/{i}").id for i, s in enumerate(scene.task.robot.shapes) if s.pad]

    def acts(self) -> Mapping[str, Act]:
        scene = self._scene
        table = {"FRICTION": Act(self._friction, tuple(self._geoms), {"scale": (0.3, 3.0, 1.0)}, at_start=True)}
        if objects := scene.task.objects:
            table["MASS"] = Act(self._mass, objects, {"scale": (0.2, 5.0, 1.0)}, at_start=True)
        if any(scene.model.joint(i).name == TABLE_JOINT for i in range(scene.model.njnt)):
            table["HEIGHT"] = Act(self._height, params={"z": (0.0, 0.15, 0.0)}, at_start=True)
        return table

    def _friction(self, request: Request) -> Answer:
        """Scale the sliding friction of the model's own value."""
        geoms = self._geoms[request.target]
        model = self._scene.own_model(request.row)
        model.geom_friction[geoms, 0] = self._scene.model.geom_friction[geoms, 0] * request.params["scale"]
        return Answer()

    def _height(self, request: Request) -> Answer:
        scene = self._scene
        positions = scene.positions(request.row)
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
        # What MuJoCo derives from masses, such as the scaling of its constraints. The mean inertia may be the scene's.
        mean = model.stat.meaninertia
        mujoco.mj_setConst(model, mujoco.MjData(model))
        model.stat.meaninertia = mean
        return Answer()


def _geoms(model: MjModel, body: int) -> list[int]:
    start = int(model.body_geomadr[body])
    return list(range(start, start + int(model.body_geomnum[body])))
