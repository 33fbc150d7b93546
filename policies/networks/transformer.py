"""A small transformer over the action chunk, one token per action.

Source: DiT (Peebles and Xie 2023): self-attention blocks whose norms are scaled, shifted and gated by the step and
the observations (adaLN-Zero), so that every block starts as the identity. Where we differ from Diffusion Policy's
transformer: observations modulate instead of being attended to, so a step costs the same for any length of history.

Shapes: B batch, H horizon, A numbers per action, C condition, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.networks.embedding import StepEmbedding
from robolearn.errors import SpecError

__all__ = ["TransformerDenoiser"]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.from_heads = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x_BHW: Tensor, condition_BW: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition_BW).unsqueeze(1).chunk(6, dim=-1)
        y_BHW = torch.addcmul(shift_a, self.norm_attention(x_BHW), 1 + scale_a)
        x_BHW = torch.addcmul(x_BHW, gate_a, self._attend(y_BHW))
        y_BHW = torch.addcmul(shift_m, self.norm_mlp(x_BHW), 1 + scale_m)
        return torch.addcmul(x_BHW, gate_m, self.mlp(y_BHW))

    def _attend(self, x_BHW: Tensor) -> Tensor:
        batch, horizon, width = x_BHW.shape
        qkv = self.to_qkv(x_BHW).view(batch, horizon, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.from_heads(y.transpose(1, 2).reshape(batch, horizon, width))


class TransformerDenoiser(nn.Module):
    """(noisy_BHA, step_B, condition_BC) -> (B, H, A).

    Args:
        horizon: The longest H.
        action_size: A.
        condition_size: C.
        steps: How many noising steps there are.
        width: W, a multiple of `heads`.
        depth: Blocks.
        heads: Of the attention.
        dropout: In attention and MLP.

    Raises:
        SpecError: A width that the heads do not divide.
    """

    def __init__(
        self,
        horizon: int,
        action_size: int,
        condition_size: int,
        steps: int,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % heads:
            raise SpecError(f"A transformer's width must be a multiple of its {heads} heads; found {width}.")
        self.embed = StepEmbedding(width, steps)
        self.condition = nn.Linear(condition_size, width)
        self.enter = nn.Linear(action_size, width)
        self.place_HW = nn.Parameter(torch.randn(horizon, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, action_size)

    def forward(self, noisy_BHA: Tensor, step_B: Tensor, condition_BC: Tensor) -> Tensor:
        condition_BW = nn.functional.silu(self.embed(step_B) + self.condition(condition_BC))
        x_BHW = self.enter(noisy_BHA) + self.place_HW[: noisy_BHA.shape[1]]
        for block in self.blocks:
            x_BHW = block(x_BHW, condition_BW)
        return self.leave(self.norm(x_BHW))
