"""Learned pourers on a bench: the deployment's own loop, the safety gate, and the MuJoCo twin of a Panda.

robolearn run launch/watched_on_bench.py --study runs/watching_pouring [--starts 10] [--real-time]

Takes the policies that `launch/visual_irl.py --tasks pouring` has learned. Without --real-time the clock is a simulated
one, so that a busy computer is not what is measured; the gate checks the same ages, speeds and distances by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.data.store import Store
from robolearn.errors import ArtefactError, SafetyFault
from robolearn.intervals import wilson
from robolearn.keypoints.judging import policy_of
from robolearn.keypoints.onions import fit_arm
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds
from robolearn.stages.reward import load_actor
from robolearn.verbs.deploy import run
from sim.watched import judge_pouring, watched_pourer

BENCH_SEED = 20261127
"""Of the starts; nothing was tuned on them."""


@dataclass(frozen=True)
class OnBench:
    """Pour behind the gate with every policy that a study has learned."""

    study: Path = Path("runs/watching_pouring")
    """Folder of the study."""
    bench: Path = Path("launch/benches/panda_pour_twin.toml")
    """The bench."""
    starts: int = 10
    """Episodes of each policy."""
    real_time: bool = False
    """By the computer's clock, with a free core."""


def pour(chosen: OnBench, folder: Path, seed: int, starts: Sequence[int]) -> tuple[list[bool], list[str]]:
    """Whether each episode poured well, and the faults that the gate latched."""
    file = read_bench(chosen.bench)
    with Store.open(chosen.study / "pourers" / "store") as store:
        fit = fit_arm([store[id].observations["person.points"] for id in store.ids()])
    actor = load_actor(folder)
    wins: list[bool] = []
    faults: list[str] = []
    for start in starts:
        memory, clock = Memory(), MonotonicClock() if chosen.real_time else FakeClock(50.0)
        with open_bench(file, clock, paced=chosen.real_time) as live:
            policy = watched_pourer(live.env, file.task.robot, policy_of(actor, seed), fit)
            try:
                run(live, policy, [start], clock, [memory])
            except SafetyFault as fault:
                faults.append(str(fault))
        wins.append(start in memory.episodes and bool(judge_pouring(memory.episodes[start])["wins"]))
    return wins, faults


def main(chosen: OnBench) -> None:
    """Run all policies and print how often they poured well."""
    torch.set_num_threads(1)
    folders = sorted((chosen.study / "pouring" / "rewards").glob("airl_state_*"))
    if not folders:
        raise ArtefactError(
            f"Expected learned pourers in {chosen.study / 'pouring' / 'rewards'}; found none. Learn some: "
            f"robolearn run launch/visual_irl.py --tasks pouring --out {chosen.study}"
        )
    every: list[bool] = []
    for folder in folders:
        seed = int(folder.name.rsplit("_", 1)[1])
        wins, faults = pour(chosen, folder, seed, episode_seeds(chosen.starts, BENCH_SEED + seed))
        every += wins
        print(f"{folder.name}: {sum(wins)} of {len(wins)}; faults: {'; '.join(faults) or 'none'}", flush=True)
    print(f"All: {wilson(sum(every), len(every))}")


if __name__ == "__main__":
    main(tyro.cli(OnBench, description=OnBench.__doc__))
