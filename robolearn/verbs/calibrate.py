"""`robolearn calibrate`: a board to print, camera intrinsics, where the camera sits, and the check before work.

Each step is a stage plugin ("calibrate_<step>") that works on a folder of pictures. With `--camera` the pictures are
taken first: every few seconds, while a person moves the board or the arm; with `--robot` the measured tool pose is
written beside each of them. Nothing here ever moves an arm.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.clock import Clock, MonotonicClock
from robolearn.contracts import Camera, Robot
from robolearn.errors import BenchError, StaleReading, UnknownName

STEPS = {
    "board": "Draw the board for the printer.",
    "intrinsics": "Focal lengths, centre and distortion, from pictures of the board.",
    "handeye": "Where the camera sits, from pictures of the board and tool poses.",
    "check": "Is the board seen where the calibration says it must be?",
}
PLUGINS = {step: f"calibrate_{step}" for step in STEPS}
POSE = ("tool.position", "tool.quaternion")
"""Observations of a robot that give its tool pose."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """Where the result goes, and how pictures are taken when a camera plugin is named."""

    out: Path
    """Folder for the result."""
    camera: str = ""
    """Take the pictures now with this camera plugin; its fields follow as --camera.<field>."""
    robot: str = ""
    """Write this robot's measured tool pose beside each picture; its fields follow as --robot.<field>."""
    count: int = 20
    """How many pictures to take (1 is enough for a check)."""
    every_s: float = 2.0
    """Seconds between pictures: time to move the board or the arm and to let it rest."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say("usage: robolearn calibrate <step> --out <folder> [options]     robolearn calibrate <step> --help", "")
        say(*(f"  {step:<11} {text}" for step, text in STEPS.items()), "")
        say("Pictures come from --images <folder>, or are taken now with --camera <plugin> and --robot <plugin>.")
        return 0
    step, *rest = arguments
    if step not in STEPS:
        raise UnknownName("step of robolearn calibrate", step, STEPS)
    stage_class = plugins.load("stage", PLUGINS[step])
    chosen = _parse(stage_class, rest, f"robolearn calibrate {step}")
    values = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(stage_class)}
    if chosen.robot and not chosen.camera:
        raise BenchError(
            "--robot gives the tool pose of pictures taken now; it needs --camera too. Add it, or use --poses."
        )
    if chosen.camera:
        values["images"] = str(chosen.out / "images")
        robot: Any = chosen.robot_config.build() if chosen.robot else None
        with contextlib.ExitStack() as devices:
            camera: Any = chosen.camera_config.build()
            for device in (d for d in (camera, robot) if hasattr(d, "__exit__")):
                devices.enter_context(device)
            take(camera, robot, chosen.out / "images", chosen.count, chosen.every_s, MonotonicClock())
    stage = stage_class(**values)
    report = stage.run(chosen.out)
    say(json.loads(report.read_text())["summary"], f"Written below {chosen.out}")
    return 0


def take(camera: Camera, robot: Robot | None, folder: Path, count: int, every_s: float, clock: Clock) -> None:
    """Save pictures, and poses.csv when there is a robot.

    Args:
        camera: Connected; its "<name>.rgb" is saved as PNG.
        robot: Connected; only read.
        folder: Where to; must not hold pictures yet.
        count: How many.
        every_s: Seconds between them.
        clock: Paces and times them.

    Raises:
        BenchError: The folder is in use, the camera has no color picture or the robot no tool pose.
        StaleReading: The camera or the robot went silent.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BenchError(f"{folder} already holds files. Give another --out, or use them with --images.")
    pictures = [name for name, spec in camera.spec.items() if spec.is_image]
    if not pictures:
        raise BenchError(
            f"The camera gives no color picture; it gives {', '.join(sorted(camera.spec))}. Choose another."
        )
    if robot is not None and (missing := [name for name in POSE if name not in robot.observation_spec]):
        raise BenchError(f"The robot does not measure {', '.join(missing)}. Give --poses instead of --robot.")
    folder.mkdir(parents=True, exist_ok=True)
    cv2: Any = importlib.import_module("cv2")
    rows: list[list[str | float]] = []
    for k in range(count):
        clock.sleep_until(clock.now() + every_s)
        reading = camera.read()
        name = f"{k:03d}.png"
        if robot is not None:
            state = robot.read()
            if abs(float(state.time) - float(reading.time)) > 0.5:
                raise StaleReading(f"Picture and tool pose are {state.time - reading.time:.2f} s apart; at most 0.5 s.")
            rows.append([name, *(float(v) for part in POSE for v in state.arrays[part])])
        cv2.imwrite(str(folder / name), cv2.cvtColor(reading.arrays[pictures[0]], cv2.COLOR_RGB2BGR))
        say(f"picture {k + 1} of {count}")
    if robot is not None:
        with (folder / "poses.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "x", "y", "z", "qw", "qx", "qy", "qz"), *rows])


def _parse(stage_class: type[Any], arguments: Sequence[str], prog: str) -> Any:
    """All fields of the stage and of `Live`; `camera_config` and `robot_config` where a plugin was named."""
    named = any(a == "--camera" or a.startswith("--camera=") for a in arguments)
    parts = {"camera": "camera"} if named else {}
    if named and any(a == "--robot" or a.startswith("--robot=") for a in arguments):
        parts["robot"] = "robot"
    verb = dataclasses.make_dataclass("Calibrate", [], bases=(Live, stage_class), frozen=True, kw_only=True)
    verb.__doc__ = stage_class.__doc__
    return parse(verb, arguments, prog=prog, parts=parts)
