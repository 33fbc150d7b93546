"""The claims A1 to A12 of adversarial collection, each with its pass mark, decided from measured episodes.

The marks were set before anything was measured (specification 1.8). Rates pool the episodes of all training seeds that
were run, with Wilson intervals; differences pair episodes by training seed and start (Newcombe). Both treat the
episodes of one policy as independent, which they are not: with few training seeds the intervals are too narrow, so
the rates of single seeds stand beside them. A claim whose cells were not measured is "not run", never "passed".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.intervals import PairedDifference, Rate, paired_difference, wilson
from robolearn.stages.adc_cells import Result
from robolearn.stages.adc_study import Job

__all__ = ["Claim", "Measured", "claims"]

HEIGHTS = range(3)
VARIED = tuple(f"varied.h{h}.seen" for h in HEIGHTS)
NORMAL = tuple(f"normal.h{h}.seen" for h in HEIGHTS)
VARIED_HELD = tuple(f"varied.h{h}.held" for h in HEIGHTS)
VISUAL, LANGUAGE = ("object", "container"), ("before", "during", "after")
RECOVERY = ("slip", "pull")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim and what became of it.

    Attributes:
        id: "A1" to "A12".
        text: What is claimed.
        paper: What the paper reports.
        mark: When it counts as passed.
        found: What was measured.
        verdict: "passed", "failed", "undecided", "reported" (no mark) or "not run".
    """

    id: str
    text: str
    paper: str
    mark: str
    found: str
    verdict: str


class Measured:
    """All results, and what can be asked of them.

    Args:
        results: Per job the measured episodes.
        collected: Per (arm, seed) the facts of the demonstrations.
    """

    def __init__(self, results: Mapping[Job, Sequence[Result]], collected: Mapping[tuple[str, int], Mapping[str, Any]]):
        self.results = {job: list(found) for job, found in results.items() if found}
        self.collected = collected

    def episodes(
        self, arm: str, cells: Sequence[str], *, share: int = 100, what: str = "placed"
    ) -> dict[tuple[int, str, int], bool]:
        """(training seed, cell, start) to whether it went well, over all training seeds."""
        return {
            (job.seed, one.cell, one.seed): bool(getattr(one, what))
            for job, found in self.results.items()
            if job.arm == arm and job.share == share
            for one in found
            if one.cell in cells
        }

    def rate(self, arm: str, cells: Sequence[str], *, share: int = 100, what: str = "placed") -> Rate | None:
        """Pooled rate, None when nothing was measured."""
        found = self.episodes(arm, cells, share=share, what=what)
        return wilson(sum(found.values()), len(found)) if found else None

    def by_seed(self, arm: str, cells: Sequence[str], *, share: int = 100) -> list[float]:
        """The rate of each training seed, in order of the seeds."""
        found = self.episodes(arm, cells, share=share)
        seeds = sorted({seed for seed, _, _ in found})
        return [float(np.mean([good for (s, _, _), good in found.items() if s == seed])) for seed in seeds]

    def difference(
        self, a: str, b: str, cells: Sequence[str], *, shares: tuple[int, int] = (100, 100), what: str = "placed"
    ) -> PairedDifference | None:
        """Arm a minus arm b over the training seeds and starts that both have."""
        first = self.episodes(a, cells, share=shares[0], what=what)
        second = self.episodes(b, cells, share=shares[1], what=what)
        both = sorted(first.keys() & second.keys())
        return paired_difference([first[k] for k in both], [second[k] for k in both]) if both else None

    def recovered(self, arm: str) -> Rate | None:
        """Of the episodes in which the slip or the pull happened, how many ended well within 8 s of it."""
        found = [
            one.recovered
            for job, many in self.results.items()
            if job.arm == arm and job.share == 100
            for one in many
            if one.cell in RECOVERY and one.done_at == one.done_at
        ]
        return wilson(sum(found), len(found)) if found else None

    def density(self, arm: str) -> float | None:
        """Situations per 1000 frames, mean over the collections."""
        found = [float(facts["per_1000"]) for (name, _), facts in self.collected.items() if name == arm]
        return float(np.mean(found)) if found else None

    def person_seconds(self, arm: str, share: int = 100) -> float | None:
        """What the demonstrations of one policy cost all people together, s."""
        found = [float(facts["person_seconds"]) for (name, _), facts in self.collected.items() if name == arm]
        return share / 100 * float(np.mean(found)) if found else None


def claims(m: Measured) -> list[Claim]:
    """All claims in order."""
    return [one(m) for one in (_a1, _a2, _a3, _a4, _a5, _a6, _a7, _a8, _a9, _a10, _a11, _a12)]


def _claim(
    id: str, text: str, paper: str, mark: str, needed: Sequence[object], decide: Callable[..., tuple[str, str]]
) -> Claim:
    if any(one is None for one in needed):
        return Claim(id, text, paper, mark, "not measured", "not run")
    found, verdict = decide(*needed)
    return Claim(id, text, paper, mark, found, verdict)


def _passed(good: bool) -> str:
    return "passed" if good else "failed"


def _a1(m: Measured) -> Claim:
    a, t, d = m.rate("A", VARIED), m.rate("T", VARIED), m.difference("A", "T", VARIED)

    def decide(a: Rate, t: Rate, d: PairedDifference) -> tuple[str, str]:
        return f"A {a}; T {t}; A - T {d}", _passed(a.value >= 0.8 and d.value >= 0.5 and a.low > t.high)

    mark = "A >= 80 %, A - T >= 50 points, intervals disjoint"
    return _claim("A1", "A far above T on varied positions", "100 % against 0 %", mark, (a, t, d), decide)


