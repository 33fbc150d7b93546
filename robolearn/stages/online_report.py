"""What the report of online reinforcement learning says; `online_rl` makes what it says it of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robolearn.intervals import wilson
from robolearn.report import Section, curves, paragraph, provenance, table

__all__ = ["lead", "sections"]


def lead(summary: Mapping[str, Any]) -> str:
    """One sentence of a run."""
    recent: list[int] = summary["recent"]
    rate = wilson(sum(recent), len(recent)) if recent else None
    return (
        f"{summary['steps']:,} control steps in {summary['episodes']:,} episodes and {summary['seconds'] / 60:.1f} "
        f"minutes; with exploration noise the last {len(recent)} episodes succeeded at {rate}."
    )


def sections(rows: list[dict[str, Any]], summary: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Section]:
    """The report of a run, from the rows of its metrics, its `online.json` and the fields of its stage."""

    def curve(name: str, scale: float = 1.0) -> tuple[list[float], list[float]]:
        there = [row for row in rows if row.get(name) is not None]
        return [row["step"] for row in there], [scale * row[name] for row in there]

    total = max(summary["seconds"], 1e-9)
    phases = summary["phases"]
    words = {
        "simulate_s": ("collector", "simulating, observing, bookkeeping"),
        "decide_s": ("collector", "deciding (network)"),
        "wait_s": ("collector", "waiting for the learner"),
        "learn_s": ("learner", "learning"),
        "idle_s": ("learner", "waiting for the collector"),
    }
    timing = [(*words[n], f"{phases[n]:.1f} s", f"{phases[n] / total:.0%}") for n in words if n in phases]
    reached = [
        (f"{float(mark):.0%}", f"{at['steps']:,.0f}", f"{at['episodes']:,.0f}", f"{at['seconds'] / 60:.1f} min")
        for mark, at in summary["reached"].items()
    ]
    numbers = [
        ("control steps", f"{summary['steps']:,}"),
        ("decisions", f"{summary['decisions']:,}"),
        ("decisions per second, everything included", f"{summary['decisions'] / total:,.0f}"),
        ("control steps per second, everything included", f"{summary['steps'] / total:,.0f}"),
    ]
    note = (
        f"Rates are of the exploring policy over the last {settings['window']} episodes; without noise it does better."
    )
    learning = json.dumps({name: dict(settings[name]) for name in ("ppo", "reward")})
    return [
        Section(
            "Success", paragraph(note, note=True) + curves({"": curve("success", 100)}, x="step", y="success in %")
        ),
        Section("First reached", table(("success", "control steps", "episodes", "time"), reached)),
        Section(
            "What the policy and the critic did",
            curves({"KL of a step": curve("last_kl")}, x="control step", y="KL", log=True)
            + curves({"explained variance": curve("explained_variance")}, x="control step", y="share"),
        ),
        Section("Where the time went", table(("thread", "phase", "time", "share"), timing) + table(("", ""), numbers)),
        Section(
            "How this was made",
            provenance(
                {"checkpoint": settings["checkpoint"], "env": json.dumps(dict(settings["env"])), "settings": learning}
            ),
        ),
    ]
