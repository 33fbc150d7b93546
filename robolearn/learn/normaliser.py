"""From physical units to numbers a network likes, and back.

All arrays of one side (observations or actions) become one flat vector, so that normalising a batch is one
concatenation and one multiply-add, and the scale of every dimension travels with the weights as a buffer.
A dimension that (almost) never changes in the data maps to 0 and back to its constant: dividing by its range
would blow sensor noise up to full scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.specs import Array, Spec

__all__ = ["ArrayStatistics", "Mode", "Moments", "Normaliser", "Statistics", "from_json", "moments", "to_json"]

Mode = Literal["min_max", "mean_std"]


class ArrayStatistics(Protocol):
    """What must be known of one array's values over the whole training set, each of the array's shape."""

    @property
    def min(self) -> Array: ...
    @property
    def max(self) -> Array: ...
    @property
    def mean(self) -> Array: ...
    @property
    def std(self) -> Array: ...


Statistics = Mapping[str, ArrayStatistics]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The plainest `ArrayStatistics`."""

    min: Array
    max: Array
    mean: Array
    std: Array


def moments(values: Array) -> Moments:
    """Statistics over the first axis of (N, ...) values."""
    values = np.asarray(values, np.float64)
    return Moments(values.min(0), values.max(0), values.mean(0), values.std(0))


def to_json(statistics: Statistics) -> dict[str, dict[str, Any]]:
    """Plain lists; Python writes floats so that they read back bit-equal."""
    return {
        name: {field: np.asarray(getattr(s, field), np.float64).tolist() for field in ("min", "max", "mean", "std")}
        for name, s in statistics.items()
    }


def from_json(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Moments]:
    """The inverse of `to_json`."""
    return {
        name: Moments(**{field: np.asarray(values, np.float64) for field, values in fields.items()})
        for name, fields in data.items()
    }


class Normaliser(nn.Module):
    """Joins named arrays into one normalised vector (..., size) and takes it apart again.

    With "min_max" the data lies within [-1, 1]; with "mean_std" it has mean 0 and standard deviation 1.

    Args:
        spec: The arrays, in the order in which they are joined.
        statistics: Of at least these arrays.
        mode: How to scale.
        minimum_range: A dimension whose range (max - min) is smaller counts as constant.

    Raises:
        SpecError: Statistics are missing, non-finite or of the wrong shape.
    """

    offset: Tensor
    scale: Tensor
    back: Tensor

    def __init__(self, spec: Spec, statistics: Statistics, mode: Mode = "min_max", minimum_range: float = 1e-4):
        super().__init__()
        self.shapes = {name: s.shape for name, s in spec.items()}
        self.sizes = {name: int(np.prod(s.shape, dtype=np.int64)) for name, s in spec.items()}
        self.size = sum(self.sizes.values())
        offsets, spreads, constants = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, bool)]
        for name, shape in self.shapes.items():
            low, high, mean, std = (
                _statistic(statistics, name, field, shape) for field in ("min", "max", "mean", "std")
            )
            constant = high - low < minimum_range
            centre = (low + high) / 2
            offsets.append(np.where(constant, centre, centre if mode == "min_max" else mean))
            spreads.append((high - low) / 2 if mode == "min_max" else std)
            constants.append(constant | (spreads[-1] <= 0))
        spread, constant = np.concatenate(spreads), np.concatenate(constants)
        self._buffer("offset", np.concatenate(offsets))
        self._buffer("scale", np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread)))
        self._buffer("back", np.where(constant, 0.0, spread))

    def _buffer(self, name: str, values: Array) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))

    def encode(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Join and normalise.

        Args:
            arrays: Per name (..., *shape) with the same leading axes, of any number type; more names are ignored.

        Returns:
            x_..D float32, D = `size`.
        """
        parts: list[Tensor] = []
        for name, shape in self.shapes.items():
            value = arrays[name]
            parts.append(value.reshape(*value.shape[: value.ndim - len(shape)], self.sizes[name]).to(torch.float32))
        x_D = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return (x_D - self.offset) * self.scale

    def decode(self, x_D: Tensor) -> dict[str, Tensor]:
        """Take apart and give back physical units; the inverse of `encode`, float32."""
        raw = x_D * self.back + self.offset
        parts = cast(Sequence[Tensor], raw.split(list(self.sizes.values()), dim=-1))  # pyright: ignore[reportUnknownMemberType]
        return {
            name: part.reshape(*part.shape[:-1], *self.shapes[name])
            for name, part in zip(self.shapes, parts, strict=True)
        }


def _statistic(statistics: Statistics, name: str, field: str, shape: tuple[int, ...]) -> Array:
    if name not in statistics:
        raise SpecError(
            f"Statistics of {name!r} are missing; there are some of: {', '.join(sorted(statistics)) or 'nothing'}. "
            "Compute them over the training episodes."
        )
    value = np.asarray(getattr(statistics[name], field), np.float64)
    if value.shape != shape or not np.all(np.isfinite(value)):
        raise SpecError(
            f"The {field} of {name!r} must be finite and have shape {shape}; found shape {value.shape}, "
            f"{int(np.sum(~np.isfinite(value)))} values not finite. Compute the statistics again."
        )
    return value.reshape(-1)
