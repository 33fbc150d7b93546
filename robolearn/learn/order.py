"""Which windows are in the batch of step k, as a pure function of (length, batch size, seed, step).

The batches are consecutive slices of an endless stream: a permutation of all windows per epoch, one after the
other. Every window is seen exactly once per epoch, nothing is dropped, a batch may straddle two epochs, and
resuming needs no sampler state. A permutation is evaluated only where it is needed, by a Feistel network with
cycle walking (Black and Rogaway 2002), so a step costs the same for a thousand windows as for a billion.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robolearn.errors import EmptyStore

__all__ = ["batch_indices", "permuted", "step_seed"]

Words = npt.NDArray[np.uint64]

_ROUNDS = 8


def batch_indices(length: int, batch_size: int, seed: int, step: int) -> npt.NDArray[np.int64]:
    """The windows of one batch.

    Args:
        length: How many windows there are.
        batch_size: How many a batch has.
        seed: Fixes the order of everything.
        step: Which batch, from 0.

    Returns:
        (batch_size,) indices below `length`.

    Raises:
        EmptyStore: There are no windows.
    """
    if length < 1:
        raise EmptyStore("Expected at least one training window; found none. Record or import episodes first.")
    place = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    epoch, position = np.divmod(place, length)
    indices = np.empty(batch_size, np.int64)
    for one in np.unique(epoch):
        here = epoch == one
        indices[here] = permuted(position[here], length, step_seed(seed, int(one)))
    return indices


def permuted(position: npt.NDArray[np.int64], length: int, key: int) -> npt.NDArray[np.int64]:
    """Where a pseudo-random permutation of range(length), fixed by `key`, sends these positions."""
    half = np.uint64(max(1, ((length - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    value = position.astype(np.uint64)
    outside = np.ones(value.shape, bool)
    while outside.any():
        # The network permutes a power of four; walking on until the value falls below `length` keeps a permutation.
        value[outside] = _feistel(value[outside], half, mask, keys)
        outside = value >= np.uint64(length)
    return value.astype(np.int64)


def step_seed(seed: int, step: int) -> int:
    """A seed for one step (or epoch), unrelated to that of its neighbours."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def _feistel(value: Words, half: np.uint64, mask: np.uint64, keys: Words) -> Words:
    left, right = value >> half, value & mask
    for key in keys:
        mixed = (right + key) * np.uint64(0xBF58_476D_1CE4_E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D0_49BB_1331_11EB)
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(32))) & mask)
    return (left << half) | right
