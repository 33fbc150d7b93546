"""Training in several processes that `torchrun` started, on one machine or on many.

    torchrun --nproc-per-node 2 --no-python robolearn train --store data/lift --out runs/lift

Every process holds the whole model and works on its share of each batch; PyTorch's DistributedDataParallel averages the
gradients, so the result is that of one process with the whole batch, up to round-off (and up to the noise that a loss
draws, which is each process's own). Process 0 writes everything; all read the same disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robolearn.errors import SpecError
from robolearn.learn.model import Model

__all__ = ["agree", "barrier", "joined", "part", "rank", "size", "wrapped"]


@contextlib.contextmanager
def joined(device: str = "cpu") -> Generator[int]:
    """Join the processes that torchrun started, and leave them at the end; gives this process's number.

    Without torchrun, or inside of another `joined`, nothing happens and the number is 0 or the present one.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or group.is_initialized():
        yield rank()
        return
    group.init_process_group("nccl" if device == "cuda" else "gloo")
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        yield rank()
    finally:
        group.destroy_process_group()


def rank() -> int:
    """This process's number, 0 when it is alone."""
    return group.get_rank() if group.is_initialized() else 0


def size() -> int:
    """How many processes work together."""
    return group.get_world_size() if group.is_initialized() else 1


def barrier() -> None:
    """Wait for all the others."""
    if group.is_initialized():
        group.barrier()


def part(batch: Any) -> Any:
    """This process's share of a batch's indices.

    Raises:
        SpecError: The batch cannot be shared equally.
    """
    if len(batch) % size():
        raise SpecError(
            f"A batch of {len(batch)} cannot be shared equally by {size()} processes. Choose a multiple with "
            "--train.batch-size."
        )
    return batch[rank() :: size()]


def agree(flag: bool) -> bool:
    """Whether any process says so; all get the same answer."""
    if not group.is_initialized():
        return flag
    value = torch.tensor(float(flag))
    group.all_reduce(value, group.ReduceOp.MAX)  # pyright: ignore[reportUnknownMemberType]
    return bool(value > 0)


class _Loss(nn.Module):
    """A model's loss as the forward pass that DistributedDataParallel wants."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.loss(batch, generator)


def wrapped(model: Model) -> nn.Module | None:
    """The model's loss with gradients averaged over all processes, or None when this one is alone."""
    if size() == 1:
        return None
    return DistributedDataParallel(_Loss(model), broadcast_buffers=False)
