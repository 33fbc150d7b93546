"""A residual MLP over the whole flattened action chunk: the denoiser for low-dimensional observations.

Source: the MLPResNet of IDQL (Hansen-Estruch et al. 2023) as used by RL-100: blocks of dropout, layer norm and
a four times wider hidden layer. Where we differ: twice wider by default, to train faster; and a second way around
the whole network carries the noisy chunk to the output, scaled by the step, because most of the noise in a hundred
numbers is known from them alone and a narrow network need not copy them.

Shapes: B batch, H horizon, A numbers per action, C condition, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.networks.embedding import StepEmbedding

__all__ = ["MlpDenoiser", "ResidualBlock", "residual_mlp"]


class ResidualBlock(nn.Module):
    """x + MLP(norm(x)) of one width."""

    def __init__(self, width: int, dropout: float, expansion: int = 2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.Mish(),
            nn.Linear(expansion * width, width),
        )

    def forward(self, x_BW: Tensor) -> Tensor:
        return x_BW + self.layers(x_BW)


def residual_mlp(size_in: int, size_out: int, width: int, depth: int, dropout: float) -> nn.Sequential:
    """A linear layer in, `depth` residual blocks, a linear layer out."""
    blocks = [ResidualBlock(width, dropout) for _ in range(depth)]
    return nn.Sequential(nn.Linear(size_in, width), *blocks, nn.LayerNorm(width), nn.Linear(width, size_out))


class MlpDenoiser(nn.Module):
    """(noisy_BHA, step_B, condition_BC) -> (B, H, A).

    Args:
        horizon: H.
        action_size: A.
        condition_size: C.
        steps: How many noising steps there are.
        width: Of the residual stream.
        depth: Residual blocks.
        dropout: At the entrance of every block.
        step_size: Of the step's embedding.
    """

    def __init__(
        self,
        horizon: int,
        action_size: int,
        condition_size: int,
        steps: int,
        *,
        width: int = 256,
        depth: int = 3,
        dropout: float = 0.0,
        step_size: int = 32,
    ):
        super().__init__()
        self.embed = StepEmbedding(step_size, steps)
        size = horizon * action_size
        self.around = nn.Linear(step_size, 1)
        self.layers = residual_mlp(size + step_size + condition_size, size, width, depth, dropout)

    def forward(self, noisy_BHA: Tensor, step_B: Tensor, condition_BC: Tensor) -> Tensor:
        noisy_BX, step_BE = noisy_BHA.flatten(1), self.embed(step_B)
        x_BW = torch.cat([noisy_BX, step_BE, condition_BC], dim=-1)
        return torch.addcmul(self.layers(x_BW), self.around(step_BE), noisy_BX).view(noisy_BHA.shape)
