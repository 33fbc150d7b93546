"""One step of a denoising chain, as pure functions of tensors.

Source: Ho et al. 2020 (DDPM) and Song et al. 2021 (DDIM, eq. 12 and 16). With abar at step t and abar' at the
step m it goes to, x the noisy sample and e the noise estimate:

    x0    = clip((x - sqrt(1 - abar) e) / sqrt(abar))
    sigma = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar')
    mu    = sqrt(abar') x0 + sqrt(1 - abar' - sigma^2) e,      x_m ~ N(mu, sigma^2)

As in diffusers and RL-100, e is not derived again after x0 is clipped unless `rederive` is set (as DPPO does).
Mean and sigma are separate from drawing the sample, so that a likelihood of the chain can use the same numbers.
Shapes: x_B... any sample shape behind the batch B; abar a number or broadcastable against x.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "Prediction",
    "add_noise",
    "ddim_step",
    "ddpm_mean_sigma",
    "ddpm_step",
    "predict_clean",
    "predict_noise",
    "step_mean_sigma",
]

Prediction = Literal["epsilon", "sample"]
"""What the network's output means: the noise in its input, or the clean sample."""


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The forward process, x_t = sqrt(abar) x_0 + sqrt(1 - abar) e.

    Args:
        clean: (B, ...) clean samples.
        noise: (B, ...) standard normal.
        alpha_bar: (B,) abar at each sample's step.
    """
    alpha_bar = alpha_bar.view(-1, *[1] * (clean.ndim - 1))
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def predict_clean(
    noisy: Tensor, output: Tensor, alpha_bar: Tensor, prediction: Prediction = "epsilon", clip: float | None = 1.0
) -> Tensor:
    """The clean sample that the network's output stands for.

    Args:
        noisy: (B, ...) what the network saw.
        output: (B, ...) what it said.
        alpha_bar: abar at the step of `noisy`, broadcastable.
        prediction: What the output means.
        clip: Clean samples lie within [-clip, clip]; None does not clip.
    """
    clean = output if prediction == "sample" else (noisy - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    return clean if clip is None else clean.clamp(-clip, clip)


def predict_noise(noisy: Tensor, clean: Tensor, alpha_bar: Tensor) -> Tensor:
    """The noise that leads from `clean` to `noisy`, the inverse of `add_noise` in its second argument."""
    return (noisy - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()


def step_mean_sigma(
    noisy: Tensor,
    output: Tensor,
    alpha_bar: Tensor,
    alpha_bar_next: Tensor,
    *,
    eta: float = 0.0,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    rederive: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a DDIM step; eta = 0 is deterministic, eta = 1 has DDPM's variance.

    Args:
        noisy: (B, ...) the sample at this step.
        output: (B, ...) the network's output for it.
        alpha_bar: abar at this step, broadcastable.
        alpha_bar_next: abar at the step gone to, 1 for clean, broadcastable.
        eta: Share of DDPM's noise.
        prediction: What the output means.
        clip: See `predict_clean`.
        rederive: Derive the noise from the clipped clean sample instead of using the network's.

    Returns:
        The mean (B, ...) and sigma, of abar's shape.
    """
    unclipped = predict_clean(noisy, output, alpha_bar, prediction, clip=None)
    clean = unclipped if clip is None else unclipped.clamp(-clip, clip)
    if rederive:
        noise = predict_noise(noisy, clean, alpha_bar)
    else:
        noise = output if prediction == "epsilon" else predict_noise(noisy, unclipped, alpha_bar)
    sigma = eta * _posterior_variance(alpha_bar, alpha_bar_next).sqrt()
    # Round-off may take the share left for the direction below zero when sigma uses it all up.
    direction = (1 - alpha_bar_next - sigma**2).clamp(min=0).sqrt() * noise
    return alpha_bar_next.sqrt() * clean + direction, sigma


def ddim_step(
    noisy: Tensor,
    output: Tensor,
    alpha_bar: Tensor,
    alpha_bar_next: Tensor,
    *,
    eta: float = 0.0,
    noise: Tensor | None = None,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    rederive: bool = False,
) -> Tensor:
    """The sample after a DDIM step; `noise` (B, ...) standard normal is used when eta > 0."""
    mean, sigma = step_mean_sigma(
        noisy, output, alpha_bar, alpha_bar_next, eta=eta, prediction=prediction, clip=clip, rederive=rederive
    )
    return mean if noise is None else mean + sigma * noise


def ddpm_mean_sigma(
    noisy: Tensor,
    output: Tensor,
    alpha_bar: Tensor,
    alpha_bar_next: Tensor,
    *,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
) -> tuple[Tensor, Tensor]:
    """Mean and sigma of the ancestral DDPM step (eq. 7, the smaller variance); arguments as `step_mean_sigma`."""
    clean = predict_clean(noisy, output, alpha_bar, prediction, clip)
    alpha = alpha_bar / alpha_bar_next
    towards_clean = alpha_bar_next.sqrt() * (1 - alpha) / (1 - alpha_bar)
    keep = alpha.sqrt() * (1 - alpha_bar_next) / (1 - alpha_bar)
    return towards_clean * clean + keep * noisy, _posterior_variance(alpha_bar, alpha_bar_next).sqrt()


def ddpm_step(
    noisy: Tensor,
    output: Tensor,
    alpha_bar: Tensor,
    alpha_bar_next: Tensor,
    noise: Tensor,
    *,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
) -> Tensor:
    """The sample after an ancestral DDPM step with this standard normal `noise` (B, ...)."""
    mean, sigma = ddpm_mean_sigma(noisy, output, alpha_bar, alpha_bar_next, prediction=prediction, clip=clip)
    return mean + sigma * noise


def _posterior_variance(alpha_bar: Tensor, alpha_bar_next: Tensor) -> Tensor:
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    return torch.clamp(variance, min=0.0)
