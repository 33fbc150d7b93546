"""Corrections: a teacher takes over while the policy acts, and the policy learns from what the teacher then does.

Source: DAgger (Ross et al. 2011, arXiv 1011.0686) as HG-DAgger (Kelly et al. 2019, arXiv 1810.02890) has it: whoever
corrects acts, instead of labelling what the policy does, so a chunk of actions is one that was really played.
Demonstrations show only what a good teacher comes to see; a clone comes to see other things, and from there nobody has
shown it the way.

Per round: policy and teacher take turns within every episode (`Turns`), through the one loop and the one recorder; the
recordings join those before; a policy is cloned afresh from the teacher's actions alone, never from the policy's own.
On a robot the same is `robolearn deploy ... --intervene web --record STORE` and `Imitation(actors=...)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.compose import Chunked, Intervene
from robolearn.contracts import Env, Policy
from robolearn.data.edits import merge
from robolearn.data.store import Store
from robolearn.episode import Actor, Outcome
from robolearn.errors import SpecError
from robolearn.intervals import Rate, wilson
from robolearn.learn import checkpoint
from robolearn.observers import Progress
from robolearn.recorder import Recorder
from robolearn.report import Section, bars, paragraph, provenance, write_page
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import Manifest, code_version, folder_hash, run_stage
from robolearn.specs import Arrays, Spec
from robolearn.stages.imitation import Imitation
from robolearn.stages.trial import better
from robolearn.trained import load_model

__all__ = ["TEACHERS", "Corrections", "Turns"]

TEACHERS = (Actor.OPERATOR.name, Actor.INTERVENTION.name, Actor.SCRIPT.name)
"""Whose actions are copied."""


@dataclass(frozen=True)
class Corrections:
    """The stage: from a policy and its demonstrations to one that was corrected where it went wrong."""

    store: str
    """Folder of the demonstrations."""
    checkpoint: str
    """Folder of the policy to correct."""
    env: Mapping[str, Any]
    """Dict form of the environment's config."""
    policy: Mapping[str, Any]
    """Dict form of the policy that is cloned afresh in every round."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` that differ from its defaults."""
    teacher: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of the environment's scripted teacher that differ from its defaults."""
    rounds: int = 3
    """How often to collect and clone."""
    episodes: int = 100
    """Recorded per round, whatever their outcome."""
    alone_s: tuple[float, float] = (0.5, 5.0)
    """Range of times that the policy acts before the teacher takes over."""
    taken_s: tuple[float, float] = (0.5, 3.0)
    """Range of times that the teacher acts before it gives the arm back."""
    trial: int = 0
    """Paired starts in `tried` on which the corrected policy, as deployed, must do at least as well as `checkpoint` to
    take its place; 0 takes it."""
    tried: Mapping[str, Any] = field(default_factory=lambda: {})
    """Dict form of the environment of the trial; {} is `env`."""
    trial_seed: int = 9_500_000
    """Seed of those starts (plus `seed`); used for nothing else."""
    seed: int = 9_000_000
    """Seed of the starts; used for nothing else."""

    def run(self, out: Path) -> Path:
        """Work in `round_<m>/` below `out`; `store/` has all recordings in the end, `checkpoints/` the last policy.

        Where a trial says so it is the policy from before.
        Stopped and started again it goes on.
        """
        if self.rounds < 1 or self.episodes < 1:
            raise SpecError(f"Expected at least one round of one episode; found {self.rounds} of {self.episodes}.")
        store = Store.open(self.store)
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {
            "store": " ".join(store.info(id).content for id in store.ids()),
            "checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path),
        }
        manifest = Manifest("corrections", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder))

    def _work(self, out: Path) -> None:
        store, policy = self.store, self.checkpoint
        rates: dict[str, Rate] = {}
        for m in range(self.rounds):
            folder = out / f"round_{m}"
            rates[f"round {m + 1}"] = self._collect(folder / "recordings", policy, m)
            so_far = (out if m + 1 == self.rounds else folder) / "store"
            with Store.open_or_create(so_far) as grown:
                merge(grown, [store, folder / "recordings"])
            store, train = str(so_far), {"seed": self.seed + m} | dict(self.train)
            policy = str(Imitation(store, self.policy, train, actors=TEACHERS).run(folder / "imitation"))
        players = ("before", Path(self.checkpoint)), ("corrected", Path(policy))
        goes_on, trial = better(
            out / "trial", self.tried or self.env, *players, self.trial, self.trial_seed + self.seed
        )
        checkpoint.adopt(goes_on, out)
        told = paragraph("How often the two succeeded together; not what the policy can do alone.")
        sections = [
            Section("While collecting", told + bars(rates)),
            *trial,
            Section("How this was made", provenance({"store": self.store, "checkpoint": self.checkpoint})),
        ]
        rounds = f"{self.rounds} round{'s' * (self.rounds > 1)} of {self.episodes} episodes"
        lead = f"{rounds} in which a teacher took over from the policy in turns."
        write_page(out / "report.html", "Corrections", lead, sections)

    def _collect(self, folder: Path, policy: str, m: int) -> Rate:
        """Record what is missing, and how often it succeeded."""
        with Store.open_or_create(folder, durable=False) as recordings:
            there = {recordings[id].meta.seed for id in recordings.ids()}
            left = [seed for seed in episode_seeds(self.episodes, self.seed + m) if seed not in there]
            if left:
                env: Env = plugins.from_dict("env", self.env).build()
                threads = torch.get_num_threads()
                torch.set_num_threads(1)
                try:
                    model, _ = load_model(Path(policy))
                    plugin = {"plugin": str(self.env["plugin"])} | dict(self.teacher)
                    teacher: Policy = plugins.from_dict("expert", plugin).build(env)
                    turns = Turns(teacher, env, self.alone_s, self.taken_s)
                    recorder = Recorder(recordings, operator="expert", bench="simulation", extra={"corrects": policy})
                    watching = [recorder, Progress(f"correct, round {m + 1}", len(left))]
                    with recorder:
                        rollout(env, Intervene(Chunked(model, env.n), turns), seeds=left, observers=watching)
                finally:
                    env.close()
                    torch.set_num_threads(threads)
            outcomes = [recordings.info(id).outcome for id in recordings.ids()]
        return wilson(sum(outcome == Outcome.SUCCESS for outcome in outcomes), len(outcomes))


