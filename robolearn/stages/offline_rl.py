"""Offline reinforcement learning behind a gate: learn from what was recorded, and change nothing that is not better.

Source: RL-100 (arXiv 2510.14830), stage 2, with the gate of `robolearn.learn.gate`. On a store of demonstrations and
rollouts, good and bad: critics (`learn.critics`) and transition models (`learn.dynamics`) on the frozen encoder's
features; then candidate after candidate (`learn.improve`), each accepted by the gate or undone bit for bit. The result
is a checkpoint of the same kind as the one it began with, whose sampler is the chain.

Stopped and started again it goes on with the next candidate. Every random choice of a candidate is a function of
(seed, number of the candidate), so a resumed run decides what an uninterrupted one would have decided.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.contracts import Env
from robolearn.data.cache import Cache, build_cache
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import EmptyStore, SpecError
from robolearn.learn import aside, checkpoint
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.critics import CriticConfig, Critics, build_critics, described
from robolearn.learn.dynamics import Dynamics, DynamicsConfig, build_dynamics, choose_elites, explained
from robolearn.learn.estimators import Estimator, FittedEstimator, PaperEstimator, RolloutEstimator
from robolearn.learn.fitted_q import FittedQConfig
from robolearn.learn.gate import Decision, Gate, GateConfig, held_out_states, read_log
from robolearn.learn.improve import ChainActor, ImproveConfig, chain_kl, improve, moments_tensors, restore_moments
from robolearn.learn.loop import Interrupted, TrainConfig, train
from robolearn.learn.order import batch_indices, step_seed
from robolearn.learn.rewards import Reach, SparseRewardConfig
from robolearn.learn.sequential import Play, TrialConfig, run_trial
from robolearn.learn.signals import StopRequest
from robolearn.learn.snapshot import Snapshot
from robolearn.learn.transitions import Stride, Transitions, read_transitions
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.stages.offline_report import write_report

__all__ = ["OfflineRL", "Recordings", "estimators", "fit_models", "read_recordings"]


@dataclass(frozen=True)
class OfflineRL:
    """The stage: from a policy and recordings to a policy that recordings say is better."""

    store: str
    """Folder of the store: demonstrations and rollouts, both outcomes."""
    checkpoint: str
    """Folder of the denoising policy to improve; its horizon must equal its chunk."""
    env: Mapping[str, Any] = field(default_factory=lambda: {})
    """Dict form of the environment's config, for trials on the bench; {} when there are none."""
    candidates: int = 20
    """How many candidates to judge."""
    improve: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `ImproveConfig` that differ from its defaults."""
    gate: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `GateConfig` that differ from its defaults."""
    critic: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `CriticConfig` that differ from its defaults."""
    dynamics: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `DynamicsConfig` that differ from its defaults."""
    fitted: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `FittedQConfig` that differ from its defaults."""
    reward: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `SparseRewardConfig` that differ from its defaults."""
    gamma: float = 0.99
    """Discount of a control step."""
    stride: Stride = "sliding"
    """"aligned" takes a decision where the chunk began, "sliding" one at every step."""
    critic_steps: int = 2000
    """Training steps of the critics."""
    dynamics_steps: int = 2000
    """Training steps of the transition models."""
    fitted_steps: tuple[int, int] = (1500, 400)
    """Training steps of the common fitted-Q evaluation, and of each policy from there on."""
    horizon: int = 0
    """Imagined decisions; 0 takes the median length of the recorded episodes."""
    held_out: float = 0.2
    """Share of the episodes that no critic, model or candidate learns from; the gate's states."""
    states: int = 200
    """Most states of the gate."""
    backoff: float = 0.7
    """What a rejection leaves of the learning rate."""
    trial: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrialConfig`; with `env`, candidates that pass otherwise are tried on the bench. {} is no trial."""
    trial_seed: int = 5_000_000
    """Seed of the trials' starts; used for nothing else."""
    sigma_min: float = 0.05
    """Floor of the noise of the chain's steps."""
    sigma_max: float = 0.1
    """Its ceiling."""
    convention: str = "consistent"
    """See `robolearn.diffusion.chain`."""
    seed: int = 0
    """Of everything else."""

    @property
    def reach(self) -> Reach:
        """What a value can be."""
        return _config(SparseRewardConfig, self.reward).build().reach(self.gamma)

    def run(self, out: Path) -> Path:
        """Improve, and write `checkpoints/`, `gate.jsonl`, `offline.json` and `report.html` below `out`."""
        store = Store.open(self.store)
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {
            "store": " ".join(store.info(id).content for id in store.ids()),
            "checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path),
        }
        manifest = Manifest("offline_rl", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder, store))

    def _work(self, out: Path, store: Store) -> None:
        with _one_thread():
            convention: Any = self.convention
            model, config = load_chain(
                Path(self.checkpoint), sigma_min=self.sigma_min, sigma_max=self.sigma_max, convention=convention
            )
            recordings = read_recordings(self, store, model)
            critics, dynamics = fit_models(self, recordings, out)
            horizon = self.horizon or recordings.median_decisions
            opinions = estimators(self, recordings, critics, dynamics, horizon, ChainActor(copy.deepcopy(model)))
            states = held_out_states(recordings.held_out, self.states, self.seed)
            reach = self.reach
            gate = Gate(_config(GateConfig, self.gate), opinions, states, reach, out / "gate.jsonl")
            with torch.no_grad():
                known = (torch.as_tensor(a) for a in (recordings.train.condition, recordings.train.chunk))
                said = critics.action_values(*known)
            facts = {
                "episodes": recordings.counts,
                "decisions": {"train": len(recordings.train), "held out": len(recordings.held_out)},
                "model": explained(dynamics, recordings.held_out),
                "horizon": horizon,
                "critic": [float(said.min()), float(said.max())],
                "reach": [reach.low, reach.high],
            }
            self._improve(out, model, config, recordings, critics, gate)
        write_json(out / "offline.json", facts)
        write_report(out, self.store, self.checkpoint, facts, read_log(out / "gate.jsonl"))

    def _improve(
        self, out: Path, model: Any, config: Mapping[str, Any], recordings: Recordings, critics: Critics, gate: Gate
    ) -> None:
        root = out / "checkpoints"
        root.mkdir(parents=True, exist_ok=True)
        aside.sweep(root)
        settings = _config(ImproveConfig, self.improve)
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(
            named.values(), lr=settings.learning_rate, betas=(0.9, 0.999), weight_decay=0.0, fused=True
        )
        done, rate = 0, settings.learning_rate
        if (newest := checkpoint.last(root)) is not None:
            found = checkpoint.load(newest)
            checkpoint.install(model, found)
            if found.step:
                restore_moments(optimizer, named, found.training())
            done, rate = found.step, float(found.state["rate"])
        _keep_lines(out / "gate.jsonl", done)
        checkpoint.save(root, model, config, step=done, state={"rate": rate}, keep=2)
        train_condition = torch.as_tensor(recordings.train.condition)
        held_condition = torch.as_tensor(gate.states.condition)

        def advantages(condition: torch.Tensor, chunk: torch.Tensor) -> torch.Tensor:
            return critics.advantages(condition, chunk, settings.pessimism)

        with StopRequest() as stop, self._bench() as bench:
            while done < self.candidates:
                number = step_seed(self.seed, done)
                generator = torch.Generator().manual_seed(number)
                incumbent = copy.deepcopy(model).requires_grad_(False).eval()
                before = Snapshot([model], [optimizer], [generator])
                for group in optimizer.param_groups:
                    group["lr"] = rate

                def batch(k: int, number: int = number) -> torch.Tensor:
                    size = min(settings.batch_size, len(train_condition))
                    return train_condition[batch_indices(len(train_condition), size, number, k)]

                watched = improve(model, optimizer, incumbent, advantages, batch, settings, generator)
                kl = chain_kl(model, incumbent, held_condition, torch.Generator().manual_seed(self.seed))
                decision = gate.judge(
                    ChainActor(copy.deepcopy(model)),
                    ChainActor(incumbent),
                    label=f"candidate {done}",
                    kl=kl,
                    trial=bench(model, incumbent, done) if bench else None,
                    facts=watched | {"rate": rate, "seed": number},
                )
                if not decision.accepted:
                    before.restore()
                    rate *= self.backoff
                _forget(gate.estimators, decision)
                done += 1
                training = moments_tensors(optimizer, named)
                saved = checkpoint.save(root, model, config, step=done, training=training, state={"rate": rate}, keep=2)
                if stop and done < self.candidates:
                    name = stop.signal.name if stop.signal else "a signal"
                    raise Interrupted(name, saved, done, self.candidates)

    @contextlib.contextmanager
    def _bench(self) -> Generator[Callable[[Any, Any, int], Callable[[], Any]] | None]:
        """Makes trials of two models on fresh paired starts, or None when there are none."""
        if not self.trial:
            yield None
            return
        if not self.env:
            raise SpecError("A trial needs an environment; give the stage `env`, or leave `trial` empty.")
        config = _config(TrialConfig, self.trial)
        env: Env = plugins.from_dict("env", self.env).build()

        def play(model: Any) -> Play:
            def go(seeds: Sequence[int]) -> list[bool]:
                done = rollout(env, Chunked(model, env.n), seeds=seeds)
                return [summary.outcome is Outcome.SUCCESS for summary in done]

            return go

        def trial(new: Any, old: Any, number: int) -> Callable[[], Any]:
            seeds = episode_seeds(config.most, self.trial_seed + number)
            return lambda: run_trial(play(new), play(old), seeds, config)

        try:
            yield trial
        finally:
            env.close()


@dataclass(frozen=True, eq=False)
class Recordings:
    """What a store says, as decisions.

    Attributes:
        train: What critics, models and candidates learn from.
        held_out: What only the gate sees.
        counts: Episodes by outcome.
        median_decisions: Of an episode.
    """

    train: Transitions
    held_out: Transitions
    counts: Mapping[str, int]
    median_decisions: int


def read_recordings(stage: OfflineRL, store: Store, model: Any) -> Recordings:
    """The decisions of all episodes, split by episode; each kind of outcome gives its share to both parts.

    Raises:
        EmptyStore: Too few episodes to hold some out.
    """
    ids = store.ids()
    cache: Cache = build_cache(store, ids)
    reward = _config(SparseRewardConfig, stage.reward).build()
    data = read_transitions(store, cache, model, reward, gamma=stage.gamma, stride=stage.stride)
    outcomes = np.array([int(store.info(id).outcome) for id in ids])
    held: list[int] = []
    draw = np.random.default_rng([stage.seed, 0x4E1D])
    for outcome in np.unique(outcomes):
        there = draw.permutation(np.flatnonzero(outcomes == outcome))
        held += there[: round(stage.held_out * len(there))].tolist()
    if not held or len(held) == len(ids):
        raise EmptyStore(
            f"Expected enough episodes in {store.path} to hold {stage.held_out:.0%} of them out; found {len(ids)}. "
            "Record more, or choose another share with held_out."
        )
    aside_rows = np.isin(data.episode, held)
    held_out = data.only(aside_rows)
    aligned = held_out.only(held_out.start % model.chunk == 0)
    counts = {Outcome(int(o)).name.lower(): int(np.sum(outcomes == o)) for o in np.unique(outcomes)}
    median = int(np.ceil(np.median(cache.lengths) / model.chunk))
    return Recordings(data.only(~aside_rows), aligned, counts, max(1, median))


def fit_models(stage: OfflineRL, recordings: Recordings, out: Path) -> tuple[Critics, Dynamics]:
    """Critics and transition models, trained by the one train loop below `out`; resumes."""
    data, held = recordings.train, recordings.held_out
    sizes = data.condition.shape[1], data.chunk.shape[1]
    critic = _config(CriticConfig, stage.critic)
    critics = build_critics(critic, *sizes, stage.seed)
    bagged = data.bagged(critic.members, stage.seed) if critic.members > 2 else data
    held_weights = dataclasses.replace(held, weight=np.ones((len(held), 1), np.float32))
    _fit(critics, bagged, held_weights, stage.critic_steps, stage.seed, out / "critics", described(critic, "iql"))
    model = _config(DynamicsConfig, stage.dynamics)
    dynamics = build_dynamics(model, data, stage.seed)
    bagged = data.bagged(model.members, stage.seed + 1)
    facts = described(model, "dynamics")
    _fit(dynamics, bagged, held_weights, stage.dynamics_steps, stage.seed, out / "dynamics", facts)
    choose_elites(dynamics, held)
    return critics, dynamics


def estimators(
    stage: OfflineRL, recordings: Recordings, critics: Critics, dynamics: Dynamics, horizon: int, start: ChainActor
) -> list[Estimator]:
    """What the gate of a mode asks; `start` is the policy the run began with."""
    if _config(GateConfig, stage.gate).mode == "paper":
        return [PaperEstimator(dynamics, critics, horizon)]
    chunk = recordings.train.chunk.shape[1] // _action_size(stage)
    first, steps = stage.fitted_steps
    config = _config(FittedQConfig, {"reach": (stage.reach.low, stage.reach.high), **stage.fitted})
    fitted = FittedEstimator(recordings.train, start, config, seed=stage.seed, first_steps=first, steps=steps)
    return [RolloutEstimator(dynamics, critics, horizon, stage.gamma**chunk), fitted]


def _action_size(stage: OfflineRL) -> int:
    spec = checkpoint.load(Path(stage.checkpoint)).action_spec
    return sum(int(np.prod(s.shape, dtype=np.int64)) for s in spec.values())


def _fit(
    model: Any, data: Transitions, held: Transitions, steps: int, seed: int, out: Path, facts: Mapping[str, Any]
) -> None:
    config = TrainConfig(
        steps=steps,
        batch_size=256,
        learning_rate=3e-4,
        final_learning_rate=0.1,
        weight_decay=0.0,
        beta1=0.9,
        clip_norm=10.0,
        seed=seed,
        keep=1,
    )
    train(model, data, config, out, validation=held, described=facts)


def _forget(opinions: Sequence[Estimator], decision: Decision) -> None:
    """Fits of policies that are gone."""
    for estimator in opinions:
        if isinstance(estimator, FittedEstimator):
            estimator.keep([decision.candidate if decision.accepted else decision.incumbent])


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def _keep_lines(path: Path, count: int) -> None:
    """Drop decisions after a resumed run's last checkpoint; they will be made again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:count]), encoding="utf-8")


def _config(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    for name in fields:
        if name not in known:
            raise SpecError(f"{cls.__name__} has no setting {name!r}; possible: {', '.join(known)}.")
    return cls(**fields)
