"""The noising step as a vector.

Source: the sinusoidal embedding of Vaswani et al. 2017 with frequencies from 1 to 1/10000. The table of all
steps is worked out once, since a step is a small whole number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["StepEmbedding"]


class StepEmbedding(nn.Module):
    """Steps (B,) int64 to vectors (B, size).

    Args:
        size: Of the vector, even.
        steps: How many noising steps there are.
    """

    table: Tensor

    def __init__(self, size: int, steps: int):
        super().__init__()
        half = size // 2
        frequency = torch.exp(-math.log(10_000) * torch.arange(half) / max(1, half - 1))
        angle = torch.arange(steps)[:, None] * frequency
        self.register_buffer("table", torch.cat([angle.sin(), angle.cos()], dim=-1), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * half, 2 * size), nn.Mish(), nn.Linear(2 * size, size))

    def forward(self, step_B: Tensor) -> Tensor:
        return self.layers(self.table[step_B])
