"""A model of what a decision leads to, as an ensemble: the next condition, the chunk's reward, and whether it goes on.

Source: the probabilistic ensembles of PETS (Chua et al. 2018, arXiv 1805.12114) and MBPO, as used by RL-100
(specification 1.5), in the space of the policy's encoded observations:

    (delta / spread, reward) ~ N(mu_i(s, a), sigma_i^2(s, a)),   go_on ~ Bernoulli(p_i(s, a))
    loss = gaussian negative log-likelihood + 0.01 (sum of upper - sum of lower bounds of log sigma^2) + cross entropy

Each member learns from its own bootstrap of the episodes; the elites are those that explain held-out episodes best.
Where we differ: RL-100's model has no notion of an end. With a sparse reward that is paid once, an imagined episode
must be able to end, so `discount` is predicted too. The next condition stays within a margin around what was recorded,
because networks asked outside of it say anything.

Shapes: E members, B batch, C condition, X numbers of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.learn.critics import critic_specs
from robolearn.learn.ensemble import EnsembleMlp, array
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Moments, Statistics, moments
from robolearn.learn.transitions import Transitions
from robolearn.specs import Array, Spec

__all__ = ["Dynamics", "DynamicsConfig", "Imagined", "build_dynamics", "choose_elites", "explained"]


@dataclass(frozen=True)
class DynamicsConfig:
    """An ensemble of transition models."""

    members: int = 7
    """Learners."""
    elites: int = 5
    """How many of them are used."""
    width: int = 256
    """Of the hidden layers."""
    depth: int = 3
    """Hidden layers."""
    margin: float = 0.1
    """How far beyond the recorded range of each number an imagined condition may go, as a share of that range."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> Dynamics:
        """The model; `statistics` has "condition", "delta" and "reward"."""
        if not 1 <= self.elites <= self.members:
            raise SpecError(f"Expected 1 <= elites <= members; found {self.elites} and {self.members}.")
        return Dynamics(self, observation_spec, action_spec, statistics)


class Imagined(NamedTuple):
    """What members expect of decisions.

    Attributes:
        following: (E, B, C).
        reward: (E, B) discounted inside the chunk.
        going: (E, B) probability that the episode goes on.
    """

    following: Tensor
    reward: Tensor
    going: Tensor


def build_dynamics(config: DynamicsConfig, data: Transitions, seed: int) -> Dynamics:
    """A model scaled to these decisions, its first weights from `seed`."""
    statistics = {
        "condition": moments(np.concatenate([data.condition, data.following])),
        "delta": moments(data.following - data.condition),
        "reward": moments(data.reward),
    }
    with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        return config.build(*critic_specs(data.condition.shape[1], data.chunk.shape[1]), statistics)


