"""The tabular oracle against enumeration and finite differences; the audit against known answers."""

from itertools import product

import numpy as np
import pytest

from robolearn.keypoints.audit import Audit, auc, doubts, misspecified, spearman, starc, starc_table
from robolearn.keypoints.max_entropy import Table, fit_reward, likelihood, soft_policy, sorting_table, visits


def small(seed: int = 0, states: int = 3, actions: int = 2, horizon: int = 3) -> Table:
    rng = np.random.default_rng(seed)
    t = rng.dirichlet(np.ones(states), (states, actions))
    return Table(t, rng.dirichlet(np.ones(states)), horizon)


def test_gradient_equals_finite_differences():
    table = small(states=5, actions=3, horizon=6)
    rng = np.random.default_rng(1)
    reward, other = rng.normal(size=5), rng.normal(size=5)
    seen, decisions = visits(table, soft_policy(table, other)[0])
    gradient = seen.sum(axis=0) - visits(table, soft_policy(table, reward)[0])[0].sum(axis=0)
    step = 1e-6
    measured = [
        (likelihood(table, reward + step * e, decisions) - likelihood(table, reward - step * e, decisions)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose(gradient, measured, atol=1e-7)


def test_the_policy_is_that_of_the_published_recursion():
    """The formula of the `imitation` package's mce_partition_fh, written as plain loops over its definition."""
    table = small(2, states=4, actions=3, horizon=5)
    reward = np.random.default_rng(3).normal(size=4)
    V = np.zeros(4)
    expected = []
    for _ in range(table.horizon):
        Q = np.zeros((4, 3))
        for s, a in product(range(4), range(3)):
            Q[s, a] = reward[s] + sum(table.transitions[s, a, x] * V[x] for x in range(4))
        V = np.log(np.exp(Q).sum(axis=1))
        expected.append(np.exp(Q - V[:, None]))
    np.testing.assert_allclose(soft_policy(table, reward)[0], expected[::-1], atol=1e-12)


def test_deterministic_worlds_give_trajectories_probability_proportional_to_exp_return():
    """Ziebart's closed form, by enumeration of all trajectories."""
    rng = np.random.default_rng(4)
    table = Table(np.eye(3)[rng.integers(3, size=(3, 2))], np.eye(3)[0], 4)
    reward = rng.normal(size=3)
    weights, seen = [], []
    for actions in product(range(2), repeat=4):
        state, total, path = 0, 0.0, []
        for a in actions:
            path.append(state)
            total += reward[state]
            state = int(table.transitions[state, a].argmax())
        weights.append(np.exp(total))
        seen.append(np.bincount(path, minlength=3))
    expected = (np.array(weights)[:, None] * seen).sum(axis=0) / np.sum(weights)
    np.testing.assert_allclose(visits(table, soft_policy(table, reward)[0])[0].sum(axis=0), expected, atol=1e-10)


def test_sorting_is_learned_from_its_visits():
    table, true = sorting_table()
    expert = soft_policy(table, 4.0 * true)[0]
    seen, decisions = visits(table, expert)
    learned, norms = fit_reward(table, decisions, steps=1500)
    assert norms[-1] < 0.05 * norms[0]
    got = visits(table, soft_policy(table, learned)[0])[0]
    np.testing.assert_allclose(got.sum(axis=0), seen.sum(axis=0), atol=0.05)
    expected, found = float((seen @ true).sum()), float((got @ true).sum())
    assert found > 0.95 * expected


def test_a_table_with_leaking_probability_is_refused():
    with pytest.raises(ValueError, match="sum to one"):
        Table(np.full((2, 1, 2), 0.4), np.array([1.0, 0.0]), 3)


def test_starc_ignores_shaping_and_scale_and_sees_the_opposite():
    table, true = sorting_table()
    potential = np.random.default_rng(5).normal(size=len(true))
    assert starc_table(3.0 * true + 0.7, true, table, 0.9) < 1e-9
    assert starc_table(-true, true, table, 0.9) == pytest.approx(1.0, abs=1e-9)
    assert 0.4 < starc_table(potential, true, table, 0.9) < 0.9
    # Shaping of a reward on transitions: what canonicalising removes exactly.
    chain = table.transitions.mean(axis=1)
    shaped = true + 0.9 * chain @ potential - potential
    value = np.linalg.solve(np.eye(len(true)) - 0.9 * chain, shaped)
    np.testing.assert_allclose(value, np.linalg.solve(np.eye(len(true)) - 0.9 * chain, true) - potential, atol=1e-8)
    assert starc(np.ones(4), np.ones(4)) == 0.0


def test_wrong_assumptions_cost():
    table, true = sorting_table()
    slippery = sorting_table(fail=0.5)[0]
    rows = misspecified(table, 3.0 * true, [("right", table, 1.0), ("slippery", slippery, 1.0)])
    assert rows[0][1] < rows[1][1]
    assert rows[0][2] > 0.9


def test_ranks_and_doubts():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 90]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
    assert doubts(Audit(0.2, 0.9, 0.95, 0.1)) == []
    told = " ".join(doubts(Audit(0.7, 0.1, 0.6, 2.0)))
    for word in ("90 %", "0.7 expected", "50 %", "unrelated"):
        assert word in told
    assert doubts(Audit(float("nan"), float("nan"), float("nan"), float("nan")))
