"""What an array is: shape, type, limits, unit and frame, under a flat name.

Arrays travel as `Arrays` (flat names such as "arm.q" to numpy arrays) beside a `Spec` that says what each
name means. Check at the borders with `check`, trust inside. The part of a name before the first dot is the
device it belongs to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from robolearn.errors import SpecError, UnknownName

__all__ = [
    "Array",
    "ArraySpec",
    "Arrays",
    "Spec",
    "bounds",
    "check",
    "fingerprint",
    "first_difference",
    "from_json",
    "select",
    "to_json",
    "zeros",
]

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Limit = float | tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One named array.

    Attributes:
        shape: Shape of one sample, without leading row or time axes.
        dtype: Numpy type name, such as "float64" or "uint8".
        low: Smallest allowed value, one number or one per element; None when unbounded.
        high: Largest allowed value, likewise.
        unit: SI unit, "" when the array has none.
        frame: The coordinate frame the numbers are in, "" when there is none.
        names: Names of the elements of a vector, or ().
    """

    shape: tuple[int, ...]
    dtype: str = "float64"
    low: Limit = None
    high: Limit = None
    unit: str = ""
    frame: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for side in ("low", "high"):
            limit = getattr(self, side)
            if limit is None:
                continue
            values = np.asarray(limit, dtype=np.float64)
            if not np.all(np.isfinite(values)):
                raise SpecError(
                    f"The limit {side!r} must be finite or None; found {limit!r}. Give a number or leave it out."
                )
            if values.ndim and values.shape != self.shape:
                raise SpecError(
                    f"The limit {side!r} must be one number or have shape {self.shape}; found shape {values.shape}."
                )
        if self.low is not None and self.high is not None and np.any(np.asarray(self.low) > np.asarray(self.high)):
            raise SpecError(f"Expected low <= high; found low {self.low!r} and high {self.high!r}.")
        if self.names and (len(self.shape) != 1 or len(self.names) != self.shape[0]):
            raise SpecError(
                f"Expected one element name per element of shape {self.shape}; found {len(self.names)} names."
            )

    @property
    def is_image(self) -> bool:
        """Whether this is an 8-bit picture of shape (height, width, 3)."""
        return self.dtype == "uint8" and len(self.shape) == 3 and self.shape[-1] == 3


Spec = Mapping[str, ArraySpec]


def check(
    arrays: Arrays,
    spec: Spec,
    *,
    lead: tuple[int, ...] = (),
    limits: bool = False,
    finite: bool = True,
    where: str = "arrays",
) -> None:
    """Refuse arrays that do not match their spec.

    Args:
        arrays: What was given.
        spec: What was declared.
        lead: Leading axes every array must have in front of its spec shape, such as (rows,).
        limits: Also check low and high.
        finite: Refuse NaN and infinity; False where the truth may contain them (what somebody asked for).
        where: Whose arrays these are, for the message.

    Raises:
        SpecError: Missing or extra names, wrong shape or type, non-finite or out-of-limit values.
    """
    if arrays.keys() != spec.keys():
        missing, extra = sorted(spec.keys() - arrays.keys()), sorted(arrays.keys() - spec.keys())
        raise SpecError(
            f"{where}: expected the names {sorted(spec)}; missing {missing or 'none'}, unexpected {extra or 'none'}."
        )
    for name, expected in spec.items():
        value = np.asarray(arrays[name])
        shape = lead + expected.shape
        if value.shape != shape:
            raise SpecError(f"{where}: {name!r} must have shape {shape}; found {value.shape}.")
        if value.dtype != np.dtype(expected.dtype):
            raise SpecError(
                f"{where}: {name!r} must be {expected.dtype}; found {value.dtype}. Convert it where it is made."
            )
        if finite and value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise SpecError(f"{where}: {name!r} must be finite; found {value[index]} at index {index}.")
        if limits:
            low, high = bounds(expected)
            outside = (value < low) | (value > high)
            if np.any(outside):
                index = tuple(int(i) for i in np.argwhere(outside)[0])
                raise SpecError(
                    f"{where}: {name!r} must lie within [{expected.low}, {expected.high}] {expected.unit}; "
                    f"found {value[index]} at index {index}."
                )


def bounds(spec: ArraySpec) -> tuple[Array, Array]:
    """Low and high as float arrays of the spec's shape, infinite where unbounded."""
    low = np.broadcast_to(-np.inf if spec.low is None else np.asarray(spec.low, np.float64), spec.shape)
    high = np.broadcast_to(np.inf if spec.high is None else np.asarray(spec.high, np.float64), spec.shape)
    return low, high


def zeros(spec: Spec, lead: tuple[int, ...] = ()) -> dict[str, Array]:
    """Arrays of zeros with the spec's shapes and types behind the leading axes."""
    return {name: np.zeros(lead + s.shape, s.dtype) for name, s in spec.items()}


def select(spec: Spec, names: Iterable[str]) -> dict[str, ArraySpec]:
    """The part of a spec with these names, in this order; a name it lacks raises `UnknownName`."""
    for name in (names := tuple(names)):
        if name not in spec:
            raise UnknownName("array", name, spec)
    return {name: spec[name] for name in names}


def to_json(spec: Spec) -> dict[str, dict[str, Any]]:
    """A plain dict that `from_json` turns back into an equal spec."""
    return {name: asdict(s) for name, s in spec.items()}


def from_json(data: Mapping[str, Mapping[str, Any]]) -> dict[str, ArraySpec]:
    """The inverse of `to_json`; lists become tuples."""

    def tuples(value: Any) -> Any:
        return tuple(cast(list[Any], value)) if isinstance(value, list) else value

    return {name: ArraySpec(**{k: tuples(v) for k, v in fields.items()}) for name, fields in data.items()}


def fingerprint(spec: Spec) -> str:
    """A short hash that is equal exactly when two specs are equal (the order of names does not count)."""
    return hashlib.sha256(json.dumps(to_json(spec), sort_keys=True).encode()).hexdigest()[:16]


def first_difference(expected: Spec, found: Spec, *, limits: bool = True) -> str | None:
    """One sentence naming the first difference between two specs (with their limits or without), or None."""
    compared = ("shape", "dtype", "unit", "frame", "names") + (("low", "high") if limits else ())
    for name, spec in expected.items():
        if name not in found:
            return f"{name!r} is missing (there is: {', '.join(sorted(found)) or 'nothing'})"
        for field in compared:
            want, have = getattr(spec, field), getattr(found[name], field)
            if want != have:
                return f"{name!r} differs in {field}: expected {want!r}, found {have!r}"
    extra = sorted(found.keys() - expected.keys())
    return f"{extra[0]!r} is not expected" if extra else None
