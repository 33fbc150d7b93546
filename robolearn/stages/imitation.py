"""Imitation: behaviour cloning of a store's episodes by any policy plugin.

The policy's network decides what is minimised (denoising error, squared error, ...); this stage chooses the episodes,
builds the training cache and the statistics, trains with the one train loop, and writes a report. Everything it read is
in the run's manifest as a fingerprint; an interrupted run goes on when the same stage is run again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from robolearn import plugins
from robolearn.data.cache import Cache, build_cache
from robolearn.data.statistics import cache_statistics
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.episode import Actor
from robolearn.errors import EmptyStore, SpecError, UnknownName
from robolearn.learn import distributed
from robolearn.learn.examples import Examples, policy_statistics
from robolearn.learn.loop import TrainConfig, TrainResult, train
from robolearn.learn.model import Model
from robolearn.report import Section, curves, paragraph, provenance, table, write_page
from robolearn.runs import Manifest, code_version, read_manifest, run_stage
from robolearn.scene.derived import derived_cache

__all__ = ["Imitation"]


@dataclass(frozen=True)
class Imitation:
    """The stage: from a store to a trained policy."""

    store: str
    """Folder of the store."""
    policy: Mapping[str, Any]
    """Dict form of the policy's config."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` that differ from its defaults."""
    split: str = ""
    """Use only episodes of this split; "" uses all."""
    validation: str = ""
    """Split of held-out episodes whose loss is logged; "" for none."""
    episodes: int = 0
    """Use only the first so many episodes; 0 uses all."""
    label: str = ""
    """Which command label a told policy learns from: "aligned", "commanded", "hindsight" or "drop" (see
    `robolearn.scene.labels`); adds the streams of `robolearn.scene.derived`. "" trains on what was recorded."""
    action: Literal["sent", "requested"] = "sent"
    """What to imitate: what the robot got, or what was asked for (when something shook it on the way)."""
    actors: tuple[str, ...] = ()
    """Whose actions to imitate, as names of `Actor` such as ("OPERATOR", "INTERVENTION"): where a person took over from
    a policy, what the policy did before is not copied. () imitates everybody's."""

    def run(self, out: Path) -> Path:
        """Train, and write `checkpoints/`, `metrics.jsonl` and `report.html` below `out`."""
        store = Store.open(self.store)
        chosen = self._ids(store)
        held_out = store.ids(split=self.validation) if self.validation else []
        inputs = {"store": " ".join(store.info(id).content for id in (*chosen, "|", *held_out) if id != "|")}
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        seed = int(self.train.get("seed", TrainConfig.seed))
        manifest = Manifest("imitation", config, inputs, seed, code_version(), False)
        with distributed.joined(str(self.train.get("device", "cpu"))) as number:
            if number == 0:
                begun: list[bool] = []
                run_stage(out, manifest, lambda folder, resume: self._work(folder, store, chosen, held_out, begun))
                if not begun:
                    distributed.barrier()  # nothing to do; the others wait to hear it
                return out
            distributed.barrier()  # the first process has claimed the folder and built the cache
            found = read_manifest(out)
            if found is None or not found.finished:
                self._train(out, store, chosen, held_out)
            return out

    def _ids(self, store: Store) -> list[str]:
        ids = store.ids(split=self.split) if self.split else store.ids()
        if self.episodes > len(ids):
            raise EmptyStore(
                f"Expected {self.episodes} episodes in {self.store}{f' (split {self.split!r})' if self.split else ''}; "
                f"found {len(ids)}. Record more, or ask for fewer."
            )
        return ids[: self.episodes] if self.episodes else ids

    def _cache(self, store: Store, ids: Sequence[str]) -> Cache:
        cache = build_cache(store, ids)
        return derived_cache(cache, store, self.label) if self.label else cache

    def _train(
        self, out: Path, store: Store, chosen: Sequence[str], held_out: Sequence[str]
    ) -> tuple[Model, Examples, Examples | None, TrainResult]:
        config = _train_config(self.train)
        policy = plugins.from_dict("policy", self.policy)
        cache = self._cache(store, chosen)
        # The weights' first values belong to the run's seed, and nothing else may move this generator.
        with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
            statistics = policy_statistics(cache_statistics(cache, action=self.action))
            model: Model = policy.build(cache.observation_spec, cache.action_spec, statistics)
        windows = self._examples(cache, model)
        validation = self._examples(self._cache(store, held_out), model) if held_out else None
        result = train(model, windows, config, out, validation=validation)
        return model, windows, validation, result

    def _examples(self, cache: Cache, model: Model) -> Examples:
        sizes: Any = model  # every policy model says how much history and how many actions it wants
        names = list(model.observation_spec), list(model.action_spec)
        actors = [_actor(name) for name in self.actors]
        windows = Windows(cache, sizes.history, sizes.horizon, *names, self.action, actors=actors)
        apart = [self.action] * (self.action != "sent") + list(self.actors)
        return Examples(windows, "-".join([cache.key, *apart]))

    def _work(self, out: Path, store: Store, chosen: Sequence[str], held_out: Sequence[str], begun: list[bool]) -> None:
        build_cache(store, chosen)
        if held_out:
            build_cache(store, held_out)
        begun.append(True)
        distributed.barrier()
        model, windows, validation, result = self._train(out, store, chosen, held_out)
        config = _train_config(self.train)
        weights = sum(p.numel() for p in model.parameters())
        rows = [
            ("episodes", len(chosen)),
            ("training windows", len(windows)),
            ("held-out windows", len(validation) if validation else "none"),
            ("observations", ", ".join(model.observation_spec)),
            ("actions", ", ".join(model.action_spec)),
            ("weights", f"{weights:,}"),
            ("steps", f"{result.steps} ({result.skipped} without an update)"),
            ("final loss", f"{result.metrics['loss']:.4g}"),
        ]
        lead = f"A {self.policy['plugin']} policy trained on {len(chosen)} episodes of {store.path.name}."
        text = "Lower is better. The held-out curve, where there is one, is of episodes the policy never trained on."
        sections = [
            Section("Result", table(("what", "value"), rows)),
            Section("Loss", paragraph(text) + curves(_losses(out), x="step", y="loss", log=True)),
            Section("Settings", _settings(self.policy, "Policy") + _settings(dataclasses.asdict(config), "Training")),
            Section("How this was made", provenance({"store": self.store, "checkpoint": result.checkpoint})),
        ]
        write_page(out / "report.html", "Imitation", lead, sections)


def _train_config(fields: Mapping[str, Any]) -> TrainConfig:
    known = [f.name for f in dataclasses.fields(TrainConfig)]
    for name in fields:
        if name not in known:
            raise SpecError(f"Training has no setting {name!r}; possible: {', '.join(known)}.")
    return TrainConfig(**fields)


def _actor(name: str) -> Actor:
    if name not in Actor.__members__:
        raise UnknownName("actor", name, list(Actor.__members__))
    return Actor[name]


def _settings(fields: Mapping[str, Any], title: str) -> str:
    return table(("field", "value"), [(name, json.dumps(value)) for name, value in fields.items()], fold=title)


def _losses(out: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Curves of the run's metrics, names to (steps, values)."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        for name, label in (("loss", "training"), ("held_out_loss", "held out")):
            if name in row:
                xs, ys = found.setdefault(label, ([], []))
                xs.append(row["step"])
                ys.append(row[name])
    return found
