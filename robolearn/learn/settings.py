"""The numbers of a training run, whatever the method."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["NO_INFLUENCE", "TrainConfig", "learning_rate"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train, whatever the method."""

    steps: int = 3000
    """Optimiser steps."""
    batch_size: int = 64
    """Windows per step."""
    learning_rate: float = 1e-3
    """AdamW's, at the end of the warm-up."""
    final_learning_rate: float = 0.0
    """The share of it left at the end of the cosine."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 1e-4
    """AdamW's, decoupled."""
    beta1: float = 0.95
    """AdamW's first decay."""
    beta2: float = 0.999
    """AdamW's second decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_power: float = 0.75
    """How fast the moving average of the weights slows down."""
    ema_maximum: float = 0.9999
    """Its largest decay."""
    seed: int = 0
    """Fixes batches, noise and dropout (the model was initialised before)."""
    log_every: int = 50
    """Steps between logged numbers."""
    evaluate_every: int = 500
    """Steps between held-out losses and calls of the evaluation hook."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; there is always one at the end."""
    keep: int = 2
    """How many newest checkpoints to keep."""
    bad_steps: int = 10
    """How many non-finite losses or gradients in a row stop the run."""
    threads: int = 1
    """CPU threads of torch while training; see the module's text before raising it."""
    device: str = "cpu"
    """Where to train, "cpu" or "cuda"."""
    tensorboard: bool = False
    """Also write TensorBoard scalars."""


NO_INFLUENCE = ("log_every", "evaluate_every", "checkpoint_every", "keep", "tensorboard")
"""Fields that do not change the weights, and may differ when a run is resumed."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step `step`: linear warm-up, then a cosine down to the final share."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return config.learning_rate * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)
