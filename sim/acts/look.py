"""LIGHT, BACKGROUND and CAMERA, and the same at random for every start: what changes only what cameras see.

A row's look is a handful of numbers that are written into the renderer's own copy of the model before the row is
drawn (`Looks.dress`), so physics never knows of it and rows with the plain look cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.geometry import quaternion_from_rotation_vector, quaternion_multiply, rotate
from robolearn.specs import Array
from sim.acts.act import Act, Answer, Request, Scene, lasting
from sim.engine import MjModel
from sim.scene import TABLE_LOOKS

__all__ = ["LookRanges", "Looks"]

FOR = {"for_s": (0.0, 1e6, 0.0)}


@dataclass(frozen=True, slots=True)
class LookRanges:
    """How far looks differ between starts; every row draws its own from its seed."""

    azimuth_rad: float = math.pi
    """The light comes from anywhere within this angle of its usual direction, seen from above."""
    elevation_rad: tuple[float, float] = (0.7, 1.4)
    """Range of the light's height."""
    intensity: tuple[float, float] = (0.6, 1.4)
    """Range of the light's strength, as a factor."""
    tint: float = 0.25
    """Largest change of each colour of table and floor."""
    camera_m: float = 0.02
    """Standard deviation of a camera's place, per axis."""
    camera_rad: float = 0.02
    """Standard deviation of a camera's orientation, per axis."""


