"""Implicit Q-learning on decisions: how good a state is, and how good a chunk of actions in it, without asking about
actions that nobody has taken.

Source: IQL (Kostrikov et al. 2021, arXiv 2110.06169), eq. 5 and 6, as used by RL-100 (specification 1.5):

    L_V = E |w - 1{u < 0}| u^2,   u = min(Q'_i, Q'_i+1)(s, a) - V_i(s)
    L_Q = E (Q_i(s, a) - y)^2,    y = reward + discount V_i(s'),      Q' <- Q' + tau (Q - Q')

w is the expectile: 0.5 gives the mean of what was done, towards 1 the best of it. reward, discount and s' are those of
a whole chunk (`transitions`). Where we differ: every member of the ensemble is a learner of its own, with its own V and
its own bootstrap of the episodes, so that their disagreement says something about the data; two members without
bootstrap are the usual twins (each V then regresses on the smaller of both). `pessimism` standard deviations below the
mean is the one pessimistic summary: for twins and 1 it is exactly their minimum.

Trained by the one train loop; the targets move inside the loss, in training only.

Shapes: E members, B batch, C condition, X numbers of a chunk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robolearn.errors import SpecError
from robolearn.learn.ensemble import EnsembleMlp
from robolearn.learn.model import Batch, Model
from robolearn.learn.normaliser import Statistics
from robolearn.specs import ArraySpec, Spec

__all__ = ["CriticConfig", "Critics", "build_critics", "critic_specs", "described", "pessimistic"]


@dataclass(frozen=True)
class CriticConfig:
    """Q and V of an ensemble of IQL learners."""

    members: int = 5
    """Learners; 2 are the usual twins."""
    width: int = 256
    """Of the hidden layers."""
    depth: int = 2
    """Hidden layers."""
    layer_norm: bool = True
    """Normalise hidden layers."""
    expectile: float = 0.8
    """w: 0.5 is the mean of the recorded decisions, towards 1 the best of them."""
    polyak: float = 0.005
    """tau of the target networks."""
    polyak_every: int = 2
    """Steps between two moves of the targets."""

    def build(self, observation_spec: Spec, action_spec: Spec, statistics: Statistics) -> Critics:
        """The critics for conditions and chunks of these sizes (`critic_specs`)."""
        if self.members < 1 or not 0.0 < self.expectile < 1.0:
            raise SpecError(
                f"Critics need at least one member and an expectile inside (0, 1); found {self.members} and "
                f"{self.expectile}."
            )
        return Critics(self, observation_spec, action_spec, statistics)


def critic_specs(condition: int, chunk: int) -> tuple[Spec, Spec]:
    """Specs of encoded observations and flat normalised chunks of these sizes."""
    return {"condition": ArraySpec((condition,), "float32")}, {"chunk": ArraySpec((chunk,), "float32")}


def build_critics(config: CriticConfig, condition: int, chunk: int, seed: int) -> Critics:
    """Critics whose first weights come from `seed`; torch's own generator is left as it was."""
    with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        return config.build(*critic_specs(condition, chunk), {})


def pessimistic(values_EB: Tensor, deviations: float) -> Tensor:
    """(B,) mean over members minus so many of their (population) standard deviations."""
    return values_EB.mean(0) - deviations * values_EB.std(0, unbiased=False)


class Critics(Model):
    """Q_i, V_i and the target networks of Q; see the module's text."""

    config: CriticConfig
    updates: Tensor

    def __init__(self, config: CriticConfig, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        super().__init__(config, observation_spec, action_spec, statistics)
        (condition,), (chunk,) = observation_spec["condition"].shape, action_spec["chunk"].shape
        sizes: dict[str, Any] = {"width": config.width, "depth": config.depth, "layer_norm": config.layer_norm}
        self.q = EnsembleMlp(config.members, condition + chunk, 1, **sizes)
        self.v = EnsembleMlp(config.members, condition, 1, **sizes)
        # Buffers, not parameters: they are no one's to optimise, and they travel in the checkpoint.
        self._names = {name: name.replace(".", "_") for name, _ in self.q.named_parameters()}
        for name, parameter in self.q.named_parameters():
            self.register_buffer(f"target_{self._names[name]}", parameter.detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """L_V + L_Q of a batch of decisions (`transitions.Transitions.gather`)."""
        config = self.config
        if self.training:
            self._follow()
        condition_BC, chunk_BX = batch["condition"], batch["chunk"]
        weight_EB = batch["weight"].T
        with torch.no_grad():
            target_EB = self.target_q(condition_BC, chunk_BX)
            target_EB = torch.minimum(target_EB, target_EB.roll(-1, 0))
            y_EB = batch["reward"] + batch["discount"] * self.v(batch["following"]).squeeze(-1)
        value_EB = self.v(condition_BC).squeeze(-1)
        u_EB = target_EB - value_EB
        side_EB = torch.where(u_EB < 0, 1.0 - config.expectile, config.expectile)
        loss_v = (weight_EB * side_EB * u_EB.square()).mean(1).sum()
        q_EB = self.action_values(condition_BC, chunk_BX)
        loss_q = (weight_EB * (q_EB - y_EB).square()).mean(1).sum()
        with torch.no_grad():
            metrics = {
                "value_loss": loss_v.detach() / config.members,
                "action_value_loss": loss_q.detach() / config.members,
                "value_mean": value_EB.mean(),
                "action_value_min": q_EB.min(),
                "action_value_max": q_EB.max(),
                "disagreement": q_EB.std(0, unbiased=False).mean(),
            }
        return loss_v + loss_q, metrics

    def action_values(self, condition_BC: Tensor, chunk_BX: Tensor) -> Tensor:
        """Q (E, B) of chunks."""
        return self.q(torch.cat([condition_BC, chunk_BX], -1)).squeeze(-1)

    def values(self, condition_BC: Tensor) -> Tensor:
        """V (E, B) of states."""
        return self.v(condition_BC).squeeze(-1)

    def target_q(self, condition_BC: Tensor, chunk_BX: Tensor) -> Tensor:
        """Q' (E, B): the target networks' values."""
        parameters: Mapping[str, Tensor] = {n: getattr(self, f"target_{flat}") for n, flat in self._names.items()}
        x_BD = torch.cat([condition_BC, chunk_BX], -1)
        found: Tensor = torch.func.functional_call(self.q, dict(parameters), (x_BD,))  # pyright: ignore[reportPrivateImportUsage]
        return found.squeeze(-1)

    @torch.no_grad()
    def advantages(self, condition_BC: Tensor, chunk_BX: Tensor, pessimism: float = 1.0) -> Tensor:
        """(B,) how much better a chunk is than what is usual: the pessimistic summary of Q_i - V_i."""
        return pessimistic(self.action_values(condition_BC, chunk_BX) - self.values(condition_BC), pessimism)

    @torch.no_grad()
    def _follow(self) -> None:
        self.updates += 1
        if int(self.updates) % self.config.polyak_every:
            return
        online: list[Tensor] = [parameter for _, parameter in self.q.named_parameters()]
        targets: list[Tensor] = [getattr(self, f"target_{flat}") for flat in self._names.values()]
        torch._foreach_lerp_(targets, online, self.config.polyak)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def described(config: Any, plugin: str) -> dict[str, Any]:
    """The dict form of a config of this room, for a checkpoint's config.json."""
    return {"plugin": plugin} | dataclasses.asdict(config)
