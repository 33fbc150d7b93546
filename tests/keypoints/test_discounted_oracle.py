"""The oracle with a discount against finite differences; what wrong assumptions of a learner do."""

import dataclasses

import numpy as np

from robolearn.keypoints.audit import misspecified, sensitivity
from robolearn.keypoints.max_entropy import Table, fit_reward, likelihood, soft_policy, sorting_table, visits


def small(discount: float) -> Table:
    rng = np.random.default_rng(0)
    return Table(rng.dirichlet(np.ones(5), (5, 3)), rng.dirichlet(np.ones(5)), 6, discount=discount)


def test_the_discounted_gradient_equals_finite_differences():
    """d/dr E sum gamma^t log pi is the difference of discounted visits; of plain visits it is not."""
    table, rng = small(0.8), np.random.default_rng(1)
    reward, other = rng.normal(size=5), rng.normal(size=5)
    seen, decisions = visits(table, soft_policy(table, other)[0])
    gammas = 0.8 ** np.arange(6)[:, None]
    own = visits(table, soft_policy(table, reward)[0])[0]
    step = 1e-6
    measured = [
        (likelihood(table, reward + step * e, decisions) - likelihood(table, reward - step * e, decisions)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose((gammas * (seen - own)).sum(axis=0), measured, atol=1e-7)
    assert np.abs((seen - own).sum(axis=0) - measured).max() > 1e-3


def test_a_discounted_expert_is_matched_in_discounted_visits():
    table = small(0.7)
    expert = soft_policy(table, np.array([2.0, 0.0, -1.0, 0.5, 0.0]))[0]
    seen, decisions = visits(table, expert)
    learned, norms = fit_reward(table, decisions, steps=2000)
    own = visits(table, soft_policy(table, learned)[0])[0]
    gammas = 0.7 ** np.arange(6)[:, None]
    assert norms[-1] < 0.05 * norms[0]
    np.testing.assert_allclose((gammas * own).sum(axis=0), (gammas * seen).sum(axis=0), atol=0.01)


def test_without_a_discount_nothing_changed():
    table = small(1.0)
    reward = np.random.default_rng(2).normal(size=5)
    plain = Table(table.transitions, table.initial, 6)
    np.testing.assert_array_equal(soft_policy(table, reward)[0], soft_policy(plain, reward)[0])


def test_each_wrong_assumption_is_told_apart():
    """A discount and other dynamics move the reward; a temperature only scales it, and costs who acts softly."""
    table, true = sorting_table(6)
    wrong = [
        ("right", table, 1.0),
        ("discount", dataclasses.replace(table, discount=0.5), 1.0),
        ("cold", table, 0.3),
        ("slippery", sorting_table(6, 0.5)[0], 1.0),
    ]
    rows = {name: numbers for name, *numbers in misspecified(table, 3.0 * true, wrong, 400)}
    assert rows["right"][0] < 0.05
    assert rows["discount"][0] > rows["right"][0]
    assert rows["slippery"][0] > 0.3
    assert abs(rows["cold"][0] - rows["right"][0]) < 1e-9
    assert rows["cold"][2] < 0.7 < 0.95 < rows["right"][2]


def test_the_report_names_every_assumption():
    names = " ".join(name for name, *_ in sensitivity(3, 20))
    for word in ("nothing is wrong", "discount", "temperature", "fail", "decisions for 3"):
        assert word in names
