"""Learned pourers and sorters on a bench: the deployment's own loop, the safety gate, and a MuJoCo twin of the arm.

robolearn run launch/watched_on_bench.py --study runs/visual_irl [--tasks pouring onions] [--starts 10] [--real-time]

Takes the policies that `launch/visual_irl.py` has learned. Without --real-time the clock is a simulated one, so that a
busy computer is not what is measured; the gate checks the same ages, speeds and distances by it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.contracts import Env, Policy
from robolearn.data.store import Store
from robolearn.episode import Episode
from robolearn.errors import ArtefactError, SafetyFault
from robolearn.intervals import wilson
from robolearn.keypoints.deeds import Decide
from robolearn.keypoints.judging import policy_of
from robolearn.keypoints.onions import fit_arm
from robolearn.keypoints.postures import people_points
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds
from robolearn.specs import Array
from robolearn.stages.reward import load_actor
from robolearn.verbs.deploy import run
from sim.watched import judge_pouring, judge_sorting, watched_pourer, watched_sorter

BENCH_SEED = 20261129
"""Of the starts; nothing was tuned on them."""


@dataclass(frozen=True)
class Work:
    """One task that people were watched at.

    Attributes:
        bench: Where it is done.
        rewards: Folder of what was learned, in the study's.
        points: Of the people who were watched (`onions.fit_arm`).
        policy: Makes a policy of the rows, the robot, what was learned and the person's arm.
        judge: Whether an episode "wins".
    """

    bench: str
    rewards: str
    points: Callable[["OnBench"], list[Array]]
    policy: Callable[[Env, str, Decide, Array], Policy]
    judge: Callable[[Episode], dict[str, Any]]


@dataclass(frozen=True)
class OnBench:
    """Pour and sort behind the gate with every policy that a study has learned."""

    study: Path = Path("runs/visual_irl")
    """Folder of the study."""
    recordings: Path = Path("../shared/data/onion_human")
    """Recordings of people who sorted."""
    tasks: tuple[Literal["pouring", "onions"], ...] = ("pouring", "onions")
    """What is done."""
    benches: Path = Path("launch/benches")
    """Folder of the bench files."""
    starts: int = 10
    """Episodes of each policy."""
    real_time: bool = False
    """By the computer's clock, with a free core."""


def pourers(chosen: OnBench) -> list[Array]:
    """Points of the simulated person."""
    with Store.open(chosen.study / "pourers" / "store") as store:
        return [store[id].observations["person.points"] for id in store.ids()]


def sorters(chosen: OnBench) -> list[Array]:
    """Points of the people of the recordings."""
    return people_points(chosen.recordings, factor=1)[0]


WORK = {
    "pouring": Work("panda_pour_twin", "pouring/rewards", pourers, watched_pourer, judge_pouring),
    "onions": Work("sawyer_sort_twin", "rewards", sorters, watched_sorter, judge_sorting),
}


def work(chosen: OnBench, what: Work, folder: Path, starts: Sequence[int]) -> tuple[list[bool], list[str]]:
    """Whether each episode went well, and the faults that the gate latched."""
    file = read_bench(chosen.benches / f"{what.bench}.toml")
    fit, actor = fit_arm(what.points(chosen)), load_actor(folder)
    wins: list[bool] = []
    faults: list[str] = []
    for start in starts:
        memory, clock = Memory(), MonotonicClock() if chosen.real_time else FakeClock(50.0)
        with open_bench(file, clock, paced=chosen.real_time) as live:
            policy = what.policy(live.env, file.task.robot, policy_of(actor, start), fit)  # luck of its own
            try:
                run(live, policy, [start], clock, [memory])
            except SafetyFault as fault:
                faults.append(str(fault))
        wins.append(start in memory.episodes and bool(what.judge(memory.episodes[start])["wins"]))
    return wins, faults


def main(chosen: OnBench) -> None:
    """Run all policies of every task and print how often they did well."""
    torch.set_num_threads(1)
    for task in chosen.tasks:
        what = WORK[task]
        folders = sorted((chosen.study / what.rewards).glob("airl_state_10_*"))
        if not folders:
            raise ArtefactError(
                f"Expected what was learned of {task} in {chosen.study / what.rewards}; found nothing. Learn it: "
                f"robolearn run launch/visual_irl.py --tasks {task} --out {chosen.study}"
            )
        every: list[bool] = []
        for folder in folders:
            wins, faults = work(chosen, what, folder, episode_seeds(chosen.starts, BENCH_SEED + _seed(folder)))
            every += wins
            print(
                f"{task} {folder.name}: {sum(wins)} of {len(wins)}; faults: {'; '.join(faults) or 'none'}", flush=True
            )
        print(f"All of {task}: {wilson(sum(every), len(every))}", flush=True)


def _seed(folder: Path) -> int:
    return int(folder.name.rsplit("_", 1)[1])


if __name__ == "__main__":
    main(tyro.cli(OnBench, description=OnBench.__doc__))
