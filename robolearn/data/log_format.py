"""What writers and readers of an episode log agree on: its name, its version, and how seconds become nanoseconds."""

from __future__ import annotations

from robolearn.errors import BadEpisode
from robolearn.specs import Array

__all__ = ["FORMAT_VERSION", "LOG_NAME", "nanoseconds", "seconds"]

FORMAT_VERSION = 1
LOG_NAME = "log.mcap"
_NS_LIMIT = 2**63


def nanoseconds(time_s: float | Array) -> int:
    """Integer nanoseconds of a time in seconds, rounded to the nearest.

    Raises:
        BadEpisode: The time is not finite, negative or beyond 292 years.
    """
    value = float(time_s)
    if not 0 <= value < _NS_LIMIT / 1e9:  # also false for NaN
        raise BadEpisode(
            f"Expected a time in seconds on a monotonic clock, finite and at least 0; found {value!r}. "
            "Shift the times of the source so that they start at 0."
        )
    whole = int(value)  # apart, so that the product is small and exact enough for long uptimes
    return whole * 1_000_000_000 + round((value - whole) * 1e9)


def seconds(time_ns: int) -> float:
    """Seconds of integer nanoseconds; `nanoseconds(seconds(t)) == t` below 97 days, within 2 ns for years."""
    return time_ns / 1e9
