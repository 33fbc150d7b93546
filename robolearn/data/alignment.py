"""Which recorded sample belongs to which moment of a training row: one declared rule, never a silent interpolation.

Rule "latest-before": a row at time t takes the newest sample captured at or before t. A sample older than the
staleness limit, or a row before the first sample, is flagged, so that training can leave it out. Samples are picked,
never blended or summed: at a lower rate a relative action (a delta) would lose motion, so resample only absolute ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["Alignment", "grid", "latest_before"]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How rows are formed.

    Attributes:
        rate_hz: Rows per second; None keeps the rows as they were recorded.
        staleness_s: A sample older than this at its row's time is stale.
        rule: The name of the rule, part of every cache's key.
    """

    rate_hz: float | None = None
    staleness_s: float = 0.1
    rule: str = "latest-before"

    def __post_init__(self) -> None:
        if self.rule != "latest-before":
            raise SpecError(f"Unknown alignment rule {self.rule!r}; possible is 'latest-before'.")
        for name, value in (("rate_hz", self.rate_hz), ("staleness_s", self.staleness_s)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SpecError(f"{name} must be a positive, finite number; found {value!r}.")


def grid(times_ns: Array, rate_hz: float | None) -> Array:
    """Times of the rows, (n,) int64 nanoseconds, from the first recorded time to at most the last.

    Args:
        times_ns: (T + 1,) recorded times, growing.
        rate_hz: Rows per second, or None for the recorded times.
    """
    if rate_hz is None:
        return times_ns
    span_ns = int(times_ns[-1] - times_ns[0])
    # A row that misses the last recorded time by rounding (1 us) still counts, or 20 Hz data would lose its last row.
    count = int((span_ns + 1000) * rate_hz / 1e9) + 1
    offsets = np.round(np.arange(count) * (1e9 / rate_hz)).astype(np.int64)
    return times_ns[0] + np.minimum(offsets, span_ns)


def latest_before(known_ns: Array, captured_ns: Array, rows_ns: Array, staleness_s: float) -> tuple[Array, Array]:
    """The sample of every row: the newest one that was known by then.

    Args:
        known_ns: (m,) int64, when each sample was there to be used (the time of its recorded row), growing.
        captured_ns: (m,) int64, when each was captured; its age counts from here.
        rows_ns: (n,) int64 times of the rows.
        staleness_s: Limit of a sample's age.

    Returns:
        (n,) int64 indices of samples and (n,) bool, true where the sample is stale or there is none yet (then the
        first one stands in).
    """
    index = np.searchsorted(known_ns, rows_ns, side="right") - 1
    missing = index < 0
    index = np.maximum(index, 0)
    return index, missing | (rows_ns - captured_ns[index] > round(staleness_s * 1e9))
