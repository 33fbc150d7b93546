"""A finding: one thing that may be wrong with data, where it is, how sure we are and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robolearn.specs import Array

__all__ = ["Certainty", "Finding", "few", "longest_run"]

Certainty = Literal["certain", "likely", "possible"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may be wrong.

    Attributes:
        kind: Short name, such as "damaged" or "frozen camera".
        where: Episode, array and rows.
        certainty: "certain", "likely" or "possible".
        message: What was expected and found.
        cure: What to do.
    """

    kind: str
    where: str
    certainty: Certainty
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind} ({self.certainty}). {self.message} {self.cure}"


def few(rows: Array) -> str:
    """The first numbers of a list, for a message."""
    shown = ", ".join(str(int(row)) for row in rows[:5])
    return shown if len(rows) <= 5 else f"{shown} and {len(rows) - 5} more"


def longest_run(flags: Array) -> tuple[int, int]:
    """Start and length of the longest run of true values; length 0 when there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return 0, 0
    best = int(np.argmax(lengths))
    return int(starts[best]), int(lengths[best])
