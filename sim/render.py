"""Pictures of simulated rows, drawn off screen.

One OpenGL context serves all rows and cameras: a row is drawn by putting its state into one spare MjData. Shadows
and multisampling are what a software renderer spends its time on, so they are off unless pictures are for people.

As observations, pictures have the names and units of real cameras (`picture_spec`): "<camera>.rgb", "<camera>.depth" in
whole millimetres along the optical axis, 0 where there is nothing within 10 m, and "<camera>.segmentation", which is
the number of the body that a pixel shows in `segment_names`.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from robolearn.errors import BenchError
from robolearn.specs import Array, ArraySpec
from sim.engine import MjModel, mujoco

__all__ = ["Dress", "Renderer", "camera_matrix", "picture_spec", "segment_names"]

Dress = Callable[[Any, Any, int], None]
"""Changes how a row looks: called with the renderer's own model, its data and the row, before the row is drawn."""

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
_FARTHEST_M = 10.0  # what lies beyond a depth camera's range, such as the sky, is not measured
_BASE = "robot"


def picture_spec(
    camera: str, width: int, height: int, *, depth: bool = False, segmentation: bool = False
) -> dict[str, ArraySpec]:
    """What `Renderer.pictures` gives of a camera, without the axis of rows."""
    spec = {f"{camera}.rgb": ArraySpec((height, width, 3), "uint8", frame=camera)}
    if depth:
        farthest = 1000.0 * _FARTHEST_M
        spec[f"{camera}.depth"] = ArraySpec((height, width), "uint16", 0.0, farthest, unit="mm", frame=camera)
    if segmentation:
        spec[f"{camera}.segmentation"] = ArraySpec((height, width), "uint16", 0.0, 65535.0, frame=camera)
    return spec


def segment_names(model: MjModel) -> tuple[str, ...]:
    """What the numbers in a segmentation mean: "nothing", then the model's bodies ("world" holds table and floor)."""
    return ("nothing", *(model.body(i).name for i in range(model.nbody)))


