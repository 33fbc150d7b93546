"""Exact statistics of every array, as normalisers need them: no sketch, no sampling, no silent gaps.

Vectors have one value per element, pictures one per colour channel, depth maps one. A missing or non-finite array is an
error that names it, because a normaliser fitted to less than the data passes unnoticed until a robot moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from robolearn.data.cache import Cache
from robolearn.errors import DataFileError, EmptyStore, UnknownName
from robolearn.specs import Array

__all__ = ["QUANTILES", "ArrayStatistics", "Counted", "array_statistics", "cache_statistics", "from_json", "to_json"]

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_ROWS = 256  # pictures read at a time


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStatistics:
    """Statistics over rows, float64, in the shape of one sample ((3,) for a picture).

    Attributes:
        low: Smallest value.
        high: Largest value.
        mean: Mean.
        std: Standard deviation (of the population, not the sample).
        quantiles: (5, ...) at `QUANTILES`, linear between ranks.
        count: Number of values behind each element.
    """

    low: Array
    high: Array
    mean: Array
    std: Array
    quantiles: Array
    count: int


def array_statistics(name: str, values: Array) -> ArrayStatistics:
    """Statistics of (N, ...) values; (N, H, W, 3) uint8 counts as pictures, (N, H, W) uint16 as depth maps.

    Raises:
        EmptyStore: There are no rows.
        DataFileError: A value is not finite, or the array holds no numbers.
    """
    if not len(values):
        raise EmptyStore(f"Statistics of {name!r} need at least one row; found none.")
    if values.dtype.kind not in "biuf":
        raise DataFileError(f"Statistics of {name!r} need numbers; found {values.dtype}.")
    if (values.dtype, values.ndim) in ((np.uint8, 4), (np.uint16, 3)):
        return Counted(depth=values.ndim == 3).add(values).statistics()
    rows = np.asarray(values, np.float64)
    if not np.all(np.isfinite(rows)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise DataFileError(
            f"Statistics of {name!r} need finite numbers; found {rows[index]} at row {index[0]}, element {index[1:]}. "
            "Find the episode with `robolearn data validate` and delete it."
        )
    return ArrayStatistics(
        rows.min(axis=0),
        rows.max(axis=0),
        rows.mean(axis=0),
        rows.std(axis=0),
        np.quantile(rows, QUANTILES, axis=0),
        len(rows),
    )


class Counted:
    """Exact statistics of pictures or depth maps that come in pieces: how often each value occurs, which adds up.

    Args:
        depth: Depth maps (n, h, w) uint16, one number over all pixels; else colour (n, h, w, 3) uint8, per channel.
    """

    def __init__(self, *, depth: bool):
        self._counts = np.zeros((1, 1 << 16) if depth else (3, 1 << 8), np.int64)

    def add(self, values: Array) -> Self:
        """Count some more; returns itself."""
        channels, levels = self._counts.shape
        for at in range(0, len(values), _ROWS):  # in blocks, so that mapped pictures never sit in memory together
            block = values[at : at + _ROWS].reshape(-1, channels)
            for c in range(channels):
                self._counts[c] += np.bincount(block[:, c], minlength=levels)
        return self

    def statistics(self) -> ArrayStatistics:
        """Of everything that was counted: (3,) per channel of colour, () for depth."""
        counts = self._counts
        levels, total = np.arange(counts.shape[1], dtype=np.float64), int(counts[0].sum())
        mean = counts @ levels / total
        std = np.sqrt(np.sum(counts * (levels - mean[:, None]) ** 2, axis=1) / total)
        ends = np.cumsum(counts, axis=1)
        ranks = np.array(QUANTILES) * (total - 1)
        below, above = (
            np.stack([np.searchsorted(e, np.asarray(r, np.int64), side="right") for e in ends], axis=1)
            for r in (np.floor(ranks), np.ceil(ranks))
        )
        quantiles = below + (above - below) * (ranks - np.floor(ranks))[:, None]
        present = counts > 0
        low, high = present.argmax(axis=1), counts.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
        parts = [low.astype(np.float64), high.astype(np.float64), mean, std, quantiles]
        if len(counts) == 1:
            parts = [part[..., 0] for part in parts]
        return ArrayStatistics(*parts, total)


def cache_statistics(cache: Cache, *, action: str = "sent") -> dict[str, ArrayStatistics]:
    """Statistics of a cache: observations over all rows, actions ("action.<name>") over all real ones.

    Args:
        cache: The rows.
        action: "sent" or "requested", as in `Windows`.

    Raises:
        UnknownName: Another kind of action.
        DataFileError: A value is not finite.
    """
    if action not in ("sent", "requested"):
        raise UnknownName("kind of action", action, ("sent", "requested"))
    rows = cache.action_rows()
    found = {name: array_statistics(name, cache.arrays[name]) for name in cache.observation_spec}
    for name in cache.action_spec:
        found[f"action.{name}"] = array_statistics(name, cache.arrays[f"{action}.{name}"][rows])
    return found


def to_json(statistics: Mapping[str, ArrayStatistics]) -> dict[str, Any]:
    """Plain values; `from_json` gives back the same bits."""
    fields = ("low", "high", "mean", "std", "quantiles")
    return {
        name: {field: getattr(one, field).tolist() for field in fields} | {"count": one.count}
        for name, one in statistics.items()
    }


def from_json(data: Mapping[str, Any]) -> dict[str, ArrayStatistics]:
    """The inverse of `to_json`.

    Raises:
        DataFileError: Something is missing or not finite, naming the array.
    """
    found: dict[str, ArrayStatistics] = {}
    for name, facts in data.items():
        try:
            arrays = {
                field: np.asarray(facts[field], np.float64) for field in ("low", "high", "mean", "std", "quantiles")
            }
            found[name] = ArrayStatistics(**arrays, count=int(facts["count"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(
                f"The statistics of {name!r} are not complete ({type(error).__name__}: {error}); expected low, high, "
                "mean, std, quantiles and count. Compute them again from the data."
            ) from error
        if not all(np.all(np.isfinite(array)) for array in arrays.values()):
            raise DataFileError(f"The statistics of {name!r} must be finite. Compute them again from the data.")
    return found
