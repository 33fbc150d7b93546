"""Growth: let the improved policy collect, keep what it did well and badly, and learn from all of it again.

Source: RL-100 (specification 1.5), steps 4 and 5 of a round: stochastic rollouts join the recordings, D' = D + D_new,
and imitation starts afresh on D', which distils what RL gained and is stable. `Growth` is one such step; `Rounds`
alternates it with `OfflineRL` for M rounds. Both outcomes are kept: critics learn from failures; imitation, by default,
copies successes only (the paper clones everything, which teaches failures too where they are not rare).

A clone of what was collected with noise can be worse than what collected it: it copies the noise too. With `trial`,
both play the same fresh starts, and the clone comes out only if it did at least as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from robolearn import plugins
from robolearn.contracts import Env
from robolearn.data.edits import merge
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import EmptyStore, SpecError
from robolearn.intervals import wilson
from robolearn.learn import checkpoint
from robolearn.observers import Progress
from robolearn.report import Section, bars, paragraph, provenance, table, write_page
from robolearn.rollout import episode_seeds
from robolearn.runs import Manifest, code_version, folder_hash, run_stage
from robolearn.stages.imitation import Imitation
from robolearn.stages.offline_rl import OfflineRL
from robolearn.stages.trial import better
from robolearn.stages.workers import Collecting, Workers, record

__all__ = ["IMITATE", "Growth", "Rounds"]

IMITATE = "imitate"
"""The split of a grown store that imitation learns from."""
COLLECTOR, CLONE = "what collected", "the clone"
"""Who plays a trial."""


@dataclass(frozen=True)
class Growth:
    """The stage: from a policy and its recordings to more recordings, and a policy cloned from them."""

    store: str
    """Folder of the recordings so far."""
    checkpoint: str
    """Folder of the policy that collects."""
    env: Mapping[str, Any]
    """Dict form of the environment's config."""
    policy: Mapping[str, Any] = field(default_factory=lambda: {})
    """Dict form of the policy to clone; {} only collects."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` that differ from its defaults."""
    episodes: int = 100
    """How many to collect, whatever their outcome."""
    explore: bool = True
    """Collect with the chain's noise; otherwise as deployed."""
    sigma_min: float = 0.05
    """Floor of that noise."""
    sigma_max: float = 0.1
    """Its ceiling."""
    imitate: Literal["successes", "all"] = "successes"
    """What imitation learns from."""
    trial: int = 0
    """Paired starts on which the clone, as deployed, must do at least as well as `checkpoint` to take its place; 0
    takes every clone."""
    trial_seed: int = 5_500_000
    """Seed of those starts; used for nothing else."""
    workers: int = 0
    """Rollout processes (needs Ray); 0 collects in this one."""
    seed: int = 6_000_000
    """Seed of the starts; used for nothing else."""

    def run(self, out: Path) -> Path:
        """Collect into `rollouts/`, merge into `store/`, clone into `imitation/`, all below `out`; resumes anywhere.

        `checkpoints/` is the policy that goes on: the clone, or `checkpoint` where a trial says so.
        """
        store = Store.open(self.store)
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {
            "store": " ".join(store.info(id).content for id in store.ids()),
            "checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path),
        }
        manifest = Manifest("growth", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder))

    def _work(self, out: Path) -> None:
        outcomes = self._collect(out)
        with Store.open_or_create(out / "store") as grown:
            merge(grown, [self.store, out / "rollouts"])
            good = grown.ids(outcome=None if self.imitate == "all" else Outcome.SUCCESS)
            if any(grown.split_of(id) != IMITATE for id in good):
                grown.split(good, IMITATE)
            total, copied = len(grown), len(good)
        if self.policy and not copied:
            raise EmptyStore(
                f"Expected a success among the {total} recordings of {out / 'store'} to clone; found none. Record "
                'better demonstrations, clone everything (imitate="all"), or only collect (policy={}).'
            )
        trial: list[Section] = []
        if self.policy:
            Imitation(str(out / "store"), self.policy, self.train, split=IMITATE).run(out / "imitation")
            players = (COLLECTOR, Path(self.checkpoint)), (CLONE, out / "imitation")
            goes_on, trial = better(out / "trial", self.env, *players, self.trial, self.trial_seed + self.seed)
            checkpoint.adopt(goes_on, out)
        rate = wilson(sum(o is Outcome.SUCCESS for o in outcomes), len(outcomes))
        rows = [
            ("collected", len(outcomes)),
            *((outcome.name.lower(), outcomes.count(outcome)) for outcome in sorted(set(outcomes))),
            ("recordings now", total),
            ("of them cloned" if self.policy else "of them to clone", copied),
        ]
        how = "with the chain's noise, to see what else works" if self.explore else "as deployed"
        sections = [
            Section("Collected", paragraph(f"The policy acted {how}.") + bars({"collecting": rate})),
            Section("Recordings", table(("what", "episodes"), rows)),
            *trial,
            Section("How this was made", provenance({"store": self.store, "checkpoint": self.checkpoint})),
        ]
        write_page(out / "report.html", "Growth", f"While collecting, {rate} succeeded.", sections)

    def _collect(self, out: Path) -> list[Outcome]:
        """Record what is missing into `rollouts/`, in this process or in workers; the outcomes of all of it."""
        job = Collecting(dict(self.env), self.checkpoint, self.explore, self.sigma_min, self.sigma_max)
        with Store.open_or_create(out / "rollouts", durable=False) as rollouts:
            there = {rollouts[id].meta.seed for id in rollouts.ids()}
            left = [seed for seed in episode_seeds(self.episodes, self.seed) if seed not in there]
            if left and self.workers:
                with Workers(job, self.workers) as workers:
                    merge(rollouts, workers.record(out / "workers", left))
            elif left:
                env: Env = plugins.from_dict("env", self.env).build()
                threads = torch.get_num_threads()
                torch.set_num_threads(1)
                try:
                    record(rollouts, env, job.model(), left, [Progress("collect", len(left))])
                finally:
                    env.close()
                    torch.set_num_threads(threads)
            return [Outcome(rollouts.info(id).outcome) for id in rollouts.ids()]


