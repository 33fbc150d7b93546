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

RENDER = (
    'import mujoco, numpy; m = mujoco.MjModel.from_xml_string(\'<mujoco><worldbody><light pos="0 0 3"/>'
    '<geom size=".1"/></worldbody></mujoco>\'); d = mujoco.MjData(m); mujoco.mj_forward(m, d); '
    "r = mujoco.Renderer(m, 32, 32); r.update_scene(d); p = r.render(); r.close(); assert p.max() > p.min()"
)


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
    """Try each off-screen backend in a process of its own: a failing one can take its process down."""
    worked: list[str] = []
    for backend in ("egl", "osmesa"):
        environment = os.environ | {"MUJOCO_GL": backend}
        result = subprocess.run([sys.executable, "-c", RENDER], env=environment, capture_output=True, check=False)
        if result.returncode == 0:
            worked.append(backend)
    if not worked:
        return Finding("rendering", "note", "no off-screen backend works; on Debian: apt install libegl1 libgl1")
    chosen = os.environ.get("MUJOCO_GL", worked[0])
    return Finding("rendering", "ok", f"{', '.join(worked)} work off screen; using {chosen} (set MUJOCO_GL to change)")


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
