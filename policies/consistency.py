"""One-step policy: goes from noise to actions in a single evaluation, distilled from a policy that takes many.

Source: consistency models (Song et al. 2023, arXiv 2303.01469), with the boundary scaling of RL-100's code:

    f(x, t, c) = c_skip x + c_out g(x, t, c),     c_skip = s^2 / ((t / 0.1)^2 + s^2),    c_out = (t / 0.1) / sqrt(same)

with s = 0.5, so f(x, 0, c) = x: at the clean end nothing is left to do. g is the clean sample that the teacher's own
kind of network stands for, so a student that starts with the teacher's weights starts with its one-step guess. Two
losses on a teacher's noise-free paths x_0 (noise), ..., x_K (actions) at the steps t_0 > ... > t_K = 0:

    consistency   |f(x_k, t_k) - sg f_target(x_{k+1}, t_{k+1})|^2     k random; the target is an average of the weights
    same_noise    |f(x_0, t_0) - x_K|^2

The path is the teacher's, where the paper noises data anew: the student must agree with this teacher and no other.

Shapes: B batch, K links of a path, H horizon, A numbers per action, C condition.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from policies.actions import ActionCodec, as_tensors, used_statistics
from policies.diffusion import build_denoiser, build_encoder
from policies.networks.encoders import choose
from robolearn.diffusion.noise import normals, row_generators
from robolearn.diffusion.schedule import squared_cosine
from robolearn.errors import SpecError
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Statistics
from robolearn.specs import Array, Arrays, Spec

__all__ = ["ConsistencyConfig", "ConsistencyModel"]

SIGMA_DATA = 0.5
TIME_SCALE = 0.1


@dataclass(frozen=True)
class ConsistencyConfig:
    """A one-step policy; made by distillation, with the teacher's fields."""

    steps: tuple[int, ...] = (81, 61, 41, 21, 1)
    """The steps t_0, ..., t_{K-1} of the teacher's path; it starts at the first."""
    method: Literal["same_noise", "consistency", "both"] = "both"
    """Which loss."""
    target_decay: float = 0.0
    """Decay of the average that is the target of the consistency loss, while distilling; 0 keeps no target."""
    observations: tuple[str, ...] = ()
    """Observations to use; () means all vectors and numbers except "task.*" and "sim.*"."""
    history: int = 2
    """How many observations the policy looks at, newest last."""
    horizon: int = 4
    """How many actions it predicts, from the newest observation on."""
    chunk: int = 4
    """How many of them are played before it looks again."""
    denoiser: Literal["mlp", "unet", "transformer"] = "mlp"
    """The network."""
    width: int = 256
    """Width of the mlp or the transformer."""
    depth: int = 3
    """Blocks of the mlp or the transformer."""
    unet_widths: tuple[int, ...] = (64, 128, 256)
    """Features per level of the U-Net."""
    dropout: float = 0.0
    """Dropout of the network."""
    train_steps: int = 100
    """Noising steps of the teacher's schedule."""
    prediction: Literal["epsilon", "sample"] = "epsilon"
    """What the network says."""
    normalise: Literal["min_max", "mean_std"] = "min_max"
    """How observed vectors are scaled."""
    observation_noise: float = 0.0
    """Not used: conditions are the teacher's."""
    shift_pixels: int = 0
    """Not used, likewise."""
    camera_dropout: float = 0.0
    """Not used, likewise."""
    encoder: Literal["plain", "bottleneck"] = "plain"
    """The teacher's encoder."""
    image_size: int = 64
    """Features per picture."""
    image_widths: tuple[int, ...] = (32, 64, 64)
    """Features of the picture network's layers."""
    words: str = ""
    """The teacher's."""
    heads: int = 4
    """The teacher's."""
    relative: bool = False
    """The teacher's."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> ConsistencyModel:
        """The model for these arrays.

        Raises:
            SpecError: Numbers that do not fit together, or missing statistics.
        """
        falling = all(a > b for a, b in itertools.pairwise((*self.steps, 0)))
        if not self.steps or not falling or self.steps[0] >= self.train_steps:
            raise SpecError(
                f"The steps of a one-step policy must fall from below {self.train_steps} to above 0; "
                f"found {self.steps}."
            )
        if self.method != "same_noise" and not 0 <= self.target_decay < 1:
            raise SpecError(f"The target's decay must lie within [0, 1); found {self.target_decay}.")
        return ConsistencyModel(
            self, choose(self.observations, observation_spec, self.relative), action_spec, statistics
        )


class ConsistencyModel(Model):
    """A `ChunkModel` of one network evaluation; see the module's text."""

    config: ConsistencyConfig

    def __init__(self, config: ConsistencyConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        statistics = used_statistics(statistics, observation_spec, action_spec)
        super().__init__(config, observation_spec, action_spec, statistics)
        self.codec = ActionCodec(action_spec, statistics)
        self.encoder = build_encoder(config, observation_spec, statistics)
        # Conditions are the teacher's; only the network learns.
        self.encoder.requires_grad_(False)
        self.denoiser = build_denoiser(config, self.codec.size, self.encoder.size)
        self.target = copy.deepcopy(self.denoiser).requires_grad_(False) if config.target_decay > 0 else None
        share = squared_cosine(config.train_steps).alpha_bar
        self.register_buffer("signal", share.sqrt(), persistent=False)
        self.register_buffer("noise", (1 - share).sqrt(), persistent=False)
        self.register_buffer("steps", torch.tensor([*config.steps, 0]), persistent=False)

    signal: Tensor
    noise: Tensor
    steps: Tensor

    @property
    def history(self) -> int:
        """How many observations it wants, newest last."""
        return self.config.history

    @property
    def horizon(self) -> int:
        """How many actions it was distilled on."""
        return self.config.horizon

    @property
    def chunk(self) -> int:
        """How many actions to play before asking again."""
        return self.config.chunk

    @property
    def sample_shape(self) -> tuple[int, int]:
        """(H, A)."""
        return self.horizon, self.codec.size

    def forward(self, x_BHA: Tensor, step_B: Tensor, condition_BC: Tensor, network: nn.Module | None = None) -> Tensor:
        """f(x, t, c): the end of the path that goes through x at step t, (B, H, A)."""
        output_BHA = (self.denoiser if network is None else network)(x_BHA, step_B, condition_BC)
        clean_BHA = output_BHA
        if self.config.prediction == "epsilon":
            signal_B, noise_B = (share[step_B].view(-1, 1, 1) for share in (self.signal, self.noise))
            clean_BHA = (x_BHA - noise_B * output_BHA) / signal_B
        scaled_B = (step_B / TIME_SCALE).view(-1, 1, 1)
        total_B = scaled_B.square() + SIGMA_DATA**2
        return SIGMA_DATA**2 / total_B * x_BHA + scaled_B / total_B.sqrt() * clean_BHA

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The distance from a teacher's paths.

        Args:
            batch: {"condition": (B, C), "path": (B, K + 1, H, A)}, from noise to actions.
            generator: For the random link.
        """
        condition_BC, path = batch["condition"], batch["path"]
        rows = torch.arange(len(path), device=path.device)
        first_B = self.steps[:1].expand(path.shape[0])
        error = (self(path[:, 0], first_B, condition_BC) - path[:, -1]).square().mean()
        found = {"same_noise": error.detach()}
        if self.config.method == "same_noise":
            return error, found
        if self.training:
            self._follow()
        k_B = torch.randint(len(self.steps) - 1, (len(path),), generator=generator, device=path.device)
        with torch.no_grad():
            aim_BHA = self(path[rows, k_B + 1], self.steps[k_B + 1], condition_BC, self.target)
        link = (self(path[rows, k_B], self.steps[k_B], condition_BC) - aim_BHA).square().mean()
        found["consistency"] = link.detach()
        return (link if self.config.method == "consistency" else link + error), found

    def predict(self, observations: Arrays, noise: Array) -> dict[str, Array]:
        """Actions (rows, chunk, ...) from observations (rows, history, ...) and one uint64 per row."""
        with torch.inference_mode():
            return self.actions(self.decide(self.condition(observations), noise))

    def condition(self, observations: Arrays) -> Tensor:
        """c_BC of observations (rows, history, ...)."""
        return self.encoder(as_tensors(observations, self.observation_spec, self.history, self.signal.device))

    def decide(self, condition_BC: Tensor, noise: Array) -> Tensor:
        """Chunks x_BHA from conditions and one uint64 per row: the same first noise as the teacher's."""
        start_BHA = normals((len(condition_BC), *self.sample_shape), row_generators(noise), condition_BC.device)
        return self.denoise_from(start_BHA, condition_BC)

    def denoise_from(self, start_BHA: Tensor, condition_BC: Tensor) -> Tensor:
        """Chunks from this noise, within [-1, 1]."""
        return self(start_BHA, self.steps[:1].expand(start_BHA.shape[0]), condition_BC).clamp(-1, 1)

    def actions(self, x_BHA: Tensor) -> dict[str, Array]:
        """Actions (rows, chunk, ...) in physical units, within their limits."""
        return self.codec.split(x_BHA[:, : self.chunk])

    @torch.no_grad()
    def _follow(self) -> None:
        """The target follows the weights."""
        if self.target is not None:
            for mine, theirs in zip(self.target.parameters(), self.denoiser.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.config.target_decay)
