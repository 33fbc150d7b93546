"""A denoising policy as the Gaussian chain that reinforcement learning improves, beside the checkpoint it came from.

The offline and the online stage take any imitation checkpoint whose policy denoises, change its sampler to "chain"
(and nothing else: the network, the schedule it was trained with and the normalisers stay), and write what they learned
as a checkpoint of the same kind. So every stage reads and writes one format, and a chain that differs from the
checkpoint's schedule cannot be built.

Shapes: B rows, C condition, K steps, H horizon, A numbers per action, P pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from robolearn import plugins
from robolearn.diffusion.chain import Chain, Convention, StepTable, pair_log_prob, sample_chain, step_means
from robolearn.diffusion.noise import Generators, normals, row_generators
from robolearn.diffusion.sampler import Plan
from robolearn.errors import SpecError
from robolearn.learn import checkpoint
from robolearn.specs import Array, Arrays, Spec

__all__ = ["ChainModel", "Exploring", "load_chain", "pairs_log_prob", "pairs_mean", "sample_actions", "to_numpy"]


class ChainModel(Protocol):
    """What reinforcement learning needs of a denoising policy, beside being a `Model` and a `ChunkModel`."""

    plan: Plan

    @property
    def observation_spec(self) -> Spec: ...
    @property
    def action_spec(self) -> Spec: ...
    @property
    def history(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def sample_shape(self) -> tuple[int, int]:
        """(H, A)."""
        ...

    @property
    def condition_size(self) -> int:
        """C."""
        ...

    def condition(self, observations: Arrays) -> Tensor:
        """c_BC of observations (rows, history, ...), without augmentation."""
        ...

    def denoise(self, noisy_BHA: Tensor, step_B: Tensor, condition_BC: Tensor) -> Tensor: ...

    def actions(self, x_BHA: Tensor) -> dict[str, Array]:
        """Actions (rows, chunk, ...) of denoised chunks."""
        ...


def load_chain(
    path: Path,
    *,
    steps: int = 0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    convention: Convention | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The policy of a checkpoint as a chain.

    Args:
        path: A checkpoint's folder, or a run's.
        steps: K; 0 keeps the checkpoint's number of denoising steps.
        sigma_min: Floor of the steps' noise; None keeps the checkpoint's.
        sigma_max: Its ceiling, likewise.
        convention: See `robolearn.diffusion.chain`, likewise.

    Returns:
        The model in evaluation mode (no dropout: it would break the likelihood) with a frozen encoder, a `ChainModel`
        and a `robolearn.learn.model.Model`; and the dict form of its config, for the checkpoints made from it.

    Raises:
        SpecError: The policy does not denoise, or plays only a part of the chunk it denoises.
    """
    found = checkpoint.load(path)
    config = plugins.from_dict("policy", dict(found.config))
    fields = {f.name for f in dataclasses.fields(config)}
    if missing := {"sampler", "sigma_min", "sigma_max", "convention", "sample_steps"} - fields:
        raise SpecError(
            f"The policy {found.config['plugin']!r} in {found.path} has no denoising chain to improve (its config "
            f"lacks {', '.join(sorted(missing))}). Train one with --policy diffusion."
        )
    given = {"sigma_min": sigma_min, "sigma_max": sigma_max, "convention": convention, "sample_steps": steps or None}
    changes = {name: value for name, value in given.items() if value is not None}
    if config.sampler != "chain":  # from imitation: RL divides the weights of the encoder's own losses by ten
        changes |= {name: getattr(config, name) / 10 for name in ("beta_reconstruction", "beta_kl") if name in fields}
    config = dataclasses.replace(config, sampler="chain", explore=False, **changes)
    if config.chunk != config.horizon:
        raise SpecError(
            f"The policy in {found.path} denoises {config.horizon} actions and plays {config.chunk}: the others would "
            "only add noise to the likelihood ratio. Train it with horizon = chunk (--policy.horizon)."
        )
    model = config.build(found.observation_spec, found.action_spec, found.statistics)
    checkpoint.install(model, found)
    # Conditions are stored with the decisions; an encoder that moved would make them those of another policy.
    model.encoder.requires_grad_(False)
    return model.eval(), plugins.to_dict("policy", config)


def sample_actions(
    model: ChainModel, condition_BC: Tensor, generators: Generators, *, deterministic: bool = False
) -> Chain:
    """A chain per row, from noise drawn here."""
    first = torch.empty(len(condition_BC), *model.sample_shape)
    noise = normals(first.shape, generators, condition_BC.device)
    return sample_chain(
        lambda x, step: model.denoise(x, step, condition_BC), model.plan, noise, generators, deterministic=deterministic
    )


def pairs_log_prob(model: ChainModel, condition_PC: Tensor, before_P: Tensor, after_P: Tensor, k_P: Tensor) -> Tensor:
    """(P,) log-probabilities of single steps, each pair with its own row's condition; with gradient."""
    table = StepTable.of(model.plan, before_P)
    return pair_log_prob(lambda x, step: model.denoise(x, step, condition_PC), table, before_P, after_P, k_P)


def pairs_mean(model: ChainModel, condition_PC: Tensor, before_P: Tensor, k_P: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (P, H, A) and sigma (P,) of single steps."""
    table = StepTable.of(model.plan, before_P)
    return step_means(lambda x, step: model.denoise(x, step, condition_PC), table, before_P, k_P)


def to_numpy(x: Tensor) -> Array:
    """A tensor's numbers on the CPU."""
    return x.cpu().numpy()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class Exploring:
    """The `ChunkModel` that collects: plays the chain with its noise and notes what a learner needs.

    Notes: "condition" (rows, C), "chain" (rows, K + 1, H, A), "log_prob" (rows, K), all float32, and "version"
    (rows,), a number the learner gives the weights it hands over.

    Args:
        model: Used under inference; give it weights of its own when another thread trains.
        generator: Where all noise comes from; None draws each row's from the row's own number, which is slower and
            independent of the other rows.
    """

    def __init__(self, model: ChainModel, generator: torch.Generator | None = None):
        self.model = model
        self.version = 0
        self._generator = generator

    @property
    def observation_spec(self) -> Spec:
        return self.model.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self.model.action_spec

    @property
    def history(self) -> int:
        """How many observations it wants, newest last."""
        return self.model.history

    @property
    def chunk(self) -> int:
        """How many actions to play before asking again."""
        return self.model.chunk

    def predict(self, observations: Arrays, noise: Array) -> Mapping[str, Array]:
        """Actions (rows, chunk, ...) and the notes of the class's text."""
        with torch.inference_mode():
            condition_BC = self.model.condition(observations)
            chain = sample_actions(self.model, condition_BC, self._generator or row_generators(noise))
            return self.model.actions(chain.sample) | {
                "note.condition": to_numpy(condition_BC),
                "note.chain": to_numpy(chain.states_BK),
                "note.log_prob": to_numpy(chain.log_prob_BK),
                "note.version": np.full(len(condition_BC), self.version),
            }
