"""One candidate of offline RL: a few clipped steps of a denoising chain towards chunks that the critics prefer.

Source: RL-100 (specification 1.5). For recorded states, fresh chains of the incumbent pi_i and one advantage each:

    A = pessimistic(Q - V)(s, a),   J = E_k min(r_k A, clip(r_k, 1 - c, 1 + c) A),   r_k = pi(x_k-1 | x_k) / pi_i(...)

A is normalised over the batch and broadcast to all K steps of its chain. Where we differ: one optimiser step per batch
over all denoising steps, instead of K separate ones whose later ratios are stale; A is pessimistic about what the
critics' ensemble disagrees on, because it is asked about the policy's own chunks and not only about recorded ones; and
the candidate is finished early when it has moved by `target_kl` from the incumbent.

Shapes: B batch, C condition, K steps of the chain, H horizon, A numbers per action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.learn.actors import weights_key
from robolearn.learn.chain_policy import ChainModel, pairs_log_prob, pairs_mean, sample_actions
from robolearn.learn.clipped import clipped_objective, require_unit_ratio

__all__ = ["ChainActor", "ImproveConfig", "chain_kl", "improve", "played"]


@dataclass(frozen=True)
class ImproveConfig:
    """How a candidate is made."""

    learning_rate: float = 3e-5
    """AdamW's."""
    batches: int = 20
    """Batches, and so optimiser steps, of a candidate."""
    batch_size: int = 256
    """Recorded states per batch."""
    clip: float = 0.1
    """How far a step's likelihood ratio may go and still be rewarded (log-likelihoods are summed over a chunk)."""
    pessimism: float = 1.0
    """Standard deviations of the critics' ensemble below its mean; 1 with two members is their minimum."""
    target_kl: float = 0.05
    """KL divergence from the incumbent per denoising step at which a candidate is finished."""
    clip_norm: float = 0.5
    """Largest norm of the gradient."""
    advantage_limit: float = 3.0
    """Normalised advantages are clipped to this; single wild critics' answers must not decide."""


class ChainActor:
    """A denoising policy for critics and gate, as it is deployed: along the chain's noise-free mean path.

    Args:
        model: A `ChainModel`; give a copy when it goes on learning.
        explore: Draw with the chain's noise instead.
    """

    def __init__(self, model: Any, *, explore: bool = False):
        self.key = weights_key(model, {"explore": explore, "plan": repr(model.plan)})
        self.model, self._explore = model, explore

    @torch.no_grad()
    def __call__(self, condition_BC: Tensor, generator: torch.Generator) -> Tensor:
        chain = sample_actions(self.model, condition_BC, generator, deterministic=not self._explore)
        return played(self.model, chain.sample)


def played(model: ChainModel, x_BHA: Tensor) -> Tensor:
    """The part of denoised chunks that is played, flat (B, n * A), within the recorded range as it will be sent."""
    return x_BHA[:, : model.chunk].clamp(-1.0, 1.0).flatten(1)


def improve(
    model: Any,
    optimizer: torch.optim.Optimizer,
    incumbent: Any,
    advantages: Callable[[Tensor, Tensor], Tensor],
    conditions: Callable[[int], Tensor],
    config: ImproveConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Turn `model`, which is equal to the incumbent, into a candidate.

    Args:
        model: The `ChainModel` that learns, in evaluation mode (dropout would break the likelihood).
        optimizer: Of its parameters that learn.
        incumbent: A frozen copy of it, which draws the chains.
        advantages: (condition_BC, chunk_BX) -> (B,).
        conditions: The recorded states (B, C) of a batch by its number.
        config: How far to go.
        generator: Of all noise.

    Returns:
        Means of what was watched: "advantage", "approximate_kl", "clip_fraction", "ratio_max", "batches".

    Raises:
        TrainingFault: The ratio was not 1 before the first step.
        SpecError: The model is in training mode.
    """
    if model.training:
        raise SpecError("A chain is improved in evaluation mode; call model.eval() first.")
    sums: dict[str, float] = {}
    done = 0
    for number in range(config.batches):
        condition_BC = conditions(number)
        with torch.no_grad():
            chain = sample_actions(incumbent, condition_BC, generator)
            advantage_B = advantages(condition_BC, played(model, chain.sample))
            found = {"advantage": advantage_B.mean()}
            advantage_B = (advantage_B - advantage_B.mean()) / advantage_B.std().clamp(min=1e-6)
            advantage_B = advantage_B.clamp(-config.advantage_limit, config.advantage_limit)
        rows, steps = chain.log_prob_BK.shape
        t_P, k_P = torch.arange(rows).repeat_interleave(steps), torch.arange(steps).repeat(rows)
        before_P, after_P = chain.states_BK[t_P, k_P], chain.states_BK[t_P, k_P + 1]
        log_ratio_P = pairs_log_prob(model, condition_BC[t_P], before_P, after_P, k_P) - chain.log_prob_BK.flatten()
        if number == 0:
            require_unit_ratio(log_ratio_P)
        loss, watched = clipped_objective(log_ratio_P, advantage_B[t_P], config.clip)
        if number > 0 and float(watched["approximate_kl"]) > config.target_kl:
            break
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        found["gradient_norm"] = nn.utils.clip_grad_norm_(
            [p for p in model.parameters() if p.requires_grad], config.clip_norm
        )
        optimizer.step()
        done += 1
        for name, value in (found | watched).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: value / done for name, value in sums.items()} | {"batches": float(done)}


@torch.no_grad()
def chain_kl(model: Any, incumbent: Any, condition_BC: Tensor, generator: torch.Generator) -> float:
    """KL(incumbent, model) per number that is denoised, along the incumbent's chains: the mean over all numbers of a
    chunk and all Gaussian steps, so that 0.5 is a shift by one standard deviation of a step in every number."""
    chain = sample_actions(incumbent, condition_BC, generator)
    rows, steps = chain.log_prob_BK.shape
    total = torch.zeros(rows)
    for k in range(steps):
        at = torch.full((rows,), k)
        old_B, sigma_B = pairs_mean(incumbent, condition_BC, chain.states_BK[:, k], at)
        new_B, _ = pairs_mean(model, condition_BC, chain.states_BK[:, k], at)
        total = total + (new_B - old_B).flatten(1).square().mean(1) / (2 * sigma_B.square())
    return float(total.mean()) / steps


def moments_tensors(optimizer: Any, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An optimiser's moments by the names of its parameters, for a checkpoint."""
    return {f"{key}/{n}": value for n, p in named.items() for key, value in optimizer.state.get(p, {}).items()}


def restore_moments(optimizer: Any, named: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """The inverse."""
    for name, parameter in named.items():
        state = {key: tensors.get(f"{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in state.values()):
            optimizer.state[parameter] = state
