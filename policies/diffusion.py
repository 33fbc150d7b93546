"""Diffusion policy: draws a chunk of actions by denoising, given a short history of observations.

Source: Diffusion Policy (Chi et al. 2023), with the schedule and conventions of RL-100. With x the normalised chunk
of `horizon` actions, c the encoded observations, e standard normal noise and t a random step:

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) e,      loss = mean((network(x_t, t, c) - target)^2),  target = e or x

Where we differ: the chunk begins at the newest observation (RL-100's convention), so no part of it is in the past and
`chunk <= horizon` actions are played. Padded actions after an episode's end (the last one repeated) count in the
loss, as in Diffusion Policy: they teach what to do when asked again at the end, and a padded position the loss left
out would be denoised from inputs the network never learned. `mask_padding` leaves them out.

Shapes: B batch, H horizon, A numbers per action, C condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from policies.actions import ActionCodec, as_tensors, used_statistics
from policies.networks.bottleneck import BottleneckEncoder
from policies.networks.denoiser_mlp import MlpDenoiser
from policies.networks.encoders import ObservationEncoder, choose
from policies.networks.transformer import TransformerDenoiser
from policies.networks.turning import Turning
from policies.networks.unet1d import Unet1d
from robolearn.diffusion import library
from robolearn.diffusion.chain import mean_path, plan_chain
from robolearn.diffusion.noise import Generators, normals, row_generators
from robolearn.diffusion.sampler import OWN, make_plan, run
from robolearn.diffusion.schedule import squared_cosine
from robolearn.diffusion.steps import add_noise
from robolearn.errors import SpecError
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Statistics
from robolearn.specs import Array, Arrays, Spec

__all__ = ["DiffusionConfig", "DiffusionModel", "build_denoiser", "build_encoder"]


@dataclass(frozen=True)
class DiffusionConfig:
    """A diffusion policy and its network."""

    observations: tuple[str, ...] = ()
    """Observations to use; () means all vectors and numbers except "task.*" and "sim.*"."""
    history: int = 2
    """How many observations the policy looks at, newest last."""
    horizon: int = 16
    """How many actions it predicts, from the newest observation on."""
    chunk: int = 8
    """How many of them are played before it looks again."""
    denoiser: Literal["mlp", "unet", "transformer"] = "mlp"
    """The network: "mlp" for vectors on a CPU, "unet" or "transformer" for pictures and a GPU."""
    width: int = 256
    """Width of the mlp or the transformer."""
    depth: int = 3
    """Blocks of the mlp or the transformer."""
    unet_widths: tuple[int, ...] = (64, 128, 256)
    """Features per level of the U-Net."""
    dropout: float = 0.1
    """Dropout of the mlp or the transformer."""
    train_steps: int = 100
    """Noising steps of the schedule."""
    sample_steps: int = 10
    """Denoising steps per decision."""
    sampler: str = "ddim"
    """"ddim", "ddpm", "chain" (of Gaussian steps, what RL improves), or one of diffusers' ("dpmsolver++", ...)."""
    temperature: float = 1.0
    """Scale of the first noise when acting. Below 1 a policy keeps to what demonstrations did most often, which costs
    variety and saves it from their rare ways; not for a chain."""
    eta: float = 0.0
    """Share of DDPM's noise in a ddim step; 0 is deterministic after the first noise."""
    sigma_min: float = 0.05
    """Floor of the standard deviation of a chain's steps (normalised actions)."""
    sigma_max: float = 0.1
    """Its ceiling."""
    convention: Literal["consistent", "paper"] = "consistent"
    """Whether a chain's direction is computed again with the clipped sigma; see `robolearn.diffusion.chain`."""
    explore: bool = False
    """Play a chain with its noise; otherwise its noise-free mean path, which the first noise decides."""
    draws: int = 1
    """Noises per window and optimiser step: more teach the denoiser more from a picture that was costly to look at."""
    prediction: Literal["epsilon", "sample"] = "epsilon"
    """What the network says: the noise, or the clean chunk."""
    mask_padding: bool = False
    """Leave actions after an episode's end out of the loss."""
    normalise: Literal["min_max", "mean_std"] = "min_max"
    """How observed vectors are scaled; actions always by min and max."""
    observation_noise: float = 0.02
    """Standard deviation of noise on normalised observed vectors, in training."""
    encoder: Literal["plain", "bottleneck"] = "plain"
    """"bottleneck" draws what it saw from a Gaussian and must be able to rebuild it; see `networks.bottleneck`."""
    beta_reconstruction: float = 0.5
    """Weight of rebuilding observations; bottleneck only."""
    beta_kl: float = 1e-4
    """Weight of the bottleneck; bottleneck only."""
    image_size: int = 64
    """Features per picture or cloud, and per branch of the bottleneck."""
    image_widths: tuple[int, ...] = (32, 64, 64)
    """Features of the picture network's layers; each but the last halves height and width."""
    shift_pixels: int = 4
    """Largest random shift of pictures, in training."""
    camera_dropout: float = 0.0
    """Probability that a camera is dark for a whole sample, in training."""
    words: str = ""
    """The observation that says which things, and what in pictures, to look at, such as "scene.words"; "" for none."""
    heads: int = 4
    """How many things the policy looks at, at most."""
    relative: bool = False
    """See things and places as gaps from the tool, not where they and the arm are (`policies.networks.gaps`)."""
    turned: bool = False
    """Turn every training sample about the vertical, for a relative policy (`policies.networks.turning`)."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> DiffusionModel:
        """The model for these arrays.

        Raises:
            UnknownName: An observation or a sampler that does not exist.
            SpecError: Numbers that do not fit together, or missing statistics.
        """
        if not 1 <= self.chunk <= self.horizon or self.history < 1:
            raise SpecError(
                f"A diffusion policy needs 1 <= chunk <= horizon and history >= 1; found chunk {self.chunk}, "
                f"horizon {self.horizon}, history {self.history}."
            )
        if self.draws < 1:
            raise SpecError(f"A window is noised at least once; found draws {self.draws}.")
        if not 0.0 <= self.temperature <= 1.0 or (self.sampler == "chain" and self.temperature != 1.0):
            raise SpecError(
                "The temperature lies in [0, 1], and is 1 for a chain, whose likelihoods say so; found "
                f"{self.temperature} with the sampler {self.sampler!r}."
            )
        if self.relative and self.encoder == "bottleneck":
            raise SpecError("The bottleneck encoder rebuilds what was observed and has no gaps: choose one of the two.")
        if self.turned and not self.relative:
            raise SpecError("Samples can be turned for a policy that sees gaps: set relative too, or turned to false.")
        if self.sampler not in (*OWN, "chain"):
            library.check_name(self.sampler)
        return DiffusionModel(self, choose(self.observations, observation_spec, self.relative), action_spec, statistics)


class DiffusionModel(Model):
    """A `ChunkModel` that denoises; see the module's text."""

    config: DiffusionConfig
    alpha_bar: Tensor

    def __init__(self, config: DiffusionConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        statistics = used_statistics(statistics, observation_spec, action_spec)
        super().__init__(config, observation_spec, action_spec, statistics)
        self.codec = ActionCodec(action_spec, statistics)
        self.encoder = build_encoder(config, observation_spec, statistics)
        self.denoiser = build_denoiser(config, self.codec.size, self.encoder.size)
        self.turning = Turning(observation_spec, action_spec) if config.turned else None
        self.schedule = squared_cosine(config.train_steps)
        self.register_buffer("alpha_bar", self.schedule.alpha_bar.clone(), persistent=False)
        if config.sampler == "chain":
            self.plan = plan_chain(
                self.schedule,
                config.sample_steps,
                sigma_min=config.sigma_min,
                sigma_max=config.sigma_max,
                convention=config.convention,
                prediction=config.prediction,
            )
        else:
            kind = config.sampler if config.sampler in OWN else "ddim"
            self.plan = make_plan(
                self.schedule, config.sample_steps, kind=kind, eta=config.eta, prediction=config.prediction
            )

    @property
    def history(self) -> int:
        """How many observations it wants, newest last."""
        return self.config.history

    @property
    def horizon(self) -> int:
        """How many actions it is trained on, from the newest observation on."""
        return self.config.horizon

    @property
    def chunk(self) -> int:
        """How many actions to play before asking again."""
        return self.config.chunk

    @property
    def sample_shape(self) -> tuple[int, int]:
        """(H, A) of what is denoised."""
        return self.horizon, self.codec.size

    @property
    def condition_size(self) -> int:
        """C."""
        return self.encoder.size

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising error of a batch of windows (see `robolearn.learn.model.Batch`), and what the encoder adds."""
        if self.turning is not None and self.training:
            observation, action = self.turning(batch["observation"], batch["action"], generator)
            batch = {**batch, "observation": observation, "action": action}
        if isinstance(self.encoder, BottleneckEncoder):
            condition_BC, found = self.encoder.encode(batch["observation"], generator)
            error = self._denoising_error(batch, condition_BC, generator)
            extra = self.config.beta_reconstruction * found["reconstruction"] + self.config.beta_kl * found["kl"]
            return error + extra, {name: value.detach() for name, value in ({"denoising": error} | found).items()}
        return self._denoising_error(batch, self.encoder(batch["observation"], generator), generator), {}

    def _denoising_error(self, batch: Batch, condition_BC: Tensor, generator: torch.Generator) -> Tensor:
        draws = self.config.draws  # of each window; B counts them all
        clean_BHA = self.codec.join(batch["action"]).repeat_interleave(draws, dim=0)
        condition_BC = condition_BC.repeat_interleave(draws, dim=0)
        device, rows = clean_BHA.device, clean_BHA.shape[0]
        step_B = torch.randint(self.config.train_steps, (rows,), generator=generator, device=device)
        noise_BHA = torch.randn(clean_BHA.shape, generator=generator, device=device)
        noisy_BHA = add_noise(clean_BHA, noise_BHA, self.alpha_bar[step_B])
        output_BHA = self.denoiser(noisy_BHA, step_B, condition_BC)
        target_BHA = noise_BHA if self.config.prediction == "epsilon" else clean_BHA
        if not self.config.mask_padding:
            return nn.functional.mse_loss(output_BHA, target_BHA)
        error_BH = (output_BHA - target_BHA).square().mean(-1)
        mask_BH = batch["mask"].to(error_BH.dtype).repeat_interleave(draws, dim=0)
        return (error_BH * mask_BH).sum() / mask_BH.sum().clamp(min=1)

    def predict(self, observations: Arrays, noise: Array) -> dict[str, Array]:
        """Actions (rows, chunk, ...) from observations (rows, history, ...) and one uint64 per row."""
        training = self.training
        if training:
            self.eval()
        with torch.inference_mode():
            x_BHA = self.decide(self.condition(observations), noise)
        if training:
            self.train()
        return self.actions(x_BHA)

    def condition(self, observations: Arrays) -> Tensor:
        """c_BC of observations (rows, history, ...), without augmentation."""
        return self.encoder(as_tensors(observations, self.observation_spec, self.history, self.alpha_bar.device))

    def denoise(self, noisy_BHA: Tensor, step_B: Tensor, condition_BC: Tensor) -> Tensor:
        """The network's output for noisy chunks; what it means says `config.prediction`."""
        return self.denoiser(noisy_BHA, step_B, condition_BC)

    def actions(self, x_BHA: Tensor) -> dict[str, Array]:
        """Actions (rows, chunk, ...) in physical units, within their limits, of denoised chunks."""
        return self.codec.split(x_BHA[:, : self.chunk])

    def decide(self, condition_BC: Tensor, noise: Array) -> Tensor:
        """Denoised chunks x_BHA from conditions and one uint64 per row."""
        generators = row_generators(noise)
        start_BHA = normals((len(generators), *self.sample_shape), generators, condition_BC.device)
        return self.denoise_from(start_BHA, condition_BC, generators)

    def denoise_from(self, start_BHA: Tensor, condition_BC: Tensor, generators: Generators | None = None) -> Tensor:
        """Denoised chunks from this noise; `generators` give the noise of stochastic steps."""

        def denoise(noisy_BHA: Tensor, step_B: Tensor) -> Tensor:
            return self.denoiser(noisy_BHA, step_B, condition_BC)

        config = self.config
        start_BHA = config.temperature * start_BHA if config.temperature != 1.0 else start_BHA
        if config.sampler == "chain" and not config.explore:
            return run(denoise, mean_path(self.plan), start_BHA)
        if config.sampler in (*OWN, "chain"):
            return run(denoise, self.plan, start_BHA, generators)
        options: Mapping[str, Any] = {"steps": config.sample_steps, "prediction": config.prediction}
        return library.sample(denoise, self.schedule, start_BHA, name=config.sampler, generators=generators, **options)


def build_encoder(
    config: Any, observation_spec: Spec, statistics: Statistics
) -> ObservationEncoder | BottleneckEncoder:
    """The encoder of a config that has the fields of `DiffusionConfig`."""
    common: dict[str, Any] = {
        "mode": config.normalise,
        "noise": config.observation_noise,
        "shift_pixels": config.shift_pixels,
        "image_widths": config.image_widths,
    }
    if config.encoder == "bottleneck":
        common["branch"] = config.image_size
        return BottleneckEncoder(observation_spec, statistics, config.history, **common)
    common |= {"image_size": config.image_size, "words": config.words, "heads": config.heads}
    common |= {"camera_dropout": config.camera_dropout, "relative": config.relative}
    return ObservationEncoder(observation_spec, statistics, config.history, **common)


def build_denoiser(config: Any, action_size: int, condition_size: int) -> nn.Module:
    """The network of a config that has the fields of `DiffusionConfig`."""
    steps, width, depth = config.train_steps, config.width, config.depth
    if config.denoiser == "unet":
        return Unet1d(action_size, condition_size, steps, widths=config.unet_widths)
    kind = MlpDenoiser if config.denoiser == "mlp" else TransformerDenoiser
    return kind(config.horizon, action_size, condition_size, steps, width=width, depth=depth, dropout=config.dropout)
