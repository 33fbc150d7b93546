"""How late the control loops are with and without recording, in interleaved pairs.

Run: python benchmarks/pacing.py [--quick]. A bench of one: the MuJoCo UR5e with its gate (all limits, distances to
itself and the table), a pacer writing 125 set points a second in its thread, a synthetic 640x480 camera at 30 Hz, and
the loop at 30 Hz. Each pair is one block without and one with a live recording (pictures encoded, synced each 100 ms)
in alternating order. Printed: the median over pairs of the ratio of the 99th percentiles of lateness (goal: at most
2.0), and what share of deadlines was missed. Wall time: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hardware.synthetic_camera import SyntheticCameraConfig
from robolearn.bench.env import BenchEnv
from robolearn.bench.pace import Pacer
from robolearn.clock import MonotonicClock, Rate
from robolearn.contracts import Observer
from robolearn.data.store import Store
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import Arrays
from robolearn.task import Task
from sim.clearance import ClearanceConfig
from sim.devices import TwinRobotConfig
from sim.robots import UR5E
from sim.twin_world import TwinWorldConfig

ROBOT_HZ, LOOP_HZ = 125.0, 30.0
RATIO = 2.0
LIMITS = Limits(
    {"arm.q_target": 1.0, "gripper.command": 5.0},
    {"arm.q_target": "arm.q"},
    acceleration={"arm.q_target": 8.0},
    jerk={"arm.q_target": 500.0},
    workspace_low=(0.2, -0.5, 0.0),
    workspace_high=(0.7, 0.5, 0.7),
    clearance_m=0.02,
    ramp_s=0.5,
    jump=50.0,
)


class Wave:
    """Moves two joints smoothly and measures how late the loop comes to it."""

    def __init__(self, env: BenchEnv, clock: MonotonicClock):
        self.action_spec, self.observation_spec = env.action_spec, {}
        self._clock, self.late = clock, []
        self._rate = Rate(LOOP_HZ, clock)

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        """Start the wave and the deadlines over."""
        self._began, self._k = self._clock.now(), 0

    def act(self, observation: Arrays) -> dict[str, np.ndarray]:
        """The next target."""
        now = self._clock.now()
        self._first = now if self._k == 0 else self._first
        self.late.append(max(0.0, now - self._first - self._k / LOOP_HZ))
        self._k += 1
        q = np.array(UR5E.home)
        q[[0, 5]] += 0.2 * np.sin(1.2 * (now - self._first))
        return {"arm.q_target": q[None], "gripper.command": np.zeros((1, 1))}


def block(seconds: float, folder: Path | None) -> tuple[float, float, float, float]:
    """99th percentiles of lateness in s of pacer and loop, and the shares of missed deadlines."""
    clock = MonotonicClock()
    robot = TwinRobotConfig(world=TwinWorldConfig("reach", "ur5e", exact=True)).build(clock)
    gate = SafeRobot(robot, LIMITS, clock, body=ClearanceConfig("ur5e").build())
    camera = SyntheticCameraConfig(name="wrist", width=640, height=480).build(clock)
    observers: list[Observer] = []
    with ExitStack() as stack:
        if folder is not None:
            store = stack.enter_context(Store.open_or_create(folder))
            observers = [stack.enter_context(Recorder(store, clock=clock, longest_s=seconds + 5))]
        pacer = stack.enter_context(Pacer(gate, ROBOT_HZ, clock))
        task = Task("wave", "wave", LOOP_HZ, int(seconds * LOOP_HZ))
        env = BenchEnv(gate, [camera], task, clock, pacer=pacer)
        policy = Wave(env, clock)
        clock.sleep_until(clock.now() + 0.2)  # the camera's first picture
        rollout(env, policy, seeds=[0], rate_hz=LOOP_HZ, clock=clock, observers=observers)
        late = pacer.lateness()
    assert not gate.fault, gate.fault
    loop = np.array(policy.late)
    return late.p99_s, float(np.percentile(loop, 99)), late.overruns / late.ticks, float((loop > 1 / LOOP_HZ).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 pairs of 2 s instead of 12 of 6 s")
    quick = parser.parse_args().quick
    pairs, seconds = (2, 2.0) if quick else (12, 6.0)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {pairs} pairs of {seconds:.0f} s blocks")
    bare, recording = [], []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(pairs):
            for with_recorder in (False, True) if k % 2 == 0 else (True, False):
                found = block(seconds, Path(folder) / "store" if with_recorder else None)
                (recording if with_recorder else bare).append(found)
    off, on = np.array(bare), np.array(recording)
    missed = 0
    for column, name in enumerate((f"pacer at {ROBOT_HZ:.0f} Hz", f"loop at {LOOP_HZ:.0f} Hz")):
        ratios = on[:, column] / np.maximum(off[:, column], 1e-6)
        held = np.median(ratios) <= RATIO
        missed += not held
        print(
            f"{name}: p99 lateness {1e3 * np.median(off[:, column]):.2f} ms bare, {1e3 * np.median(on[:, column]):.2f} "
            f"ms recording; median ratio {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}; "
            f"allowed {RATIO}: {'held' if held else 'MISSED'}); late by a period "
            f"{100 * off[:, column + 2].mean():.2f} % bare, {100 * on[:, column + 2].mean():.2f} % recording"
        )
    sys.exit(1 if missed and not quick else 0)


if __name__ == "__main__":
    main()
