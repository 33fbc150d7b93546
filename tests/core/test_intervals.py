import math

import numpy as np
import pytest

from robolearn.intervals import paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_published_table(successes, trials, low, high):
    rate = wilson(successes, trials)  # Newcombe 1998, Stat. Med. 17:857, table I, method 3
    assert rate.low == pytest.approx(low, abs=6e-5)
    assert rate.high == pytest.approx(high, abs=6e-5)


def test_wilson_is_symmetric_and_closed():
    a, b = wilson(3, 10), wilson(7, 10)
    assert a.low == pytest.approx(1 - b.high)
    assert wilson(50, 50).high == 1.0
    assert wilson(0, 50).low == 0.0


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        wilson(successes, trials)


def test_paired_difference_equals_newcombes_published_example():
    a = [True] * 48 + [False] * 2
    b = [True] * 36 + [False] * 12 + [True] * 2
    d = paired_difference(a, b)  # Newcombe 1998, Stat. Med. 17:2635, table III, method 10
    assert (d.value, d.only_a, d.only_b) == (pytest.approx(0.2), 12, 2)
    assert d.low == pytest.approx(0.0569, abs=1e-4)
    assert d.high == pytest.approx(0.3404, abs=1e-4)
    assert d.p == pytest.approx(2 * sum(math.comb(14, k) for k in range(3)) / 2**14)


def test_paired_difference_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(800):
        hard = rng.random(60)  # shared difficulty makes the pairs dependent
        a, b = hard < 0.7, (hard + 0.2 * rng.standard_normal(60)) < 0.5
        truth = 0.7 - 0.5  # b's expected rate: P(u + noise < 0.5) = 0.5 by symmetry
        d = paired_difference(a.tolist(), b.tolist())
        hits += d.low <= truth <= d.high
    assert 0.92 <= hits / 800 <= 0.99


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="found 1 and 2"):
        paired_difference([True], [True, False])
