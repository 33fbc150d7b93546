"""Films of the simulated person: colour, depth and camera, drawn off screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.specs import Array
from sim.engine import mujoco
from sim.human.body import CAMERA, Person
from sim.human.script import Performance
from sim.render import Renderer

__all__ = ["Film", "film"]

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value


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


def film(person: Person, performance: Performance, *, every: int = 1, width: int = 640, height: int = 480) -> Film:
    """Draw every n-th frame of a performance."""
    model = person.model
    frames = np.arange(0, len(performance.qpos), every)
    states = np.zeros((len(frames), mujoco.mj_stateSize(model, _STATE)))
    states[:, 1 : 1 + model.nq] = performance.qpos[frames]
    mocap = [model.body(f"onion{k}").mocapid[0] for k in range(5)]

    def place(_model: Any, data: Any, row: int) -> None:
        data.mocap_pos[mocap] = performance.onions[frames[row], :, :3]

    with Renderer(model) as renderer:
        rgb = renderer.rgb(states, CAMERA, width, height, dress=place)
        depth = renderer.depth(states, CAMERA, width, height, dress=place)
        pose = renderer.pose(states[:1], CAMERA)[0]
        intrinsics = renderer.intrinsics(CAMERA, width, height)
    return Film(frames, rgb, depth, intrinsics, pose)
