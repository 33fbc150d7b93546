import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def rig():
    pytest.importorskip("mujoco", reason="mujoco is not installed: the safety envelope stays untested on the twin")
    path = Path(__file__).with_name("rig.py")
    return SimpleNamespace(**runpy.run_path(str(path), run_name="rig"))
