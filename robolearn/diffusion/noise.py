"""Standard normal noise whose every row comes from that row's own seed.

A row's actions must not depend on which other rows are decided in the same batch, so each row owns a CPU
generator. diffusers takes the same list of generators and draws the same numbers from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robolearn.specs import Array

__all__ = ["Generators", "normals", "row_generators"]

Generators = torch.Generator | list[torch.Generator]

_WORD = 0xFFFF_FFFF_FFFF_FFFF


def row_generators(seeds: Array) -> list[torch.Generator]:
    """One CPU generator per row.

    Args:
        seeds: (rows,) uint64.
    """
    return [torch.Generator().manual_seed(_mixed(int(seed))) for seed in np.asarray(seeds, np.uint64)]


def normals(shape: Sequence[int], generators: Generators, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal numbers of this shape, each row of the first axis from its own generator if there are several."""
    if isinstance(generators, torch.Generator):
        return torch.randn(tuple(shape), generator=generators, device=generators.device).to(device)
    rows = [torch.randn(tuple(shape[1:]), generator=generator) for generator in generators]
    return torch.stack(rows).to(device)


def _mixed(seed: int) -> int:
    """splitmix64's finaliser: torch's CPU generator looks at the low 32 bits only, so all bits must reach them."""
    seed = (seed + 0x9E37_79B9_7F4A_7C15) & _WORD
    seed = ((seed ^ (seed >> 30)) * 0xBF58_476D_1CE4_E5B9) & _WORD
    seed = ((seed ^ (seed >> 27)) * 0x94D0_49BB_1331_11EB) & _WORD
    return seed ^ (seed >> 31)