def camera_matrix(model: MjModel, camera: str, width: int, height: int) -> Array:
    """The camera matrix (3, 3) in pixels: a pixel's middle has whole numbers, (0, 0) is the top left one."""
    focal = 0.5 * height / math.tan(0.5 * math.radians(float(model.camera(camera).fovy[0])))
    return np.array([[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])


class Renderer:
    """Draws rows of one model. A context manager; use it in the thread that made it.

    Args:
        model: The model; its cameras can be drawn.
        pretty: Shadows and reflections, as far as the model asks for them.

    Raises:
        BenchError: There is no off-screen OpenGL.
    """

    def __init__(self, model: MjModel, *, pretty: bool = False):
        self._model, self._data = model, mujoco.MjData(model)
        self._dressed, self._mocap_pos = model, self._data.mocap_pos.copy()
        width, height = int(model.vis.global_.offwidth), int(model.vis.global_.offheight)
        self._gl: Any = _context(width, height)
        self._gl.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = pretty
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._largest = (width, height)
        # A context that outlives the interpreter's modules prints a traceback at exit; this frees it before.
        self._free = weakref.finalize(self, _free, self._gl, self._context)

    def pictures(
        self,
        states: Array,
        camera: str,
        width: int,
        height: int,
        *,
        depth: bool = False,
        segmentation: bool = False,
        dress: Dress | None = None,
    ) -> dict[str, Array]:
        """The arrays (n, ...) of `picture_spec`; colour and depth are drawn once for both."""
        colours = np.empty((len(states), height, width, 3), np.uint8)
        depths = np.empty((len(states), height, width), np.float32) if depth else None
        for row, (image, rectangle) in enumerate(self._draw(states, camera, colours, dress)):
            mujoco.mjr_readPixels(image, None if depths is None else depths[row], rectangle, self._context)
        out: dict[str, Array] = {f"{camera}.rgb": colours[:, ::-1].copy()}
        if depths is not None:
            metres = self._metres(depths[:, ::-1])
            out[f"{camera}.depth"] = np.rint(np.where(metres > _FARTHEST_M, 0.0, 1000.0 * metres)).astype(np.uint16)
        if segmentation:
            bodies = self.segmentation(states, camera, width, height, dress=dress)
            out[f"{camera}.segmentation"] = (bodies + 1).astype(np.uint16)
        return out

    def rgb(self, states: Array, camera: str, width: int, height: int, *, dress: Dress | None = None) -> Array:
        """Pictures (n, height, width, 3) uint8 of physics states (n, nstate)."""
        out = np.empty((len(states), height, width, 3), np.uint8)
        for image, rectangle in self._draw(states, camera, out, dress):
            mujoco.mjr_readPixels(image, None, rectangle, self._context)
        return out[:, ::-1].copy()

    def depth(self, states: Array, camera: str, width: int, height: int, *, dress: Dress | None = None) -> Array:
        """Distances along the optical axis (n, height, width) float32 in metres."""
        out = np.empty((len(states), height, width), np.float32)
        for image, rectangle in self._draw(states, camera, out, dress):
            mujoco.mjr_readPixels(None, image, rectangle, self._context)
        return self._metres(out[:, ::-1])

    def segmentation(self, states: Array, camera: str, width: int, height: int, *, dress: Dress | None = None) -> Array:
        """Which body each pixel shows: MuJoCo's body ids (n, height, width) int32, -1 for the sky."""
        colours = np.empty((len(states), height, width, 3), np.uint8)
        out = np.empty((len(states), height, width), np.int32)
        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self._scene.flags[flag] = True
        try:
            for row, (image, rectangle) in enumerate(self._draw(states, camera, colours, dress)):
                mujoco.mjr_readPixels(image, None, rectangle, self._context)
                # The colour is the number of the drawn geom, counted from one, in base 256.
                out[row] = self._bodies()[image.astype(np.int32) @ np.array([1, 256, 65536], np.int32)]
        finally:
            for flag in flags:
                self._scene.flags[flag] = False
        return out[:, ::-1].copy()

    def pose(self, states: Array, camera: str, *, dress: Dress | None = None) -> Array:
        """Poses T_base_camera (n, 4, 4) of a camera, m; its axes are x right, y down, z along the view.

        A table at another height is drawn by letting the base down (`sim.acts.bodies`); the pose is in the base's frame
        also then.
        """
        out = np.zeros((len(states), 4, 4))
        identity = self._model.camera(camera).id
        for row, data in enumerate(self._rows(states, dress)):
            out[row, :3, :3] = data.cam_xmat[identity].reshape(3, 3) * [1.0, -1.0, -1.0]
            out[row, :3, 3], out[row, 3, 3] = data.cam_xpos[identity], 1.0
            if dress is not None:
                out[row, :3, 3] += self._model.body(_BASE).pos - self._dressed.body(_BASE).pos
        return out

    def intrinsics(self, camera: str, width: int, height: int) -> Array:
        """The camera matrix (3, 3); see `camera_matrix`."""
        return camera_matrix(self._model, camera, width, height)

    def close(self) -> None:
        """Give the OpenGL context back; safe to call twice."""
        self._free()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, states: Array, dress: Dress | None) -> Iterator[Any]:
        """The data of every state in turn, with all poses up to date."""
        if dress is not None and self._dressed is self._model:
            self._dressed = copy.copy(self._model)
        model = self._model if dress is None else self._dressed
        for row, state in enumerate(states):
            mujoco.mj_setState(model, self._data, state, _STATE)
            self._data.mocap_pos[:] = self._mocap_pos
            if dress is not None:
                dress(model, self._data, row)
            mujoco.mj_kinematics(model, self._data)
            mujoco.mj_camlight(model, self._data)
            yield self._data

    def _draw(self, states: Array, camera: str, out: Array, dress: Dress | None) -> Iterator[tuple[Array, Any]]:
        if not self._free.alive:
            raise BenchError("This renderer is closed; make a new one.")
        height, width = out.shape[1:3]
        if width > self._largest[0] or height > self._largest[1]:
            raise BenchError(
                f"A picture can be at most {self._largest[0]} x {self._largest[1]} pixels (the model's offwidth and "
                f"offheight); found {width} x {height}."
            )
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        rectangle = mujoco.MjrRect(0, 0, width, height)
        for data, image in zip(self._rows(states, dress), out, strict=True):
            model = self._model if dress is None else self._dressed
            mujoco.mjv_updateScene(
                model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
            )
            mujoco.mjr_render(rectangle, self._scene, self._context)
            yield image, rectangle

    def _metres(self, buffer: Array) -> Array:
        """Distances in metres, float32; OpenGL stores them hyperbolically between the near and the far plane."""
        near, far = (float(x) * self._model.stat.extent for x in (self._model.vis.map.znear, self._model.vis.map.zfar))
        return (near / (1.0 - buffer * (1.0 - near / far))).astype(np.float32)

    def _bodies(self) -> Array:
        """Body of each drawn geom, numbered from one; what is not a model's geom is -1."""
        bodies = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                bodies[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return bodies


def _free(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _context(width: int, height: int) -> Any:
    with _explained():
        return mujoco.GLContext(width, height)


@contextmanager
def _explained() -> Iterator[None]:
    cure = (
        "On a machine without display install libegl1 and libgl1 (apt-get install libegl1 libgl1), or install "
        "libosmesa6 and set MUJOCO_GL=osmesa; set it before Python starts."
    )
    try:
        yield
    except AttributeError as error:  # MUJOCO_GL=disabled leaves no GLContext
        raise BenchError(f"Drawing needs off-screen OpenGL, and none was found. {cure}") from error
    except (RuntimeError, ImportError) as error:
        raise BenchError(f"Drawing needs off-screen OpenGL, which did not start: {error}. {cure}") from error
