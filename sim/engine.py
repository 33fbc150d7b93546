"""The one place where MuJoCo is imported.

MuJoCo picks its off-screen OpenGL when it is first imported, so the choice must be made before: EGL where there
is no display, which draws on a GPU or in software. When the library is missing, MuJoCo still simulates; only
drawing says what to install (`sim.render`). Everything in `sim` writes `from sim.engine import mujoco`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, TypeAlias

from robolearn.errors import MissingDependency

__all__ = ["MjModel", "MjSpec", "mujoco", "rollout"]


def _load() -> Any:
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
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
