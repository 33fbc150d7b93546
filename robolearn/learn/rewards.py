"""Rewards from how an episode ended: 1 for success, a small price per step, so that successes differ in value.

Source: RL-100 rewards a confirmed success with +1 and nothing else; a price of -0.002 to -0.01 per step (spec 3.3)
gives offline RL something to learn from successes, since a hesitating one is worth less than a quick one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.episode import Episode, Outcome
from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["Reach", "SparseRewardConfig", "SparseSuccess", "reachable", "terminated"]


def terminated(outcome: Outcome) -> bool:
    """Whether an episode really ended; a timeout or an abort only cut it off, and the task could have gone on."""
    return outcome in (Outcome.SUCCESS, Outcome.FAILURE)


@dataclass(frozen=True, slots=True)
class Reach:
    """The values that any policy can have; a critic that says something else has diverged.

    Attributes:
        low: Smallest possible value.
        high: Largest.
        tolerance: How far outside counts, as a share of high - low: regression overshoots a little.
    """

    low: float
    high: float
    tolerance: float = 0.25

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    def outside(self, values: Array) -> Array:
        """Which values are not finite or beyond the tolerance, (...) bool."""
        slack = self.tolerance * self.width
        inside = np.isfinite(values) & (values >= self.low - slack) & (values <= self.high + slack)
        return ~inside


def reachable(rewards: Array, gamma: float, *, tolerance: float = 0.25) -> Reach:
    """[r_min, r_max] / (1 - gamma) of rewards (...), widened to hold 0, the value after the end."""
    low, high = min(0.0, float(np.min(rewards))), max(0.0, float(np.max(rewards)))
    return Reach(low / (1.0 - gamma), high / (1.0 - gamma), tolerance)


@dataclass(frozen=True, slots=True)
class SparseRewardConfig:
    """Success is worth something, failure costs something, every step has a price."""

    success: float = 1.0
    """Of the step that ends in success."""
    failure: float = 0.0
    """Of the step that ends in failure."""
    step: float = -0.005
    """Of every step, at most 0."""

    def build(self) -> SparseSuccess:
        """The reward model.

        Raises:
            SpecError: A price per step above 0 would pay for waiting.
        """
        if self.step > 0:
            raise SpecError(f"The reward per step must be at most 0; found {self.step}: it would pay for waiting.")
        return SparseSuccess(self)


@dataclass(frozen=True, slots=True)
class SparseSuccess:
    """A `RewardModel`; build it with `SparseRewardConfig`."""

    config: SparseRewardConfig

    def __call__(self, episode: Episode) -> Array:
        return self.rewards(episode.steps, episode.outcome)

    def rewards(self, steps: int, outcome: Outcome) -> Array:
        """(steps,) rewards of an episode that ended so."""
        found = np.full(steps, self.config.step)
        if outcome is Outcome.SUCCESS:
            found[-1] += self.config.success
        elif outcome is Outcome.FAILURE:
            found[-1] += self.config.failure
        return found

    def reach(self, gamma: float) -> Reach:
        """What a value can be: success and failure end the episode, so they are earned once, not every step."""
        c = self.config
        waiting = c.step / (1.0 - gamma)
        return Reach(min(waiting, c.step + c.failure, 0.0), max(0.0, c.success + c.step, c.failure + c.step))
