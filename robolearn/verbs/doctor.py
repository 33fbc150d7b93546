"""`robolearn doctor`: what this machine can do, and what to install for the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.errors import ShadowedPackage

Verdict = Literal["ok", "note", "missing"]

PACKAGES = {
    "sim": ("mujoco", "robosuite", "opencv-python"),
    "train": ("torch", "diffusers", "safetensors", "tensorboard", "matplotlib"),
    "hardware": ("ur_rtde", "xarm-python-sdk", "pylibfranka"),
    "perception": ("open3d",),
    "realsense": ("pyrealsense2",),
    "remote": ("websockets", "msgpack"),
    "teleop": ("fastapi", "uvicorn", "websockets", "hidapi", "pygame", "dynamixel-sdk"),
}
NEEDED = ("sim", "train")
"""Extras without which `make demo` cannot run."""

LIBRARIES: tuple[tuple[str, str, Verdict], ...] = (
    ("cv2", "libgl1 libglib2.0-0", "missing"),
    ("pyrealsense2", "libusb-1.0-0", "note"),
)
"""Modules that need system libraries, the Debian packages of those, and what it means when they are not there."""

BACKENDS = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6"}
"""MuJoCo's off-screen OpenGLs, the better one first, and the Debian packages that bring them."""
DRAW = """
import time, mujoco
from OpenGL import GL
from sim.render import Renderer
from sim.tasks.lift import LiftConfig
env = LiftConfig(n=8).build()
with Renderer(env.model) as renderer:
    assert renderer.rgb(env.world.seen, "agent", 84, 84).std() > 1, "the pictures are empty"
    fastest = 0.0
    for _ in range(8):  # the best of eight: other programs slow some of them down
        start = time.perf_counter()
        renderer.rgb(env.world.seen, "agent", 84, 84)
        fastest = max(fastest, env.n / (time.perf_counter() - start))
    print(fastest, GL.glGetString(GL.GL_RENDERER).decode(), sep="|")
"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Check this machine. The exit code is 0 when the main job can run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    verdict: Verdict
    text: str


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    parse(Arguments, arguments, prog="robolearn doctor")
    findings = examine()
    mark = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    say(*(f"{mark[f.verdict]}  {f.topic:<12}  {f.text}" for f in findings))
    missing = [f for f in findings if f.verdict == "missing"]
    say(f"{len(missing)} things are missing for the main job." if missing else "The main job can run here.")
    return 1 if missing else 0


def examine() -> list[Finding]:
    """All checks, in order."""
    return [
        *_python(),
        *_packages(),
        *_libraries(),
        _shadowing(),
        _plugins(),
        _rendering(),
        _detector(),
        _threads(),
        _disk(Path.cwd()),
    ]


def _python() -> list[Finding]:
    found = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    return [Finding("python", "ok" if good else "missing", found if good else f"{found}; 3.11 or newer is needed")]


def _packages() -> list[Finding]:
    findings: list[Finding] = []
    for extra, packages in PACKAGES.items():
        present: list[str] = []
        absent: list[str] = []
        for package in packages:
            try:
                present.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                absent.append(package)
        if not absent:
            findings.append(Finding(extra, "ok", ", ".join(present)))
            continue
        cure = f'pip install -c constraints.txt -e ".[{extra}]"'
        verdict: Verdict = "missing" if extra in NEEDED else "note"
        findings.append(Finding(extra, verdict, f"not installed: {', '.join(absent)} (optional extra; {cure})"))
    return findings


def _libraries() -> list[Finding]:
    """Wheels that need system libraries fail only when imported, so import them in a process of its own."""
    found: list[Finding] = []
    for module, debian, verdict in LIBRARIES:
        result = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        if result.returncode == 0:
            found.append(Finding("libraries", "ok", f"{module} finds its system libraries"))
        elif "No module named" not in reason:
            found.append(Finding("libraries", verdict, f"{module}: {reason}; on Debian: apt install {debian}"))
    return found


def _shadowing() -> Finding:
    try:
        plugins.check_shadowing()
    except ShadowedPackage as error:
        return Finding("packages", "missing", str(error))
    return Finding("packages", "ok", "no foreign package stands in our place")


def _plugins() -> Finding:
    found = {kind: plugins.names(kind) for kind in plugins.GROUPS}
    if not found["env"]:
        return Finding("plugins", "missing", "none found; install the project itself (make .venv)")
    return Finding("plugins", "ok", "; ".join(f"{kind}: {', '.join(names)}" for kind, names in found.items() if names))


def _rendering() -> Finding:
    """Which off-screen OpenGLs draw here and how fast, which one is used and why, and what to do when it does not."""
    drawn = {backend: _draw(backend) for backend in BACKENDS}
    told = "; ".join(f"{backend} {text}" for backend, (_, text) in drawn.items())
    good = [backend for backend, (fast, _) in drawn.items() if fast]
    used = os.environ.get("MUJOCO_GL", "")
    if not good:
        packages = " or ".join(f"apt install {debian} ({backend})" for backend, debian in BACKENDS.items())
        return Finding("rendering", "note", f"{told}; the simulation runs, without pictures. On Debian: {packages}")
    if used and used not in BACKENDS:
        return Finding("rendering", "note", f"MUJOCO_GL={used} is set; without it: {told}")
    if used and used not in good:
        return Finding("rendering", "note", f"{told}; MUJOCO_GL={used} is set: set MUJOCO_GL={good[0]} instead")
    if used:
        return Finding("rendering", "ok", f"{told}; {used} is used, because MUJOCO_GL says so")
    if os.environ.get("DISPLAY"):
        return Finding("rendering", "ok", f"{told}; the display is used, because there is one (MUJOCO_GL changes it)")
    if "egl" in good:
        return Finding("rendering", "ok", f"{told}; egl is used, the first that starts (MUJOCO_GL changes it)")
    return Finding("rendering", "note", f"{told}; set MUJOCO_GL=osmesa, or on Debian: apt install {BACKENDS['egl']}")


def _draw(backend: str) -> tuple[float, str]:
    """Pictures per second of one backend, 0 when it does not start, and words for it.

    In a process of its own, because MuJoCo picks its OpenGL once and a failing one can take its process down.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    command, environment["MUJOCO_GL"] = [sys.executable, "-c", DRAW], backend
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        return 0.0, "does not answer within 120 s"
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode == 0 and "|" in last:
        rate, driver = last.split("|", 1)
        return float(rate), f"draws {float(rate):.0f} pictures/s of 84 x 84 ({driver})"
    reason = (done.stderr.strip().splitlines() or [f"it ends with code {done.returncode}"])[-1]
    return 0.0, f"does not start ({reason})"


def _detector() -> Finding:
    from robolearn.keypoints.blazepose import environment, installed

    if installed():
        return Finding("keypoints", "ok", f"BlazePose in {environment()}")
    return Finding("keypoints", "note", "no detector of people's joints (optional; robolearn keypoints install)")


def _threads() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = "an NVIDIA driver is installed" if shutil.which("nvidia-smi") else "no GPU: everything runs on the CPU"
    return Finding("processor", "ok", f"{cores} cores; {gpu}; training uses one thread unless told otherwise")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    return Finding("disk", "ok" if free > 5 else "note", f"{free:.0f} GB free below {folder}")
