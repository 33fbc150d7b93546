"""Success rates with their uncertainty: intervals for one policy and for the difference of two on paired starts.

Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927); Newcombe, "Improved
confidence intervals for the difference between binomial proportions based on paired data" (Stat. Med. 1998),
method 10. 50 successes of 50 still leave room for a true rate of 93 %: a rate without its interval says little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["PairedDifference", "Rate", "paired_difference", "wilson"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A success rate with its 95 % (or other) confidence interval.

    Attributes:
        successes: How many succeeded.
        trials: How many were tried.
        low: Lower end.
        high: Upper end.
    """

    successes: int
    trials: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """Successes over trials."""
        return self.successes / self.trials

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] ({self.successes}/{self.trials})"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The rate of a minus the rate of b over the same starts.

    Attributes:
        value: Difference of the two rates.
        low: Lower end of its confidence interval.
        high: Upper end.
        only_a: Starts where only a succeeded.
        only_b: Starts where only b succeeded.
        p: Exact two-sided McNemar p-value of "both are equally good".
        trials: How many starts.
    """

    value: float
    low: float
    high: float
    only_a: int
    only_b: int
    p: float
    trials: int

    def __str__(self) -> str:
        return f"{self.value:+.1%} [{self.low:+.1%}, {self.high:+.1%}], p = {self.p:.3g}"

    def verdict(self, margin: float) -> str:
        """What the interval says of a, in words; a loss below `margin` (0.02 is two points) would not matter."""
        if self.low > 0:
            return "better"
        if self.low > -margin:
            return f"no loss of {margin:.0%}"
        return "worse" if self.high < 0 else f"a loss of {margin:.0%} is not excluded"

    def starts_needed(self, margin: float, confidence: float = 0.95) -> int | None:
        """About how many starts would exclude a loss of `margin` if both went on as they did; None if no number would.

        The normal approximation: the variance of one start's difference is d - value^2, d the share of starts on
        which only one of the two succeeded. Plan with it, and then evaluate afresh: going on with the same starts until
        the interval says what one hopes for is no test.
        """
        if self.value + margin < 1e-6:
            return None
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        spread = (self.only_a + self.only_b) / self.trials - self.value**2
        return max(1, math.ceil(z * z * spread / (self.value + margin) ** 2))


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Rate:
    """Wilson score interval of a binomial rate."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"Expected 0 <= successes <= trials and at least one trial; found {successes} of {trials}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / trials
    scale = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    # At the ends the interval closes exactly; rounding must not push it past them.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Rate(successes, trials, low, high)


def paired_difference(a: Sequence[bool], b: Sequence[bool], confidence: float = 0.95) -> PairedDifference:
    """Difference of two success rates measured on the same starts, in the same order."""
    if len(a) != len(b) or not a:
        raise ValueError(f"Expected results on the same starts; found {len(a)} and {len(b)} of them.")
    n = len(a)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    only_a, only_b = sum(a) - both, sum(b) - both
    neither = n - both - only_a - only_b
    rate_a, rate_b = wilson(sum(a), n, confidence), wilson(sum(b), n, confidence)
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = 0.0 if product == 0 else _continuity(both * neither - only_a * only_b, n) / math.sqrt(product)
    value = rate_a.value - rate_b.value
    down_a, up_b = rate_a.value - rate_a.low, rate_b.high - rate_b.value
    up_a, down_b = rate_a.high - rate_a.value, rate_b.value - rate_b.low
    low = value - math.sqrt(max(0.0, down_a**2 - 2 * phi * down_a * up_b + up_b**2))
    high = value + math.sqrt(max(0.0, down_b**2 - 2 * phi * down_b * up_a + up_a**2))
    return PairedDifference(value, low, high, only_a, only_b, _mcnemar(only_a, only_b), n)


def _continuity(determinant: int, n: int) -> float:
    """Newcombe's correction of the numerator of phi, for positive association only."""
    return max(determinant - n / 2, 0.0) if determinant > 0 else float(determinant)


def _mcnemar(only_a: int, only_b: int) -> float:
    """Exact McNemar test: the discordant starts are fair coin tosses when both policies are equally good."""
    m, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(m, i) for i in range(k + 1)) / 2**m
    return min(1.0, 2 * tail)
