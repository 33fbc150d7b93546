"""Which off-screen OpenGL is chosen, and what the doctor says about it."""

import ctypes
import os
import subprocess
import sys

import pytest

from robolearn.verbs import doctor
from sim import engine

WORKS = {"egl": (500.0, "draws 500 pictures/s of 84 x 84 (llvmpipe)"), "osmesa": (200.0, "draws 200 pictures/s")}
FAILS = (0.0, "does not start (no library)")


@pytest.mark.parametrize(
    ("missing", "chosen"), [((), "egl"), (("EGL",), "osmesa"), (("EGL", "OSMesa.so.8", "OSMesa.so.6"), "disabled")]
)
def test_the_first_installed_opengl_is_chosen(monkeypatch, missing, chosen):
    def load(library):
        if any(part in library for part in missing):
            raise OSError(library)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert engine._offscreen() == chosen


def test_without_a_library_it_simulates_and_says_what_to_install_for_pictures():
    code = (
        "import ctypes, os\n"
        "real = ctypes.CDLL\n"
        "def load(name, *rest, **more):\n"
        "    if 'EGL' in str(name) or 'OSMesa' in str(name): raise OSError(name)\n"
        "    return real(name, *rest, **more)\n"
        "ctypes.CDLL = load\n"
        "from sim.tasks.lift import LiftConfig\n"
        "from robolearn.errors import BenchError\n"
        "env = LiftConfig().build()\n"
        "try: env.picture('agent', 8, 8)\n"
        "except BenchError as error: print(os.environ['MUJOCO_GL'], error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("disabled ")
    assert "apt-get install libegl1 libgl1" in done.stdout


def findings(monkeypatch, drawn, **environment):
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor, "_draw", drawn.__getitem__)
    return doctor._rendering()


def test_the_doctor_says_which_opengl_is_used_and_why(monkeypatch):
    found = findings(monkeypatch, WORKS)
    assert found.verdict == "ok"
    assert found.text.startswith("egl draws 500 pictures/s of 84 x 84 (llvmpipe); osmesa draws 200 pictures/s; egl is")
    assert findings(monkeypatch, WORKS, MUJOCO_GL="osmesa").text.endswith("osmesa is used, because MUJOCO_GL says so")
    assert "the display is used" in findings(monkeypatch, WORKS, DISPLAY=":0").text


def test_the_doctor_says_what_to_do_when_it_does_not_draw(monkeypatch):
    nothing = findings(monkeypatch, {"egl": FAILS, "osmesa": FAILS})
    assert nothing.verdict == "note"
    assert "egl does not start (no library)" in nothing.text
    assert "apt install libegl1 libgl1 (egl) or apt install libosmesa6 (osmesa)" in nothing.text
    one = {"egl": FAILS, "osmesa": WORKS["osmesa"]}
    assert "set MUJOCO_GL=osmesa" in findings(monkeypatch, one).text
    wrong = findings(monkeypatch, one, MUJOCO_GL="egl")
    assert wrong.verdict == "note"
    assert wrong.text.endswith("MUJOCO_GL=egl is set: set MUJOCO_GL=osmesa instead")
    assert findings(monkeypatch, WORKS, MUJOCO_GL="disabled").text.startswith("MUJOCO_GL=disabled is set")


def test_a_backend_is_really_tried():
    rate, text = doctor._draw("egl")
    assert rate > 0
    assert "pictures/s of 84 x 84" in text
    rate, text = doctor._draw("nonsense")
    assert rate == 0
    assert text.startswith("does not start (")
