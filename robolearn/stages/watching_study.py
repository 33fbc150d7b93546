"""The study of learning from watching: jobs that are done once, in a folder that a stopped study goes on in.

Every job is a small stage with a manifest and a `result.json`, and knows how long it took. Learning jobs: a method, a
number of recordings and a seed each (`RewardLearning`); then, per seed of the main method, what its reward is good for:
recall under a tracker's noise, and a policy for a slower hand on the frozen reward. Evaluation layouts have a seed of
their own, which no choice was made by.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn.clock import MonotonicClock
from robolearn.data.store import Store
from robolearn.keypoints.audit import sensitivity
from robolearn.keypoints.deeds import sort
from robolearn.keypoints.judging import policy_of, reoptimise
from robolearn.keypoints.tracks import read_onions
from robolearn.keypoints.watching import recording_episode
from robolearn.runs import Manifest, code_version, run_stage, write_json
from robolearn.stages.reward import EVALUATION_SEED, RewardLearning, load_actor, load_reward

__all__ = ["NOISE_CM", "POURING", "QUICK", "LearningJob", "LearningStudy", "kept", "seconds"]

QUICK = {"rounds": 4, "rows": 8, "horizon": 30, "updates": 6, "warm_rounds": 2}
"""Fields of `AdversarialConfig` that only check the machinery."""
POURING = ({"rounds": 60}, {"clone_steps": 3000})
"""Fields of `AdversarialConfig` and `ActorConfig` for pouring: its longer chain of precise acts is harder to copy."""
NOISE_CM = (0, 2, 5, 10)
"""Standard deviations of the tracker's error, per axis of every point (claim I3)."""
ROBOT_REACH_M, HUMAN_REACH_M = 0.25, 0.75
"""Largest displacement per step of a robot's hand and of a person's (claim I9)."""


