"""Where a point of one table is on another that is laid with the same things elsewhere.

Shepard's interpolation with local maps (Franke and Nielson 1980): with things at a_i here and b_i there and a matrix
M_i for each,

    p' = sum_i w_i (b_i + M_i (p - a_i)) / sum_i w_i,     w_i = 1 / |p - a_i|^4.

Near a thing a point keeps its displacement from it, turned and scaled by M_i; between things it changes over smoothly.
"""

from __future__ import annotations

import numpy as np

from robolearn.specs import Array

__all__ = ["Landmarks"]


class Landmarks:
    """The map of n rows.

    Args:
        here: (n, k, 2) things on this table, m.
        there: (n, k, 2) the same things on the other.
        turn: (k, 2, 2) how displacements from each thing turn and grow.
    """

    def __init__(self, here: Array, there: Array, turn: Array):
        self._here, self._there, self._turn = here, there, turn

    def __call__(self, points: Array) -> Array:
        """Points (n, 2) on the other table."""
        gap = points[:, None] - self._here
        weight = 1.0 / np.maximum((gap**2).sum(axis=-1), 1e-8) ** 2
        local = self._there + (self._turn @ gap[..., None])[..., 0]
        return (weight[..., None] * local).sum(axis=1) / weight.sum(axis=1, keepdims=True)
