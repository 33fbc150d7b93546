"""The one train loop: a method supplies a model with a loss, this supplies everything else.

Every random choice of a step (batch, noise, dropout) is a pure function of (seed, step), so a resumed run needs
no sampler or generator state and its weights, moments and average are bit-equal to those of a run that was never
stopped (on a CPU, with the same number of threads).

Threads: one by default. With another process on the second core, two OpenMP threads made training 2 to 20 times
slower than one (they wait for each other by spinning), and the networks here are small; use more only on a machine
of your own, and run several seeds as several processes instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from robolearn.clock import Clock, MonotonicClock
from robolearn.errors import RobolearnError, TrainingFault
from robolearn.learn import aside, checkpoint, distributed
from robolearn.learn.model import Model
from robolearn.learn.order import batch_indices, step_seed
from robolearn.learn.progress import TrainingLog
from robolearn.learn.resume import Run, begin, facts, require_same, require_space
from robolearn.learn.settings import TrainConfig, learning_rate
from robolearn.learn.signals import StopRequest

__all__ = ["Interrupted", "TrainConfig", "TrainResult", "Windows", "learning_rate", "train"]


class Windows(Protocol):
    """Training examples by number. May have a `fingerprint: str` of its content; resuming on other data is refused."""

    def __len__(self) -> int: ...

    def gather(self, indices: npt.NDArray[Any]) -> Mapping[str, Any]:
        """A batch as numpy arrays, nested in dicts as the model's loss wants it."""
        ...


class Interrupted(RobolearnError):
    """Training was told to stop (SIGTERM, Ctrl-C), has saved and can be resumed.

    Attributes:
        checkpoint: What was saved.
        step: How many steps it has behind it.
    """

    exit_code = 75  # EX_TEMPFAIL: the same command, started again, goes on

    def __init__(self, signal_name: str, checkpoint: Path, step: int, steps: int):
        super().__init__(
            f"Training was stopped by {signal_name} after {step} of {steps} steps and has saved {checkpoint}. "
            "It is resumable: start the same run again and it goes on from there."
        )
        self.checkpoint = checkpoint
        self.step = step


@dataclass(frozen=True)
class TrainResult:
    """What came of a training run.

    Attributes:
        checkpoint: The last checkpoint.
        steps: Steps made.
        skipped: How many of them made no update because the loss or gradient was not finite.
        metrics: The last logged numbers.
    """

    checkpoint: Path
    steps: int
    skipped: int
    metrics: Mapping[str, float]


def train(
    model: Model,
    windows: Windows,
    config: TrainConfig,
    out: Path,
    *,
    validation: Windows | None = None,
    evaluate: Callable[[Model, int], Mapping[str, float]] | None = None,
    described: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    quiet: bool = False,
) -> TrainResult:
    """Train a model, or go on where an interrupted run in `out` stopped.

    Args:
        model: Freshly built; on return it holds the moving average of the weights, in evaluation mode.
        windows: The training examples.
        config: How to train.
        out: The run's folder: `checkpoints/`, `metrics.jsonl`, `tensorboard/`.
        validation: Held-out examples; their loss is logged every `evaluate_every` steps.
        evaluate: Called as often with the model (moving average, evaluation mode) and the step; returns numbers to log.
        described: What `config.json` says of the model; default the plugin registry's words for `model.config`.
        clock: For the time left.
        quiet: Show a person nothing; numbers are written all the same.

    Raises:
        Interrupted: A signal came; everything is saved and the same call resumes.
        TrainingFault: Too many non-finite losses or gradients in a row; the last checkpoint is good.
        StorageFull: No space for a checkpoint, checked before the first step as well.
        ArtefactError: `out` holds a run with other settings, model or data.
    """
    if described is None:
        from robolearn import plugins

        described = plugins.to_dict("policy", model.config)
    root = out / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    if distributed.rank() == 0:
        aside.sweep(root)
    distributed.barrier()
    device = torch.device(config.device)
    threads_before = torch.get_num_threads()
    random_before = torch.get_rng_state()
    with StopRequest() as stop:
        torch.set_num_threads(config.threads)
        try:
            run = begin(model.to(device), config)
            wanted = facts(config, windows)
            if (newest := checkpoint.last(root)) is not None:
                found = checkpoint.load(newest)
                require_same(found, wanted, described)
                run.restore(found)
            require_space(model, out)
            run.parallel = distributed.wrapped(run.model)
            # Numbers of the other processes lie beside those of the first, for whoever looks for a fault.
            number = distributed.rank()
            (folder := out / "processes" / str(number) if number else out).mkdir(parents=True, exist_ok=True)
            show = TrainingLog(
                folder,
                total=config.steps,
                start=run.step,
                tensorboard=config.tensorboard,
                clock=clock or MonotonicClock(),
                quiet=quiet or number > 0,
            )
            with show:
                saved = _loop(run, windows, config, root, described, wanted, validation, evaluate, show, stop)
            run.ema.swap()
            model.eval()
            return TrainResult(saved, run.step, run.step - run.updates, run.metrics)
        finally:
            torch.set_num_threads(threads_before)
            torch.set_rng_state(random_before)


