"""Claims I1 to I9 of learning from watching: what was measured, the pass mark, and the verdict.

A claim is decided on the mean over seeds against its mark; the interval stands beside it. What was not measured is
called so, and never passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.intervals import wilson

__all__ = ["Claim", "decide", "interval"]

_T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t at 97.5 %, by the number of values."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row.

    Attributes:
        id: Such as "I1".
        measured: In words and numbers.
        mark: What it takes.
        passed: None where it was not measured.
    """

    id: str
    measured: str
    mark: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not measured" if self.passed is None else "pass" if self.passed else "MISSED"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """For a table."""
        return self.id, self.measured, self.mark, self.verdict


def interval(values: Sequence[float]) -> str:
    """Mean with a 95 % t interval over seeds."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return f"{mean:.3f} (one seed)"
    return f"{mean:.3f} ± {_T95.get(n, 2.0) * float(np.std(values, ddof=1)) / n**0.5:.3f}"


def decide(
    rewards: Sequence[Mapping[str, Any]],
    uses: Sequence[Mapping[str, Any]],
    postures: Sequence[Mapping[str, Any]],
    robots: Mapping[str, Sequence[bool]],
    pours: Mapping[str, Sequence[bool]],
) -> list[Claim]:
    """All claims.

    Args:
        rewards: `result.json` of the main method on all recordings, one per seed.
        uses: What each of these rewards is good for (`LearningStudy.use`).
        postures: Rows of the posture table, with "robot" and "method".
        robots: Per robot, whether it sorted all onions of each layout.
        pours: Per who poured, whether each pouring succeeded.
    """
    found: list[Claim] = []
    marks = {"I1": "precision and recall ≥ 0.9", "I2": "≥ 0.9 and ≥ 0.7"}
    if rewards:
        sorting = {
            who: {k: [float(r["sorting"][who][k] or 0.0) for r in rewards] for k in ("precision", "recall")}
            for who in ("learned", "cloned", "random")
        }
        words = [
            f"{name}: precision {interval(sorting[who]['precision'])}, recall {interval(sorting[who]['recall'])}"
            for who, name in (("learned", "AIRL"), ("cloned", "cloning"), ("random", "random"))
        ]
        low = min(float(np.mean(v)) for v in sorting["learned"].values())
        found.append(Claim("I1", "; ".join(words), marks["I1"], low >= 0.9))
        auc, rank = ([float(r["audit"][k]) for r in rewards] for k in ("auc", "rank"))
        text = f"AUC {interval(auc)}, rank correlation with the true return {interval(rank)}"
        passed = bool(np.mean(auc) >= 0.9 and np.mean(rank) >= 0.7)
        found.append(Claim("I2", text, marks["I2"], passed))
    else:
        found += [Claim(id, "no seed is finished", mark, None) for id, mark in marks.items()]
    found.append(_noise(uses))
    found += _posture(postures)
    found.append(_robots("I7", "all five onions right", robots, 0.85, "both ≥ 0.85", 2))
    found.append(_robots("I8", "poured", pours, 0.8, "≥ 0.8", 1))
    ratios = [float(u["ratio"]) for u in uses]
    words = (
        f"re-optimised for a slower hand on frozen g: {interval(ratios)} of the return in human space" if ratios else ""
    )
    found.append(Claim("I9", words or "no seed is finished", "≥ 0.8", bool(np.mean(ratios) >= 0.8) if ratios else None))
    return found


def _noise(uses: Sequence[Mapping[str, Any]]) -> Claim:
    recalls = [float(u["noise"]["5"]) for u in uses]
    if not recalls:
        return Claim("I3", "no seed is finished", "≥ 0.8", None)
    ten = interval([float(u["noise"]["10"]) for u in uses])
    text = f"recall with 5 cm of noise {interval(recalls)}; with 10 cm {ten}"
    return Claim("I3", text, "≥ 0.8", float(np.mean(recalls)) >= 0.8)


def _posture(postures: Sequence[Mapping[str, Any]]) -> list[Claim]:
    rows = {m["method"]: m for m in postures if m["robot"] == "sawyer"}
    marks = ("≤ 30° against ≥ 90°", "< 1 and < 5 mm", "≤ 1.6 x")
    if not {"minimal smooth", "plain"} <= rows.keys():
        return [Claim(id, "Sawyer was not measured", m, None) for id, m in zip(("I4", "I5", "I6"), marks, strict=True)]
    smooth, plain = rows["minimal smooth"], rows["plain"]
    kept = max(float(smooth["upper_deg"]), float(smooth["forearm_deg"]))
    lost = min(float(plain["upper_deg"]), float(plain["forearm_deg"]))
    median, p95 = float(smooth["median_mm"]), float(smooth["p95_mm"])
    ratio = float(smooth["travel_rad"]) / float(plain["travel_rad"])
    return [
        Claim(
            "I4",
            f"arm off by at most {kept:.0f}° with the map, at least {lost:.0f}° without (Sawyer, means)",
            marks[0],
            kept <= 30 and lost >= 90,
        ),
        Claim("I5", f"tool error median {median:.3f} mm, p95 {p95:.3f} mm (Sawyer)", marks[1], median < 1 and p95 < 5),
        Claim(
            "I6",
            f"joints travel {ratio:.2f} x as far as with plain inverse kinematics (Sawyer)",
            marks[2],
            ratio <= 1.6,
        ),
    ]


def _robots(id: str, what: str, wins: Mapping[str, Sequence[bool]], least: float, mark: str, needed: int) -> Claim:
    rates = {name: wilson(sum(w), len(w)) for name, w in wins.items() if len(w)}
    if not rates:
        return Claim(id, "not done", mark, None)
    words = f"{what}: " + "; ".join(f"{name} {rate}" for name, rate in rates.items())
    enough = all(rate.value >= least for rate in rates.values())
    return Claim(id, words, mark, enough if len(rates) >= needed or not enough else None)
