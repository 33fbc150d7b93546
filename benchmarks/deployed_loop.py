"""A one-step policy through the whole deployed loop, on the MuJoCo Panda in real time, for minutes.

    python benchmarks/deployed_loop.py [--minutes 10] [--hz 100] [--quick] [--checkpoint RUN]

Bench file, motion capture, policy, step to joints, gate, driver, physics: everything that `robolearn deploy` runs. An
examiner that shares no code with the gate looks at every set point that reaches the driver and at every measurement:
ranges, speeds and accelerations of set points, workspace, distance to itself and the table, MuJoCo's warning counters,
growing time, finite numbers, no motion while the gate holds. Without --checkpoint a regression policy (one network
call per decision) is trained first on fifty scripted demonstrations, with seeds that serve nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from robolearn import plugins
from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import MonotonicClock
from robolearn.compose import Chunked
from robolearn.episode import Outcome
from robolearn.errors import RobolearnError
from robolearn.rollout import episode_seeds, rollout
from robolearn.trained import load_model
from robolearn.verbs.deploy import SceneVerdict, warm_up

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "launch" / "benches" / "panda_twin.toml"
TRAINING_SEED, RUN_SEED = 7_300_000, 7_400_000


def train(folder: Path) -> Path:
    """A one-step policy from scripted demonstrations; about a minute."""
    from robolearn.data.store import Store
    from robolearn.stages.imitation import Imitation
    from robolearn.verbs.record import record

    env = plugins.load("env", "lift")(n=25).build()
    with Store.create(folder / "store", durable=False) as store:
        record(store, env, plugins.load("expert", "lift")().build(env), 50, TRAINING_SEED, operator="expert")
    env.close()
    config = plugins.to_dict("policy", plugins.load("policy", "regression")())
    return Imitation(store=str(folder / "store"), policy=config, train={"steps": 1000}).run(folder / "run")


class Examiner:
    """Watches the driver and the world; an observer of the loop, and a wrapper of the driver's `write`."""

    def __init__(self, live, robot):
        self.live, self.robot, self.clock = live, robot, MonotonicClock()
        self.broken: dict[str, int] = {}
        self.ticks, self.set_points, self.late = 0, 0, []
        self._write, robot.write = robot.write, self._examined
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None
        self._tick: float | None = None
        self._time = -np.inf
        limits, spec = live.file.limits, robot.action_spec["arm.q_target"]
        self._low, self._high = limits.positions("arm.q_target", {"arm.q_target": spec})
        self._speed = np.broadcast_to(np.asarray(limits.rate["arm.q_target"], float), spec.shape)
        self._acceleration = float(limits.acceleration["arm.q_target"])
        self._body = live.file.body.build()

    def require(self, holds: bool, what: str) -> None:
        """Count what does not hold; written so that NaN does not hold."""
        if not holds:
            self.broken[what] = self.broken.get(what, 0) + 1

    def _examined(self, action):
        sent = self._write(action)
        now, q = self.clock.now(), np.array(sent["arm.q_target"])
        self.set_points += 1
        self.require(bool(np.all(np.isfinite(q))), "a set point is not finite")
        self.require(bool(np.all((q >= self._low - 1e-6) & (q <= self._high + 1e-6))), "a set point is out of range")
        if self._last is not None and now - self._last[0] < 0.1:
            dt = max(now - self._last[0], 1e-4)
            # The gate measures time a little earlier in each period than this does: 3 ms of room.
            room = (dt + 0.003) / dt
            speed = (q - self._last[1]) / dt
            self.require(bool(np.all(np.abs(speed) <= self._speed * room + 1e-6)), "set points are too fast")
            if self.live.gate.fault:  # it may brake, nothing else
                braked = np.all(np.abs(speed) <= np.abs(self._last[2]) * room + 1e-3)
                self.require(bool(braked), "a set point sped up during a fault")
            self._last = (now, q, speed)
        else:
            self._last = (now, q, np.zeros_like(q))
        return sent

    def begin(self, env, rows, seeds):
        self._last, self._tick, self._time = None, None, -np.inf

    def step(self, tick):
        now = self.clock.now()
        self.ticks += 1
        if self._tick is not None:
            self.late.append(now - self._tick)
        self._tick = now
        seen = tick.reading.arrays
        for name, value in seen.items():
            self.require(bool(np.all(np.isfinite(value))), f"{name} is not finite")
        time = float(tick.reading.time[0])
        self.require(time > self._time, "time did not grow")
        self._time = time
        world, limits = self.live.world, self.live.file.limits
        with world.lock:
            self.require(not world.data.warning.number.any(), "MuJoCo has warned")
        q, dq = seen["arm.q"][0], seen["arm.dq"][0]
        self.require(bool(np.all(np.abs(dq) <= 1.15 * self._speed + 0.05)), "the arm is too fast")
        tool = seen["tool.position"][0]
        inside = (tool >= np.array(limits.workspace_low) - 0.005) & (tool <= np.array(limits.workspace_high) + 0.005)
        self.require(bool(np.all(inside)), "the tool is outside its workspace")
        if self.ticks % 5 == 0:
            self.require(self._body.clearance(q) >= limits.clearance_m - 0.005, "the arm is too near to something")

    def end(self, rows, outcomes, reading):
        pass


