"""The generator of adversarial imitation: a Gaussian policy over decisions, its value, cloning and PPO.

Gaussian with a state-dependent spread, log pi(a|s) = sum_i log N(a_i; mu_i(s), sigma_i(s)); a hand that looks hardly
moves and one that reaches moves half a metre, so one spread for all states serves neither. The clipped objective and
the advantages are the ones every method here shares (`robolearn.learn.clipped`, `robolearn.learn.advantages`); this
module only says what a decision and its likelihood are.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.learn.advantages import gae
from robolearn.learn.clipped import clipped_objective, require_unit_ratio
from robolearn.specs import Array

__all__ = ["Actor", "ActorConfig", "Batch", "clone", "improve", "mlp", "optimiser"]

_LOG_SPREAD = (-2.5, 0.0)


def mlp(inputs: int, outputs: int, width: int, layers: int = 2) -> nn.Sequential:
    """A plain network with tanh."""
    sizes = [inputs, *[width] * layers]
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))


def optimiser(parameters: nn.Module | list[nn.Parameter], rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
    """AdamW."""
    values = list(parameters.parameters()) if isinstance(parameters, nn.Module) else parameters
    return torch.optim.AdamW(values, lr=rate, weight_decay=decay)


@dataclass(frozen=True, slots=True)
class ActorConfig:
    """Generator and its optimiser."""

    width: int = 64
    """Neurons per layer."""
    rate: float = 1.2e-3
    """Learning rate of PPO at the start; `adversarial.train` lets it fall to a tenth."""
    epochs: int = 3
    """Passes over a batch."""
    minibatch: int = 1280
    """Decisions per step."""
    clip: float = 0.2
    """PPO's clip."""
    gae: float = 0.95
    """Lambda of the advantages."""
    discount: float = 0.99
    """Of reward and shaping."""
    entropy: float = 1e-3
    """Weight of the policy's entropy."""
    clone_steps: int = 500
    """Steps of cloning before anything else; 0 starts from noise."""
    clone_rate: float = 2e-3
    """Learning rate of cloning."""
    clone_noise: float = 0.1
    """Noise on features while cloning, in their units."""


class Actor(nn.Module):
    """Policy and value. Actions are in the units of `scale`.

    Args:
        features: Number of inputs.
        scale: (k,) one unit of a decision, m or rad.
        width: Neurons per layer.
    """

    def __init__(self, features: int, scale: Array, width: int):
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.policy = mlp(features, 2 * len(scale), width)
        self.value = mlp(features, 1, width)
        with torch.no_grad():
            for parameter in self.policy[-1].parameters():
                parameter.mul_(0.1)

    def distribution(self, features: Tensor) -> torch.distributions.Normal:
        """Of decisions, in m or rad."""
        mean, spread = self.policy(features).chunk(2, dim=-1)
        low, high = _LOG_SPREAD
        spread = low + 0.5 * (high - low) * (torch.tanh(spread) + 1.0)
        return torch.distributions.Normal(mean * self.scale, spread.exp() * self.scale, validate_args=False)

    def log_probability(self, features: Tensor, action: Tensor) -> Tensor:
        """log pi(a|s), (B,)."""
        return self.distribution(features).log_prob(action).sum(dim=-1)

    @torch.no_grad()
    def act(self, features: Array, generator: torch.Generator | None) -> tuple[Array, Array, Array]:
        """Decisions (n, k), their log-probability (n,) and the value (n,); the mean without a generator."""
        x = torch.as_tensor(features, dtype=torch.float32)
        found = self.distribution(x)
        noise = torch.zeros_like(found.mean)
        if generator is not None:
            noise = torch.randn(found.mean.shape, generator=generator)
        action = found.mean + found.stddev * noise
        log = found.log_prob(action).sum(dim=-1)
        return action.numpy().astype(float), log.numpy(), self.value(x)[:, 0].numpy()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """T steps of n rows.

    Attributes:
        features: (T + 1, n, f) seen.
        actions: (T, n, k) decisions.
        log_probability: (T, n) of the actions when they were drawn.
    """

    features: Array
    actions: Array
    log_probability: Array


def clone(actor: Actor, features: Array, actions: Array, config: ActorConfig, seed: int) -> list[float]:
    """Behaviour cloning by maximum likelihood; returns the losses.

    Args:
        actor: Changed in place.
        features: (N, f).
        actions: (N, k) decisions.
        config: The numbers.
        seed: Of noise and batches.
    """
    generator = torch.Generator().manual_seed(seed)
    x, a = (torch.as_tensor(v, dtype=torch.float32) for v in (features, actions))
    step = optimiser(actor.policy, config.clone_rate, 1e-3)
    losses: list[float] = []
    for _ in range(config.clone_steps):
        rows = torch.randint(len(x), (min(256, len(x)),), generator=generator)
        seen = x[rows] + config.clone_noise * torch.randn(rows.shape[0], x.shape[1], generator=generator)
        loss = -actor.log_probability(seen, a[rows]).mean()
        _descend(step, loss, actor.policy)
        losses.append(loss.item())
    return losses


def improve(
    actor: Actor,
    step: torch.optim.Optimizer,
    batch: Batch,
    reward: Array,
    config: ActorConfig,
    generator: torch.Generator,
    *,
    policy: bool = True,
) -> dict[str, float]:
    """One round of PPO on a batch of time-limited episodes (the last value is bootstrapped: the work is endless).

    Args:
        actor: Changed in place.
        step: Its optimiser.
        batch: What it did.
        reward: (T, n) of each decision.
        config: The numbers.
        generator: Of minibatches.
        policy: False only learns the value.
    """
    with torch.no_grad():
        values = actor.value(torch.as_tensor(batch.features, dtype=torch.float32))[..., 0].numpy().astype(float)
    none, cut = np.zeros(reward.shape, bool), np.zeros(reward.shape, bool)
    cut[-1] = True
    advantage, target = gae(reward, values[:-1], values[1:], none, cut, config.discount, config.gae)
    x = torch.as_tensor(batch.features[:-1].reshape(-1, batch.features.shape[-1]), dtype=torch.float32)
    a = torch.as_tensor(batch.actions.reshape(-1, batch.actions.shape[-1]), dtype=torch.float32)
    old = torch.as_tensor(batch.log_probability.reshape(-1), dtype=torch.float32)
    better = torch.as_tensor((advantage - advantage.mean()).reshape(-1) / (advantage.std() + 1e-8), dtype=torch.float32)
    wanted = torch.as_tensor(target.reshape(-1), dtype=torch.float32)
    spread = float(wanted.std()) + 1e-3
    with torch.no_grad():
        require_unit_ratio(actor.log_probability(x, a) - old, tolerance=0.05)
    facts: dict[str, float] = {"reward": float(reward.mean())}
    for _ in range(config.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(config.minibatch):
            found = actor.distribution(x[rows])
            ratio = found.log_prob(a[rows]).sum(dim=-1) - old[rows]
            objective, watched = clipped_objective(ratio, better[rows], config.clip)
            value = ((actor.value(x[rows])[:, 0] - wanted[rows]) / spread).square().mean()
            loss = 0.5 * value
            if policy:
                loss = loss + objective - config.entropy * found.entropy().sum(dim=-1).mean()
            _descend(step, loss, actor)
            facts |= {name: float(number) for name, number in watched.items()}
        if facts["approximate_kl"] > 0.05:
            break
    return facts


def _descend(step: torch.optim.Optimizer, loss: Tensor, module: nn.Module) -> None:
    step.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    step.step()
