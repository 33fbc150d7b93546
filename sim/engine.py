"""The one place where MuJoCo is imported.

MuJoCo picks its off-screen OpenGL when it is first imported, so the choice must be made before: where there is no
display, EGL, which draws on a GPU or in software, and OSMesa where only that is installed. Without either, MuJoCo
still simulates; only drawing says what to install (`sim.render`), and `robolearn doctor` says what works. Everything
in `sim` writes `from sim.engine import mujoco`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Any, TypeAlias

from robolearn.errors import MissingDependency

__all__ = ["MjModel", "MjSpec", "mujoco", "rollout"]


_LIBRARIES = {"libEGL.so.1": "egl", "libOSMesa.so.8": "osmesa", "libOSMesa.so.6": "osmesa"}


def _offscreen() -> str:
    """The first off-screen OpenGL whose library is installed."""
    for library, backend in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return backend
    return "disabled"


def _load() -> Any:
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", _offscreen())
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise MissingDependency("mujoco", "sim", "The simulation") from error
    except (AttributeError, ImportError, OSError):
        # Without libEGL, `import mujoco` itself fails inside PyOpenGL; simulate without drawing.
        os.environ["MUJOCO_GL"] = "disabled"
        return importlib.import_module("mujoco")


mujoco: Any = _load()
"""The `mujoco` package. `Any`, because its compiled half has no type stubs."""

rollout: Any = importlib.import_module("mujoco.rollout")
"""MuJoCo's native batch stepping."""

MjModel: TypeAlias = Any
"""`mujoco.MjModel`, for annotations."""
MjSpec: TypeAlias = Any
"""`mujoco.MjSpec`, for annotations."""
