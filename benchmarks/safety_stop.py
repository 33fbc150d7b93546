"""From a fault to rest, for every fault of the safety envelope, against its bound.

Run: python benchmarks/safety_stop.py [--quick]. The gate stands before the MuJoCo UR5e on a simulated clock
(tests/safety/rig.py), commanded 125 times a second while its last joint turns at the speed limit of 1 rad/s. "Slows"
is from the fault to the first command that is slower, "at rest" to the last moment that any joint of the simulated arm
moves faster than 0.02 rad/s. On a simulated clock the figures are exact: they are the logic and the physics, without
the machine's own lateness (benchmarks/pacing.py). Faults that come between two commands are tried at several phases;
the worst is printed.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robolearn.errors import BenchError

RIG = Path(__file__).resolve().parents[1] / "tests" / "safety" / "rig.py"


class Fault(NamedTuple):
    """One row: what to do, and what must follow.

    Attributes:
        inject: Does it to the bench and returns how ticks go on: options of `Bench.tick`.
        slows_s: Commands must be slower after at most this long.
        rests_s: The arm must be at rest after at most this long.
        any_time: Whether it can come between two commands; a bad command comes when a command comes.
    """

    inject: Callable[[Any], dict[str, Any]]
    slows_s: float
    rests_s: float
    any_time: bool = True


class Stop(NamedTuple):
    """What was measured, in s."""

    slows_s: float
    rests_s: float


def _bad(value: float, joint: int = 5) -> Callable[[Any], dict[str, Any]]:
    def inject(bench: Any) -> dict[str, Any]:
        command = bench.target.copy()
        command[joint] = command[joint] + value
        bench.fail("bad")
        bench.tick(command)
        return {}

    return inject


def _wrong_shape(bench: Any) -> dict[str, Any]:
    bench.fail("bad")
    bench.tick(np.zeros(7))
    return {}


def _set(**values: Any) -> Callable[[Any], dict[str, Any]]:
    def inject(bench: Any) -> dict[str, Any]:
        for name, value in values.items():
            setattr(bench, name, value)
        return {}

    return inject


def _freeze(bench: Any) -> dict[str, Any]:
    bench.witness.frozen = bench.witness.robot.read()
    return {}


def _raise(bench: Any) -> dict[str, Any]:
    def write(action: Any) -> Any:
        raise BenchError("the cable is out")

    bench.witness.write = write
    bench.fail("driver")
    return {}


def _old(bench: Any) -> dict[str, Any]:
    return {"made": bench.clock.now()}  # every later command answers this observation


def _nothing(bench: Any) -> dict[str, Any]:
    return {"command": None}


def _killed(bench: Any) -> dict[str, Any]:
    return {"killed": True}


DT, OPERATOR, CAMERA, STATE, DECISION = 0.008, 0.2, 0.2, 0.05, 0.3
REST = 0.4
"""Braking at 6 rad/s^2 from 1 rad/s takes 0.17 s; the rest is the servos' lag of 0.05 s and what they ring."""
FAULTS = {
    "NaN in a command": Fault(_bad(np.nan), DT, REST, False),
    "infinity in a command": Fault(_bad(np.inf), DT, REST, False),
    "command of the wrong shape": Fault(_wrong_shape, DT, REST, False),
    "jump of 1 rad in one period": Fault(_bad(1.0, 4), DT, REST, False),
    "enabling switch released": Fault(_set(pressed=False), 2 * DT, REST),
    "operator gone, switch pressed": Fault(_set(beats=False), OPERATOR + 2 * DT, 0.5),
    "camera frozen": Fault(_set(camera=False), CAMERA + 2 * DT, 0.5),
    "measured state frozen": Fault(_freeze, STATE + 2 * DT, 0.5),
    "policy server hangs": Fault(_old, DECISION + 2 * DT, 0.7),
    "policy sends nothing": Fault(_nothing, 2 * DT, REST),
    "emergency stop": Fault(lambda bench: bench.emergency_stop("adversary") or {}, 2 * DT, REST),
    "driver raises": Fault(_raise, 2 * DT, REST),
    "control process killed": Fault(_killed, 2 * DT, 0.25),
}


def measure(rig: Any, fault: Fault, phase_s: float = 0.0) -> Stop:
    """Inject one fault at full speed and watch the arm until it rests."""
    bench = rig["Bench"]()
    bench.engage()
    goal = rig["HOME"].copy()
    goal[5] -= 0.38
    bench.go(goal, 90, 1.0)
    for _ in range(12):
        bench.tick()
    goal[5] += 0.76
    bench.go(goal, 30, 1.0)
    before = float(np.abs(bench.witness.v).max())
    assert before > 0.9, "it moves at full speed"
    began = bench.clock.now()
    bench.clock.advance(phase_s)
    options = fault.inject(bench)
    killed = options.pop("killed", False)
    slows, rests = (DT, np.inf) if killed else (np.inf, np.inf)  # nothing is commanded any more
    for _ in range(int(1.2 / DT)):
        if bench.clock.now() > began + phase_s:
            now = bench.clock.now() - began
            if float(np.abs(bench.witness.v).max()) < 0.98 * before:
                slows = min(slows, now)
            rig["Bench"].world.advance()
            dq = np.abs(rig["Bench"].world.data.qvel[bench.witness.robot._speeds]).max()
            rests = np.inf if dq > 0.02 else min(rests, now)
        if killed:
            bench.clock.advance(DT)
        else:
            bench.go(goal, 1, 1.0, **options)
    return Stop(slows, rests)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one phase per fault instead of four")
    phases = [0.0] if parser.parse_args().quick else [0.0, 0.002, 0.004, 0.006]
    rig = runpy.run_path(str(RIG), run_name="rig")
    missed = 0
    print(f"{'fault':32} {'slows':>8} {'bound':>8} {'at rest':>8} {'bound':>8}   (ms)")
    for name, fault in FAULTS.items():
        stops = [measure(rig, fault, phase) for phase in (phases if fault.any_time else phases[:1])]
        slows, rests = max(s.slows_s for s in stops), max(s.rests_s for s in stops)
        held = slows <= fault.slows_s + 1e-9 and rests <= fault.rests_s
        missed += not held
        print(
            f"{name:32} {1e3 * slows:8.0f} {1e3 * fault.slows_s:8.0f} {1e3 * rests:8.0f} {1e3 * fault.rests_s:8.0f}"
            f"   {'held' if held else 'MISSED'}"
        )
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} faults within their bounds")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