def _a2(m: Measured) -> Claim:
    d = m.difference("A", "R", (*VISUAL, *LANGUAGE))
    each = {cell: m.difference("A", "R", (cell,)) for cell in (*VISUAL, *LANGUAGE)}

    def decide(d: PairedDifference) -> tuple[str, str]:
        parts = "; ".join(f"{cell} {one.value:+.1%}" for cell, one in each.items() if one)
        return f"A - R {d} ({parts})", _passed(d.value >= 0.1 and d.low > 0)

    mark = "A - R >= 10 points, interval excludes 0"
    return _claim("A2", "A above R where things happen, at equal frames", "not tested", mark, (d,), decide)


def _a3(m: Measured) -> Claim:
    d = m.difference("A", "R", (*NORMAL, *VARIED))

    def decide(d: PairedDifference) -> tuple[str, str]:
        return f"A - R {d}", _passed(abs(d.value) <= 0.1)

    return _claim("A3", "A like R where nothing happens", "not tested", "within 10 points", (d,), decide)


def _a4(m: Measured) -> Claim:
    off, on = m.rate("A", ("off",)), m.rate("A", VISUAL)

    def decide(off: Rate, on: Rate) -> tuple[str, str]:
        return f"same starts undisturbed {off}, disturbed {on}", _passed(off.value - on.value <= 0.15)

    return _claim(
        "A4", "Moved things cost A little", "88 % against about 100 %", "drop <= 15 points", (off, on), decide
    )


def _a5(m: Measured) -> Claim:
    before, during, after = (m.rate("A", (cell,)) for cell in LANGUAGE)

    def decide(before: Rate, during: Rate, after: Rate) -> tuple[str, str]:
        good = min(before.value, after.value) >= during.value and during.value >= 0.5
        return f"before {before}, during {during}, after {after}", _passed(good)

    mark = "during lowest, and >= 50 %"
    return _claim(
        "A5", "A new command: after like before, during hardest", "100/100 and 60/70 %", mark,
        (before, during, after), decide,
    )  # fmt: skip


def _a6(m: Measured) -> Claim:
    a, r, d = m.rate("A", VARIED_HELD), m.rate("R", VARIED_HELD), m.difference("A", "R", VARIED_HELD)

    def decide(a: Rate, r: Rate, d: PairedDifference) -> tuple[str, str]:
        return f"A {a}; R {r}; A - R {d}", _passed(a.value >= 0.7 and d.value > 0)

    return _claim(
        "A6", "The composition nobody showed, varied positions", "100 %", ">= 70 % and above R", (a, r, d), decide
    )


def _a7(m: Measured) -> Claim:
    dark = ("dark.wrist", "dark.agent")
    d = m.difference("A", "R", dark)
    a, r = m.rate("A", dark), m.rate("R", dark)
    rival = m.rate("R-dark", dark)

    def decide(a: Rate, r: Rate, d: PairedDifference) -> tuple[str, str]:
        return f"A {a}; R {r}; A - R {d}; R trained on dark cameras {rival or 'not run'}", _passed(d.low > 0)

    return _claim(
        "A7", "One camera dark (pixel track)", "55 % against 0 %", "A above R, interval excludes 0", (a, r, d), decide
    )


def _a8(m: Measured) -> Claim:
    cells = (*VARIED, *VISUAL)
    a20, t, r20 = m.rate("A", cells, share=20), m.rate("T", cells), m.rate("R", cells, share=20)

    def decide(a20: Rate, t: Rate) -> tuple[str, str]:
        return f"20 % A {a20}; 100 % T {t}; 20 % R {r20 or 'not run'}", _passed(a20.value >= t.value)

    return _claim(
        "A8", "A fifth of A does what all of T does", "65 % against 24 %", "20 % A >= 100 % T", (a20, t), decide
    )


def _a9(m: Measured) -> Claim:
    a, r = m.recovered("A"), m.recovered("R")

    def decide(a: Rate, r: Rate) -> tuple[str, str]:
        return f"A {a}; R {r} of the episodes in which it happened", _passed(a.value >= 2 * r.value)

    return _claim("A9", "Recovery within 8 s of a slip or a pull", "shown only", "A at least twice R", (a, r), decide)


def _a10(m: Measured) -> Claim:
    t, r, a = (m.density(arm) for arm in ("T", "R", "A"))

    def decide(t: float, r: float, a: float) -> tuple[str, str]:
        return f"situations per 1000 frames: A {a:.0f}, R {r:.0f}, T {t:.0f}", _passed(a > r > t)

    return _claim("A10", "Denser data", "claimed", "A > R > T", (t, r, a), decide)


def _a11(m: Measured) -> Claim:
    d = m.difference("A", "A-rand", (*VISUAL, *LANGUAGE, *RECOVERY))

    def decide(d: PairedDifference) -> tuple[str, str]:
        word = "it matters" if d.low > 0 or d.high < 0 else "no difference was shown"
        return f"A - A-rand {d}: {word}", "reported"

    return _claim("A11", "Timing matters", "-", "two-sided, no mark", (d,), decide)


def _a12(m: Measured) -> Claim:
    cells = (*VARIED, *VISUAL)
    rows: list[str] = []
    for arm, share in (("A", 20), ("A", 50), ("A", 100), ("R", 20), ("R", 50), ("R", 100), ("T", 100)):
        rate, cost = m.rate(arm, cells, share=share), m.person_seconds(arm, share)
        if rate and cost:
            rows.append(f"{share} % {arm}: {rate.value:.0%} for {cost:.0f} s")

    def decide(_a: Rate, _t: Rate) -> tuple[str, str]:
        return "; ".join(rows), "reported"

    needed = (m.rate("A", cells), m.rate("T", cells))
    return _claim("A12", "Cheaper per success", '"5 times"', "both people charged, no mark", needed, decide)
