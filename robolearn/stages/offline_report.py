"""The page of an offline run: what was learned from, what every candidate was worth, and what the gate said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn.report import Section, curves, paragraph, provenance, table, write_page

__all__ = ["gate_sections", "write_report"]

Curve = tuple[list[float], list[float]]


def write_report(
    out: Path, store: str, checkpoint: str, facts: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]
) -> Path:
    """Write `report.html` of an offline run below `out`."""
    accepted = sum(d["accepted"] for d in decisions)
    tried = " except in trials" if any(d["trial"] for d in decisions) else ""
    lead = (
        f"{accepted} of {len(decisions)} candidates were accepted by the gate; what was rejected was undone bit for "
        f"bit. Nothing here was measured on the bench{tried}."
    )
    model = facts["model"]
    rows = [
        ("episodes", ", ".join(f"{count} {name}" for name, count in facts["episodes"].items())),
        ("decisions", ", ".join(f"{count:,} {name}" for name, count in facts["decisions"].items())),
        ("model: explained variance, held out", ", ".join(f"{name} {value:.0%}" for name, value in model.items())),
        ("imagined decisions per rollout", facts["horizon"]),
        ("critics' values on recordings", "{:.3f} to {:.3f}".format(*facts["critic"])),
        ("reachable values", "{:.3f} to {:.3f}".format(*facts["reach"])),
    ]
    sections = [
        Section("What it learned from", table(("what", "value"), rows)),
        *gate_sections(decisions),
        Section("Critics and models", _losses(out)),
        Section("How this was made", provenance({"store": store, "checkpoint": checkpoint})),
    ]
    return write_page(out / "report.html", "Offline reinforcement learning", lead, sections)


def gate_sections(decisions: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Curves and the table of a gate's log."""
    if not decisions:
        return []
    lines: dict[str, Curve] = {}
    for name in decisions[0]["estimates"]:
        found = [(k, d["estimates"][name]) for k, d in enumerate(decisions)]
        lines[f"{name}, mean"] = [float(k) for k, _ in found], [e["mean"] for _, e in found]
        lines[f"{name}, lower bound"] = [float(k) for k, _ in found], [e["low"] for _, e in found]
    kept = {name: _known(curve) for name, curve in lines.items()}
    kls = {"KL per denoised number": _known(([float(k) for k in range(len(decisions))], [d["kl"] for d in decisions]))}
    rows = [
        (
            d["label"],
            "accepted" if d["accepted"] else "rejected",
            *(f"{e['mean']:+.4f} [{e['low']:+.4f}, {e['high']:+.4f}]" for e in d["estimates"].values()),
            "" if d["kl"] is None else f"{d['kl']:.3g}",
            "; ".join(d["reasons"]),
        )
        for d in decisions
        if all(e["low"] is not None for e in d["estimates"].values())
    ]
    header = ("candidate", "gate", *(f"{name}: improvement" for name in decisions[0]["estimates"]), "KL", "why not")
    note = "An improvement is in units of return, with one-sided 95 % bounds over episodes and ensemble members."
    return [
        Section(
            "Improvement that the gate saw",
            paragraph(note, note=True) + curves(kept, x="candidate", y="improvement in return"),
        ),
        Section("How far candidates moved", curves(kls, x="candidate", y="KL", log=True)),
        Section("Every decision", table(header, rows, fold=f"All {len(rows)} decisions")),
    ]


def _known(curve: tuple[Sequence[float], Sequence[float | None]]) -> Curve:
    pairs = [(x, y) for x, y in zip(*curve, strict=True) if y is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _losses(out: Path) -> str:
    parts: list[str] = []
    for name in ("critics", "dynamics"):
        path = out / name / "metrics.jsonl"
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        shown: dict[str, Curve] = {}
        for key in ("loss", "held_out_loss"):
            there = [row for row in rows if row.get(key) is not None]
            shown[f"{name}, {'training' if key == 'loss' else 'held out'}"] = (
                [row["step"] for row in there],
                [row[key] for row in there],
            )
        parts.append(curves(shown, x="step", y="loss"))
    return "".join(parts)
