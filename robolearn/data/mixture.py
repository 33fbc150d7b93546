"""Training samples from several stores in declared shares, under declared names: the same interface as `Windows`.

The shares are exact and need no random numbers. A mixture is a list of `len(mixture)` samples in which every part has
its share of places, walked through in order again and again; so each window of each part comes at least once, shuffling
the list (`robolearn.learn.order`) is shuffling the mixture, and step k of a training has the same batch every time.

    Mixture([Part(lift, 0.7), Part(foreign, 0.3, {"wrist.rgb": "hand_camera.rgb"}, {"arm.dq": "arm.act"})])
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robolearn.data.statistics import QUANTILES, ArrayStatistics, array_statistics
from robolearn.data.windows import Windows
from robolearn.errors import EmptyStore, SpecError, UnknownName
from robolearn.specs import Array, ArraySpec, Spec, first_difference

__all__ = ["Mixture", "Part", "mixture_statistics"]

ACTION = "action."


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mixture.

    Attributes:
        windows: Its samples.
        weight: Its share of all samples, relative to the other parts.
        observations: Which of its observations stands for each of the mixture's; equal names need not be listed.
        actions: Likewise for actions.
    """

    windows: Windows
    weight: float = 1.0
    observations: Mapping[str, str] = field(default_factory=lambda: {})
    actions: Mapping[str, str] = field(default_factory=lambda: {})


class Mixture:
    """Samples of several parts, one after the other; the first part's names and specs are the mixture's.

    Args:
        parts: Where samples come from, in which shares.

    Raises:
        SpecError: A weight that is not positive, histories or horizons that differ, or arrays that mean something else.
        UnknownName: An array that a part lacks, or a mapping for a name the mixture lacks.
        EmptyStore: There are no parts.
    """

    def __init__(self, parts: Sequence[Part]):
        if not parts:
            raise EmptyStore("Expected at least one part in a mixture; found none.")
        self.parts = tuple(parts)
        first = parts[0]
        self.history, self.horizon = first.windows.history, first.windows.horizon
        self.observation_spec = _named(first, "observation", first.windows.observation_spec)
        self.action_spec = _named(first, "action", first.windows.action_spec)
        for k, part in enumerate(parts):
            if not (math.isfinite(part.weight) and part.weight > 0):
                raise SpecError(f"A weight must be a positive, finite number; part {k} has {part.weight!r}.")
            if (part.windows.history, part.windows.horizon) != (self.history, self.horizon):
                raise SpecError(
                    f"Part {k} has history {part.windows.history} and horizon {part.windows.horizon}; the first has "
                    f"{self.history} and {self.horizon}. Make the windows of all parts alike."
                )
            _require_fit(k, "observation", self.observation_spec, part.windows.observation_spec, part.observations)
            _require_fit(k, "action", self.action_spec, part.windows.action_spec, part.actions)
        total = sum(part.weight for part in parts)
        self.shares = tuple(part.weight / total for part in parts)
        # As long as it must be for the rarest windows to come once.
        length = max(len(part.windows) / share for part, share in zip(parts, self.shares, strict=True))
        self._counts = [max(len(p.windows), round(length * s)) for p, s in zip(parts, self.shares, strict=True)]
        self._ends = np.cumsum(self._counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def fingerprint(self) -> str:
        """What it was made of: contents, shares and names."""
        facts = [
            (part.windows.cache.key, count, sorted(part.observations.items()), sorted(part.actions.items()))
            for part, count in zip(self.parts, self._counts, strict=True)
        ]
        return hashlib.sha256(repr((facts, self.history, self.horizon)).encode()).hexdigest()[:32]

    def place(self, indices: Sequence[int] | Array) -> tuple[Array, Array]:
        """Part (b,) and window of the part (b,) of each sample (b,)."""
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"Samples are numbered 0 to {len(self) - 1}; found {indices.min()} to {indices.max()}.")
        part = np.searchsorted(self._ends, indices, side="right")
        sizes = np.array([len(p.windows) for p in self.parts])
        starts = self._ends - np.array(self._counts)
        return part, (indices - starts[part]) % sizes[part]

    def gather(self, indices: Sequence[int] | Array) -> dict[str, Array]:
        """Samples by number, as `Windows.gather` gives them, under the mixture's names."""
        part, window = self.place(indices)
        batch: dict[str, Array] = {}
        for k, one in enumerate(self.parts):
            here = part == k
            if not here.any():
                continue
            found = one.windows.gather(window[here])
            names = {name: one.observations.get(name, name) for name in self.observation_spec}
            names |= {ACTION + name: ACTION + one.actions.get(name, name) for name in self.action_spec}
            for name, theirs in {**names, "mask": "mask"}.items():
                values = found[theirs]
                if name not in batch:
                    batch[name] = np.empty((len(part), *values.shape[1:]), values.dtype)
                batch[name][here] = values
        return batch


