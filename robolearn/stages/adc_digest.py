"""The study in a few tables and one picture, as Markdown, for the documentation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn.intervals import Rate
from robolearn.stages.adc_arms import ARMS
from robolearn.stages.adc_claims import Claim, Measured

__all__ = ["draw", "markdown"]

COLOURS = {
    "A": "#c2410c", "R": "#2563a8", "T": "#6b7280", "A-rand": "#d97706", "V": "#65a30d", "L": "#7c3aed", "D": "#0891b2",
}  # fmt: skip


def markdown(m: Measured, found: Sequence[Claim], arms: Sequence[str], groups: Mapping[str, tuple[str, ...]]) -> str:
    """Tables of claims, of rates per arm and cells, and of the demonstrations."""
    lines = ["| claim | | pass mark | found | verdict |", "|---|---|---|---|---|"]
    lines += [f"| {c.id} | {c.text} | {c.mark} | {c.found} | **{c.verdict}** |" for c in found]
    shown = [arm for arm in arms if any(job.arm == arm for job in m.results)]
    lines += ["", f"| cells | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for name, cells in groups.items():
        rates = [m.rate(arm, cells) for arm in shown]
        if any(rates):
            lines.append(f"| {name} | {' | '.join(_short(rate) for rate in rates)} |")
    lines += ["", "| arm | what it is | episodes | situations / 1000 frames | redundant | person-seconds |"]
    lines += ["|---|---|---|---|---|---|"]
    for arm in arms:
        facts = [one for (name, _), one in m.collected.items() if name == (ARMS[arm].data or arm)]
        if facts:
            mean = {key: sum(float(f[key]) for f in facts) / len(facts) for key in _NUMBERS}
            lines.append(
                f"| {arm} | {ARMS[arm].text} | {mean['episodes']:.0f} | {mean['per_1000']:.0f} | "
                f"{mean['redundancy']:.1%} | {mean['person_seconds']:.0f} |"
            )
    return "\n".join(lines) + "\n"


_NUMBERS = ("episodes", "per_1000", "redundancy", "person_seconds")


def draw(m: Measured, arms: Sequence[str], groups: Mapping[str, tuple[str, ...]], path: Path) -> Path | None:
    """A picture of all rates with their intervals; None when nothing was measured."""
    rates = {name: {arm: m.rate(arm, cells) for arm in arms} for name, cells in groups.items()}
    shown = [name for name, row in rates.items() if any(row.values())]
    drawn = [arm for arm in arms if any(rates[name][arm] for name in shown)]
    if not shown:
        return None
    figure: Any = importlib.import_module("matplotlib.figure").Figure(figsize=(8.6, 0.52 * len(shown) + 1.3))
    axes: Any = figure.subplots()
    step = 0.72 / len(drawn)
    for number, arm in enumerate(drawn):
        for place, name in enumerate(shown):
            rate = rates[name][arm]
            if rate is None:
                continue
            y = place + step * (number - (len(drawn) - 1) / 2)
            colour, label = COLOURS.get(arm, "#111827"), arm if place == 0 else None
            axes.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.4, alpha=0.7)
            axes.plot(100 * rate.value, y, "o", color=colour, markersize=4.5, label=label)
    for place in range(len(shown) - 1):
        axes.axhline(place + 0.5, color="#d1d5db", linewidth=0.6)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("success in %, with 95 % Wilson intervals")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(frameon=False, ncols=len(drawn), loc="lower left", bbox_to_anchor=(0.0, 1.0), handletextpad=0.1)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path


def _short(rate: Rate | None) -> str:
    return f"{rate.value:.0%} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]" if rate else "-"
