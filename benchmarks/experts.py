"""Every task with every robot it can be done by: how often its scripted expert succeeds.

    python benchmarks/experts.py [--episodes 500] [--task NAME ...] [--robot NAME ...] [--out docs/results/experts.md]

Starts come from a seed that no training and no tuning uses. A rate below 0.95 is marked; the command then ends with
exit code 1, so that CI and people see it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from robolearn import plugins
from robolearn.episode import Outcome
from robolearn.errors import MissingDependency
from robolearn.intervals import Rate, wilson
from robolearn.rollout import EpisodeSummary, episode_seeds, rollout
from sim.config import SimConfig

SEED = 3_000_000
AIM = 0.95


def measure(task: str, robot: str, episodes: int, rows: int, threads: int) -> tuple[Rate, list[EpisodeSummary]]:
    """One cell of the table."""
    env = plugins.load("env", task)(robot=robot, n=min(rows, episodes), threads=threads).build()
    try:
        expert = plugins.load("expert", task)().build(env)
        done = rollout(env, expert, seeds=episode_seeds(episodes, SEED))
    finally:
        env.close()
    return wilson(sum(one.outcome is Outcome.SUCCESS for one in done), episodes), done


def cells(tasks: list[str] | None, robots: list[str] | None) -> Iterator[tuple[str, str]]:
    """Pairs of task and robot, of our own simulation."""
    for task in plugins.names("env"):
        try:
            config = plugins.load("env", task)
        except MissingDependency:
            continue
        if not issubclass(config, SimConfig) or (tasks and task not in tasks):
            continue
        yield from ((task, robot) for robot in config.robots if not robots or robot in robots)


def main() -> int:
    """Measure and print; the exit code says whether every expert reaches the aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500, help="starts of each pair")
    parser.add_argument("--rows", type=int, default=125, help="rows stepped together")
    parser.add_argument("--threads", type=int, default=2, help="native threads; no result depends on them")
    parser.add_argument("--task", nargs="+", help="only these tasks")
    parser.add_argument("--robot", nargs="+", help="only these robots")
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args()
    lines = [
        "| task | robot | success [95 % interval] | mean length | time-outs | minutes |",
        "|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    below: list[str] = []
    for task, robot in cells(options.task, options.robot):
        start = time.perf_counter()
        rate, done = measure(task, robot, options.episodes, options.rows, options.threads)
        steps = sum(one.steps for one in done) / len(done)
        late = sum(one.outcome is Outcome.TIMEOUT for one in done)
        mark = "" if rate.value >= AIM else " **below 0.95**"
        if mark:
            below.append(f"{task} with {robot}")
        minutes = (time.perf_counter() - start) / 60
        lines.append(f"| {task} | {robot} | {rate}{mark} | {steps:.0f} steps | {late} | {minutes:.1f} |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")
    print("Below the aim: " + ", ".join(below) if below else "Every expert reaches the aim.")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
