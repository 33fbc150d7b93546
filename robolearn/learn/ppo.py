"""PPO over denoising chains: what one batch of decisions does to the policy and to its critic.

Source: RL-100 (arXiv 2510.14830), stage 3, after DPPO (Ren et al. 2024). Every step of a decision's chain is an
action of an inner decision process and shares the decision's advantage:

    r_k = pi(x_{k-1} | x_k) / pi_old(x_{k-1} | x_k),      loss = -mean_{(t,k)} w min(r_k A_t, clip(r_k) A_t)
          + kl_weight mean |mu - mu_imitation|^2 / (2 sigma^2) + imitation_weight L_imitation(demonstrations)

Where we differ: minibatches are of pairs (t, k), one optimiser step each, so no ratio is stale by a whole chain of
optimiser steps. Collection runs ahead by one batch, so the policy that collected is one update old; the objective is
the decoupled one (Hilton et al. 2021): the clip is around the policy before this update, for which the ratio is 1 at
first (asserted), and w = pi_old / pi_collected, truncated, corrects the rest. The entropy of a step is a constant of
sigma; exploration is set by the chain's sigma_min, and held near the demonstrations by the two weights above.

Shapes: T decisions, K steps, P pairs, C condition.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.learn.advantages import gae
from robolearn.learn.chain_policy import pairs_log_prob, pairs_mean, to_numpy
from robolearn.learn.clipped import clipped_objective, require_unit_ratio
from robolearn.learn.decisions import Batch

__all__ = ["PpoConfig", "PpoLearner", "Value"]


@dataclass(frozen=True)
class PpoConfig:
    """How a batch of decisions changes the policy."""

    epochs: int = 4
    """Passes over a batch."""
    minibatch: int = 1024
    """Pairs of a decision and a denoising step per optimiser step."""
    steps_per_decision: int = 0
    """How many denoising steps of each decision are learned from per batch, drawn anew each time; 0 means all."""
    clip: float = 0.2
    """How far the ratio of one denoising step (its dimensions summed) may go."""
    target_kl: float = 0.02
    """Of one denoising step; beyond twice this (four times in one minibatch) an update ends; the learning rate
    follows it."""
    learning_rate: float = 5e-5
    """The policy's, at the beginning."""
    lowest_rate: float = 1e-6
    """Least that adaptation makes of it."""
    highest_rate: float = 3e-4
    """Most that adaptation makes of it."""
    lambda_: float = 0.95
    """Of generalised advantage estimation."""
    clip_norm: float = 0.5
    """Largest norm of a gradient."""
    longest_weight: float = 2.0
    """Truncation of the weight that corrects for the age of the collecting policy."""
    critic_rate: float = 1e-3
    """The critic's learning rate."""
    critic_epochs: int = 4
    """The critic's passes over a batch."""
    critic_minibatch: int = 512
    """Decisions per optimiser step of the critic."""
    critic_width: int = 256
    """Of its two hidden layers."""
    warmup: int = 2
    """Batches that train only the critic, before the policy's first update."""
    kl_weight: float = 0.0
    """Weight of the KL from the policy this stage began with."""
    imitation_weight: float = 0.0
    """Weight of the imitation loss on batches of demonstrations."""
    imitation_batch: int = 128
    """Windows of demonstrations per optimiser step."""


class Value(nn.Module):
    """V(c): conditions (B, C) to (B,)."""

    def __init__(self, size: int, width: int = 256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, width),
            nn.LayerNorm(width),
            nn.Mish(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.Mish(),
            nn.Linear(width, 1),
        )

    def forward(self, condition_BC: Tensor) -> Tensor:
        return self.layers(condition_BC).squeeze(-1)


