"""Whether a learned reward may be trusted: distance from the truth, ranking, and what wrong assumptions do to it.

STARC (Skalse et al. 2024, "STARC: a general framework for quantifying differences between reward functions"):
canonicalise with the value-adjusted levelling of a policy (here EPIC's: subtract what potential shaping can add,
Gleave et al. 2021, eq. 3), normalise, take half the norm of the difference:

    C(R)(s, a, s') = R(s, a, s') + E[gamma R(s', A, S') - R(s, A, S') - gamma R(S, A, S')],    d = |C(R)/|C(R)| -
    C(Q)/|C(Q)|| / 2

0 means equal up to shaping and scale, 0.707 is unrelated, 1 is opposite. Where the truth is unknown only the ensemble's
spread and the ranking of held-out recordings against worse ones remain; both enter `doubts`.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robolearn.keypoints.max_entropy import Table, fit_reward, soft_policy, sorting_table, visits
from robolearn.specs import Array

__all__ = [
    "Audit",
    "auc",
    "canonical",
    "doubts",
    "misspecified",
    "sensitivity",
    "spearman",
    "starc",
    "starc_table",
]

Values = Callable[[Array, Array, Array], Array]
"""Rewards (N,) of states before, actions and states after."""


def canonical(reward: Values, before: Array, action: Array, after: Array, discount: float) -> Array:
    """Rewards (N,) of transitions without what potential shaping can add, up to a constant; from samples only.

    The expectations run over the given actions and the states after, drawn independently of the state they are asked
    for.

    Args:
        reward: To be canonicalised.
        before: (N, f) states.
        action: (N, a).
        after: (N, f).
        discount: Of the shaping that is removed.
    """
    draws = np.random.default_rng(0).integers(len(before), size=32)

    def level(states: Array) -> Array:
        """E over A, S' of R(s, A, S')."""
        total = np.zeros(len(states))
        for k in draws:
            total += reward(
                states,
                np.broadcast_to(action[k], (len(states), action.shape[1])),
                np.broadcast_to(after[k], states.shape),
            )
        return total / len(draws)

    return reward(before, action, after) + discount * level(after) - level(before)


def starc(a: Array, b: Array) -> float:
    """Distance in [0, 1] of two canonicalised rewards (N,) over the same transitions."""
    x, y = a - a.mean(), b - b.mean()
    nx, ny = np.linalg.norm(x), np.linalg.norm(y)
    if nx < 1e-12 or ny < 1e-12:  # a constant reward says nothing
        return 0.0 if nx < 1e-12 and ny < 1e-12 else 0.5 * float(np.sqrt(2.0))
    return 0.5 * float(np.linalg.norm(x / nx - y / ny))


def starc_table(a: Array, b: Array, table: Table, discount: float) -> float:
    """Exact distance of two rewards (S,) of states on a table: canonicalised by the uniform policy's value."""
    size = len(a)
    chain = table.transitions.mean(axis=1)

    def level(reward: Array) -> Array:
        value = np.linalg.solve(np.eye(size) - discount * chain, reward)
        return (reward[:, None] + discount * table.transitions @ value - value[:, None]).ravel()

    return starc(level(a), level(b))


def spearman(a: Sequence[float] | Array, b: Sequence[float] | Array) -> float:
    """Rank correlation, ties averaged."""

    def ranks(x: Array) -> Array:
        order = np.sort(x)
        return 0.5 * (np.searchsorted(order, x, "left") + np.searchsorted(order, x, "right") - 1)

    x, y = ranks(np.asarray(a, float)), ranks(np.asarray(b, float))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale else 0.0


def auc(good: Array, bad: Array) -> float:
    """Probability that a good trajectory is given more than a bad one; ties count half."""
    gap = np.asarray(good)[:, None] - np.asarray(bad)[None]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def misspecified(
    table: Table, true: Array, wrong: Sequence[tuple[str, Table, float]], steps: int = 800
) -> list[tuple[str, float, float, float]]:
    """What wrong assumptions do to a tabular reward: name, STARC distance, and two shares of the true return.

    Demonstrations come from the soft policy of `true` in `table`; each learner assumes another table (other dynamics,
    discount or horizon) or another temperature. What it learned is then optimised in the true table: as hard as can be,
    as a share of the best return, and by an agent as random as the expert was, as a share of the expert's. A wrong
    temperature only rescales a reward, which the second share alone can show. 0 is what acting at random gets.

    Args:
        table: The truth.
        true: (S,).
        wrong: (name, the learner's table, the temperature it assumes).
        steps: Of the learner's ascent.
    """
    expert = soft_policy(table, true)[0]
    seen, decisions = visits(table, expert)
    shown_return = float((seen @ true).sum())
    best = float((visits(table, soft_policy(table, 20.0 * true)[0])[0] @ true).sum())
    worst = float((visits(table, np.full_like(expert, 1.0 / expert.shape[-1]))[0] @ true).sum())
    rows: list[tuple[str, float, float, float]] = []
    for name, assumed, temperature in wrong:
        shown = decisions[: assumed.horizon]
        learned = fit_reward(assumed, shown, steps=steps)[0] * temperature
        hard, soft = (
            float((visits(table, soft_policy(table, scale * learned)[0])[0] @ true).sum()) for scale in (20.0, 1.0)
        )
        distance = starc_table(learned, true, table, 0.9)
        rows.append((name, distance, (hard - worst) / (best - worst), (soft - worst) / (shown_return - worst)))
    return rows


def sensitivity(horizon: int = 12, steps: int = 800) -> list[tuple[str, float, float, float]]:
    """`misspecified` on the table of sorting: a wrong discount, temperature, dynamics and horizon, one at a time.

    The expert is soft-optimal for three times the true reward, decides `horizon` times, and fails in one act of twenty.
    """
    table, true = sorting_table(horizon)
    wrong: list[tuple[str, Table, float]] = [("nothing is wrong", table, 1.0)]
    wrong += [(f"discount {g} for 1", replace(table, discount=g), 1.0) for g in (0.95, 0.8, 0.5)]
    wrong += [(f"temperature {t:g} for 1", table, t) for t in (0.3, 3.0)]
    wrong += [(f"acts fail {p:.0%} for 5 %", sorting_table(horizon, p)[0], 1.0) for p in (0.0, 0.2, 0.5)]
    wrong += [(f"{h} decisions for {horizon}", replace(table, horizon=h), 1.0) for h in (horizon // 2,)]
    return misspecified(table, 3.0 * true, wrong, steps)


@dataclass(frozen=True, slots=True)
class Audit:
    """What is known about a reward.

    Attributes:
        starc: Distance from the true reward, NaN where there is none.
        rank: Spearman correlation with the true return over held-out trajectories.
        auc: Good against bad trajectories.
        spread: Mean ensemble spread over held-out recordings, as a share of the reward's own spread.
    """

    starc: float
    rank: float
    auc: float
    spread: float


def doubts(audit: Audit) -> list[str]:
    """Why a reward should not be trusted; empty when nothing speaks against it."""
    found: list[str] = []
    if not audit.auc >= 0.9:
        found.append(f"it ranks good above bad trajectories in only {audit.auc:.0%} of pairs (90 % expected)")
    if not audit.rank >= 0.7:
        found.append(f"its rank correlation with the true return is {audit.rank:.2f} (0.7 expected)")
    if not audit.spread <= 0.5:
        found.append(f"its members disagree by {audit.spread:.0%} of its own spread (50 % allowed)")
    if audit.starc > 0.5:
        found.append(f"its STARC distance from the true reward is {audit.starc:.2f} (0.5 allowed, 0.71 is unrelated)")
    return found