def _named(part: Part, kind: str, spec: Spec) -> dict[str, ArraySpec]:
    """The mixture's spec: the first part's, under the names it is mapped to."""
    names = {theirs: name for name, theirs in getattr(part, f"{kind}s").items()}
    for theirs in names:
        if theirs not in spec:
            raise UnknownName(f"{kind} of part 0", theirs, spec)
    return {names.get(theirs, theirs): one for theirs, one in spec.items()}


def _require_fit(k: int, kind: str, wanted: Spec, spec: Spec, names: Mapping[str, str]) -> None:
    for name in names:
        if name not in wanted:
            raise UnknownName(f"{kind} of the mixture", name, wanted)
    for name, one in wanted.items():
        theirs = names.get(name, name)
        if theirs not in spec:
            raise UnknownName(f"{kind} of part {k}", theirs, spec, hint=f"It should stand for {name!r}.")
        if (difference := first_difference({name: one}, {name: spec[theirs]}, limits=False)) is not None:
            raise SpecError(
                f"{kind} {theirs!r} of part {k} cannot stand for {name!r}: {difference}. Convert the data when it is "
                "imported; a mixture does not change values."
            )


def mixture_statistics(mixture: Mixture) -> dict[str, ArrayStatistics]:
    """Statistics of what a training on the mixture sees, as `cache_statistics` gives them for one cache.

    Means, deviations, lowest and highest values are exact for the declared shares. A quantile is that of the parts'
    rows weighted by their shares (the smallest value that reaches the rank); for pictures it is the parts' average.

    Raises:
        DataFileError: A value is not finite.
    """
    found: dict[str, ArrayStatistics] = {}
    for name, one in mixture.observation_spec.items():
        columns = [p.windows.cache.arrays[p.observations.get(name, name)] for p in mixture.parts]
        found[name] = _mixed(name, columns, mixture.shares, pictures=one.is_image)
    for name in mixture.action_spec:
        columns = [
            p.windows.cache.arrays[f"{p.windows.action}.{p.actions.get(name, name)}"][p.windows.cache.action_rows()]
            for p in mixture.parts
        ]
        found[ACTION + name] = _mixed(ACTION + name, columns, mixture.shares, pictures=False)
    return found


def _mixed(name: str, columns: Sequence[Array], shares: Sequence[float], *, pictures: bool) -> ArrayStatistics:
    parts = [array_statistics(name, column) for column in columns]
    if len(parts) == 1:
        return parts[0]
    weights = np.array(shares)
    stack = {key: np.stack([getattr(part, key) for part in parts]) for key in ("low", "high", "mean", "std")}
    mean = np.tensordot(weights, stack["mean"], 1)
    variance = np.tensordot(weights, stack["std"] ** 2 + (stack["mean"] - mean) ** 2, 1)
    if pictures:
        quantiles = np.tensordot(weights, np.stack([part.quantiles for part in parts]), 1)
    else:
        rows = np.concatenate([np.asarray(column, np.float64) for column in columns])
        each = np.concatenate([np.full(len(c), s / len(c)) for c, s in zip(columns, shares, strict=True)])
        quantiles = _weighted_quantiles(rows.reshape(len(rows), -1), each).reshape(len(QUANTILES), *mean.shape)
    count = sum(part.count for part in parts)
    return ArrayStatistics(stack["low"].min(0), stack["high"].max(0), mean, np.sqrt(variance), quantiles, count)


def _weighted_quantiles(rows: Array, weights: Array) -> Array:
    """(quantiles, elements) of rows (n, elements) with weights (n,) that add up to 1."""
    order = np.argsort(rows, axis=0, kind="stable")
    reached = np.cumsum(weights[order], axis=0)
    found = np.empty((len(QUANTILES), rows.shape[1]))
    for e in range(rows.shape[1]):
        at = np.searchsorted(reached[:, e], np.array(QUANTILES) - 1e-12)
        found[:, e] = rows[order[np.minimum(at, len(rows) - 1), e], e]
    return found