class Dynamics(Model):
    """See the module's text."""

    config: DynamicsConfig
    spread: Tensor
    low: Tensor
    high: Tensor
    reward_mean: Tensor
    reward_std: Tensor
    elites: Tensor

    def __init__(self, config: DynamicsConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        super().__init__(config, observation_spec, action_spec, statistics)
        (condition,), (chunk,) = observation_spec["condition"].shape, action_spec["chunk"].shape
        self.net = EnsembleMlp(
            config.members, condition + chunk, 2 * (condition + 1) + 1, width=config.width, depth=config.depth
        )
        self.size = condition
        self.upper = nn.Parameter(torch.full((config.members, 1, condition + 1), 0.5))
        self.lower = nn.Parameter(torch.full((config.members, 1, condition + 1), -8.0))
        seen, change, reward = (statistics[name] for name in ("condition", "delta", "reward"))
        room = config.margin * (seen.max - seen.min)
        values = {
            "spread": np.maximum(change.std, 1e-4),
            "low": seen.min - room,
            "high": seen.max + room,
            "reward_mean": reward.mean,
            "reward_std": np.maximum(reward.std, 1e-4),
        }
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.register_buffer("elites", torch.arange(config.elites))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood of a batch of decisions (`transitions.Transitions.gather`)."""
        weight_EB = batch["weight"].T
        if weight_EB.shape[0] == 1:
            weight_EB = weight_EB.expand(self.config.members, -1)
        error_EB, metrics = self._likelihood(batch)
        bounds = self.upper.sum() - self.lower.sum()
        return (weight_EB * error_EB).mean(1).sum() + 0.01 * bounds, metrics

    def _likelihood(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        mean_EBO, log_variance_EBO, going_EB = self._heads(batch["condition"], batch["chunk"])
        delta_BC = (batch["following"] - batch["condition"]) / self.spread
        reward_B1 = ((batch["reward"] - self.reward_mean) / self.reward_std)[:, None]
        square_EBO = (mean_EBO - torch.cat([delta_BC, reward_B1], -1)).square()
        gaussian_EB = 0.5 * (square_EBO * (-log_variance_EBO).exp() + log_variance_EBO).mean(-1)
        going_B = (batch["discount"] > 0).to(torch.float32).expand_as(going_EB)
        ending_EB = nn.functional.binary_cross_entropy_with_logits(going_EB, going_B, reduction="none")
        metrics = {
            "squared_error": square_EBO.detach().mean(),
            "ending_loss": ending_EB.detach().mean(),
        }
        return gaussian_EB + ending_EB, metrics

    @torch.no_grad()
    def error(self, batch: Batch) -> Tensor:
        """(E,) mean negative log-likelihood of each member."""
        return self._likelihood(batch)[0].mean(1)

    @torch.no_grad()
    def imagine(self, condition_EBC: Tensor, chunk_EBX: Tensor, noise_EBO: Tensor | None = None) -> Imagined:
        """What the elites expect, or draw when given noise.

        Args:
            condition_EBC: (elites, B, C), each elite's own states, or (B, C) for all.
            chunk_EBX: (elites, B, X) or (B, X).
            noise_EBO: (elites, B, C + 1) standard normal, for one draw of next condition and reward.
        """
        elites = self.elites
        members = self.config.members
        inputs = torch.cat([condition_EBC, chunk_EBX], -1)
        if inputs.ndim == 3:  # every member gets something; only the elites' answers are kept
            full = inputs.new_zeros((members, *inputs.shape[1:]))
            full[elites] = inputs
            inputs = full
        mean, log_variance, going = (part[elites] for part in self._split(self.net(inputs)))
        drawn = mean if noise_EBO is None else mean + (0.5 * log_variance).exp() * noise_EBO
        following = condition_EBC + drawn[..., :-1] * self.spread
        following = torch.minimum(torch.maximum(following, self.low), self.high)
        return Imagined(following, drawn[..., -1] * self.reward_std + self.reward_mean, going.sigmoid())

    def _heads(self, condition_BC: Tensor, chunk_BX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._split(self.net(torch.cat([condition_BC, chunk_BX], -1)))

    def _split(self, found_EBO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.size + 1
        mean_EBO, raw_EBO, going_EB = found_EBO[..., :size], found_EBO[..., size : 2 * size], found_EBO[..., -1]
        log_variance_EBO = self.upper - nn.functional.softplus(self.upper - raw_EBO)
        log_variance_EBO = self.lower + nn.functional.softplus(log_variance_EBO - self.lower)
        return mean_EBO, log_variance_EBO, going_EB


def choose_elites(model: Dynamics, held_out: Transitions) -> Moments:
    """Let the members that explain held-out decisions best be the elites; returns their errors' statistics.

    The next condition must be predictable better than "nothing changes" for the model to be of use; see
    `explained` for that figure.
    """
    batch = {name: torch.as_tensor(value) for name, value in held_out.gather(np.arange(len(held_out))).items()}
    error_E = model.error(batch)
    model.elites.copy_(error_E.argsort()[: model.config.elites])
    return moments(array(error_E))


@torch.no_grad()
def explained(model: Dynamics, held_out: Transitions) -> dict[str, float]:
    """Share of the held-out variance that the elites' mean explains: of the change, of the reward, of the ends."""
    condition, chunk = torch.as_tensor(held_out.condition), torch.as_tensor(held_out.chunk)
    found = model.imagine(condition, chunk)
    ended = (held_out.discount == 0).astype(np.float64)
    change, guess = held_out.following - held_out.condition, array(found.following.mean(0)) - held_out.condition
    spread = np.maximum(array(model.spread), 1e-4)
    pairs = {
        "change": (change / spread, guess / spread),
        "reward": (held_out.reward, array(found.reward.mean(0))),
        "ends": (ended, 1.0 - array(found.going.mean(0))),
    }
    return {name: _explained(true, guess) for name, (true, guess) in pairs.items()}


def _explained(true: Array, guess: Array) -> float:
    rest, spread = (true - guess) ** 2, (true - true.mean(0)) ** 2
    return 1.0 - float(rest.mean()) / max(1e-12, float(spread.mean()))
