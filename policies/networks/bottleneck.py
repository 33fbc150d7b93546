"""An encoder that must remember what it saw and may not remember more than it needs.

Source: the "vib" encoders of RL-100 (specification 1.3), after Alemi et al. 2017 (arXiv 1612.00410). Every branch
(vectors, each picture, each cloud) of every frame becomes a Gaussian, which is drawn from in training and replaced by
its mean in evaluation; decoders rebuild the branch from the draw:

    z = mu + sigma e,    L_recon = Chamfer(cloud^, cloud) + |q^ - q|^2 + |picture^ - picture|^2
    L_KL = KL(N(mu, sigma^2) || N(0, I)),    loss += beta_recon L_recon + beta_kl L_KL

Where we differ: pictures are rebuilt small (16 x 16), since their coarse content is what must survive; L_KL is summed
over the numbers of a branch and averaged over branches, frames and rows. RL divides both betas by ten (`load_chain`).

Shapes: B batch, T history, Z numbers of a branch, D low-dimensional numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from policies.networks.pictures import ImageEncoder, shift
from policies.networks.pointnet import CloudDecoder, CloudEncoder, chamfer, is_cloud
from robolearn.learn.normaliser import Mode, Normaliser, Statistics
from robolearn.specs import Spec

__all__ = ["BottleneckEncoder", "gaussian_kl"]

_PICTURE = 16


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), summed over the last axis."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)


class BottleneckEncoder(nn.Module):
    """Named observations (B, history, ...) to a condition (B, size); see the module's text.

    Args:
        spec: The observations to use: vectors, pictures, clouds.
        statistics: Of vectors and clouds.
        history: T.
        mode: How vectors are normalised.
        noise: Standard deviation of the noise on normalised vectors, in training.
        shift_pixels: Largest shift of pictures, in training.
        branch: Z.
        image_widths: See `ImageEncoder`.
    """

    def __init__(
        self,
        spec: Spec,
        statistics: Statistics,
        history: int,
        *,
        mode: Mode = "min_max",
        noise: float = 0.0,
        shift_pixels: int = 4,
        branch: int = 64,
        image_widths: tuple[int, ...] = (32, 64, 64),
    ):
        super().__init__()
        self.history, self.noise, self.shift_pixels = history, noise, shift_pixels
        vectors = {n: s for n, s in spec.items() if not s.is_image and not is_cloud(s)}
        self.normaliser = Normaliser(vectors, statistics, mode)
        self.image_names = [n for n, s in spec.items() if s.is_image]
        self.cloud_names = [n for n, s in spec.items() if is_cloud(s)]
        if self.normaliser.size:
            self.vectors = nn.Sequential(
                nn.Linear(self.normaliser.size, branch), nn.LayerNorm(branch), nn.ReLU(), nn.Linear(branch, branch)
            )
            self.vectors_back = _decoder(branch, self.normaliser.size)
        self.cameras = nn.ModuleList(ImageEncoder(branch, image_widths) for _ in self.image_names)
        self.cameras_back = nn.ModuleList(_decoder(branch, 3 * _PICTURE**2) for _ in self.image_names)
        self.clouds = nn.ModuleList(CloudEncoder(statistics[n], branch) for n in self.cloud_names)
        self.clouds_back = nn.ModuleList(CloudDecoder(branch, spec[n].shape[0]) for n in self.cloud_names)
        branches = bool(self.normaliser.size) + len(self.image_names) + len(self.cloud_names)
        self.gaussians = nn.ModuleList(nn.Linear(branch, 2 * branch) for _ in range(branches))
        self.size = history * branch * branches

    def forward(self, observation: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """The condition (B, size); augmented and drawn when training and a generator is given, else the means."""
        return self.encode(observation, generator)[0]

    def encode(
        self, observation: Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The condition and the losses "reconstruction" and "kl"."""
        draw = generator if self.training else None
        seen, wanted = self._branches(observation, draw)
        parts: list[Tensor] = []
        kl, rebuilt = list[Tensor](), list[Tensor]()
        for features, target, gaussian, (back, distance) in zip(
            seen, wanted, self.gaussians, self._backs(), strict=True
        ):
            mean, log_variance = gaussian(features).chunk(2, dim=-1)
            log_variance = log_variance.clamp(-10.0, 4.0)
            z = mean
            if draw is not None:
                z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=draw, device=mean.device)
            kl.append(gaussian_kl(mean, log_variance).mean())
            if self.training:
                rebuilt.append(distance(back(z), target))
            parts.append(z.unflatten(0, (-1, self.history)))
        condition_BC = torch.cat(parts, -1).flatten(1)
        zero = condition_BC.new_zeros(())
        losses = {"kl": torch.stack(kl).mean(), "reconstruction": sum(rebuilt, zero)}
        return condition_BC, losses

    def _branches(
        self, observation: Mapping[str, Tensor], draw: torch.Generator | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Features (B * T, Z) of all branches, and what their decoders must rebuild."""
        seen, wanted = list[Tensor](), list[Tensor]()
        if self.normaliser.size:
            x_ND = self.normaliser.encode(observation).flatten(0, 1)
            wanted.append(x_ND)
            if draw is not None and self.noise > 0:
                x_ND = x_ND + self.noise * torch.randn(x_ND.shape, generator=draw, device=x_ND.device)
            seen.append(self.vectors(x_ND))
        for name, camera in zip(self.image_names, self.cameras, strict=True):
            x_BTFhw = observation[name].movedim(-1, -3)
            if draw is not None and self.shift_pixels > 0:
                x_BTFhw = shift(x_BTFhw, self.shift_pixels, draw)
            x_NFhw = x_BTFhw.flatten(0, 1).to(torch.float32) / 255
            seen.append(camera(x_NFhw))
            wanted.append(nn.functional.adaptive_avg_pool2d(x_NFhw, _PICTURE).flatten(1) * 2 - 1)
        clouds: Any = self.clouds
        for name, cloud in zip(self.cloud_names, clouds, strict=True):
            x_NP3 = observation[name].flatten(0, 1)
            seen.append(cloud(x_NP3))
            wanted.append(cloud.normalise(x_NP3))
        return seen, wanted

    def _backs(self):
        """Decoders and distances in the order of the branches."""
        if self.normaliser.size:
            yield self.vectors_back, nn.functional.mse_loss
        for back in self.cameras_back:
            yield back, nn.functional.mse_loss
        for back in self.clouds_back:
            yield back, lambda a, b: chamfer(a, b).mean()


def _decoder(size_in: int, size_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size_in, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, size_out))
