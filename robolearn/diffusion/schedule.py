"""How much of the clean signal is left after k noising steps, and which of the steps a sampler visits.

Source: Nichol and Dhariwal 2021, eq. 17 (squared cosine), with the cap of diffusers' "squaredcos_cap_v2":

    f(s) = cos^2((s + 0.008) / 1.008 * pi / 2),  beta_t = min(1 - f((t+1)/T) / f(t/T), 0.999),  abar_t = prod(1 - beta)

Where we differ: a visited step is always paired with the step it really goes to next, so "trailing" spacing
stays consistent when the number of visited steps does not divide T (diffusers' DDIM subtracts T // steps).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from robolearn.errors import SpecError

__all__ = ["CLEAN", "Schedule", "Spacing", "squared_cosine", "visited"]

CLEAN = -1
"""The step before step 0: no noise at all, abar = 1."""

Spacing = Literal["leading", "trailing"]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A variance-preserving noise schedule.

    Attributes:
        alpha_bar: (T,) float32, the share of signal variance left after step t; falls from almost 1 to almost 0.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        falling = bool((self.alpha_bar.diff() < 0).all())
        if self.alpha_bar.ndim != 1 or not falling or not 0 < float(self.alpha_bar[-1]) <= float(self.alpha_bar[0]) < 1:
            raise SpecError(
                "A noise schedule's alpha_bar must be one axis of numbers that fall strictly inside (0, 1); "
                f"found shape {tuple(self.alpha_bar.shape)} from {float(self.alpha_bar.flatten()[0]):.4g} "
                f"to {float(self.alpha_bar.flatten()[-1]):.4g}."
            )

    @property
    def steps(self) -> int:
        """T, the number of noising steps trained on."""
        return self.alpha_bar.shape[0]

    def at(self, step: int) -> float:
        """abar of one step as a Python number; 1 for `CLEAN`."""
        return 1.0 if step == CLEAN else float(self.alpha_bar[step])


def squared_cosine(steps: int = 100) -> Schedule:
    """The squared cosine schedule, bit-equal to diffusers' "squaredcos_cap_v2".

    Args:
        steps: T, the number of noising steps.
    """

    def signal(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((t + 1) / steps) / signal(t / steps), 0.999) for t in range(steps)]
    return Schedule(torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32), dim=0))


def visited(schedule: Schedule, steps: int, spacing: Spacing = "leading", offset: int = 0) -> list[tuple[int, int]]:
    """The steps a sampler visits, each with the step it goes to.

    Args:
        schedule: The schedule trained on.
        steps: How many to visit, at most `schedule.steps`.
        spacing: "leading" (0, r, 2r, ... with r = T // steps; diffusers' default) or "trailing" (always begins at
            the noisiest step T - 1, better for very few steps).
        offset: Added to every "leading" step (RL-100 uses 1).

    Returns:
        Pairs (step, next step) from the noisiest on; the last goes to `CLEAN`.

    Raises:
        SpecError: More steps than the schedule has, or an offset beyond its end.
    """
    total = schedule.steps
    if not 1 <= steps <= total:
        raise SpecError(f"A sampler must visit between 1 and {total} steps (those trained on); found {steps}.")
    if spacing == "leading":
        order = np.arange(steps)[::-1] * (total // steps) + offset
    else:
        order = np.round(np.arange(total, 0, -total / steps))[:steps].astype(np.int64) - 1
    if order[0] >= total or order[-1] < 0:
        raise SpecError(f"Offset {offset} with {steps} leading steps leaves the schedule of {total} steps.")
    chain = [int(t) for t in order] + [CLEAN]
    return list(itertools.pairwise(chain))
