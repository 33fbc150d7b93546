"""Fitted-Q evaluation: what a given policy is worth, learned from recordings of others.

Source: Le, Voloshin and Yue 2019 (arXiv 1903.08738); with the policy's own next chunks a' ~ pi(s') drawn beforehand,

    y_i = reward + discount clip(mean_k Q'_i(s', a'_k), low, high)
    Q_i <- argmin E w_i (Q_i(s, a) - y_i)^2,        J(pi) = E Q_i(s_0, a_0 ~ pi)

Where we differ: what is built on lies within what any policy can earn (`rewards.Reach`). A value that is too high off
the recordings raises all values before it, and with a discount near 1 nothing else stops that. Subtracting the
members' disagreement from every target instead drove nine values of ten out of reach (docs/results/gate.md). It is
the gate's second estimator: unlike a model rollout it never imagines a state, and unlike IQL's Q it is about this
policy and not about the best of the recordings.

Two policies are compared by starting from the same weights and seeing the same batches in the same order; what differs
are the next chunks alone. Shapes: E members, B batch, C condition, X numbers of a chunk, K draws.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.learn.actors import Actor, draw
from robolearn.learn.critics import critic_specs
from robolearn.learn.ensemble import EnsembleMlp, array
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Statistics
from robolearn.learn.transitions import Transitions
from robolearn.specs import Array, Spec

__all__ = ["FittedQ", "FittedQConfig", "PolicyTransitions", "bagged_for", "build_fitted_q", "with_next_chunks"]


@dataclass(frozen=True)
class FittedQConfig:
    """An ensemble of value functions of one policy."""

    members: int = 5
    """Learners, each with its own bootstrap of the episodes."""
    width: int = 256
    """Of the hidden layers."""
    depth: int = 2
    """Hidden layers."""
    reach: tuple[float, float] | None = None
    """Smallest and largest value that any policy can have; None where nothing is known."""
    polyak: float = 0.05
    """How fast the targets follow, per step: a value travels back by about one decision per 1 / polyak steps."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> FittedQ:
        """The model for conditions and chunks of these sizes (`critics.critic_specs`)."""
        return FittedQ(self, observation_spec, action_spec, statistics)


@dataclass(frozen=True, slots=True, eq=False)
class PolicyTransitions:
    """Recorded decisions with what a policy would do next; a `learn.loop.Windows`.

    Attributes:
        data: The decisions.
        next_chunks: (M, K, X) float32.
        key: Of the policy.
    """

    data: Transitions
    next_chunks: Array
    key: str

    @property
    def fingerprint(self) -> str:
        """Of data and policy."""
        return f"{self.data.fingerprint} {self.key}"

    def __len__(self) -> int:
        return len(self.data)

    def gather(self, indices: Array) -> dict[str, Array]:
        """A batch of decisions with "next_chunk" (B, K, X)."""
        return self.data.gather(indices) | {"next_chunk": self.next_chunks[indices]}


def with_next_chunks(data: Transitions, actor: Actor, draws: int, seed: int) -> PolicyTransitions:
    """What an actor would do after each recorded decision, `draws` times; equal seeds share random numbers."""
    following = torch.as_tensor(data.following)
    chunks = [array(draw(actor, following, seed + k)) for k in range(draws)]
    return PolicyTransitions(data, np.stack(chunks, 1).astype(np.float32), actor.key)


def build_fitted_q(config: FittedQConfig, condition: int, chunk: int, seed: int) -> FittedQ:
    """A fresh ensemble, its first weights from `seed`."""
    with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        return config.build(*critic_specs(condition, chunk), {})


class FittedQ(Model):
    """See the module's text."""

    config: FittedQConfig

    def __init__(self, config: FittedQConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        super().__init__(config, observation_spec, action_spec, statistics)
        (condition,), (chunk,) = observation_spec["condition"].shape, action_spec["chunk"].shape
        sizes: dict[str, Any] = {"width": config.width, "depth": config.depth}
        self.q = EnsembleMlp(config.members, condition + chunk, 1, **sizes)
        self.target = EnsembleMlp(config.members, condition + chunk, 1, **sizes).requires_grad_(False)
        self.target.load_state_dict(self.q.state_dict())

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The temporal-difference error of a batch (`PolicyTransitions.gather`)."""
        if self.training:
            with torch.no_grad():
                online: list[Tensor] = list(self.q.parameters())
                targets: list[Tensor] = list(self.target.parameters())
                torch._foreach_lerp_(targets, online, self.config.polyak)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        next_BKX: Tensor = batch["next_chunk"]
        rows, draws = next_BKX.shape[:2]
        with torch.no_grad():
            following = batch["following"][:, None].expand(-1, draws, -1)
            after_EBK = self.target(torch.cat([following, next_BKX], -1).flatten(0, 1)).view(-1, rows, draws)
            after_EB = after_EBK.mean(-1)
            if self.config.reach is not None:
                after_EB = after_EB.clamp(*self.config.reach)
            y_EB = batch["reward"] + batch["discount"] * after_EB
        q_EB = self.action_values(batch["condition"], batch["chunk"])
        weight_EB = batch["weight"].T
        loss = (weight_EB * (q_EB - y_EB).square()).mean(1).sum()
        metrics = {"action_value_min": q_EB.detach().min(), "action_value_max": q_EB.detach().max()}
        return loss, metrics

    def action_values(self, condition_BC: Tensor, chunk_BX: Tensor) -> Tensor:
        """Q (E, B) of chunks."""
        return self.q(torch.cat([condition_BC, chunk_BX], -1)).squeeze(-1)

    def copy_from(self, other: FittedQ) -> None:
        """Begin where another fit stands."""
        self.load_state_dict({k: v.clone() for k, v in other.state_dict().items()})


def bagged_for(config: FittedQConfig, data: Transitions, seed: int) -> Transitions:
    """Transitions with a bootstrap for each member, unless they have one already."""
    if data.weight.shape[1] == config.members:
        return dataclasses.replace(data)
    return data.bagged(config.members, seed)
