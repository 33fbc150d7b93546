"""From the data room's flat samples and statistics to what models here are given.

`robolearn.data` writes actions under "action.<name>" in flat dicts and calls the ends of a range low and high. A loss
wants observations and actions apart, since a robot may observe and command under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from robolearn.learn.normaliser import Moments
from robolearn.specs import Array

__all__ = ["ACTION", "Examples", "policy_statistics"]

ACTION = "action."
"""In front of the names of actions wherever observations and actions share one flat dict."""


class _Flat(Protocol):
    def __len__(self) -> int: ...
    def gather(self, indices: Array) -> Mapping[str, Array]: ...


class _Ranges(Protocol):
    @property
    def low(self) -> Array: ...
    @property
    def high(self) -> Array: ...
    @property
    def mean(self) -> Array: ...
    @property
    def std(self) -> Array: ...


class Examples:
    """`loop.Windows` of a `robolearn.data.windows.Windows`.

    Args:
        windows: Flat samples.
        fingerprint: Of their content (a cache's key, say), so that a run is never resumed on other data.
    """

    def __init__(self, windows: _Flat, fingerprint: str = ""):
        self._windows = windows
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self._windows)

    def gather(self, indices: Array) -> dict[str, Any]:
        """{"observation": {name: (b, history, ...)}, "action": {name: (b, horizon, ...)}, "mask": (b, horizon)}."""
        flat = dict(self._windows.gather(np.asarray(indices)))
        mask = flat.pop("mask")
        action = {name.removeprefix(ACTION): value for name, value in flat.items() if name.startswith(ACTION)}
        observation = {name: value for name, value in flat.items() if not name.startswith(ACTION)}
        return {"observation": observation, "action": action, "mask": mask}


def policy_statistics(found: Mapping[str, _Ranges]) -> dict[str, Moments]:
    """What normalisers need of `robolearn.data.statistics`; the names stay as they are."""
    return {name: Moments(s.low, s.high, s.mean, s.std) for name, s in found.items()}
