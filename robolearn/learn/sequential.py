"""A short trial on the bench that stops as soon as it knows: is the new policy better than the old one?

Source: Wald's sequential probability ratio test (1945) on paired starts. Starts where both succeed or both fail say
nothing about which is better; on the others the new one wins with probability p:

    H0: p <= 1/2,   H1: p >= p1,   LLR = wins log(2 p1) + losses log(2 (1 - p1))
    better when LLR >= log((1 - b) / a), not better when LLR <= log(b / (1 - a)), undecided at the last start

With a = 0.05, a policy that is no better is called better in at most 5 % of trials, however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from robolearn.errors import SpecError

__all__ = ["Play", "TrialConfig", "TrialResult", "Verdict", "run_trial", "sprt"]

Verdict = Literal["better", "not better", "undecided"]

Play = Callable[[Sequence[int]], Sequence[bool]]
"""Plays these starts with one policy and says for each whether it succeeded."""


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """When to stop."""

    p1: float = 0.7
    """The share of discordant starts a policy worth having wins."""
    false_accept: float = 0.05
    """a: probability of calling a policy better that is not."""
    false_reject: float = 0.2
    """b: probability of missing one that wins with p1."""
    batch: int = 20
    """Starts between two looks."""
    most: int = 200
    """Starts at which an undecided trial ends."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a trial saw.

    Attributes:
        verdict: Only "better" passes the gate.
        starts: How many were played by both.
        wins: Starts where only the new policy succeeded.
        losses: Starts where only the old one did.
        new: Successes of the new policy.
        old: Successes of the old one.
        llr: Where the likelihood ratio's logarithm ended.
    """

    verdict: Verdict
    starts: int
    wins: int
    losses: int
    new: int
    old: int
    llr: float


def sprt(wins: int, losses: int, config: TrialConfig) -> tuple[Verdict, float]:
    """The verdict so far, and the logarithm of the likelihood ratio."""
    if not 0.5 < config.p1 < 1.0 or not 0.0 < config.false_accept < 1.0 or not 0.0 < config.false_reject < 1.0:
        raise SpecError(f"Expected 0.5 < p1 < 1 and error rates inside (0, 1); found {config}.")
    llr = wins * math.log(2 * config.p1) + losses * math.log(2 * (1 - config.p1))
    if llr >= math.log((1 - config.false_reject) / config.false_accept):
        return "better", llr
    if llr <= math.log(config.false_reject / (1 - config.false_accept)):
        return "not better", llr
    return "undecided", llr


def run_trial(new: Play, old: Play, seeds: Sequence[int], config: TrialConfig) -> TrialResult:
    """Play pairs of the same starts, batch by batch, until the test decides or `most` (or the seeds) are used up."""
    wins = losses = good_new = good_old = played = 0
    verdict, llr = sprt(0, 0, config)
    usable = list(seeds)[: config.most]
    while verdict == "undecided" and played < len(usable):
        part = usable[played : played + config.batch]
        a, b = list(new(part)), list(old(part))
        if len(a) != len(part) or len(b) != len(part):
            raise SpecError(f"A trial needs one result per start: expected {len(part)}, found {len(a)} and {len(b)}.")
        wins += sum(x and not y for x, y in zip(a, b, strict=True))
        losses += sum(y and not x for x, y in zip(a, b, strict=True))
        good_new, good_old, played = good_new + sum(a), good_old + sum(b), played + len(part)
        verdict, llr = sprt(wins, losses, config)
    return TrialResult(verdict, played, wins, losses, good_new, good_old, llr)
