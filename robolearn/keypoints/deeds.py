"""What somebody did over fresh layouts: onions sorted, beads poured, and the true return, which no learner sees.

Sorting by the paper's metrics: precision and recall count a blemished onion in the bin as a hit; an onion that nobody
sorted in time is a miss. Pouring by the specification's: it succeeds where at least 80 % of the beads fell into the
bowl that was asked for, at most 5 % anywhere else, and the bottle stands in the crate.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.intervals import Rate, wilson
from robolearn.keypoints.domains import ONIONS, Domain
from robolearn.keypoints.onions import OnionLine
from robolearn.keypoints.pouring import PourTable
from robolearn.specs import Array

__all__ = ["POURED", "SPILLED", "Decide", "Poured", "Sorting", "measured", "pour", "poured_well", "sort"]

Decide = Callable[[Array], Array]
"""Features (n, f) to decisions (n, k)."""
POURED, SPILLED = 0.8, 0.05
"""Least share of beads in the right bowl, and most elsewhere, of a pouring that succeeds."""


@dataclass(frozen=True, slots=True)
class Sorting:
    """What was sorted over many layouts.

    Attributes:
        layouts: How many.
        binned_bad: Blemished onions in the bin.
        binned_good: Good ones in the bin.
        bad: Blemished onions there were.
        right: Onions sorted right.
        onions: All.
        true_return: Mean true return of a layout.
        steps: Mean steps that a layout took.
    """

    layouts: int
    binned_bad: int
    binned_good: int
    bad: int
    right: int
    onions: int
    true_return: float
    steps: float

    @property
    def precision(self) -> Rate | None:
        """Of binned onions, the blemished; None when nothing was binned."""
        binned = self.binned_bad + self.binned_good
        return wilson(self.binned_bad, binned) if binned else None

    @property
    def recall(self) -> Rate:
        """Of blemished onions, the binned; one that was never sorted is a miss."""
        return wilson(self.binned_bad, max(1, self.bad))


@dataclass(frozen=True, slots=True)
class Poured:
    """What was poured over many layouts.

    Attributes:
        layouts: How many.
        well: Pourings that succeeded.
        right: Mean share of beads in the right bowl.
        wrong: Mean share in the other bowl.
        spilled: Mean share beside both.
        away: Bottles that were put into the crate.
        true_return: Mean true return of a layout.
        steps: Mean steps that a layout took.
    """

    layouts: int
    well: int
    right: float
    wrong: float
    spilled: float
    away: int
    true_return: float
    steps: float

    @property
    def success(self) -> Rate:
        """Of pourings."""
        return wilson(self.well, self.layouts)


def sort(decide: Decide, *, layouts: int, seed: int, noise_m: float = 0.0, horizon: int = 100) -> Sorting:
    """Let somebody sort fresh layouts of five onions."""
    line = OnionLine(layouts, np.random.default_rng(seed), horizon=horizon, endless=False, noise_m=noise_m)
    total, steps = np.zeros(layouts), np.zeros(layouts)
    while not line.over:
        steps += ~line.line.gone.all(axis=1)
        total += line.step(decide(line.observe()))
    deeds = line.deeds.sum(axis=0)
    bad = int((~line.line.good).sum())
    return Sorting(
        layouts,
        int(deeds[3]),
        int(deeds[2]),
        bad,
        int(deeds[1] + deeds[3]),
        5 * layouts,
        float(total.mean()),
        float(steps.mean()),
    )


def pour(decide: Decide, *, layouts: int, seed: int, noise_m: float = 0.0, horizon: int = 60) -> Poured:
    """Let somebody pour one bottle of each of many fresh layouts."""
    table = PourTable(layouts, np.random.default_rng(seed), horizon=horizon, endless=False, noise_m=noise_m)
    total, steps = np.zeros(layouts), np.zeros(layouts)
    while not table.over:
        busy = ~table.pour.gone
        steps += busy
        total += np.where(busy, table.step(decide(table.observe())), 0.0)
    right, wrong, beside = table.fallen.T
    well = poured_well(right, wrong + beside, table.pour.gone)
    return Poured(
        layouts,
        int(well.sum()),
        float(right.mean()),
        float(wrong.mean()),
        float(beside.mean()),
        int(table.pour.gone.sum()),
        float(total.mean()),
        float(steps.mean()),
    )


def poured_well(right: Array, elsewhere: Array, away: Array) -> Array:
    """(n,) which pourings succeeded, of shares (n,) of beads and of whether the bottle stands in the crate (n,)."""
    return (right >= POURED - 1e-9) & (elsewhere <= SPILLED + 1e-9) & away


def measured(domain: Domain, decide: Decide, *, layouts: int, seed: int) -> dict[str, Any]:
    """What somebody did in a domain, as plain numbers with rates beside the counts; None where there is no rate."""
    if domain is ONIONS:
        found = sort(decide, layouts=layouts, seed=seed)
        precision = found.precision.value if found.precision else None
        return dataclasses.asdict(found) | {"precision": precision, "recall": found.recall.value}
    told = pour(decide, layouts=layouts, seed=seed)
    return dataclasses.asdict(told) | {"success": told.success.value}
