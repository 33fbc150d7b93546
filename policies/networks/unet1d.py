"""A conditional 1-D U-Net over the action chunk.

Source: Diffusion Policy (Chi et al. 2023), after Janner et al. 2022: two residual convolution blocks per level,
modulated by scale and shift (FiLM) from the step and the observations, group norm, Mish. Where we differ: any
horizon works, because the chunk is padded at its end, inside, to a multiple of the deepest stride and cropped
again; the last level keeps its length, as there.

Shapes: B batch, H horizon, A numbers per action, C condition, F features, T padded horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from policies.networks.embedding import StepEmbedding
from robolearn.errors import SpecError

__all__ = ["Unet1d"]


class _ConvBlock(nn.Module):
    def __init__(self, size_in: int, size_out: int, kernel: int, groups: int):
        super().__init__()
        convolution = nn.Conv1d(size_in, size_out, kernel, padding=kernel // 2)
        self.layers = nn.Sequential(convolution, nn.GroupNorm(groups, size_out), nn.Mish())

    def forward(self, x_BFT: Tensor) -> Tensor:
        return self.layers(x_BFT)


class _ResidualBlock(nn.Module):
    """Two convolutions with a FiLM modulation between them, and a way around."""

    def __init__(self, size_in: int, size_out: int, condition_size: int, kernel: int, groups: int):
        super().__init__()
        self.first = _ConvBlock(size_in, size_out, kernel, groups)
        self.second = _ConvBlock(size_out, size_out, kernel, groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition_size, 2 * size_out))
        self.around = nn.Conv1d(size_in, size_out, 1) if size_in != size_out else nn.Identity()

    def forward(self, x_BFT: Tensor, condition_BC: Tensor) -> Tensor:
        scale_BF1, shift_BF1 = self.film(condition_BC).unsqueeze(-1).chunk(2, dim=1)
        y_BFT = torch.addcmul(shift_BF1, self.first(x_BFT), 1 + scale_BF1)
        return self.second(y_BFT) + self.around(x_BFT)


class Unet1d(nn.Module):
    """(noisy_BHA, step_B, condition_BC) -> (B, H, A).

    Args:
        action_size: A.
        condition_size: C.
        steps: How many noising steps there are.
        widths: Features per level; each level after the first halves the length.
        kernel: Of the convolutions, odd.
        groups: Of the group norms; divides every width.
        step_size: Of the step's embedding.

    Raises:
        SpecError: A width that the groups do not divide, or an even kernel.
    """

    def __init__(
        self,
        action_size: int,
        condition_size: int,
        steps: int,
        *,
        widths: Sequence[int] = (64, 128, 256),
        kernel: int = 5,
        groups: int = 8,
        step_size: int = 128,
    ):
        super().__init__()
        if kernel % 2 == 0 or not widths or any(width % groups for width in widths):
            raise SpecError(
                f"A U-Net needs an odd kernel and widths that {groups} divides; found kernel {kernel}, "
                f"widths {tuple(widths)}."
            )
        self.embed = StepEmbedding(step_size, steps)
        self.stride = 2 ** (len(widths) - 1)
        size = step_size + condition_size

        def block(size_in: int, size_out: int) -> _ResidualBlock:
            return _ResidualBlock(size_in, size_out, size, kernel, groups)

        levels = list(pairwise((action_size, *widths)))
        self.down = nn.ModuleList(
            nn.ModuleList(
                [block(a, b), block(b, b), nn.Conv1d(b, b, 3, 2, 1) if i < len(levels) - 1 else nn.Identity()]
            )
            for i, (a, b) in enumerate(levels)
        )
        self.middle = nn.ModuleList([block(widths[-1], widths[-1]), block(widths[-1], widths[-1])])
        self.up = nn.ModuleList(
            nn.ModuleList([block(2 * b, a), block(a, a), nn.ConvTranspose1d(a, a, 4, 2, 1)])
            for a, b in reversed(list(pairwise(widths)))
        )
        self.out = nn.Sequential(_ConvBlock(widths[0], widths[0], kernel, groups), nn.Conv1d(widths[0], action_size, 1))

    def forward(self, noisy_BHA: Tensor, step_B: Tensor, condition_BC: Tensor) -> Tensor:
        horizon = noisy_BHA.shape[1]
        x_BFT = noisy_BHA.transpose(1, 2)
        missing = -horizon % self.stride
        if missing:
            x_BFT = nn.functional.pad(x_BFT, (0, missing), mode="replicate")
        condition_BC = torch.cat([self.embed(step_B), condition_BC], dim=-1)
        skipped: list[Tensor] = []
        for level in self.down:
            first, second, shorter = cast(nn.ModuleList, level)
            x_BFT = second(first(x_BFT, condition_BC), condition_BC)
            skipped.append(x_BFT)
            x_BFT = shorter(x_BFT)
        for block in self.middle:
            x_BFT = block(x_BFT, condition_BC)
        for level in self.up:
            first, second, longer = cast(nn.ModuleList, level)
            x_BFT = first(torch.cat([x_BFT, skipped.pop()], dim=1), condition_BC)
            x_BFT = longer(second(x_BFT, condition_BC))
        return self.out(x_BFT)[..., :horizon].transpose(1, 2)