@dataclass(frozen=True)
class Rounds:
    """The stage: offline RL and growth in turn, M rounds; the last policy is the last offline one."""

    store: str
    """Folder of the recordings to begin with."""
    checkpoint: str
    """Folder of the policy to begin with."""
    env: Mapping[str, Any]
    """Dict form of the environment's config."""
    policy: Mapping[str, Any]
    """Dict form of the policy that imitation clones afresh in every round."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` for it."""
    rounds: int = 3
    """M."""
    episodes: int = 100
    """Rollouts per round."""
    offline: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `OfflineRL` that differ from its defaults."""
    growth: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `Growth` that differ from its defaults."""
    seed: int = 0
    """Of all rounds; each has seeds of its own made from it."""

    def run(self, out: Path) -> Path:
        """Run all rounds below `out`; what is finished there is not done again. `checkpoints/` is the last policy."""
        if self.rounds < 1:
            raise SpecError(f"Expected at least one round; found {self.rounds}.")
        store, policy = self.store, self.checkpoint
        for m in range(self.rounds):
            folder = out / f"round_{m}"
            offline: dict[str, Any] = {"env": self.env, "seed": self.seed + m, "trial_seed": 5_000_000 + 1000 * m}
            stage = OfflineRL(store, policy, **(offline | dict(self.offline)))
            policy = str(stage.run(folder / "offline"))
            if m + 1 == self.rounds:
                break
            growth: dict[str, Any] = {
                "policy": self.policy,
                "train": dict(self.train) | {"seed": self.seed + m + 1},
                "episodes": self.episodes,
                "seed": 6_000_000 + 1000 * self.seed + m,
            }
            grown = Growth(store, policy, self.env, **(growth | dict(self.growth))).run(folder / "growth")
            store, policy = str(grown / "store"), str(grown)
        checkpoint.adopt(Path(policy), out)
        return out
