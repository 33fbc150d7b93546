"""All actions of a robot as one long vector, and that vector's limits."""

from __future__ import annotations

import numpy as np

from robolearn.safety.limits import Limits
from robolearn.safety.motion import Caps
from robolearn.specs import Array, Arrays, Spec

__all__ = ["Layout"]


class Layout:
    """Where each action lies in the vector, in the order of the spec.

    Attributes:
        slices: Per action its part of the vector.
        caps: The vector's limits, infinite where there is none.
    """

    def __init__(self, limits: Limits, spec: Spec):
        self._spec = spec
        self.slices: dict[str, slice] = {}
        columns: dict[str, list[Array]] = {name: [] for name in Caps._fields}
        start = 0
        for name, array in spec.items():
            size = int(np.prod(array.shape))
            self.slices[name] = slice(start, start + size)
            start += size
            low, high = limits.positions(name, spec)
            values = {"low": low, "high": high, "speed": limits.rate[name]}
            values |= {"acceleration": limits.acceleration.get(name, np.inf), "jerk": limits.jerk.get(name, np.inf)}
            for column, value in values.items():
                columns[column].append(np.ravel(np.broadcast_to(np.asarray(value, float), array.shape)))
        self.caps = Caps(**{name: np.concatenate(parts) for name, parts in columns.items()})

    def flat(self, arrays: Arrays) -> Array:
        """The vector of these arrays."""
        return np.concatenate([np.ravel(np.asarray(arrays[name], np.float64)) for name in self.slices])

    def arrays(self, q: Array) -> dict[str, Array]:
        """The arrays of a vector."""
        spec = self._spec
        return {n: np.asarray(q[where].reshape(spec[n].shape), spec[n].dtype) for n, where in self.slices.items()}

    def element(self, index: int) -> str:
        """The name of one element of the vector, such as "arm.q_target[elbow]"."""
        name = next(name for name, where in self.slices.items() if where.start <= index < where.stop)
        return element(self._spec, name, index - self.slices[name].start)


def element(spec: Spec, name: str, index: int) -> str:
    """The name of one element of an array, by its own name where it has one."""
    names = spec[name].names
    return f"{name}[{names[index] if names else index}]"
