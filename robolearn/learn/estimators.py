"""Two ways to guess what a policy is worth without running it, and the sum of Q that RL-100's paper uses.

    rollout   R = sum_{t<H} w_t r^_t + w_H Q(s_H, a_H),   w_{t+1} = w_t gamma^n p(going on)       imagines states
    fitted    Q^pi(s_0, a_0) by fitted-Q evaluation                                          never imagines one
    paper     sum_{t<H} Q(s_t, a_t) over the mean of the models (AM-Q)                        of IQL's smallest Q

All return one value per member and state, so that a difference keeps its uncertainty. With equal seeds two policies
share states, model noise and their own noise (`actors`).

Shapes: E members, S states, C condition, X numbers of a chunk.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from robolearn.learn.actors import Actor, draw
from robolearn.learn.critics import Critics, described
from robolearn.learn.dynamics import Dynamics
from robolearn.learn.ensemble import array
from robolearn.learn.fitted_q import FittedQ, FittedQConfig, bagged_for, build_fitted_q, with_next_chunks
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.transitions import Transitions
from robolearn.specs import Array

__all__ = ["Estimate", "Estimator", "FittedEstimator", "PaperEstimator", "RolloutEstimator"]


class Estimate(NamedTuple):
    """Values of a policy.

    Attributes:
        values: (E, S) float64.
        critic: All values that critics said on the way, for the divergence alarm, flat.
    """

    values: Array
    critic: Array


class Estimator(Protocol):
    """Guesses what a policy is worth from given states."""

    @property
    def name(self) -> str: ...

    def __call__(self, actor: Actor, condition: Array, seed: int) -> Estimate:
        """Values from the states (S, C)."""
        ...


@dataclass(frozen=True)
class RolloutEstimator:
    """Imagined episodes that end in a critic.

    Attributes:
        dynamics: The transition models; each elite imagines episodes of its own.
        critics: Their Q; elite e asks members e, e + elites, ....
        horizon: H in decisions; at least the median length of an episode is advised.
        discount: gamma^n of a whole decision.
        noise: Draw from the models instead of following their means.
    """

    dynamics: Dynamics
    critics: Critics
    horizon: int
    discount: float
    noise: bool = True
    name: str = "rollout"

    @torch.no_grad()
    def __call__(self, actor: Actor, condition: Array, seed: int) -> Estimate:
        elites, states = len(self.dynamics.elites), len(condition)
        model_noise = torch.Generator().manual_seed(seed + 1)
        s_ESC = torch.as_tensor(condition, dtype=torch.float32).expand(elites, -1, -1)
        total_ES, weight_ES = torch.zeros(elites, states), torch.ones(elites, states)
        for t in range(self.horizon):
            a_ESX = _act(actor, s_ESC, seed + 7 * t)
            noise = None
            if self.noise:
                noise = torch.randn((elites, states, s_ESC.shape[-1] + 1), generator=model_noise)
            found = self.dynamics.imagine(s_ESC, a_ESX, noise)
            total_ES = total_ES + weight_ES * found.reward
            weight_ES = weight_ES * self.discount * found.going
            s_ESC = found.following
        q_ES = _paired_q(self.critics, s_ESC, _act(actor, s_ESC, seed + 7 * self.horizon))
        values = array((total_ES + weight_ES * q_ES).double())
        return Estimate(values, np.concatenate([array(q_ES.flatten()), _first_q(self.critics, actor, condition, seed)]))


@dataclass(frozen=True)
class PaperEstimator:
    """RL-100's AM-Q: the sum of Q along imagined decisions, without ends and with the mean of the models."""

    dynamics: Dynamics
    critics: Critics
    horizon: int
    name: str = "paper"

    @torch.no_grad()
    def __call__(self, actor: Actor, condition: Array, seed: int) -> Estimate:
        s_SC = torch.as_tensor(condition, dtype=torch.float32)
        total_S, said = torch.zeros(len(condition)), list[Array]()
        for t in range(self.horizon):
            a_SX = actor(s_SC, torch.Generator().manual_seed(seed + 7 * t))
            q_S = self.critics.action_values(s_SC, a_SX).amin(0)
            total_S, s_SC = total_S + q_S, self.dynamics.imagine(s_SC, a_SX).following.mean(0)
            said.append(array(q_S))
        return Estimate(array(total_S.double())[None], np.concatenate(said))


