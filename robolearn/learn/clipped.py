"""The clipped objective of PPO, and the check that a ratio is 1 before anything was learned.

Source: Schulman et al. 2017 (arXiv 1707.06347), eq. 7, with the KL estimate k3 of J. Schulman's note (unbiased, never
negative):

    J = mean(min(r A, clip(r, 1 - c, 1 + c) A)),    r = exp(log_ratio),    KL(old, new) ~ mean(r - 1 - log r)

Over a denoising chain, r is the ratio of one denoising step and A that of its decision (RL-100; `specs` 1.5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robolearn.errors import TrainingFault

__all__ = ["clipped_objective", "require_unit_ratio"]


def clipped_objective(
    log_ratio_B: Tensor, advantage_B: Tensor, clip: float | Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (minus J) and what to watch.

    Args:
        log_ratio_B: log pi(a) - log pi_old(a), with gradient.
        advantage_B: Of each, without gradient; normalise it before.
        clip: How far the ratio may go to still be rewarded, one number or (B,).

    Returns:
        A scalar to minimise, and "approximate_kl", "clip_fraction", "ratio_max" without gradient.
    """
    ratio_B = log_ratio_B.exp()
    clipped_B = torch.minimum(torch.maximum(ratio_B, 1 - torch.as_tensor(clip)), 1 + torch.as_tensor(clip))
    loss = -torch.minimum(ratio_B * advantage_B, clipped_B * advantage_B).mean()
    with torch.no_grad():
        statistics = {
            "approximate_kl": (ratio_B - 1 - log_ratio_B).mean(),
            "clip_fraction": ((ratio_B - 1).abs() > clip).to(torch.float32).mean(),
            "ratio_max": ratio_B.max(),
        }
    return loss, statistics


def require_unit_ratio(log_ratio_B: Tensor, tolerance: float = 2e-3) -> float:
    """Refuse to learn from samples that the policy would not have drawn like this.

    Before the first update the ratio is 1 by definition. Where it is not, dropout, an augmentation, a clamp, another
    schedule or another precision stands between sampling and likelihood, and PPO silently learns nonsense.

    Args:
        log_ratio_B: Of the first batch, before any update.
        tolerance: Round-off allowed: float32 sums of squares over sigma, in another batch size.

    Returns:
        The largest deviation of the ratio from 1.

    Raises:
        TrainingFault: It is larger than the tolerance.
    """
    deviation = float((log_ratio_B.detach().exp() - 1).abs().max())
    if not deviation <= tolerance:
        raise TrainingFault(
            f"Before the first update the ratio of new to old likelihood must be 1; found it off by {deviation:.3g} "
            f"(allowed {tolerance:.3g}). Something differs between sampling and likelihood: dropout or augmentation "
            "left on, actions clamped inside the stored chain, another noise schedule, sigma or precision."
        )
    return deviation
