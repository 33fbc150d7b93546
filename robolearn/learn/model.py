"""What the train loop and the checkpoints need of a model: a loss, and the facts that travel with its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.learn.normaliser import Statistics
from robolearn.specs import Spec

__all__ = ["Batch", "Model"]

Batch = Mapping[str, Any]
"""What a method's loss gets. For policies (see `policies/`): {"observation": {name: (B, history, ...)},
"action": {name: (B, horizon, ...)}, "mask": (B, horizon) bool, False where the episode was over}."""


class Model(nn.Module, ABC):
    """A network with a spec, a normaliser and a loss.

    Attributes:
        config: The frozen config it was built from; `robolearn.plugins` can write it down and read it back.
        observation_spec: The observations it uses, and no others.
        action_spec: What it produces.
        statistics: What its normalisers were built from.
    """

    def __init__(self, config: Any, observation_spec: Spec, action_spec: Spec, statistics: Statistics):
        super().__init__()
        self.config = config
        self.observation_spec = dict(observation_spec)
        self.action_spec = dict(action_spec)
        self.statistics = dict(statistics)

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise and scalars to log, without gradient.

        Args:
            batch: Tensors on the model's device.
            generator: On the model's device; all randomness of the loss must come from it (dropout is seeded
                by the loop).
        """
        ...
