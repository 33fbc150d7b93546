"""From pictures to vectors: one small convolutional network per camera.

Feature maps become expected picture coordinates (spatial softmax, Levine et al. 2016); group norm, because batches are
small and an average of weights must not need batch statistics. Where there are words of a command, a learned vector per
word, added up, scales and shifts the feature maps (FiLM, Perez et al. 2018), so that the points are those of what is
meant.

A point that is an average over the whole picture says nothing, and a network that begins so learns slowly to say more.
So the softmax is `SHARP` times as steep as its logits, words count `LOUD` times, and the last layer keeps the
resolution of the one before it: a fruit on a table is four cells of its maps instead of a part of one. What that is
worth says `benchmarks/picture_places.py`.

Shapes: B batch, T history, N pictures, V words, F features, P points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ImageEncoder", "shift"]

SHARP, LOUD = 10.0, 10.0


def shift(images_BTFhw: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each history of pictures by up to `pixels` in both directions; edges are repeated.

    Args:
        images_BTFhw: (B, T, channels, height, width).
        pixels: Largest shift.
        generator: On the pictures' device.
    """
    batch, _, _, height, width = images_BTFhw.shape
    device = images_BTFhw.device
    y_B, x_B = torch.randint(-pixels, pixels + 1, (2, batch), generator=generator, device=device)
    rows_Bh = (torch.arange(height, device=device) + y_B[:, None]).clamp(0, height - 1)
    columns_Bw = (torch.arange(width, device=device) + x_B[:, None]).clamp(0, width - 1)
    taken = torch.arange(batch, device=device)[:, None, None]
    # Indices on axes 0, 3, 4 with slices between them move to the front: (B, h, w, T, F).
    return images_BTFhw[taken, :, :, rows_Bh[:, :, None], columns_Bw[:, None, :]].permute(0, 3, 4, 1, 2)


class ImageEncoder(nn.Module):
    """Pictures (N, 3, height, width) in [0, 1], and words (N, V), to vectors (N, size).

    Args:
        size: Of the vector.
        widths: Features of the layers; each but the last halves height and width.
        spoken: How many words steer the features; 0 for pictures alone.
        points: How many picture points the spatial softmax reports.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (32, 64, 64), spoken: int = 0, points: int = 32):
        super().__init__()
        layers: list[nn.Module] = []
        strides = [2] * (len(widths) - 1) + [1]
        for size_in, size_out, stride in zip((3, *widths), widths, strides, strict=False):
            layers += [nn.Conv2d(size_in, size_out, 3, stride, 1), nn.GroupNorm(8, size_out), nn.ReLU()]
        self.spoken, last = spoken, nn.Conv2d(widths[-1], points, 1)
        if spoken:
            self.film = nn.Linear(spoken, 2 * widths[-1])
            nn.init.zeros_(self.film.weight)  # it begins as a network that hears nothing
            nn.init.zeros_(self.film.bias)
            self.layers, self.point = nn.Sequential(*layers), last
        else:
            self.layers, self.point = nn.Sequential(*layers, last), nn.Identity()
        self.leave = nn.Linear(2 * points, size)

    def forward(self, images_N3hw: Tensor, words_NV: Tensor | None = None) -> Tensor:
        maps_NFhw = self.layers(images_N3hw * 2 - 1)
        if self.spoken:
            assert words_NV is not None
            scale_NF, shift_NF = self.film(LOUD * words_NV).chunk(2, dim=-1)
            maps_NFhw = torch.relu(maps_NFhw * (1 + scale_NF[:, :, None, None]) + shift_NF[:, :, None, None])
        maps_NPhw = SHARP * self.point(maps_NFhw)
        height, width = maps_NPhw.shape[-2:]
        weight_NPhw = maps_NPhw.flatten(2).softmax(-1).view(maps_NPhw.shape)
        y_NP = weight_NPhw.sum(3) @ torch.linspace(-1, 1, height, device=maps_NPhw.device)
        x_NP = weight_NPhw.sum(2) @ torch.linspace(-1, 1, width, device=maps_NPhw.device)
        return self.leave(torch.cat([x_NP, y_NP], dim=-1))