class Looks:
    """Each row's light, table and cameras.

    Args:
        scene: The rows.
        ranges: Draw a look for every start; None leaves all starts plain.
    """

    def __init__(self, scene: Scene, ranges: LookRanges | None = None):
        model, n = scene.model, scene.n
        self._period_s, self._ranges = scene.period_s, ranges
        self._cameras = tuple(model.camera(i).name for i in range(model.ncam))
        self._table, self._floor = model.geom("table").id, model.geom("floor").id
        self._materials = [model.material(name).id for name in TABLE_LOOKS]
        plain = {
            "light.direction": model.light_dir[0],
            "light.diffuse": model.light_diffuse[0],
            "table.material": np.array([model.geom_matid[self._table]]),
            "table.rgba": model.geom_rgba[self._table],
            "floor.rgba": model.geom_rgba[self._floor],
            "camera.position": model.cam_pos,
            "camera.quaternion": model.cam_quat,
        }
        self._plain = {name: value.copy() for name, value in plain.items()}
        self._start = {name: np.repeat(value[None], n, axis=0) for name, value in self._plain.items()}
        self._now = {name: value.copy() for name, value in self._start.items()}
        self._left = {name: np.zeros(n, int) for name in self._plain}
        self._changed = np.zeros(n, bool)

    def acts(self) -> Mapping[str, Act]:
        metre, radian = (-0.2, 0.2, 0.0), (-0.35, 0.35, 0.0)
        return {
            "LIGHT": Act(
                self._light,
                params={
                    "azimuth": (-math.pi, math.pi, 0.0),
                    "elevation": (0.3, 1.5, 1.0),
                    "intensity": (0.2, 2.0, 1.0),
                }
                | FOR,
            ),
            "BACKGROUND": Act(
                self._background,
                TABLE_LOOKS,
                {"red": (0.2, 1.0, 1.0), "green": (0.2, 1.0, 1.0), "blue": (0.2, 1.0, 1.0)} | FOR,
            ),
            "CAMERA": Act(
                self._camera,
                self._cameras,
                {"dx": metre, "dy": metre, "dz": metre, "rx": radian, "ry": radian, "rz": radian} | FOR,
            ),
        }

    def clear(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Give these rows the look they start with."""
        for row, seed in zip(rows, seeds, strict=True):
            look = self._plain if self._ranges is None else self._drawn(self._ranges, seed)
            for name, value in look.items():
                self._start[name][row] = self._now[name][row] = value
                self._left[name][row] = 0
            self._changed[row] = self._ranges is not None

    @property
    def plain(self) -> bool:
        """Whether all rows look as the model does."""
        return not self._changed.any()

    def advance(self) -> None:
        """Count down by one control period; what is over looks as at the start again."""
        if self.plain:
            return
        for name, left in self._left.items():
            over = left == 1
            self._now[name][over] = self._start[name][over]
            np.maximum(left - 1, 0, out=left)

    def dress(self, model: MjModel, row: int) -> None:
        """Make a renderer's own model look as a row."""
        now = {name: value[row] for name, value in self._now.items()}
        model.light_dir[0], model.light_diffuse[0] = now["light.direction"], now["light.diffuse"]
        model.geom_matid[self._table] = now["table.material"][0]
        model.geom_rgba[self._table], model.geom_rgba[self._floor] = now["table.rgba"], now["floor.rgba"]
        model.cam_pos[:], model.cam_quat[:] = now["camera.position"], now["camera.quaternion"]

    def _light(self, request: Request) -> Answer:
        p = request.params
        direction, diffuse = self._lit(p["azimuth"], p["elevation"], p["intensity"])
        return self._change(request, {"light.direction": direction, "light.diffuse": diffuse})

    def _background(self, request: Request) -> Answer:
        material = self._materials[TABLE_LOOKS.index(request.target)]
        rgba = np.array([*(request.params[name] for name in ("red", "green", "blue")), 1.0])
        return self._change(request, {"table.material": np.array([material]), "table.rgba": rgba})

    def _camera(self, request: Request) -> Answer:
        camera, p = self._cameras.index(request.target), request.params
        moved = self._moved(
            {name: self._start[name][request.row] for name in ("camera.position", "camera.quaternion")},
            camera,
            np.array([p["dx"], p["dy"], p["dz"]]),
            np.array([p["rx"], p["ry"], p["rz"]]),
        )
        return self._change(request, moved)

    def _change(self, request: Request, look: Mapping[str, Array]) -> Answer:
        duration_s = lasting(request)
        for name, value in look.items():
            self._now[name][request.row] = value
            self._left[name][request.row] = max(1, round(duration_s / self._period_s))
        self._changed[request.row] = True
        return Answer(duration_s)

    def _lit(self, azimuth: float, elevation: float, intensity: float) -> tuple[Array, Array]:
        usual = self._plain["light.direction"]
        heading = math.atan2(usual[1], usual[0]) + azimuth
        flat = math.cos(elevation)
        direction = np.array([flat * math.cos(heading), flat * math.sin(heading), -math.sin(elevation)])
        return direction, np.clip(intensity * self._plain["light.diffuse"], 0.0, 1.0)

    def _moved(self, look: Mapping[str, Array], camera: int, shift: Array, turn: Array) -> dict[str, Array]:
        """A camera shifted and turned along its own axes."""
        position, quaternion = (look[f"camera.{part}"].copy() for part in ("position", "quaternion"))
        position[camera] += rotate(quaternion[camera], shift)
        quaternion[camera] = quaternion_multiply(quaternion[camera], quaternion_from_rotation_vector(turn))
        return {"camera.position": position, "camera.quaternion": quaternion}

    def _drawn(self, ranges: LookRanges, seed: int) -> dict[str, Array]:
        # A stream of its own: the start comes from the plain seed, the expert's style from [seed, 1].
        generator = np.random.default_rng([seed, 2])
        direction, diffuse = self._lit(
            generator.uniform(-ranges.azimuth_rad, ranges.azimuth_rad),
            generator.uniform(*ranges.elevation_rad),
            generator.uniform(*ranges.intensity),
        )
        look = self._plain | {"light.direction": direction, "light.diffuse": diffuse}
        look["table.material"] = np.array([generator.choice(self._materials)])
        for name in ("table.rgba", "floor.rgba"):
            look[name] = np.append(1.0 - ranges.tint * generator.uniform(0.0, 1.0, 3), 1.0)
        for camera in range(len(self._cameras)):
            shift, turn = generator.standard_normal((2, 3))
            look |= self._moved(look, camera, ranges.camera_m * shift, ranges.camera_rad * turn)
        return look
