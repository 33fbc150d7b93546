"""What a reward can be learned in: tasks in points, behind one small contract.

The trainer, the stage and the audit know nothing of onions or bottles. They know a world of n rows that is observed,
stepped and reset, how large a decision may be, and under which names a recording holds what was seen and done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robolearn.episode import Episode
from robolearn.errors import SpecError, UnknownName
from robolearn.keypoints import onions, pouring
from robolearn.specs import Array

__all__ = ["ONIONS", "POURING", "Domain", "World", "domain_of", "find_domain"]


class World(Protocol):
    """n rows of a task with fixed-length episodes."""

    def observe(self) -> Array:
        """(n, f) features."""
        ...

    def step(self, action: Array) -> Array:
        """Move on by decisions (n, k) and return the true reward (n,), which no learner sees."""
        ...

    def reset(self) -> None:
        """New starts in all rows."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A task in points.

    Attributes:
        name: Of the task.
        features: What policy and reward see, f names.
        limits: (k,) largest decision in every direction, m or rad.
        seen: The observation of an episode that holds the features.
        acted: The actions of an episode that together are a decision, in order.
        start: A world of its own: rows, generator of layouts, steps of an episode.
    """

    name: str
    features: tuple[str, ...]
    limits: Array
    seen: str
    acted: tuple[str, ...]
    start: Callable[[int, np.random.Generator, int], World]


def _onion_line(n: int, generator: np.random.Generator, horizon: int) -> World:
    return onions.OnionLine(n, generator, horizon=horizon)


def _pour_table(n: int, generator: np.random.Generator, horizon: int) -> World:
    return pouring.PourTable(n, generator, horizon=horizon)


ONIONS = Domain("onions", onions.FEATURES, np.full(3, onions.ACTION_M), "line.features", ("wrist.delta",), _onion_line)
POURING = Domain(
    "pouring", pouring.FEATURES, pouring.DECISION, "pour.features", ("wrist.delta", "tip.delta"), _pour_table
)
_ALL = {domain.name: domain for domain in (ONIONS, POURING)}


def find_domain(name: str) -> Domain:
    """The domain of a name.

    Raises:
        UnknownName: There is none.
    """
    if name not in _ALL:
        raise UnknownName("domain", name, _ALL)
    return _ALL[name]


def domain_of(episode: Episode) -> Domain:
    """The domain whose features and decisions an episode holds.

    Raises:
        SpecError: It holds those of none.
    """
    for domain in _ALL.values():
        if domain.seen in episode.observations and all(name in episode.actions for name in domain.acted):
            return domain
    possible = "; ".join(f"{d.name}: {d.seen!r} and {', '.join(map(repr, d.acted))}" for d in _ALL.values())
    raise SpecError(
        f"Expected features and decisions of a domain ({possible}); the episode has {sorted(episode.observations)} and "
        f"{sorted(episode.actions)}."
    )