def kept(
    folder: Path, stage: str, config: Mapping[str, Any], seed: int, work: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
    """The result of a piece of work that is done once.

    Args:
        folder: Of the job; a finished one with the same facts is only read.
        stage: What kind of job it is.
        config: Everything it depends on, plain JSON values.
        seed: Of its random choices.
        work: Given the folder, returns plain JSON values.

    Raises:
        ArtefactError: The folder holds another job.
    """

    def do(out: Path, _: bool) -> None:
        clock = MonotonicClock()
        start = clock.now()
        found = dict(work(out))
        write_json(out / "result.json", found | {"seconds": clock.now() - start})

    run_stage(folder, Manifest(stage, config, {}, seed, code_version(), False), do)
    return json.loads((folder / "result.json").read_text())


def seconds(folder: Path) -> float:
    """Wall time of all finished jobs below a folder."""
    return sum(float(json.loads(p.read_text()).get("seconds", 0.0)) for p in folder.rglob("result.json"))


@dataclass(frozen=True, slots=True)
class LearningJob:
    """One reward."""

    method: str
    recordings: int
    seed: int

    def __str__(self) -> str:
        return f"{self.method}_{self.recordings}_{self.seed}"


@dataclass(frozen=True, slots=True)
class LearningStudy:
    """All rewards in a folder.

    Attributes:
        out: The folder.
        recordings: Of people (`read_onions`).
        seeds: Of learning.
        counts: How many recordings to learn from, the most first.
        methods: The main one first; the others learn from the most recordings only.
        quick: Small jobs whose numbers mean nothing.
        store: Of other recordings than these people's; it exists.
        adversarial: Fields of `AdversarialConfig` that differ from the defaults.
        actor: Fields of `ActorConfig`, likewise.
    """

    out: Path
    recordings: Path
    seeds: tuple[int, ...]
    counts: tuple[int, ...] = (10, 5, 2)
    methods: tuple[str, ...] = ("airl_state", "gail", "airl_state_action")
    quick: bool = False
    store: Path | None = None
    adversarial: Mapping[str, Any] = field(default_factory=lambda: {})
    actor: Mapping[str, Any] = field(default_factory=lambda: {})

    @property
    def layouts(self) -> int:
        """On which every policy is measured."""
        return 20 if self.quick else 200

    @property
    def jobs(self) -> list[LearningJob]:
        """The main method on all recordings first, every seed: what most claims are about."""
        main, most = self.methods[0], self.counts[0]
        pairs = [(main, n) for n in self.counts[1:]] + [(m, most) for m in self.methods[1:]]
        first = [LearningJob(main, most, seed) for seed in self.seeds]
        return first + [LearningJob(method, n, seed) for seed in self.seeds for method, n in pairs]

    @property
    def people(self) -> Path:
        """The store of recordings."""
        return self.store or self.out / "people"

    def folder(self, job: LearningJob) -> Path:
        """Where a job's reward is."""
        return self.out / "rewards" / str(job)

    def result(self, job: LearningJob) -> dict[str, Any] | None:
        """What was measured of a finished job."""
        manifest = self.folder(job) / "manifest.json"
        if not manifest.exists() or not json.loads(manifest.read_text())["finished"]:
            return None
        return json.loads((self.folder(job) / "result.json").read_text())

    @property
    def best(self) -> list[LearningJob]:
        """Finished jobs of the main method on all recordings."""
        return [job for job in self.jobs[: len(self.seeds)] if self.result(job) is not None]

    def read_people(self) -> Path:
        """Make the store of recordings, if it is not there; one that was interrupted is made anew."""
        if not self.people.exists():
            part = self.people.with_name(f"{self.people.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            with Store.create(part) as store:
                for tracks in read_onions(self.recordings):
                    store.append(recording_episode(tracks))
            part.rename(self.people)
        return self.people

    def learn(self, job: LearningJob) -> None:
        """Learn one reward and measure it, unless that is done."""
        RewardLearning(
            str(self.read_people()),
            {"method": job.method} | (QUICK if self.quick else dict(self.adversarial)),
            {"clone_steps": 60} if self.quick else dict(self.actor),
            recordings=job.recordings,
            seed=job.seed,
            layouts=self.layouts,
        ).run(self.folder(job))

    def use(self, job: LearningJob) -> dict[str, Any]:
        """Claims I3 and I9 of one seed."""
        rounds = 1 if self.quick else 25
        config = {"job": str(job), "layouts": self.layouts, "noise_cm": NOISE_CM, "rounds": rounds}
        return kept(self.out / "uses" / str(job), "reward_use", config, job.seed, lambda _: self._use(job, rounds))

    def _use(self, job: LearningJob, rounds: int) -> dict[str, Any]:
        folder, seed = self.folder(job), EVALUATION_SEED + job.seed
        noise = {
            str(cm): sort(
                policy_of(load_actor(folder), job.seed), layouts=self.layouts, seed=EVALUATION_SEED, noise_m=cm / 100
            ).recall.value
            for cm in NOISE_CM
        }
        network = load_reward(folder).network
        rows = 8 if self.quick else 48
        human = reoptimise(network, load_actor(folder), rounds=0, reach_m=HUMAN_REACH_M, seed=seed, rows=rows)[1]
        before, after = reoptimise(
            network, load_actor(folder), rounds=rounds, reach_m=ROBOT_REACH_M, seed=seed, rows=rows
        )
        return {"noise": noise, "human": human, "before": before, "after": after, "ratio": after / human}

    def assumptions(self) -> list[tuple[str, float, float, float]]:
        """What wrong assumptions do to a reward, exactly, on the table of sorting; no seed."""
        horizon, steps = (3, 50) if self.quick else (12, 800)
        config = {"table": "sorting", "horizon": horizon, "steps": steps}
        found = kept(
            self.out / "assumptions", "assumptions", config, 0, lambda _: {"rows": sensitivity(horizon, steps)}
        )
        return [(str(name), float(a), float(b), float(c)) for name, a, b, c in found["rows"]]
