"""The same policy in the simulation and through the whole deployed loop, by how long it thinks, from the same starts.

    python benchmarks/deployed_success.py [--starts 50] [--checkpoint RUN] [--thinks 0 5 10 20] [--quick]

The bench `panda_twin` with gate, pacer and joints runs on a simulated clock, so the machine's load changes nothing and
a thinking time is exactly that. Goal of ours: up to a fifth of its period of thinking, a policy succeeds as often as in
the simulation, within what so many starts can tell apart. Without --checkpoint a regression policy is trained first,
with seeds that serve nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deployed_loop import BENCH, RUN_SEED, train

from robolearn import plugins
from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock
from robolearn.compose import Chunked
from robolearn.contracts import ChunkModel
from robolearn.episode import Outcome
from robolearn.intervals import Rate, wilson
from robolearn.rollout import EpisodeSummary, episode_seeds, rollout
from robolearn.specs import Arrays
from robolearn.trained import load_model
from robolearn.verbs.deploy import SceneVerdict


class Thinking(Chunked):
    """A policy that takes so long on the clock."""

    def __init__(self, model: ChunkModel, clock: FakeClock, seconds: float):
        super().__init__(model, 1)
        self._clock, self._seconds = clock, seconds

    def act(self, observation: Arrays) -> Arrays:
        """The action, later."""
        action = super().act(observation)
        self._clock.sleep_until(self._clock.now() + self._seconds)
        return action


def simulated(model: ChunkModel, seeds: Sequence[int]) -> Rate:
    """Success in the batched simulation."""
    env = plugins.load("env", "lift")(n=min(25, len(seeds))).build()
    try:
        return rate(rollout(env, Chunked(model, env.n), seeds=seeds))
    finally:
        env.close()


def deployed(model: ChunkModel, seeds: Sequence[int], thinks_s: float) -> Rate:
    """Success through the bench."""
    clock, file = FakeClock(10.0), read_bench(BENCH)
    done: list[EpisodeSummary] = []
    with open_bench(file, clock) as live:
        policy = Thinking(model, clock, thinks_s)
        for seed in seeds:
            verdict = SceneVerdict(live)
            done += rollout(live.env, policy, seeds=[seed], rate_hz=file.task.rate_hz, clock=clock, observers=[verdict])
            live.stop()
            live.gate.clear("benchmark")
    return rate(done)


def rate(done: Sequence[EpisodeSummary]) -> Rate:
    """Their success with its interval."""
    return wilson(sum(one.outcome is Outcome.SUCCESS for one in done), len(done))


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=50)
    parser.add_argument("--thinks", type=float, nargs="+", default=[0.0, 5.0, 10.0, 20.0], help="ms")
    parser.add_argument("--checkpoint", default="", help="a trained policy for lift")
    parser.add_argument("--quick", action="store_true", help="five starts, no thinking; judges nothing")
    chosen = parser.parse_args()
    starts, thinks = (5, [0.0]) if chosen.quick else (chosen.starts, chosen.thinks)
    seeds = episode_seeds(starts, RUN_SEED)
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_model(Path(chosen.checkpoint) if chosen.checkpoint else train(Path(folder)), threads=1)
    wanted = simulated(model, seeds)
    print(f"in the simulation: {wanted}", flush=True)
    missed = 0
    for thinks_ms in thinks:
        found = deployed(model, seeds, 1e-3 * thinks_ms)
        judged = thinks_ms <= 10.0
        held = found.high >= wanted.value
        missed += judged and not held
        verdict = f" (goal: not below it: {'held' if held else 'MISSED'})" if judged else ""
        print(f"on the bench, thinking {thinks_ms:g} ms: {found}{verdict}", flush=True)
    sys.exit(1 if missed and not chosen.quick else 0)


if __name__ == "__main__":
    main()
