"""Everything a step of learning changes, put back bit for bit: weights, buffers, optimiser moments and generators.

Rejecting a candidate means that it never happened. What is left behind in moments or generators would make the next
candidate depend on the rejected one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Snapshot"]


class Snapshot:
    """A copy of modules, optimisers and generators, taken now; torch's global generator is always among them.

    Args:
        modules: Networks.
        optimizers: Of them.
        generators: Of torch or numpy.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer] = (),
        generators: Sequence[torch.Generator | np.random.Generator] = (),
    ):
        self._modules, self._optimizers, self._generators = tuple(modules), tuple(optimizers), tuple(generators)
        self.weights: list[dict[str, Tensor]] = [
            {name: tensor.detach().clone() for name, tensor in module.state_dict().items()} for module in modules
        ]
        self._gradients = [
            [None if p.grad is None else p.grad.clone() for p in module.parameters()] for module in modules
        ]
        self._training = [[m.training for m in module.modules()] for module in modules]
        self._moments: list[Any] = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
        self._random = [_state(generator) for generator in generators]
        self._global = torch.get_rng_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for module, weights, gradients, modes in zip(
            self._modules, self.weights, self._gradients, self._training, strict=True
        ):
            for name, tensor in module.state_dict().items():
                tensor.copy_(weights[name])
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
            for part, mode in zip(module.modules(), modes, strict=True):
                part.training = mode
        for optimizer, moments in zip(self._optimizers, self._moments, strict=True):
            optimizer.load_state_dict(copy.deepcopy(moments))
        for generator, state in zip(self._generators, self._random, strict=True):
            if isinstance(generator, torch.Generator):
                generator.set_state(state)
            else:
                generator.bit_generator.state = copy.deepcopy(state)
        torch.set_rng_state(self._global)


def _state(generator: torch.Generator | np.random.Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return copy.deepcopy(generator.bit_generator.state)
