"""How well rare faults are flagged: precision, recall, PR-AUC against the base rate, events and false alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robolearn.specs import Array

__all__ = ["Quality", "average_precision", "evaluate"]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one fault is flagged.

    Attributes:
        rows: Rows judged.
        base_rate: Share of them with the fault, which is also the precision and the PR-AUC of guessing.
        precision: Share of flagged rows that have the fault.
        recall: Share of rows with the fault that are flagged.
        pr_auc: Area under the precision-recall curve (average precision).
        events: Unbroken runs of rows with the fault.
        events_found: Those with at least one flagged row.
        false_per_hour: Unbroken runs of wrongly flagged rows that touch no event, per hour of rows judged.
    """

    rows: int
    base_rate: float
    precision: float
    recall: float
    pr_auc: float
    events: int
    events_found: int
    false_per_hour: float


def evaluate(truth: Array, scores: Array, threshold: float, *, row_s: float = 1.0) -> Quality:
    """Measure a score against the truth.

    Args:
        truth: (n,) bool.
        scores: (n,), NaN where not judged; those rows count for nothing.
        threshold: Rows with at least this score are flagged.
        row_s: Seconds per row.
    """
    judged = np.isfinite(scores)
    y, s = truth[judged], scores[judged]
    flagged = s >= threshold
    hits = int((flagged & y).sum())
    events = list(_runs(y))
    wrong = sum(not y[max(first - 1, 0) : last + 1].any() for first, last in _runs(flagged))
    return Quality(
        rows=len(y),
        base_rate=float(y.mean()),
        precision=hits / int(flagged.sum()) if flagged.any() else 0.0,
        recall=hits / int(y.sum()) if y.any() else 0.0,
        pr_auc=average_precision(y, s),
        events=len(events),
        events_found=sum(bool(flagged[first:last].any()) for first, last in events),
        false_per_hour=wrong / (len(y) * row_s / 3600),
    )


def average_precision(y: Array, scores: Array) -> float:
    """Area under the precision-recall curve as a sum over the positives; equal scores count together.

    A score that knows nothing gets the base rate.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    sorted_y, sorted_scores = np.asarray(y)[order], np.asarray(scores)[order]
    last = np.flatnonzero(np.r_[np.diff(sorted_scores) != 0, True])  # the last row of each group of equal scores
    hits = np.cumsum(sorted_y)[last]
    precision = hits / (last + 1)
    return float(np.sum(precision * np.diff(np.r_[0, hits])) / max(hits[-1], 1))


def _runs(flags: Array) -> Iterator[tuple[int, int]]:
    """First and one-past-last index of each unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
