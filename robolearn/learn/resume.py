"""The state of a run between two steps, written down and put back so that going on is as if it had never stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robolearn.errors import ArtefactError, StorageFull
from robolearn.learn import checkpoint
from robolearn.learn.ema import Ema
from robolearn.learn.model import Model
from robolearn.learn.settings import NO_INFLUENCE, TrainConfig

__all__ = ["Run", "begin", "facts", "require_same", "require_space"]


@dataclass
class Run:
    """What changes while training.

    Attributes:
        model: With its raw weights.
        optimizer: Of them.
        ema: Their moving average.
        step: Steps made.
        updates: Steps that changed the weights.
        bad: Non-finite steps in a row up to now.
        metrics: The last logged numbers.
        parallel: The loss with gradients averaged over all processes, None when there is one.
    """

    model: Model
    optimizer: torch.optim.AdamW
    ema: Ema
    step: int = 0
    updates: int = 0
    bad: int = 0
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    parallel: torch.nn.Module | None = None

    def training_tensors(self) -> dict[str, Tensor]:
        """Raw weights and the optimiser's moments, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"raw/{name}"] = parameter
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        return tensors

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Become the run that wrote this checkpoint."""
        checkpoint.install(self.model, found)
        tensors = found.training()
        for name, parameter in self.model.named_parameters():
            if name in self.ema.average:
                self.ema.average[name].copy_(parameter.detach())
            parameter.detach().copy_(tensors[f"raw/{name}"])
            state = {key: tensors.get(f"{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if state["step"] is not None:
                self.optimizer.state[parameter] = {k: t.to(parameter.device) for k, t in state.items() if t is not None}
        self.step, self.updates = found.step, int(found.state["updates"])
        self.bad = int(found.state["bad"])


def begin(model: Model, config: TrainConfig) -> Run:
    """A run that has made no step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    return Run(model, optimizer, Ema(model, config.ema_power, config.ema_maximum))


def facts(config: TrainConfig, windows: Sized) -> dict[str, Any]:
    """What must be equal when a run is resumed, for `state.json`."""
    data = {"windows": len(windows), "fingerprint": getattr(windows, "fingerprint", None)}
    return {"train": asdict(config), "data": data}


def require_same(found: checkpoint.Checkpoint, wanted: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Refuse to resume a run that was made with other settings, data or model.

    Raises:
        ArtefactError: Naming the first difference.
    """
    pairs = [("the training settings", found.state["train"], wanted["train"])]
    pairs += [("the training data", found.state["data"], wanted["data"]), ("the model", found.config, dict(described))]
    for what, before, now in pairs:
        for name in sorted(before.keys() | now.keys()):
            old, new = before.get(name), now.get(name)
            # JSON has no tuples.
            same = old == new or (isinstance(new, tuple) and old == list(new))  # pyright: ignore[reportUnknownArgumentType]
            if not same and name not in NO_INFLUENCE:
                raise ArtefactError(
                    f"The run in {found.path.parent.parent} cannot be resumed: {what} differ in {name!r}: "
                    f"it has {old!r}, asked for is {new!r}. Use the same values, or another output folder."
                )


def require_space(model: Model, out: Path) -> None:
    """Refuse to begin what could not be saved.

    Raises:
        StorageFull: Too little space is free.
    """
    # Average, raw weights and two moments, for the checkpoint to be written while the older one is still there.
    needed = 2 * 4 * sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    free = shutil.disk_usage(out).free
    if free < needed:
        raise StorageFull(
            f"Training needs about {needed / 1e6:.0f} MB for its checkpoints in {out}; {free / 1e6:.0f} MB are free. "
            "Free some space or choose another folder."
        )
