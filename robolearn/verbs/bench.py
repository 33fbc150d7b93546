"""`robolearn bench check <file>`: would this bench arm, and do its devices answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.cli import parse, say
from robolearn.clock import MonotonicClock
from robolearn.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class Check:
    """Check a bench file. The exit code is 0 when the bench would arm."""

    file: tyro.conf.Positional[Path]
    """The bench file."""
    connect: bool = False
    """Also connect the devices and read each of them once. Nothing moves."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say("usage: robolearn bench check <file> [--connect]")
        return 0
    if arguments[0] != "check":
        raise UnknownName("step of robolearn bench", arguments[0], ["check"])
    chosen: Check = parse(Check, arguments[1:], prog="robolearn bench check")
    file = read_bench(chosen.file)
    task = file.task
    longest_s = task.horizon / task.rate_hz
    say(f"{file.name}: {task.name} at {task.rate_hz:g} Hz, at most {longest_s:g} s; every key is known.")
    for name, camera in file.cameras.items():
        known = camera.calibration.hash if camera.calibration else "none"
        say(f"  {name}: {type(camera.config).__name__}, calibration {known}")
    if not chosen.connect:
        say("The file is in order. With --connect the devices are asked, too.")
        return 0
    clock = MonotonicClock()
    with open_bench(file, clock) as bench:
        bench.env.reset([0], [0])
        reading = bench.env.observe()
        for name, spec in bench.env.observation_spec.items():
            value = reading.arrays[name][0]
            shown = f"{spec.shape} {spec.dtype}" if spec.is_image else f"{np.round(value, 3)} {spec.unit}"
            say(f"  {name}: {shown}")
        for name, pose in file.limits.start.items():
            far = np.abs(reading.arrays[name][0] - np.asarray(pose)).max()
            allowed = file.limits.start_tolerance or 0.0
            say(f"  {name} is {far:.3f} from the start pose ({'ok' if far <= allowed else 'too far'}: {allowed:g})")
    say("All devices answer.")
    return 0