def main() -> None:
    """Run, examine, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hz", type=float, default=100.0, help="decisions per second")
    parser.add_argument("--quick", action="store_true", help="a quarter of a minute")
    parser.add_argument("--checkpoint", default="", help="a trained one-step policy for lift")
    chosen = parser.parse_args()
    minutes = 0.25 if chosen.quick else chosen.minutes
    clock = MonotonicClock()
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_model(Path(chosen.checkpoint) if chosen.checkpoint else train(Path(folder)), threads=1)
    if model.chunk != 1:
        raise SystemExit(f"Expected a policy that decides every step (chunk 1); this one plays {model.chunk}.")
    file = read_bench(BENCH)
    task = dataclasses.replace(file.task, rate_hz=chosen.hz, horizon=round(5 * chosen.hz))
    file = dataclasses.replace(file, task=task, robot_hz=0.0)
    outcomes: list[Outcome] = []
    faults: list[str] = []
    with open_bench(file, clock) as live:
        examiner = Examiner(live, live.gate._robot)
        policy = Chunked(model, 1)
        seeds = (episode_seeds(1, RUN_SEED + k)[0] for k in itertools.count())
        warm_up(live.env, policy, next(seeds))
        began, until = clock.now(), clock.now() + 60 * minutes
        running, used = 0.0, time.process_time()
        while clock.now() < until:
            start = clock.now()
            try:
                (one,) = rollout(
                    live.env,
                    policy,
                    seeds=[next(seeds)],
                    rate_hz=chosen.hz,
                    clock=clock,
                    observers=[SceneVerdict(live), examiner],
                )
                outcomes.append(one.outcome)
            except RobolearnError as error:
                faults.append(str(error))
            running += clock.now() - start
            live.stop()
            if live.gate.fault:
                faults.append(live.gate.fault)
                live.gate.clear("benchmark")
    took, cpu = clock.now() - began, (time.process_time() - used) / (clock.now() - began)
    gaps = np.array(examiner.late)
    period, reached = 1.0 / chosen.hz, examiner.ticks / running
    held = reached >= 0.99 * chosen.hz
    p50, p99 = np.percentile(gaps, [50, 99])
    print(
        f"{took / 60:.1f} min, {len(outcomes)} episodes, {outcomes.count(Outcome.SUCCESS)} lifted the cube; "
        f"{examiner.ticks} decisions, {examiner.set_points} set points examined\n"
        f"loop {reached:.1f} Hz while running (asked {chosen.hz:g}, goal 99 % of it: {'held' if held else 'MISSED'}), "
        f"tick p50 {1e3 * p50:.2f} ms, p99 {1e3 * p99:.2f} ms, worst {1e3 * gaps.max():.1f} ms, "
        f"{100 * np.mean(gaps > 1.5 * period):.2f} % over 1.5 periods; {cpu:.2f} CPU-s per s\n"
        f"invariants broken: {examiner.broken or 'none'}; faults: {faults or 'none'} (allowed none of either: "
        f"{'MISSED' if examiner.broken or faults else 'held'})"
    )
    sys.exit(1 if examiner.broken or faults or not (held or chosen.quick) else 0)


if __name__ == "__main__":
    main()