class FittedEstimator:
    """Fitted-Q evaluation that goes on from a common fit, and remembers policies it has seen.

    Args:
        data: Recorded decisions.
        first: The policy of the common fit, so that every value depends on what is asked and not on what was asked
            before.
        config: Of the ensemble.
        seed: Of everything.
        first_steps: Training steps of the common fit.
        steps: Training steps of each policy from there on.
        draws: Next chunks per decision.
        learning_rate: Adam's.
        batch_size: Transitions per step.
        scratch: Where the fits' runs are written; a temporary folder by default.
    """

    name = "fitted"

    def __init__(
        self,
        data: Transitions,
        first: Actor,
        config: FittedQConfig,
        *,
        seed: int,
        first_steps: int = 2000,
        steps: int = 500,
        draws: int = 2,
        learning_rate: float = 3e-4,
        batch_size: int = 256,
        scratch: Path | None = None,
    ):
        self._data = bagged_for(config, data, seed)
        self._config, self._seed, self._draws, self._first = config, seed, draws, first
        self._first_steps, self._steps = first_steps, steps
        self._settings: dict[str, Any] = {"learning_rate": learning_rate, "batch_size": batch_size}
        self._scratch = scratch
        self._base: FittedQ | None = None
        self._fits: dict[str, FittedQ] = {}

    def __call__(self, actor: Actor, condition: Array, seed: int) -> Estimate:
        model = self.fit(actor)
        s_SC = torch.as_tensor(condition, dtype=torch.float32)
        with torch.no_grad():
            found = [model.action_values(s_SC, draw(actor, s_SC, seed + k)) for k in range(self._draws)]
        values = array(torch.stack(found).mean(0).double())
        return Estimate(values, values.ravel())

    def fit(self, actor: Actor) -> FittedQ:
        """The value functions of a policy."""
        if actor.key not in self._fits:
            if self._base is None:
                sizes = self._data.condition.shape[1], self._data.chunk.shape[1]
                self._base = build_fitted_q(self._config, *sizes, self._seed)
                self._train(self._base, self._first, self._first_steps)
            model = build_fitted_q(self._config, *self._base_sizes(), self._seed)
            model.copy_from(self._base)
            self._train(model, actor, self._steps)
            self._fits[actor.key] = model
        return self._fits[actor.key]

    def keep(self, keys: list[str]) -> None:
        """Forget all policies but these."""
        self._fits = {key: fit for key, fit in self._fits.items() if key in keys}

    def _base_sizes(self) -> tuple[int, int]:
        return self._data.condition.shape[1], self._data.chunk.shape[1]

    def _train(self, model: FittedQ, actor: Actor, steps: int) -> None:
        if steps < 1:
            return
        windows = with_next_chunks(self._data, actor, self._draws, self._seed)
        config = TrainConfig(
            steps=steps,
            warmup_steps=min(50, steps),
            weight_decay=0.0,
            beta1=0.9,
            clip_norm=10.0,
            seed=self._seed,
            final_learning_rate=0.1,
            log_every=max(1, steps // 4),
            **self._settings,
        )
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            train(model, windows, config, Path(folder), described=described(self._config, "fitted_q"), quiet=True)


def _act(actor: Actor, s_ESC: Tensor, seed: int) -> Tensor:
    """Chunks (E, S, X); every member's state s shares the random numbers of s."""
    return torch.stack([actor(s_SC, torch.Generator().manual_seed(seed)) for s_SC in s_ESC])


def _paired_q(critics: Critics, s_ESC: Tensor, a_ESX: Tensor) -> Tensor:
    elites, members = s_ESC.shape[0], critics.config.members
    rows = [
        critics.action_values(s_ESC[e], a_ESX[e])[[k for k in range(members) if k % elites == e % members]].mean(0)
        for e in range(elites)
    ]
    return torch.stack(rows)


def _first_q(critics: Critics, actor: Actor, condition: Array, seed: int) -> Array:
    s_SC = torch.as_tensor(condition, dtype=torch.float32)
    return array(critics.action_values(s_SC, draw(actor, s_SC, seed)).flatten())
