"""Several small networks as one: every member's layer is one slice of a batched matrix product.

Members see the same inputs and differ by their first weights and, when they are trained, by bootstrap weights of the
examples (`bootstrap_weights`); what they disagree about is what the data does not say (Lakshminarayanan et al. 2017,
arXiv 1612.01474). Layer norm bounds what a member can say far from the data (Ball et al. 2023, arXiv 2302.02948).

Shapes: E members, B batch, D numbers in, O numbers out.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.specs import Array

__all__ = ["EnsembleMlp", "array", "bootstrap_weights"]


class _Layer(nn.Module):
    """E linear maps at once."""

    def __init__(self, members: int, size_in: int, size_out: int, *, layer_norm: bool = False):
        super().__init__()
        bound = 1.0 / math.sqrt(size_in)
        self.weight = nn.Parameter(torch.empty(members, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, size_out).uniform_(-bound, bound))
        self.layer_norm = layer_norm
        if layer_norm:
            self.scale = nn.Parameter(torch.ones(members, 1, size_out))
            self.shift = nn.Parameter(torch.zeros(members, 1, size_out))

    def forward(self, x_EBD: Tensor) -> Tensor:
        y_EBO = torch.baddbmm(self.bias, x_EBD, self.weight)
        if self.layer_norm:
            y_EBO = nn.functional.layer_norm(y_EBO, y_EBO.shape[-1:]) * self.scale + self.shift
        return y_EBO


class EnsembleMlp(nn.Module):
    """(B, D) or (E, B, D) -> (E, B, O).

    Args:
        members: E.
        size_in: D.
        size_out: O.
        width: Of the hidden layers.
        depth: How many hidden layers.
        layer_norm: Normalise the hidden layers' inputs to the activation.
    """

    def __init__(
        self, members: int, size_in: int, size_out: int, *, width: int = 256, depth: int = 2, layer_norm: bool = True
    ):
        super().__init__()
        self.members = members
        sizes = [size_in, *[width] * depth]
        self.hidden = nn.ModuleList(_Layer(members, a, b, layer_norm=layer_norm) for a, b in itertools.pairwise(sizes))
        self.leave = _Layer(members, sizes[-1], size_out)

    def forward(self, x: Tensor) -> Tensor:
        x_EBD = x if x.ndim == 3 else x.expand(self.members, *x.shape)
        for layer in self.hidden:
            x_EBD = nn.functional.relu(layer(x_EBD))
        return self.leave(x_EBD)


def array(tensor: Tensor) -> Array:
    """A tensor's numbers, on the CPU and without gradient."""
    return tensor.detach().cpu().numpy()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def bootstrap_weights(examples: int, members: int, seed: int, groups: Array | None = None) -> Array:
    """How often each member has drawn each example: Poisson(1) counts (examples, members), float32.

    Args:
        examples: How many.
        members: Of the ensemble; a single one gets every example once.
        seed: Fixes the draw.
        groups: (examples,) numbers of what is drawn as a whole, such as episodes; by default each example alone.
    """
    if members == 1:
        return np.ones((examples, 1), np.float32)
    generator = np.random.default_rng([seed, 0xB007])
    if groups is None:
        return generator.poisson(1.0, (examples, members)).astype(np.float32)
    _, index = np.unique(groups, return_inverse=True)
    return generator.poisson(1.0, (int(index.max()) + 1, members)).astype(np.float32)[index]