def _loop(
    run: Run,
    windows: Windows,
    config: TrainConfig,
    root: Path,
    described: Mapping[str, Any],
    wanted: Mapping[str, Any],
    validation: Windows | None,
    evaluate: Callable[[Model, int], Mapping[str, float]] | None,
    show: TrainingLog,
    stop: StopRequest,
) -> Path:
    def save() -> Path:
        if distributed.rank():
            distributed.barrier()  # process 0 has written it
            return checkpoint.last(root) or root
        weights = run.model.state_dict() | run.ema.average
        state = {"updates": run.updates, "bad": run.bad} | dict(wanted)
        training = run.training_tensors()
        saved = checkpoint.save(
            root, run.model, described, step=run.step, weights=weights, training=training, state=state, keep=config.keep
        )
        distributed.barrier()
        return saved

    while run.step < config.steps:
        indices = batch_indices(len(windows), config.batch_size, config.seed, run.step)
        numbers = _step(run, windows.gather(distributed.part(indices)), config)
        if numbers is None:
            show.say(f"step {run.step}: loss or gradient not finite, no update; windows {indices[:8].tolist()}...")
            show.numbers(run.step, {"skipped": 1.0})
            if run.bad >= config.bad_steps:
                raise TrainingFault(
                    f"The loss or its gradient was not finite for {run.bad} steps in a row (up to step {run.step}). "
                    f"The weights of the last good step were kept; the newest checkpoint is {checkpoint.last(root)}. "
                    "Look for non-finite or huge values in the data, or lower the learning rate."
                )
        show.advance(run.step)
        done = run.step == config.steps
        if numbers is not None and (done or run.step % config.log_every == 0):
            run.metrics |= {name: float(value) for name, value in numbers.items()}
            show.numbers(run.step, {name: run.metrics[name] for name in numbers})
        if (validation or evaluate) and (done or run.step % config.evaluate_every == 0):
            held_out = _evaluate(run, validation, evaluate, config)
            run.metrics |= held_out
            show.numbers(run.step, held_out)
        if distributed.agree(bool(stop)) and not done:
            raise Interrupted(stop.signal.name if stop.signal else "a signal", save(), run.step, config.steps)
        if not done and run.step % config.checkpoint_every == 0:
            save()
    return save()


def _step(run: Run, arrays: Mapping[str, Any], config: TrainConfig) -> dict[str, Any] | None:
    """One step; the numbers to log, or None when no update was made."""
    device = torch.device(config.device)
    generator = _seeded(step_seed(config.seed, run.step) ^ distributed.rank(), device)
    rate = learning_rate(run.step, config)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.model.train()
    run.optimizer.zero_grad(set_to_none=True)
    loss_of = run.parallel or run.model.loss
    loss, metrics = loss_of(_to_tensors(arrays, device), generator)
    run.step += 1
    norm = math.nan
    # Of several processes all must go back together; a loss that is not finite makes everybody's gradient so.
    if math.isfinite(value := loss.item()) or run.parallel is not None:
        torch.autograd.backward(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm))
    if not math.isfinite(norm):
        run.bad += 1
        return None
    run.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    run.ema.update(run.updates)
    run.updates += 1
    run.bad = 0
    return {"loss": value, "gradient_norm": norm, "learning_rate": rate} | metrics


def _evaluate(
    run: Run,
    validation: Windows | None,
    evaluate: Callable[[Model, int], Mapping[str, float]] | None,
    config: TrainConfig,
) -> dict[str, float]:
    run.ema.swap()
    run.model.eval()
    found: dict[str, float] = {}
    if validation is not None:
        found["held_out_loss"] = held_out_loss(run.model, validation, config)
    if evaluate is not None:
        found |= evaluate(run.model, run.step)
    run.ema.swap()
    return found


@torch.no_grad()
def held_out_loss(model: Model, windows: Windows, config: TrainConfig) -> float:
    """The mean loss over all windows, with the same noise every time it is asked."""
    device = torch.device(config.device)
    generator = _seeded(step_seed(config.seed, 2**32), device)
    total, count = 0.0, len(windows)
    indices = np.arange(count)
    for first in range(0, count, config.batch_size):
        part = indices[first : first + config.batch_size]
        loss, _ = model.loss(_to_tensors(windows.gather(part), device), generator)
        total += loss.item() * len(part)
    return total / max(1, count)


def _seeded(seed: int, device: torch.device) -> torch.Generator:
    """A generator for the loss; dropout can only draw from the global ones, which are seeded alike."""
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    return torch.Generator(device).manual_seed(seed ^ 0x5EED)


def _to_tensors(arrays: Any, device: torch.device) -> Any:
    if isinstance(arrays, Mapping):
        return {name: _to_tensors(value, device) for name, value in arrays.items()}  # pyright: ignore[reportUnknownVariableType]
    return torch.as_tensor(arrays).to(device, non_blocking=True)
