"""Reward learning: from recordings of people in a store to a reward, a policy for it, and an audit.

One trainer; the config says which method (AIRL with a reward on states or on states and actions, or GAIL), from how
many recordings, with which seed; the recordings say in which domain (`robolearn.keypoints.domains`). The learned reward
is a `RewardModel` (`load_reward`) that gives any episode with the same features one number per step; the stage writes
it back to the store as the stream `reward.<method>@<version>`.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from robolearn.clock import MonotonicClock
from robolearn.data.derived import version_of, write_derived
from robolearn.data.store import Store
from robolearn.episode import Episode
from robolearn.errors import ArtefactError, EmptyStore, SpecError
from robolearn.keypoints.actor import Actor, ActorConfig, clone
from robolearn.keypoints.adversarial import AdversarialConfig, Reward, train
from robolearn.keypoints.audit import doubts
from robolearn.keypoints.deeds import measured
from robolearn.keypoints.domains import ONIONS, Domain, find_domain
from robolearn.keypoints.judging import audit_reward, behaviour_accuracy, inverse_error, policy_of, random_policy
from robolearn.keypoints.watching import demonstrations
from robolearn.report import Section, curves, paragraph, provenance, table, write_page
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.specs import Array

DEEDS = {
    "onions": ("sorting", ("precision", "recall", "true_return")),
    "pouring": ("pouring", ("success", "right", "spilled", "true_return")),
}
"""Per domain under which name `result.json` holds what was done, and what of it the report shows."""

__all__ = ["DEEDS", "LearnedReward", "LearnedRewardConfig", "RewardLearning", "load_actor", "load_reward"]

EVALUATION_SEED = 20271126
"""Of layouts on which results are measured; tuning used seeds below 1000."""


@dataclass(frozen=True)
class RewardLearning:
    """The stage."""

    store: str
    """Folder of a store of recordings (`robolearn.keypoints.watching.recording_episode`)."""
    adversarial: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `AdversarialConfig` that differ from its defaults; "method" chooses."""
    actor: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `ActorConfig`, likewise."""
    recordings: int = 0
    """Use this many, chosen by the seed; 0 uses all. The others are held out for the audit."""
    seed: int = 0
    """Of everything."""
    layouts: int = 200
    """Fresh layouts on which the learned policy is measured."""
    write_back: bool = True
    """Write the reward of every episode to the store."""

    def run(self, out: Path) -> Path:
        """Learn, and write weights, `result.json` and `report.html` below `out`."""
        store = Store.open(self.store)
        ids = store.ids()
        if not ids or self.recordings > len(ids):
            raise EmptyStore(
                f"Expected at least {max(1, self.recordings)} recordings in {self.store}; found {len(ids)}."
            )
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        inputs = {"store": " ".join(store.info(id).content for id in ids)}
        manifest = Manifest("reward", config, inputs, self.seed, code_version(), False)
        folder = run_stage(out, manifest, lambda folder, _: self._work(folder, store, ids))
        if self.write_back:
            write_back(store, folder)
        return folder

    def _work(self, out: Path, store: Store, ids: list[str]) -> None:
        config, actor_config = _fields(AdversarialConfig, self.adversarial), _fields(ActorConfig, self.actor)
        order = np.random.default_rng(self.seed).permutation(len(ids))
        count = self.recordings or len(ids)
        episodes = [store[ids[k]] for k in order]
        shown, held_out = episodes[:count], episodes[count:] or episodes
        data = demonstrations(shown)
        clock = MonotonicClock()
        start = clock.now()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            trained = train(data, config, actor_config, self.seed)
            cloned = Actor(len(data.domain.features), data.action.std(axis=0) + 0.02, actor_config.width)
            clone(cloned, data.before, data.action, actor_config, self.seed)
            result = self._measure(trained.reward, trained.actor, cloned, data, demonstrations(held_out))
        finally:
            torch.set_num_threads(threads)
        seconds = clock.now() - start
        facts = {"domain": data.domain.name, "recordings": count, "frames": len(data.before), "seconds": seconds}
        for name, module in (("reward", trained.reward), ("actor", trained.actor), ("cloned", cloned)):
            _save(module, out / f"{name}.safetensors")
        write_json(out / "history.json", trained.history)
        write_json(out / "result.json", result | facts)
        self._report(out, data.domain, trained.history, result)

    def _measure(self, reward: Reward, actor: Actor, cloned: Actor, data: Any, held_out: Any) -> dict[str, Any]:
        audit = audit_reward(reward, [actor, cloned], data, held_out, EVALUATION_SEED)
        done = {
            name: measured(data.domain, decide, layouts=self.layouts, seed=EVALUATION_SEED)
            for name, decide in (
                ("learned", policy_of(actor, self.seed)),
                ("cloned", policy_of(cloned, self.seed)),
                ("random", random_policy(data, self.seed)),
            )
        }
        return {
            DEEDS[data.domain.name][0]: done,
            "audit": {name: value if np.isfinite(value) else None for name, value in dataclasses.asdict(audit).items()},
            "doubts": doubts(audit),
            "lba_percent": behaviour_accuracy(actor, data, self.seed),
            "lba_cloned_percent": behaviour_accuracy(cloned, data, self.seed),
            "ile": inverse_error(reward, actor, data, self.seed),
        }

    def _report(self, out: Path, domain: Domain, history: list[dict[str, float]], result: Mapping[str, Any]) -> None:
        deeds, columns = DEEDS[domain.name]
        rows = [
            (name, *(f"{m[k]:.3f}" if m[k] is not None else "nothing binned" for k in columns))
            for name, m in result[deeds].items()
        ]
        told = result["doubts"]
        warning = (
            f"Do not trust this reward: {'; '.join(told)}." if told else "Nothing measured speaks against this reward."
        )
        rounds = list(range(len(history)))
        sections = [
            Section("On fresh layouts", table(("policy", *(c.replace("_", " ") for c in columns)), rows)),
            Section("Audit", paragraph(warning) + table(("what", "value"), list(result["audit"].items()))),
            Section("True return while learning", curves({"return": (rounds, [h["true_return"] for h in history])},
            x="round", y="true return of 80 steps (not seen by the learner)")), Section("How this was made",
            provenance({"store": self.store, "config": json.dumps(dict(self.adversarial)), "seed": self.seed})),
        ]  # fmt: skip
        write_page(out / "report.html", "Reward learning", warning, sections)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedReward:
    """A `RewardModel`: g, the reward itself without shaping.

    Attributes:
        network: The learned members.
        version: Of its weights and config.
    """

    network: Reward
    version: str

    @property
    def name(self) -> str:
        """Of its stream in a store."""
        return f"reward.{self.network.method}@{self.version}"

    def __call__(self, episode: Episode) -> Array:
        return self.spread(episode)[0]

    def spread(self, episode: Episode) -> tuple[Array, Array]:
        """(T,) rewards and (T,) how far the members disagree.

        Raises:
            SpecError: The episode lacks the features or actions.
        """
        domain = self.network.domain
        if domain.seen not in episode.observations or any(name not in episode.actions for name in domain.acted):
            raise SpecError(
                f"This reward needs the observation {domain.seen!r} and the actions "
                f"{', '.join(map(repr, domain.acted))}; the episode has {sorted(episode.observations)} and "
                f"{sorted(episode.actions)}."
            )
        action = np.concatenate([episode.actions[name] for name in domain.acted], axis=1)
        return self.network.values(episode.observations[domain.seen][:-1], action)


@dataclass(frozen=True, slots=True)
class LearnedRewardConfig:
    """A reward learned by the stage `reward`."""

    folder: str = ""
    """Of the finished run."""

    def build(self) -> LearnedReward:
        """The reward model."""
        return load_reward(Path(self.folder))


def load_reward(folder: Path) -> LearnedReward:
    """The reward of a finished run.

    Raises:
        ArtefactError: There is none.
    """
    stage = _stage(folder)
    config = _fields(AdversarialConfig, stage["adversarial"])
    network = Reward(config, _domain(folder), _fields(ActorConfig, stage["actor"]).discount)
    _load(network, folder / "reward.safetensors")
    weights = (folder / "reward.safetensors").read_bytes()
    facts = {"config": dataclasses.asdict(config), "weights": hashlib.sha256(weights).hexdigest()}
    return LearnedReward(network, version_of(facts))


def load_actor(folder: Path, name: str = "actor") -> Actor:
    """The policy of a finished run, "actor" or "cloned"."""
    width, domain = _fields(ActorConfig, _stage(folder)["actor"]).width, _domain(folder)
    actor = Actor(len(domain.features), np.ones(len(domain.limits)), width)
    _load(actor, folder / f"{name}.safetensors")
    return actor


def write_back(store: Store, folder: Path) -> str:
    """Write a finished run's reward of every episode to its store; returns the stream's name."""
    reward = load_reward(folder)
    for id in store.ids():
        mean, spread = reward.spread(store[id])
        facts = {"run": folder_hash(folder), "columns": ["reward", "spread over members"]}
        write_derived(store, id, reward.name, np.column_stack([mean, spread]), facts)
    return reward.name


def _stage(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists() or not (folder / "reward.safetensors").exists():
        raise ArtefactError(f"{folder} holds no finished reward learning. Run the stage first.")
    return json.loads(path.read_text())["config"]


def _domain(folder: Path) -> Domain:
    """Of a finished run; runs that do not say so are of onions, the first domain there was."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return find_domain(result.get("domain", ONIONS.name))


def _fields(cls: Any, values: Mapping[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise SpecError(f"{cls.__name__} has no setting {name!r}; possible: {', '.join(known)}.")
    return cls(**values)


def _save(module: nn.Module, path: Path) -> None:
    safetensors.torch.save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)


def _load(module: nn.Module, path: Path) -> None:
    module.load_state_dict(safetensors.torch.load_file(path))