class Turns:
    """A teacher that takes over by the clock: an operator for `compose.Intervene`.

    Every row draws from its seed how long it lets the policy act, then how long it acts itself, and so on; which of the
    two begins is drawn too.

    Args:
        teacher: Sees everything all the time; acts in its turns.
        env: What they act in; only its rate and number of rows are kept.
        alone_s: Range of the policy's turns.
        taken_s: Range of the teacher's.
    """

    def __init__(self, teacher: Policy, env: Env, alone_s: tuple[float, float], taken_s: tuple[float, float]):
        for low, high in (alone_s, taken_s):
            if not 0.0 < low <= high:
                raise SpecError(f"A turn lasts between two positive times, the shorter first; found ({low}, {high}).")
        self._teacher, self._rate_hz = teacher, env.task.rate_hz
        self._spans = alone_s, taken_s
        self._left, self._engaged = np.zeros(env.n, int), np.zeros(env.n, bool)
        self._random = [np.random.default_rng(0) for _ in range(env.n)]

    @property
    def observation_spec(self) -> Spec:
        return self._teacher.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._teacher.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._teacher.reset(seeds, rows)
        for seed, row in zip(seeds, rows, strict=True):
            self._random[row] = np.random.default_rng([seed, 2])
            self._engaged[row] = self._random[row].uniform() < 0.5
            self._left[row] = self._steps(row)

    def act(self, observation: Arrays) -> Arrays:
        for row in np.flatnonzero(self._left <= 0):
            self._engaged[row] = not self._engaged[row]
            self._left[row] = self._steps(int(row))
        self._left -= 1
        return dict(self._teacher.act(observation)) | {"note.engaged": self._engaged.copy()}

    def _steps(self, row: int) -> int:
        seconds = self._random[row].uniform(*self._spans[int(self._engaged[row])])
        return max(1, round(seconds * self._rate_hz))