class PpoLearner:
    """A policy, its critic and their optimisers.

    Args:
        model: A `ChainModel` that is also a module, in evaluation mode.
        config: The numbers.
        generator: For minibatches.
        imitation: Draws a batch of demonstrations of this size for `model.loss`; needed with an imitation weight.
        after_step: Called after each of the policy's optimiser steps with the conditions of its pairs (joint
            distillation).
    """

    def __init__(
        self,
        model: Any,
        config: PpoConfig,
        generator: torch.Generator,
        *,
        imitation: Callable[[int], Mapping[str, Any]] | None = None,
        after_step: Callable[[Tensor], object] | None = None,
    ):
        self.model, self.config = model, config
        self.critic = Value(model.condition_size, config.critic_width)
        self.actor_optimizer = torch.optim.Adam(self.trained().values(), lr=config.learning_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.critic_rate, fused=True)
        self.rate = config.learning_rate
        self.batches = 0
        self._generator, self._imitation, self._after_step = generator, imitation, after_step
        self._reference = _frozen_copy(model) if config.kl_weight > 0 else None

    def update(self, batch: Batch, rate_share: float = 1.0, kl_share: float = 1.0) -> dict[str, float]:
        """Learn from a batch and return what to log.

        Args:
            batch: From `decisions.Decisions`.
            rate_share: Share of the learning rates still allowed (a decay over the run).
            kl_share: Share of `target_kl` that this update may go.

        Raises:
            TrainingFault: The ratio is not 1 before the first optimiser step.
        """
        condition_TC = torch.as_tensor(batch.condition)
        advantage_T, return_T, value_T = self._advantages(batch, condition_TC)
        metrics = self._train_critic(condition_TC, return_T, rate_share)
        spread = float(return_T.var())
        metrics["explained_variance"] = 1 - float((return_T - value_T).var()) / spread if spread > 1e-9 else 0.0
        metrics["value"] = float(value_T.mean())
        self.batches += 1
        if self.batches > self.config.warmup:
            scaled_T = (advantage_T - advantage_T.mean()) / (advantage_T.std() + 1e-8)
            metrics |= self._train_actor(batch, condition_TC, scaled_T, rate_share, kl_share)
        return metrics

    def _advantages(self, batch: Batch, condition_TC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            value_T = self.critic(condition_TC)
            next_T = torch.cat([value_T[1:], value_T[-1:]]).clone()
            cut = torch.as_tensor(batch.cut)
            next_T[cut] = self.critic(torch.as_tensor(batch.next_condition[batch.cut]))
        reward, terminated, cut_T, discount = (
            x[:, None] for x in (batch.reward, batch.terminated, batch.cut, batch.discount)
        )
        value, following = to_numpy(value_T)[:, None], to_numpy(next_T)[:, None]
        advantage, target = gae(reward, value, following, terminated, cut_T, discount, self.config.lambda_)
        as_tensor = [torch.as_tensor(x[:, 0], dtype=torch.float32) for x in (advantage, target)]
        return as_tensor[0], as_tensor[1], value_T

    def _train_critic(self, condition_TC: Tensor, return_T: Tensor, rate_share: float) -> dict[str, float]:
        config, total = self.config, 0.0
        _set_rate(self.critic_optimizer, config.critic_rate * max(rate_share, 0.1))
        for _ in range(config.critic_epochs):
            for part in self._parts(len(return_T), config.critic_minibatch):
                loss = nn.functional.mse_loss(self.critic(condition_TC[part]), return_T[part])
                self.critic_optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(self.critic.parameters(), config.clip_norm)
                self.critic_optimizer.step()  # pyright: ignore[reportUnknownMemberType]
                total += loss.item() * len(part)
        return {"critic_loss": total / max(1, config.critic_epochs * len(return_T))}

    def _train_actor(
        self, batch: Batch, condition_TC: Tensor, advantage_T: Tensor, share: float, kl_share: float
    ) -> dict[str, float]:
        config, target_kl = self.config, kl_share * self.config.target_kl
        chain_TK, collected_TK = torch.as_tensor(batch.chain), torch.as_tensor(batch.log_prob)
        t_P, k_P = self._pairs(*collected_TK.shape)
        before_P, after_P = chain_TK[t_P, k_P], chain_TK[t_P, k_P + 1]
        with torch.no_grad():
            parts = _split(torch.arange(len(t_P)), 4096)
            old_P = torch.cat(
                [pairs_log_prob(self.model, condition_TC[t_P[i]], before_P[i], after_P[i], k_P[i]) for i in parts]
            )
            weight_P = (old_P - collected_TK[t_P, k_P]).exp().clamp(1 / config.longest_weight, config.longest_weight)
        advantage_P = advantage_T[t_P] * weight_P
        sums: dict[str, float] = {}
        updates, first, kl = 0, True, 0.0
        _set_rate(self.actor_optimizer, self.rate * share)
        for _ in range(config.epochs):
            epoch: list[float] = []
            for i in self._parts(len(t_P), config.minibatch):
                condition_PC = condition_TC[t_P[i]]
                log_ratio_P = pairs_log_prob(self.model, condition_PC, before_P[i], after_P[i], k_P[i]) - old_P[i]
                if first:
                    sums["ratio_deviation"] = require_unit_ratio(log_ratio_P)
                    first = False
                loss, found = clipped_objective(log_ratio_P, advantage_P[i], config.clip)
                loss = loss + self._anchors(condition_PC, before_P[i], k_P[i], found)
                self.actor_optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                found["gradient_norm"] = nn.utils.clip_grad_norm_(self.trained().values(), config.clip_norm)
                self.actor_optimizer.step()  # pyright: ignore[reportUnknownMemberType]
                updates += 1
                epoch.append(float(found["approximate_kl"]))
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                if self._after_step is not None:
                    self._after_step(condition_PC)
                if epoch[-1] > 4 * target_kl:
                    break
            kl = float(np.mean(epoch[-8:]))
            if kl > 2 * target_kl:
                break
        self._adapt(kl, target_kl)
        deviation = sums.pop("ratio_deviation")
        means = {name: value / updates for name, value in sums.items()}
        return means | {
            "last_kl": kl,
            "updates": float(updates),
            "learning_rate": self.rate,
            "ratio_deviation": deviation,
            "age_weight": float(weight_P.mean()),
        }

    def _anchors(self, condition_PC: Tensor, before_P: Tensor, k_P: Tensor, found: dict[str, Tensor]) -> Tensor:
        """What holds the policy near where it came from."""
        extra = torch.zeros(())
        if self._reference is not None:
            mean_P, sigma_P = pairs_mean(self.model, condition_PC, before_P, k_P)
            with torch.no_grad():
                theirs_P, _ = pairs_mean(self._reference, condition_PC, before_P, k_P)
            kl = ((mean_P - theirs_P).flatten(1).square().sum(1) / (2 * sigma_P.square())).mean()
            found["imitation_kl"] = kl.detach()
            extra = extra + self.config.kl_weight * kl
        if self._imitation is not None and self.config.imitation_weight > 0:
            loss, _ = self.model.loss(self._imitation(self.config.imitation_batch), self._generator)
            found["imitation_loss"] = loss.detach()
            extra = extra + self.config.imitation_weight * loss
        return extra

    def _adapt(self, kl: float, target_kl: float) -> None:
        if kl > 1.5 * target_kl:
            self.rate = max(self.rate / 1.5, self.config.lowest_rate)
        elif kl < target_kl / 1.5:
            self.rate = min(self.rate * 1.2, self.config.highest_rate)

    def _pairs(self, decisions: int, steps: int) -> tuple[Tensor, Tensor]:
        """Indices (t, k) of the pairs to learn from."""
        wanted = min(self.config.steps_per_decision or steps, steps)
        order_TK = torch.rand(decisions, steps, generator=self._generator).argsort(1)[:, :wanted]
        return torch.arange(decisions).repeat_interleave(wanted), order_TK.flatten()

    def _parts(self, count: int, size: int) -> tuple[Tensor, ...]:
        parts = _split(torch.randperm(count, generator=self._generator), size)
        # A last part much smaller than the others would have the weight of a whole one.
        return parts[:-1] if len(parts) > 1 and len(parts[-1]) < size // 2 else parts

    def trained(self) -> dict[str, nn.Parameter]:
        """The policy's parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def _frozen_copy(model: Any) -> Any:
    return copy.deepcopy(model).requires_grad_(False).eval()


def _split(x: Tensor, size: int) -> tuple[Tensor, ...]:
    return torch.split(x, size)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
