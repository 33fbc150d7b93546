"""From noise to samples: the loop over a denoising chain, with all arithmetic of the steps planned ahead.

Source: the equations of `steps.py`. For a fixed schedule each DDIM or DDPM step is

    clean = clip(p x + q out),    x' = a x + b out + c clean + sigma z

with six numbers known beforehand, so a step costs five small in-place tensor operations
(`benchmarks/diffusion_step.py` measures them). Other solvers come from the diffusers library by name (`library.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.diffusion import library
from robolearn.diffusion.noise import Generators, normals
from robolearn.diffusion.schedule import Schedule, Spacing, visited
from robolearn.diffusion.steps import Prediction
from robolearn.errors import SpecError, UnknownName

__all__ = ["OWN", "Denoise", "Plan", "Update", "clean_of", "ddim_update", "make_plan", "run", "sample", "unclipped"]

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy samples (B, ...), steps (B,) int64) -> the network's output (B, ...)."""

OWN = ("ddim", "ddpm")
"""The samplers of this module; all others are looked up in the diffusers library."""


class Update(NamedTuple):
    """One step of the chain as numbers, in the names of the module's equation."""

    step: int
    p: float
    q: float
    a: float
    b: float
    c: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole chain.

    Attributes:
        updates: The steps, noisiest first.
        clip: Clean samples lie within [-clip, clip]; None does not clip.
    """

    updates: tuple[Update, ...]
    clip: float | None


def make_plan(
    schedule: Schedule,
    steps: int,
    *,
    kind: str = "ddim",
    eta: float = 0.0,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    rederive: bool = False,
    spacing: Spacing = "leading",
    offset: int = 0,
) -> Plan:
    """Work out the numbers of every step.

    Args:
        schedule: The schedule trained on.
        steps: How many steps to visit.
        kind: "ddim" or "ddpm".
        eta: Share of DDPM's noise in a DDIM step.
        prediction: What the network's output means.
        clip: See `Plan`.
        rederive: See `steps.step_mean_sigma`; DDIM only.
        spacing: See `schedule.visited`.
        offset: See `schedule.visited`.

    Raises:
        UnknownName: Another kind.
    """
    if kind not in OWN:
        raise UnknownName("sampler", kind, OWN)
    updates: list[Update] = []
    for step, following in visited(schedule, steps, spacing, offset):
        now, then = schedule.at(step), schedule.at(following)
        sigma = math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        if kind == "ddpm":
            a, b = math.sqrt(now / then) * (1 - then) / (1 - now), 0.0
            c = math.sqrt(then) * (1 - now / then) / (1 - now)
            p, q = clean_of(now, prediction)
            updates.append(unclipped(Update(step, p, q, a, b, c, sigma), clip))
        else:
            update = ddim_update(step, now, then, eta * sigma, prediction=prediction, rederive=rederive)
            updates.append(unclipped(update, clip))
    return Plan(tuple(updates), clip)


def clean_of(now: float, prediction: Prediction) -> tuple[float, float]:
    """The numbers p and q of a step whose abar is `now`."""
    return (1 / math.sqrt(now), -math.sqrt(1 - now) / math.sqrt(now)) if prediction == "epsilon" else (0.0, 1.0)


def ddim_update(
    step: int, now: float, then: float, sigma: float, *, prediction: Prediction = "epsilon", rederive: bool = False
) -> Update:
    """The numbers of a DDIM step from abar `now` to abar `then` that leaves room for noise of this sigma."""
    signal, noise = math.sqrt(now), math.sqrt(1 - now)
    p, q = clean_of(now, prediction)
    direction, c = math.sqrt(max(0.0, 1 - then - sigma**2)), math.sqrt(then)
    if rederive:
        a, b, c = direction / noise, 0.0, c - direction * signal / noise
    elif prediction == "epsilon":
        a, b = 0.0, direction
    else:
        a, b = direction / noise, -direction * signal / noise
    return Update(step, p, q, a, b, c, sigma)


def unclipped(update: Update, clip: float | None) -> Update:
    """The same step with fewer operations when clean samples are not clipped."""
    if clip is not None:
        return update
    step, p, q, a, b, c, sigma = update
    return Update(step, p, q, a + c * p, b + c * q, 0.0, sigma)


def run(denoise: Denoise, plan: Plan, noise: Tensor, generators: Generators | None = None) -> Tensor:
    """Follow a plan from noise to clean samples.

    Args:
        denoise: The network; it must not keep or change the tensor it is given.
        plan: From `make_plan`.
        noise: (B, ...) standard normal, where the chain starts; left unchanged.
        generators: Where a stochastic chain draws from, one or one per row.

    Returns:
        (B, ...) samples.

    Raises:
        SpecError: The chain is stochastic and there is nothing to draw from.
    """
    if generators is None and any(update.sigma > 0 for update in plan.updates):
        raise SpecError("A stochastic denoising chain (ddpm, or ddim with eta > 0) needs generators to draw from.")
    x, following, clean = noise.clone(), torch.empty_like(noise), torch.empty_like(noise)
    rows = noise.shape[0]
    steps = torch.tensor([update.step for update in plan.updates], device=noise.device)
    for k, (_, p, q, a, b, c, sigma) in enumerate(plan.updates):
        output = denoise(x, steps[k].expand(rows))
        # Two buffers take turns, so that a network that returns its own input is still read before it changes.
        torch.mul(output, b, out=following)
        if a != 0:
            following.add_(x, alpha=a)
        if plan.clip is not None:
            torch.mul(output, q, out=clean)
            if p != 0:
                clean.add_(x, alpha=p)
            following.add_(clean.clamp_(-plan.clip, plan.clip), alpha=c)
        if sigma > 0 and generators is not None:
            following.add_(normals(x.shape, generators, x.device), alpha=sigma)
        x, following = following, x
    return x


def sample(
    denoise: Denoise,
    schedule: Schedule,
    noise: Tensor,
    *,
    steps: int,
    kind: str = "ddim",
    eta: float = 0.0,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    spacing: Spacing = "leading",
    generators: Generators | None = None,
) -> Tensor:
    """Draw samples with any sampler: our own fast "ddim" and "ddpm", or one of diffusers' by name.

    Args:
        denoise: The network.
        schedule: The schedule it was trained with.
        noise: (B, ...) standard normal, where the chain starts.
        steps: How many steps to visit.
        kind: "ddim", "ddpm", or a name of `library.NAMES`.
        eta: Share of DDPM's noise in a DDIM step.
        prediction: What the network's output means.
        clip: Clean samples lie within [-clip, clip]; None does not clip.
        spacing: See `schedule.visited`; our own samplers only.
        generators: Where stochastic samplers draw from, one or one per row.

    Raises:
        UnknownName: No such sampler.
    """
    if kind in OWN:
        plan = make_plan(schedule, steps, kind=kind, eta=eta, prediction=prediction, clip=clip, spacing=spacing)
        return run(denoise, plan, noise, generators)
    return library.sample(
        denoise, schedule, noise, steps=steps, name=kind, prediction=prediction, clip=clip, generators=generators
    )
