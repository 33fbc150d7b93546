"""Online reinforcement learning: PPO over denoising chains, in batched simulation.

Source: RL-100 (arXiv 2510.14830), stage 3. What a batch does is `robolearn.learn.ppo`, where it
comes from `robolearn.learn.collection`.
The stage takes any checkpoint of a denoising policy and leaves one of the same kind, whose sampler is the chain. One
thread simulates and decides, this one learns, and the time of every phase is printed and kept.

Stopped and started again it goes on from its last checkpoint with weights, moments and learning rate; episodes that
were running are begun anew, so a resumed run is not bit-equal to one that was never stopped.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.clock import MonotonicClock
from robolearn.contracts import Env
from robolearn.data.cache import build_cache
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.errors import SpecError
from robolearn.learn import aside, checkpoint
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.collection import Collector, Starts
from robolearn.learn.decisions import Reward
from robolearn.learn.distillation import JointStudent
from robolearn.learn.examples import Examples
from robolearn.learn.loop import Interrupted
from robolearn.learn.order import batch_indices
from robolearn.learn.ppo import PpoConfig, PpoLearner
from robolearn.learn.progress import TrainingLog
from robolearn.learn.signals import StopRequest
from robolearn.report import write_page
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.stages.online_progress import OnlineProgress
from robolearn.stages.online_report import lead, sections

__all__ = ["OnlineRL", "care"]


@dataclass(frozen=True)
class OnlineRL:
    """The stage: from a denoising policy to a better one, by trying."""

    env: Mapping[str, Any]
    """Dict form of the environment's config; its rows are the batch."""
    checkpoint: str
    """Folder of the policy to improve."""
    steps: int = 1_000_000
    """Control steps to try, over all rows."""
    decisions: int = 4096
    """Decisions per update."""
    ppo: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `PpoConfig` that differ from its defaults."""
    reward: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `Reward` that differ from its defaults."""
    denoising_steps: int = 0
    """Steps of the chain; 0 keeps the checkpoint's."""
    sigma_min: float = 0.05
    """Floor of the noise of the chain's steps while collecting."""
    sigma_max: float = 0.1
    """Its ceiling."""
    convention: str = "consistent"
    """See `robolearn.diffusion.chain`."""
    decay: float = 0.1
    """Share of the learning rates left at the end, after a linear decay."""
    target: float = 1.0
    """End early when the exploring policy's success over the last `window` episodes reaches this."""
    window: int = 500
    """Episodes of that rate."""
    settle: float = 1.0
    """Rate above which updates become smaller with the failures that are left: `ppo.target_kl` is multiplied by
    (1 - rate) / (1 - settle), a tenth at least. 1 never."""
    best: bool = False
    """The policy that comes out is that of the best whole window, kept in `best/`, and not the last one: what trying
    does beyond its best is often haste. Its rate is of starts that nobody reports, and flatters it a little."""
    store: str = ""
    """Demonstrations for `ppo.imitation_weight`, the hybrid batch."""
    student: str = ""
    """Also distil a one-step student while learning, into `student/`: "same_noise", "consistency" or "both"."""
    student_rate: float = 3e-4
    """Its learning rate."""
    ahead: bool = True
    """Collect the next batch while learning from this one."""
    seed: int = 0
    """Of minibatches, noise and critic."""
    starts: int = 7_000_000
    """Seed of the starts (plus `seed`); used for nothing else."""
    again: float = 0.0
    """Share of episodes that begin where one has failed before (not counted in the rates)."""
    checkpoint_every: int = 10
    """Updates between checkpoints."""

    def run(self, out: Path) -> Path:
        """Learn, and write `checkpoints/`, `metrics.jsonl`, `online.json` and `report.html` below `out`."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {"checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path)}
        if self.store:
            store = Store.open(self.store)
            inputs["store"] = " ".join(store.info(id).content for id in store.ids())
        manifest = Manifest("online_rl", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder))

    def _work(self, out: Path) -> None:
        threads, state = torch.get_num_threads(), torch.get_rng_state()
        torch.set_num_threads(1)  # the other core belongs to the collector
        # Each small tensor operation asks for Python's lock; at the usual 5 ms the two threads wait for each other.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(2e-4)
        try:
            with StopRequest() as stop:
                self._learn(out, stop)
        finally:
            sys.setswitchinterval(interval)
            torch.set_num_threads(threads)
            torch.set_rng_state(state)
        self._report(out)

    def _learn(self, out: Path, stop: StopRequest) -> None:
        root = out / "checkpoints"
        root.mkdir(parents=True, exist_ok=True)
        aside.sweep(root)
        convention: Any = self.convention
        model, described = load_chain(
            Path(self.checkpoint),
            steps=self.denoising_steps,
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            convention=convention,
        )
        torch.manual_seed(self.seed)  # pyright: ignore[reportUnknownMemberType]
        ppo = _config(PpoConfig, self.ppo)
        generators = [torch.Generator().manual_seed(1_000_003 * self.seed + k) for k in range(2)]
        imitation = _demonstrations(self.store, model, self.seed) if self.store else None
        if ppo.imitation_weight > 0 and imitation is None:
            raise SpecError("An imitation weight needs demonstrations: give the stage a store.")
        student = JointStudent(model, self.student, self.student_rate, generators[0]) if self.student else None
        after_step = student.step if student else None
        learner = PpoLearner(model, ppo, generators[0], imitation=imitation, after_step=after_step)
        env: Env = plugins.from_dict("env", self.env).build()
        progress = OnlineProgress(self.window, env.n * env.task.horizon)
        if (newest := checkpoint.last(root)) is not None:
            progress.restore(newest, learner)
            generators[1].manual_seed(1_000_003 * self.seed + 10 + learner.batches)
        clock = MonotonicClock()
        collector = Collector(
            env,
            copy.deepcopy(model),
            _config(Reward, self.reward),
            self.decisions,
            Starts(self.starts + self.seed, progress.starts, again=self.again),
            generators[1],
            clock,
            ahead=self.ahead,
        )
        log = TrainingLog(out, total=self.steps, start=progress.steps, tensorboard=False, clock=clock)
        collector.give(0, model.state_dict())
        with log, collector:
            while not self._over(progress):
                began = clock.now()
                collected = collector.take()
                taken = clock.now()
                share = 1 - (1 - self.decay) * progress.steps / self.steps
                found = learner.update(collected.batch, share, care(progress.success, self.settle))
                learned = clock.now()
                collector.give(learner.batches, model.state_dict())
                progress.add(collected, {"idle_s": taken - began, "learn_s": learned - taken}, learned - began)
                log.numbers(progress.steps, progress.numbers() | found)
                log.advance(progress.steps)
                if improved := self.best and progress.improved():
                    (out / "best").mkdir(exist_ok=True)
                    checkpoint.save(out / "best", model, described, step=learner.batches, keep=1)
                over = self._over(progress)
                if over and (out / "best").exists():
                    checkpoint.install(model, checkpoint.load(out / "best"))
                # With the best one, so that a run that is killed resumes from where it knows of it.
                if over or stop or improved or learner.batches % self.checkpoint_every == 0:
                    progress.save(root, learner, described, keep=2)
                    if student is not None:
                        acting, student_described = student.acting()
                        saved = out / "student" / "checkpoints"
                        saved.mkdir(parents=True, exist_ok=True)
                        checkpoint.save(saved, acting, student_described, step=learner.batches, keep=1)
                if stop and not over:
                    name = stop.signal.name if stop.signal else "a signal"
                    raise Interrupted(name, root, progress.steps, self.steps)
        write_json(out / "online.json", progress.summary())

    def _over(self, progress: OnlineProgress) -> bool:
        full = len(progress.recent) >= self.window
        return progress.steps >= self.steps or (full and progress.success >= self.target)

    def _report(self, out: Path) -> None:
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        summary: dict[str, Any] = json.loads((out / "online.json").read_text())
        told = sections(rows, summary, vars(self))
        write_page(out / "report.html", "Online reinforcement learning", lead(summary), told)


def care(success: float, settle: float) -> float:
    """Share of `ppo.target_kl` that an update may go at a rate of success (NaN: none is known yet)."""
    if settle >= 1 or not success > settle:
        return 1.0
    return max(0.1, (1 - success) / (1 - settle))


def _demonstrations(store: str, model: Any, seed: int) -> Callable[[int], Mapping[str, Any]]:
    """Endless batches of a store's windows, as tensors."""
    opened = Store.open(store)
    cache = build_cache(opened, opened.ids())
    windows = Windows(cache, model.history, model.horizon, list(model.observation_spec), list(model.action_spec))
    examples, count = Examples(windows, cache.key), 0

    def draw(size: int) -> Mapping[str, Any]:
        nonlocal count
        count += 1
        return _tensors(examples.gather(batch_indices(len(examples), size, seed, count)))

    return draw


def _tensors(arrays: Any) -> Any:
    if isinstance(arrays, Mapping):
        return {name: _tensors(value) for name, value in arrays.items()}  # pyright: ignore[reportUnknownVariableType]
    return torch.as_tensor(np.asarray(arrays))


def _config(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    for name in fields:
        if name not in known:
            raise SpecError(f"{cls.__name__} has no setting {name!r}; possible: {', '.join(known)}.")
    return cls(**fields)
