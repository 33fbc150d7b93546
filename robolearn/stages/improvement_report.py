"""The one report of staged improvement: what every stage brought, on the same starts, and what the gate said."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn.intervals import paired_difference
from robolearn.learn.gate import read_log
from robolearn.report import Section, curves, films, paragraph, provenance, table, video, write_page
from robolearn.stages.evaluate import Evaluation, describe
from robolearn.stages.offline_report import gate_sections

__all__ = ["MARGIN", "longest_streak", "write_report"]

MARGIN = 0.02
"""No stage may lower success by more than this; the one-step policy may be this much worse than its teacher."""


def longest_streak(successes: Sequence[bool]) -> int:
    """The most successes in a row, in the order of the starts."""
    longest = current = 0
    for good in successes:
        current = current + 1 if good else 0
        longest = max(longest, current)
    return longest


def write_report(out: Path, results: Mapping[str, Evaluation], paths: Mapping[str, Path], seed: int) -> Path:
    """Write `report.html` and return its path.

    Args:
        out: The run's folder.
        results: Of every stage, in order, over the same starts.
        paths: Of their policies.
        seed: Of the starts.
    """
    made = list(results.values())
    first, online = made[0], results["online RL"]
    lead = (
        f"Success on the same {len(first.seeds)} starts: {first.rate} after imitation, {online.rate} after online "
        f"reinforcement learning, {results['exported'].rate} in one network evaluation without torch."
    )
    sections = [
        *describe(made, "Success of every stage"),
        Section("What each stage changed", _changes(results)),
        Section("One step instead of many", _one_step(results, out)),
        *_gate(out),
        Section("Learning by trying", _online(out)),
        Section("Films", _films(out, results)),
        Section("How this was made", _made(out, paths, seed)),
    ]
    return write_page(out / "report.html", f"Staged improvement of {first.env}", lead, sections)


def _changes(results: Mapping[str, Evaluation]) -> str:
    rows: list[tuple[str, ...]] = []
    names = list(results)
    for name, before in zip(names[1:], names, strict=False):
        difference = paired_difference(results[name].successes, results[before].successes)
        verdict = "LOWERED success" if difference.value < -MARGIN else difference.verdict(MARGIN)
        split = f"{difference.only_a} / {difference.only_b}"
        streak = str(longest_streak(results[name].successes))
        rows.append((f"{name} minus {before}", str(difference), split, verdict, streak))
    header = ("stages", "difference [95 %], p", "only new / only old", "verdict", "longest streak of successes")
    note = "Differences are paired: both policies had the same starts. p is McNemar's exact test."
    return table(header, rows) + paragraph(note, note=True)


def _one_step(results: Mapping[str, Evaluation], out: Path) -> str:
    teacher, student = results["online RL"], results["one step"]
    difference = paired_difference(student.successes, teacher.successes)
    verdict = "non-inferior" if difference.low > -MARGIN else "non-inferiority NOT shown"
    steps = _steps(out)
    rows = [
        (
            r.label,
            f"{r.decision_ms[0]:.3f}",
            f"{r.decision_ms[1]:.3f}",
            f"{teacher.decision_ms[0] / r.decision_ms[0]:.1f}",
            f"{teacher.decision_ms[1] / r.decision_ms[1]:.1f}",
        )
        for r in (teacher, student, results["exported"])
    ]
    header = ("policy", "decision p50 in ms", "p99 in ms", "times faster, p50", "p99")
    text = f"Student minus teacher: {difference}; with a margin of {MARGIN:.0%} it is {verdict}. "
    text += f"The teacher takes {steps} steps; the aim is to be {0.8 * steps:.1f} times faster."
    parity: dict[str, float] = json.loads((out / "one_step" / "parity.json").read_text())
    near = (
        f"On {parity['states']:.0f} states nothing learned from, from the same noise, its normalised actions are "
        f"{parity['rms']:.4f} from the teacher's (root mean square); the teacher's own differ by "
        f"{parity['teacher_spread']:.4f} between two noises."
    )
    return paragraph(text) + table(header, rows) + paragraph(near)


def _steps(out: Path) -> int:
    from robolearn.learn import checkpoint

    return int(checkpoint.load(out / "online").config["sample_steps"])


def _gate(out: Path) -> list[Section]:
    path = out / "offline" / "gate.jsonl"
    if not path.exists():
        return []
    decisions = read_log(path)
    accepted = sum(d["accepted"] for d in decisions)
    text = f"The gate accepted {accepted} of {len(decisions)} candidates; rejected ones were undone bit for bit."
    return [Section("The gate", paragraph(text)), *gate_sections(decisions)]


def _online(out: Path) -> str:
    rows = [json.loads(line) for line in (out / "online" / "metrics.jsonl").read_text().splitlines()]
    summary: dict[str, Any] = json.loads((out / "online" / "online.json").read_text())
    there = [row for row in rows if row.get("success") is not None]
    line = {"": ([row["step"] for row in there], [100 * row["success"] for row in there])}
    total = max(summary["seconds"], 1e-9)
    phases = ", ".join(f"{name.removesuffix('_s')} {value / total:.0%}" for name, value in summary["phases"].items())
    text = (
        f"{summary['steps']:,} control steps, {summary['decisions']:,} decisions, {summary['episodes']:,} episodes in "
        f"{total / 60:.1f} minutes: {summary['decisions'] / total:,.0f} decisions and {summary['steps'] / total:,.0f} "
        f"control steps per second, everything included. Share of the time, two threads side by side: {phases}."
    )
    reached = [
        f"{float(mark):.0%} after {at['steps']:,.0f} steps and {at['seconds'] / 60:.1f} minutes"
        for mark, at in summary["reached"].items()
    ]
    marks = f"The exploring policy first reached {'; '.join(reached)}." if reached else ""
    return curves(line, x="control step", y="success while exploring, %") + paragraph(text) + paragraph(marks)


def _films(out: Path, results: Mapping[str, Evaluation]) -> str:
    shown: list[str] = []
    for name in results:
        for path in sorted((out / "evaluation" / name.replace(" ", "_") / "films").glob("*.mp4")):
            shown.append(video(path, f"{name}: {path.stem.replace('_', ' ')}"))
    return films(shown)


def _made(out: Path, paths: Mapping[str, Path], seed: int) -> str:
    links = "".join(
        f'<li><a href="{html.escape(str(path.relative_to(out)))}/report.html">{html.escape(name)}</a></li>'
        for name, path in paths.items()
        if (path / "report.html").exists()
    )
    return provenance({"seed of the evaluation starts": seed}) + f"<p>Reports of the stages:</p><ul>{links}</ul>"
