"""Who decides, in the space of encoded observations: what critics, models and the gate need of a policy.

An actor draws flat normalised chunks for conditions. All of its randomness comes from the given generator in the same
order for equal shapes, so two actors that are given generators with the same seed share their random numbers: what is
left of the difference between their values is the difference between them.

Shapes: B batch, C condition, H horizon, A numbers per action, X = n * A numbers of a played chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robolearn.learn.ensemble import array

__all__ = ["Actor", "FunctionActor", "draw", "weights_key"]


class Actor(Protocol):
    """Decides for encoded observations."""

    @property
    def key(self) -> str:
        """Names what decides: equal keys mean equal decisions."""
        ...

    def __call__(self, condition_BC: Tensor, generator: torch.Generator) -> Tensor:
        """(B, X) normalised chunks, without gradient."""
        ...


class FunctionActor:
    """Any function as an actor.

    Args:
        key: Names what it does.
        function: (condition_BC, generator) -> (B, X).
    """

    def __init__(self, key: str, function: Callable[[Tensor, torch.Generator], Tensor]):
        self.key = key
        self._function = function

    @torch.no_grad()
    def __call__(self, condition_BC: Tensor, generator: torch.Generator) -> Tensor:
        return self._function(condition_BC, generator)


def draw(actor: Actor, condition_BC: Tensor, seed: int, *, batch: int = 2048) -> Tensor:
    """(B, X) chunks for many conditions, in batches, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    parts = [actor(condition_BC[i : i + batch], generator) for i in range(0, len(condition_BC), batch)]
    return torch.cat(parts)


def weights_key(module: nn.Module, facts: Mapping[str, Any] | None = None) -> str:
    """A fingerprint of a network's weights and buffers, and of facts about how it is used."""
    digest = hashlib.sha256(repr(sorted((facts or {}).items())).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(array(tensor.contiguous()).tobytes())
    return digest.hexdigest()[:16]
