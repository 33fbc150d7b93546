"""Films of the simulated person: colour, depth and camera, drawn off screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from robolearn.specs import Array
from sim.engine import mujoco
from sim.human.body import CAMERA, Person
from sim.render import Renderer

__all__ = ["Film", "Performed", "film"]

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value


class Performed(Protocol):
    """What can be filmed: T frames of a person and of things."""

    @property
    def qpos(self) -> Array:
        """(T, nq) of the person's model."""
        ...

    @property
    def props(self) -> Mapping[str, Array]:
        """Per mocap body its poses (T, 7): position in m, quaternion (w, x, y, z)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """What an RGB-D camera saw, F frames.

    Attributes:
        frames: (F,) which frames of the performance these are.
        rgb: (F, height, width, 3) uint8.
        depth: (F, height, width) float32 m along the optical axis.
        intrinsics: (3, 3) pixels.
        T_world_camera: (4, 4), x right, y down, z along the view.
    """

    frames: Array
    rgb: Array
    depth: Array
    intrinsics: Array
    T_world_camera: Array


def film(person: Person, performance: Performed, *, every: int = 1, width: int = 640, height: int = 480) -> Film:
    """Draw every n-th frame of a performance."""
    model = person.model
    frames = np.arange(0, len(performance.qpos), every)
    states = np.zeros((len(frames), mujoco.mj_stateSize(model, _STATE)))
    states[:, 1 : 1 + model.nq] = performance.qpos[frames]
    props = [(model.body(name).mocapid[0], poses[frames]) for name, poses in performance.props.items()]

    def place(_model: Any, data: Any, row: int) -> None:
        for mocap, poses in props:
            data.mocap_pos[mocap], data.mocap_quat[mocap] = poses[row, :3], poses[row, 3:]

    with Renderer(model) as renderer:
        rgb = renderer.rgb(states, CAMERA, width, height, dress=place)
        depth = renderer.depth(states, CAMERA, width, height, dress=place)
        pose = renderer.pose(states[:1], CAMERA)[0]
        intrinsics = renderer.intrinsics(CAMERA, width, height)
    return Film(frames, rgb, depth, intrinsics, pose)
