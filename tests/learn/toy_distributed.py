"""A small training run without noise, as a program that torchrun starts; its result does not depend on how often."""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import toy

from policies.regression import RegressionConfig
from robolearn import plugins
from robolearn.learn import distributed
from robolearn.learn.loop import TrainConfig, train

CONFIG = RegressionConfig(width=16, depth=1, history=2, chunk=4, dropout=0.0, observation_noise=0.0)


def fit(out: Path, steps: int = 12) -> None:
    torch.manual_seed(0)
    examples = toy.Examples()
    model = CONFIG.build(toy.OBSERVATION_SPEC, toy.ACTION_SPEC, examples.statistics())
    settings: dict[str, Any] = {"batch_size": 8, "warmup_steps": 3, "checkpoint_every": 5, "log_every": 1}
    with distributed.joined():
        train(model, examples, TrainConfig(steps=steps, **settings), out, described=plugins.to_dict("policy", CONFIG))


if __name__ == "__main__":
    fit(Path(sys.argv[1]), int(sys.argv[2]))
