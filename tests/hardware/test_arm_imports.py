"""Arm modules on a laptop with nothing plugged in and nothing installed, the Franka driver, and the `twin` verb."""

import io
import subprocess
import sys

import numpy as np
import pytest

from hardware.franka import FrankaConfig
from hardware.rtde_twin import UrTwinConfig
from hardware.twin_process import ROOT, TwinProcess, obey
from robolearn.errors import BenchError, UnknownName
from robolearn.verbs.twin import converse

MODULES = ("ur", "xarm", "franka", "robotiq", "rtde_twin", "xarm_twin", "robotiq_twin", "twin_process", "kinematic_arm")
BARE = f"""
import sys
for package in ("rtde_control", "rtde_receive", "xarm", "pylibfranka", "torch", "mujoco", "sim", "teleop", "policies"):
    sys.modules[package] = None
import importlib
for name in {MODULES!r}:
    importlib.import_module("hardware." + name)
from robolearn.errors import MissingDependency
for module, config in (("ur", "URConfig"), ("xarm", "XArmConfig"), ("franka", "FrankaConfig")):
    try:
        getattr(importlib.import_module("hardware." + module), config)().build()
    except MissingDependency as error:
        assert ".[hardware]" in str(error), error
    else:
        raise AssertionError(module)
"""


def test_everything_imports_without_vendor_packages_and_says_what_is_missing():
    subprocess.run([sys.executable, "-c", BARE], check=True, cwd=ROOT, timeout=60)


def test_franka_specs_and_refused_connection():
    pytest.importorskip("pylibfranka", reason="pylibfranka is not installed: the Franka driver stays untested")
    robot = FrankaConfig("127.0.0.1").build()
    assert robot.action_spec["arm.q_target"].shape == (7,)
    robot.stop()
    with pytest.raises(BenchError, match="not connected"):
        robot.write({"arm.q_target": np.zeros(7)})
    with pytest.raises(BenchError, match="cannot be controlled"):
        robot.__enter__()


def test_lines_typed_into_the_terminal_play_the_person(capsys):
    twin = UrTwinConfig().build()
    converse(twin, io.StringIO("protective_stop\n\nspeed_slider\nprotectiv_stop\nstate\n"))
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "null"
    assert "cannot take" in out[1]
    assert "Did you mean 'protective_stop'" in out[2]
    assert '"safety": "PROTECTIVE_STOP"' in out[3]


def test_unknown_commands_and_twins_are_named():
    assert obey({"a": lambda: 1}, "help") == ["a"]
    with pytest.raises(UnknownName, match="command of the twin"):
        obey({"a": lambda: 1}, "b")
    with pytest.raises(UnknownName, match="Valid names: robotiq, ur, xarm"):
        TwinProcess("kuka")
