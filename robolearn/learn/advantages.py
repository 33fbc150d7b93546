"""How much better a decision was than expected, when a decision is a whole chunk of actions.

Source: generalised advantage estimation (Schulman et al. 2016, eq. 16), on decisions instead of control steps as in
RL-100: with n actions per decision, gamma per control step and m <= n of them really made,

    r_t = sum_{j<m} gamma^j reward_{t+j},      delta_t = r_t + gamma^m (1 - terminated_t) V(s_{t+m}) - V(s_t)
    A_t = delta_t + gamma^m lambda (1 - cut_t) A_{t+1},      return_t = A_t + V(s_t)

A termination (success, failure) ends the world: nothing is bootstrapped. A truncation (time limit) does not: the value
of the true last observation is. Both cut the sum, so that no advantage leaks from one episode into the one before it.

Shapes: T decisions, B rows (any further axes), S control steps, C chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["ChunkReturns", "chunk_return", "gae"]


class ChunkReturns(NamedTuple):
    """What the decisions of one episode brought.

    Attributes:
        reward: (C,) discounted sum of the rewards within each chunk.
        discount: (C,) gamma to the number of actions really made, the factor of the value that follows.
        terminated: (C,) whether the episode terminated in this chunk; then nothing follows.
    """

    reward: Array
    discount: Array
    terminated: Array


def chunk_return(reward: Array, terminated: Array, gamma: float, n: int) -> ChunkReturns:
    """Rewards of one episode's control steps as those of its decisions.

    Args:
        reward: (S,) of each control step.
        terminated: (S,) bool, True at the step that ended the world; a truncated episode has none. What comes after
            a termination (the rest of a chunk that was still played) does not count.
        gamma: Discount of a control step.
        n: Actions per decision; the last chunk may be shorter.

    Raises:
        SpecError: Shapes differ, the episode is empty, or n < 1.
    """
    reward, terminated = np.asarray(reward, np.float64), np.asarray(terminated, bool)
    if reward.ndim != 1 or reward.shape != terminated.shape or not len(reward) or n < 1:
        raise SpecError(
            "Expected rewards and terminations of one episode, both of shape (steps,) with steps >= 1, and n >= 1; "
            f"found shapes {reward.shape} and {terminated.shape}, n = {n}."
        )
    ends = np.flatnonzero(terminated)
    steps = int(ends[0]) + 1 if len(ends) else len(reward)
    starts = range(0, steps, n)
    parts = [reward[start : min(start + n, steps)] for start in starts]
    return ChunkReturns(
        reward=np.array([float(part @ gamma ** np.arange(len(part))) for part in parts]),
        discount=np.array([gamma ** len(part) for part in parts]),
        terminated=np.array([bool(len(ends)) and start + n >= steps for start in starts]),
    )


def gae(
    reward_TB: Array,
    value_TB: Array,
    next_value_TB: Array,
    terminated_TB: Array,
    cut_TB: Array,
    discount: float | Array,
    lambda_: float,
) -> tuple[Array, Array]:
    """Advantages and value targets of a batch of decisions.

    Args:
        reward_TB: Of each decision.
        value_TB: V of what the decision saw.
        next_value_TB: V of what came of it: at the end of an episode, of its true last observation, not of the first
            one of the next episode.
        terminated_TB: bool, the world ended: no bootstrap.
        cut_TB: bool, the next decision of this row belongs to another episode; includes every termination, and
            truncations.
        discount: gamma^n of a decision, one number or (T, B).
        lambda_: 0 trusts the values, 1 the rewards.

    Returns:
        advantage_TB and return_TB, float64.
    """
    follows_TB = np.where(terminated_TB, 0.0, discount * np.asarray(next_value_TB, np.float64))
    delta_TB = np.asarray(reward_TB, np.float64) + follows_TB - value_TB
    keep_TB = np.where(np.asarray(cut_TB, bool) | np.asarray(terminated_TB, bool), 0.0, discount * lambda_)
    advantage_TB = np.empty_like(delta_TB)
    later_B = np.zeros(delta_TB.shape[1:])
    for t in reversed(range(len(delta_TB))):
        later_B = delta_TB[t] + keep_TB[t] * later_B
        advantage_TB[t] = later_B
    return advantage_TB, advantage_TB + value_TB
