"""What diffusion costs here: scheduler arithmetic, a training step, a decision.

    python benchmarks/diffusion_step.py [--quick]

(a) One DDIM step without the network, ours against diffusers' DDIMScheduler, in microseconds.
(b) One training step of the same U-Net on the same batch: ours against a plain loop over diffusers' DDPMScheduler
    (add_noise, loss, backward, clip, AdamW), taken in turns, so that a noisy machine hits both alike.
(c) One decision of one row: denoiser, denoising steps and CPU threads, median and 99th percentile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from policies.diffusion import DiffusionConfig, DiffusionModel
from policies.regression import RegressionConfig, RegressionModel
from robolearn.diffusion.sampler import make_plan, run
from robolearn.diffusion.schedule import squared_cosine
from robolearn.learn.ema import Ema
from robolearn.learn.normaliser import moments
from robolearn.specs import ArraySpec

OBSERVATION_SPEC = {"arm.q": ArraySpec((7,)), "tool.pose": ArraySpec((7,)), "cube.pose": ArraySpec((7,))}
ACTION_SPEC = {"arm.delta": ArraySpec((6,), low=-1.0, high=1.0), "gripper.close": ArraySpec((1,), low=-1.0, high=1.0)}
SHAPE = (1, 16, 7)


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def build(config: DiffusionConfig | RegressionConfig) -> DiffusionModel | RegressionModel:
    """A model on random statistics."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    spec = OBSERVATION_SPEC | ACTION_SPEC
    return config.build(
        OBSERVATION_SPEC, ACTION_SPEC, {n: moments(draw.normal(size=(9, *s.shape))) for n, s in spec.items()}
    )


def scheduler_arithmetic(repeats: int) -> None:
    """(a) Microseconds per denoising step without the network."""
    from diffusers import DDIMScheduler

    schedule, steps = squared_cosine(100), 10
    theirs = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")
    theirs.set_timesteps(steps)
    noise, output = torch.randn(SHAPE), torch.randn(SHAPE)

    def by_diffusers() -> Tensor:
        x = noise
        for step in theirs.timesteps:
            x = theirs.step(output, step, x, return_dict=False)[0]  # pyright: ignore[reportArgumentType]
        return x

    plans = {"ours, planned": make_plan(schedule, steps), "ours, no clipping": make_plan(schedule, steps, clip=None)}
    actions: dict[str, Callable[[], object]] = {
        name: (lambda plan=plan: run(lambda x, t: output, plan, noise)) for name, plan in plans.items()
    }
    actions["diffusers DDIMScheduler"] = by_diffusers
    times = interleaved(actions, repeats)
    print("(a) scheduler arithmetic, one row of 16 x 7, us per step (median)")
    for name, values in times.items():
        print(f"    {name:28s} {1e6 * statistics.median(values) / steps:8.1f}")
    difference = (run(lambda x, t: output, plans["ours, planned"], noise) - by_diffusers()).abs().max()
    print(f"    largest difference of the samples {float(difference):.1e}")


def interleaved(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every call, the actions taking turns (first turns left out)."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 3):
        for name, action in actions.items():
            seconds = timed(action)
            if repeat >= 3:
                times[name].append(seconds)
    return times


def training_step(repeats: int, batch_size: int) -> None:
    """(b) Ours against a plain loop over diffusers, same network, same batch."""
    from diffusers import DDPMScheduler

    config = DiffusionConfig(denoiser="unet", unet_widths=(64, 128, 256), observation_noise=0.0)
    scheduler = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2")
    generator = torch.Generator().manual_seed(0)
    observation = {n: torch.randn(batch_size, config.history, *s.shape) for n, s in OBSERVATION_SPEC.items()}
    action = {n: torch.rand(batch_size, config.horizon, *s.shape) for n, s in ACTION_SPEC.items()}
    batch = {"observation": observation, "action": action}

    def our_loss(model: DiffusionModel) -> Tensor:
        return model.loss(batch, generator)[0]

    def their_loss(model: DiffusionModel) -> Tensor:
        clean, condition = model.codec.join(action), model.encoder(observation)
        noise, step = torch.randn_like(clean), torch.randint(0, 100, (batch_size,))
        output = model.denoiser(scheduler.add_noise(clean, noise, step), step, condition)  # pyright: ignore[reportArgumentType]
        return torch.nn.functional.mse_loss(output, noise)

    def stepper(loss_of: Callable[[DiffusionModel], Tensor], fused: bool) -> Callable[[], None]:
        model = build(config)
        assert isinstance(model, DiffusionModel)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=fused)
        ema = Ema(model)
        averages = {name: value.detach().clone() for name, value in model.named_parameters()}

        def step() -> None:
            optimizer.zero_grad()
            loss_of(model).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if fused:
                ema.update(100)
                return
            with torch.no_grad():
                for name, value in model.named_parameters():
                    averages[name].mul_(0.99).add_(value, alpha=0.01)

        return step

    plain, same = "plain loop over diffusers", "the same with our optimiser and average"
    actions: dict[str, Callable[[], object]] = {
        "ours": stepper(our_loss, True),
        plain: stepper(their_loss, False),
        same: stepper(their_loss, True),
    }
    times = interleaved(actions, repeats)
    print(f"(b) training step, U-Net, batch {batch_size}, AdamW and moving average (median of {repeats} turns)")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["ours"], values, strict=True))
        print(f"    {name:40s} {1e3 * statistics.median(values):8.1f} ms   ours / this {ratio:.3f}")


def decision(repeats: int, quick: bool) -> None:
    """(c) Milliseconds of one decision of one row."""
    print("(c) one decision of one row, ms, p50 / p99")
    rows: list[tuple[str, DiffusionConfig | RegressionConfig]] = [("regression", RegressionConfig())]
    for denoiser in ("mlp", "transformer", "unet"):
        width, depth = (128, 4) if denoiser == "transformer" else (DiffusionConfig.width, DiffusionConfig.depth)
        for steps in (1, 4) if quick else (1, 2, 4, 8, 16):
            config = DiffusionConfig(denoiser=denoiser, sample_steps=steps, width=width, depth=depth)
            rows.append((f"{denoiser} K={steps}", config))
    for name, config in rows:
        model = build(config).eval()
        seen = {
            n: np.random.default_rng(0).normal(size=(1, config.history, *s.shape)) for n, s in OBSERVATION_SPEC.items()
        }
        noise, found = np.array([1], np.uint64), []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            times = interleaved({name: partial(model.predict, seen, noise)}, repeats)[name]
            p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
            found.append(f"{threads} thread{'s' * (threads > 1)} {p50:7.2f} / {p99:7.2f}")
        print(f"    {name:18s} {'   '.join(found)}")
    torch.set_num_threads(1)


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions, a minute at most")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    scheduler_arithmetic(50 if quick else 500)
    training_step(8 if quick else 40, 16 if quick else 64)
    decision(20 if quick else 200, quick)


if __name__ == "__main__":
    main()
