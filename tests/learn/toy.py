"""A small training run, as a module for the tests and as a program for the tests that kill it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.diffusion import DiffusionConfig
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.normaliser import moments
from robolearn.specs import ArraySpec

OBSERVATION_SPEC = {"arm.q": ArraySpec((3,)), "arm.tool": ArraySpec((2,), "float32")}
ACTION_SPEC = {"arm.dq": ArraySpec((2,), low=-1.0, high=1.0), "hand.close": ArraySpec((), "float32", 0.0, 1.0)}
CONFIG = DiffusionConfig(width=16, depth=1, horizon=4, chunk=2, train_steps=10, sample_steps=3, observation_noise=0.01)
DESCRIBED = {"plugin": "diffusion"} | {k: v for k, v in CONFIG.__dict__.items()}


class Examples:
    def __init__(self, count: int = 50, seed: int = 0):
        draw = np.random.default_rng(seed)
        self.observation = {
            "arm.q": draw.normal(size=(count, 2, 3)),
            "arm.tool": draw.normal(size=(count, 2, 2)).astype(np.float32),
        }
        self.action = {
            "arm.dq": draw.uniform(-1, 1, (count, 4, 2)),
            "hand.close": draw.integers(0, 2, (count, 4)).astype(np.float32),
        }
        self.mask = np.ones((count, 4), bool)
        self.fingerprint = f"toy-{count}-{seed}"

    def __len__(self) -> int:
        return len(self.mask)

    def gather(self, indices):
        return {
            "observation": {name: value[indices] for name, value in self.observation.items()},
            "action": {name: value[indices] for name, value in self.action.items()},
            "mask": self.mask[indices],
        }

    def statistics(self):
        arrays = {name: v[:, 0] for name, v in (self.observation | self.action).items()}
        return {name: moments(value) for name, value in arrays.items()}


def build(seed: int = 0):
    torch.manual_seed(seed)
    return CONFIG.build(OBSERVATION_SPEC, ACTION_SPEC, Examples().statistics())


def fit(out: Path, model=None, windows=None, **changes):
    settings: dict[str, Any] = {
        "steps": 10,
        "batch_size": 8,
        "warmup_steps": 3,
        "checkpoint_every": 4,
        "log_every": 2,
    } | changes
    return train(model or build(), windows or Examples(), TrainConfig(**settings), out, described=DESCRIBED)


if __name__ == "__main__":
    fit(Path(sys.argv[1]), steps=int(sys.argv[2]), checkpoint_every=int(sys.argv[3]))
