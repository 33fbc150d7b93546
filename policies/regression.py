"""Plain behaviour cloning: an MLP that regresses the demonstrated actions.

Source: Pomerleau 1989. loss = mean((network(c) - x)^2), with x the normalised chunk and c the encoded observations.
The baseline every other policy must beat: it averages where people did several things, and needs no sampler.

Shapes: B batch, H chunk, A numbers per action, C condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from policies.actions import ActionCodec, as_tensors, used_statistics
from policies.networks.denoiser_mlp import residual_mlp
from policies.networks.encoders import ObservationEncoder, choose
from robolearn.errors import SpecError
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Statistics
from robolearn.specs import Array, Arrays, Spec

__all__ = ["RegressionConfig", "RegressionModel"]


@dataclass(frozen=True)
class RegressionConfig:
    """A regressing policy and its network."""

    observations: tuple[str, ...] = ()
    """Observations to use; () means all vectors and numbers except "task.*" and "sim.*"."""
    history: int = 1
    """How many observations the policy looks at, newest last."""
    chunk: int = 1
    """How many actions it predicts and plays before it looks again."""
    width: int = 256
    """Width of the network."""
    depth: int = 3
    """Its residual blocks."""
    dropout: float = 0.1
    """Its dropout."""
    mask_padding: bool = False
    """Leave actions after an episode's end out of the loss."""
    normalise: Literal["min_max", "mean_std"] = "min_max"
    """How observed vectors are scaled; actions always by min and max."""
    observation_noise: float = 0.02
    """Standard deviation of noise on normalised observed vectors, in training."""
    image_size: int = 64
    """Features per picture."""
    image_widths: tuple[int, ...] = (32, 64, 64)
    """Features of the picture network's layers; each halves height and width."""
    shift_pixels: int = 4
    """Largest random shift of pictures, in training."""
    camera_dropout: float = 0.0
    """Probability that a camera is dark for a whole sample, in training."""
    words: str = ""
    """The observation that chooses among the arrays of things, such as "scene.words"; "" when there are none."""
    heads: int = 4
    """How many things the policy looks at, at most."""
    relative: bool = False
    """See things and places as gaps from the tool, not where they and the arm are (`policies.networks.gaps`)."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> RegressionModel:
        """The model for these arrays.

        Raises:
            UnknownName: An observation that does not exist.
            SpecError: Numbers that do not fit together, or missing statistics.
        """
        if self.chunk < 1 or self.history < 1:
            raise SpecError(f"A policy needs chunk and history >= 1; found chunk {self.chunk}, history {self.history}.")
        return RegressionModel(
            self, choose(self.observations, observation_spec, self.relative), action_spec, statistics
        )


class RegressionModel(Model):
    """A `ChunkModel` that regresses; see the module's text."""

    config: RegressionConfig

    def __init__(self, config: RegressionConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        statistics = used_statistics(statistics, observation_spec, action_spec)
        super().__init__(config, observation_spec, action_spec, statistics)
        self.codec = ActionCodec(action_spec, statistics)
        self.encoder = ObservationEncoder(
            observation_spec,
            statistics,
            config.history,
            mode=config.normalise,
            noise=config.observation_noise,
            shift_pixels=config.shift_pixels,
            image_size=config.image_size,
            image_widths=config.image_widths,
            words=config.words,
            heads=config.heads,
            camera_dropout=config.camera_dropout,
            relative=config.relative,
        )
        size_out = config.chunk * self.codec.size
        self.layers = residual_mlp(self.encoder.size, size_out, config.width, config.depth, config.dropout)

    @property
    def history(self) -> int:
        """How many observations it wants, newest last."""
        return self.config.history

    @property
    def horizon(self) -> int:
        """How many actions it is trained on, from the newest observation on."""
        return self.config.chunk

    @property
    def chunk(self) -> int:
        """How many actions to play before asking again."""
        return self.config.chunk

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of a batch of windows (see `robolearn.learn.model.Batch`)."""
        target_BHA = self.codec.join(batch["action"])
        error_BH = (self._forward(batch["observation"], generator) - target_BHA).square().mean(-1)
        if not self.config.mask_padding:
            return error_BH.mean(), {}
        mask_BH = batch["mask"].to(error_BH.dtype)
        return (error_BH * mask_BH).sum() / mask_BH.sum().clamp(min=1), {}

    def predict(self, observations: Arrays, noise: Array) -> dict[str, Array]:
        """Actions (rows, chunk, ...) from observations (rows, history, ...); `noise` is not used."""
        training = self.training
        if training:
            self.eval()
        with torch.inference_mode():
            device = self.codec.normaliser.offset.device
            x_BHA = self._forward(as_tensors(observations, self.observation_spec, self.history, device))
        if training:
            self.train()
        # A demonstrated action is never outside of [-1, 1]; an extrapolated one is cut there.
        return self.codec.split(x_BHA.clamp(-1, 1))

    def _forward(self, observation: dict[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        condition_BC = self.encoder(observation, generator)
        return self.layers(condition_BC).view(-1, self.config.chunk, self.codec.size)
