"""An exponential moving average of the weights, which is what is deployed.

Source: the power schedule of Diffusion Policy (Chi et al. 2023, after K. Crowson):

    decay(k) = min(1 - (1 + max(0, k - 1))^-power, maximum),    average <- decay average + (1 - decay) weights

k counts the optimiser steps made before. Early on the average follows the weights closely, later it is slow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Ema", "decay_at"]


def decay_at(updates: int, power: float = 0.75, maximum: float = 0.9999) -> float:
    """The decay of the next update after `updates` earlier ones; 0 for the first two."""
    return min(1.0 - (1.0 + max(0, updates - 1)) ** -power, maximum)


class Ema:
    """The average of a module's parameters (buffers are constants of the data here and are not averaged).

    Args:
        module: Whose parameters.
        power: Of the schedule.
        maximum: Of the decay.
    """

    def __init__(self, module: nn.Module, power: float = 0.75, maximum: float = 0.9999):
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._power, self._maximum = power, maximum
        self.average: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Follow the parameters; `updates` counts the updates made before."""
        share = 1.0 - decay_at(updates, self._power, self._maximum)
        torch._foreach_lerp_(list(self.average.values()), list(self._parameters.values()), share)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's parameters with the average; calling it again undoes it."""
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(kept)
