"""Point clouds: the same small network for every point, then the largest answer of each feature, so order is nothing.

Source: PointNet (Qi et al. 2017) in the form of DP3 (Ze et al. 2024): three layers with layer norm per point, max over
the points, a linear layer and layer norm. Clouds are centred and scaled alike along all axes, by constants of the data:
a cloud stretched to its box would lose its shape. Chamfer distance (Fan et al. 2017) compares two clouds:

    d(A, B) = mean_a min_b |a - b|^2 + mean_b min_a |a - b|^2

Shapes: B batch, N points, F features.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.learn.normaliser import ArrayStatistics
from robolearn.specs import ArraySpec

__all__ = ["CloudDecoder", "CloudEncoder", "chamfer", "is_cloud"]


def is_cloud(spec: ArraySpec) -> bool:
    """Whether an observation is a cloud: floating-point positions (N, 3)."""
    return len(spec.shape) == 2 and spec.shape[-1] == 3 and spec.dtype.startswith("float")


def chamfer(a_BN3: Tensor, b_BM3: Tensor) -> Tensor:
    """(B,) Chamfer distances."""
    # Squares by hand: the gradient of cdist is not finite where two points coincide.
    gap_BNM = (a_BN3[:, :, None] - b_BM3[:, None]).square().sum(-1)
    return gap_BNM.amin(2).mean(1) + gap_BNM.amin(1).mean(1)


class CloudEncoder(nn.Module):
    """(B, N, 3) in m -> (B, size).

    Args:
        statistics: Of the cloud, each of shape (N, 3).
        size: Of the vector.
        widths: Features per point, layer by layer.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, statistics: ArrayStatistics, size: int = 64, widths: tuple[int, ...] = (64, 128, 256)):
        super().__init__()
        low, high = np.asarray(statistics.min).min(0), np.asarray(statistics.max).max(0)
        half = max(1e-4, float((high - low).max()) / 2)
        self.register_buffer("offset", torch.as_tensor((low + high) / 2, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(1.0 / half, dtype=torch.float32))
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise((3, *widths)):
            layers += [nn.Linear(size_in, size_out), nn.LayerNorm(size_out), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        self.leave = nn.Sequential(nn.Linear(widths[-1], size), nn.LayerNorm(size))

    def normalise(self, cloud_BN3: Tensor) -> Tensor:
        """Centred, within about [-1, 1] along the longest axis."""
        return (cloud_BN3.to(torch.float32) - self.offset) * self.scale

    def forward(self, cloud_BN3: Tensor) -> Tensor:
        return self.leave(self.points(self.normalise(cloud_BN3)).amax(1))


class CloudDecoder(nn.Module):
    """(B, size) -> a normalised cloud (B, N, 3)."""

    def __init__(self, size: int, points: int, widths: tuple[int, ...] = (512, 1024)):
        super().__init__()
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise((size, *widths)):
            layers += [nn.Linear(size_in, size_out), nn.LayerNorm(size_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 3 * points))

    def forward(self, z_BF: Tensor) -> Tensor:
        return self.layers(z_BF).unflatten(-1, (-1, 3))
