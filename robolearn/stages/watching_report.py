"""The report on learning from watching: tables from results, one section per part of the way from video to robot."""

# Rows of tables are longer than a line.
# ruff: noqa: E501
# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.intervals import wilson
from robolearn.keypoints.tracks import ARM
from robolearn.report import Section, paragraph, table
from robolearn.stages.reward import load_reward
from robolearn.stages.watching_claims import interval
from robolearn.stages.watching_pictures import draw_reward, draw_tolerance, embedded
from robolearn.stages.watching_study import NOISE_CM, LearningStudy

__all__ = ["detection_section", "execution_section", "posture_section", "pouring_section", "reward_section"]

NAMES = {"learned": "", "cloned": "cloning", "random": "random displacements"}


def detection_section(rows: Sequence[Mapping[str, Any]], pictures: str) -> Section:
    """Detectors against the truth of filmed people."""

    def pair(row: Mapping[str, Any], part: str, unit: str) -> str:
        values = [row[f"{part} {unit} {k}"] for k in ("median", "p90")]
        scale, digits = (100.0, 1) if unit == "m" else (1.0, 1)
        return " / ".join("-" if v is None else f"{scale * v:.{digits}f}" for v in values)

    parts = [name.removeprefix("right_") for name in ARM]
    header = [
        "detector",
        "person",
        "",
        "found",
        "sides swapped",
        *(f"{p} px" for p in parts),
        *(f"{p} cm" for p in parts),
        "rejected",
    ]
    body = [
        (
            r["detector"], r["person"], r["stage"], f"{r['found']:.0%} of {r['frames']:.0f}",
            f"{r['turned']:.0%}" if r["stage"] == "fixed" else "-",
            *(pair(r, p, "px") for p in parts), *(pair(r, p, "m") for p in parts),
            f"{r['rejected']:.0%}" if r["stage"] == "fixed" else "-",
        )
        for r in rows
    ]  # fmt: skip
    text = (
        "Right arm, median / 90th percentile, against the truth of the simulated person; cm: in three dimensions, by the "
        "rendered depth. Fixed: sides exchanged where the person must face the camera, gaps filled, the rest rejected."
    )
    return Section("Watching a person", pictures + table(header, body) + paragraph(text, note=True))


def posture_section(
    rows: Sequence[Mapping[str, Any]], quality: Sequence[Sequence[object]], names: Sequence[str], picture: str
) -> Section:
    """A person's posture on robots' arms."""
    if not rows:
        return Section("A person's posture on a robot's arm", paragraph("Not asked for."))
    header = (
        "robot",
        "method",
        "tool error mm, median / p95",
        "upper arm °",
        "forearm °",
        "travel rad",
        "2nd difference",
        "at limit",
    )
    body = [
        (
            m["robot"], m["method"], f"{m['median_mm']:.3f} / {m['p95_mm']:.3f}", f"{m['upper_deg']:.0f}",
            f"{m['forearm_deg']:.0f}", f"{m['travel_rad']:.1f}", f"{m['roughness_rad']:.3f}", f"{m['limited']:.1%}",
        )
        for m in rows
    ]  # fmt: skip
    text = (
        "Means over all frames; travel per recording. Plain inverse kinematics moves less than any method that keeps the "
        "posture; the point of the map is posture. UR5e has six joints and cannot turn its upper arm about itself."
    )
    return Section(
        "A person's posture on a robot's arm",
        picture
        + table(header, body)
        + paragraph(text, note=True)
        + table(names, quality, fold="Quality of the recordings"),
    )


def reward_section(study: LearningStudy, uses: Sequence[Mapping[str, Any]], pictures: Path) -> Section:
    """Rewards from people: sorting, audit, tolerance, transfer, and what wrong assumptions do."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for job in study.jobs:
        if (found := study.result(job)) is not None:
            groups.setdefault((job.method, job.recordings), []).append(found)
    sorting: list[Sequence[object]] = []
    audits: list[Sequence[object]] = []
    for (method, count), results in groups.items():
        for who in NAMES if method == study.methods[0] else ("learned",):
            cells = [
                interval([float(r["sorting"][who][k] or 0.0) for r in results])
                for k in ("precision", "recall", "true_return")
            ]
            sorting.append((NAMES[who] or method, count, len(results), *cells))
        lab = [interval([float(r[k]) for r in results]) for k in ("lba_percent", "lba_cloned_percent", "ile")]
        # A distance is None where there was no true reward to compare with.
        kinds = [interval([float(r["audit"][k] or 0.0) for r in results]) for k in ("starc", "rank", "auc", "spread")]
        audits.append((method, count, *kinds, *lab, f"{sum(bool(r['doubts']) for r in results)} of {len(results)}"))
    shown, best = "", study.best
    if best:
        doubts = {job: (study.result(job) or {})["doubts"] for job in best}
        doubted = [job for job in best if doubts[job]]
        trust = "Nothing measured speaks against the rewards of the main method."
        if doubted:
            worst = max(doubted, key=lambda job: len(doubts[job]))
            trust = (
                f"Do not trust these rewards: {len(doubted)} of {len(best)} are doubted. Seed {worst.seed}: "
                f"{'; '.join(doubts[worst])}."
            )
        shown = paragraph(trust) + embedded(
            draw_reward(pictures / "reward_map.png", load_reward(study.folder(best[0])).network),
            f"Learned reward g over the hand's place, seed {best[0].seed}; blue is sought, red avoided",
        )
    if uses:
        recalls = np.array([[u["noise"][str(cm)] for cm in NOISE_CM] for u in uses])
        shown += embedded(
            draw_tolerance(pictures / "tolerance.png", NOISE_CM, recalls), "Recall under a tracker's noise"
        )
    transfer = [tuple(f"{u[k]:.3f}" for k in ("human", "before", "after", "ratio")) for u in uses]
    wrong = [(name, f"{d:.3f}", f"{hard:.1%}", f"{soft:.1%}") for name, d, hard, soft in study.assumptions()]
    note = (
        "Means over seeds with 95 % t intervals. An onion that was not sorted within 100 steps is a miss. LBA: agreement "
        "of decisions with the recorded ones, without the 0.2 that the laboratory's code adds; ILE: missing share of the "
        "demonstrations' return under the learned reward. STARC: 0 the same reward, 0.71 unrelated, 1 opposite."
    )
    return Section(
        "Rewards from people",
        shown
        + table(("policy", "recordings", "seeds", "precision", "recall", "true return"), sorting)
        + table(
            (
                "reward",
                "recordings",
                "STARC",
                "rank",
                "AUC",
                "spread",
                "LBA %",
                "LBA of cloning %",
                "ILE",
                "not to be trusted",
            ),
            audits,
        )
        + paragraph(note, note=True)
        + table(("return in human space", "slower hand, as it is", "re-optimised on frozen g", "ratio"), transfer)
        + paragraph(
            "Assumptions of the learner that are wrong, exactly, on the table of sorting (tabular maximum entropy): distance from the true reward, and shares of the true return of acting on it as hard as can be and as randomly as the expert.",
            note=True,
        )
        + table(("wrong assumption", "STARC", "return, hard", "return, soft"), wrong),
    )


def pouring_section(title: str, study: LearningStudy) -> Section:
    """Rewards from the simulated person who pours: fresh tables in points, and the audit."""
    results = [found for job in study.best if (found := study.result(job)) is not None]
    if not results:
        return Section(title, paragraph("No seed is finished."))
    parts = ("success", "right", "spilled", "true_return")
    rows = [
        (name or study.methods[0], len(results), *(interval([float(r["pouring"][who][k]) for r in results]) for k in parts))
        for who, name in NAMES.items()
    ]  # fmt: skip
    kinds = ("starc", "rank", "auc", "spread")
    audit = [interval([float(r["audit"][k] or 0.0) for r in results]) for k in kinds]
    doubted = sum(bool(r["doubts"]) for r in results)
    text = (
        f"From {results[0]['recordings']} recordings ({results[0]['frames']} frames at 3 Hz) of a simulated person: the public "
        "recordings of people hold onions only. Success: at least 80 % of the beads in the bowl that was asked for, at most "
        "5 % elsewhere, the bottle in the crate, within 60 steps."
    )
    return Section(
        title,
        table(("policy", "seeds", "success", "in the right bowl", "beside both", "true return"), rows)
        + table((*kinds, "not to be trusted"), [(*audit, f"{doubted} of {len(results)}")])
        + paragraph(text, note=True),
    )


def execution_section(sorted_: Mapping[str, Mapping[str, Any]], poured: Mapping[str, Mapping[str, Any]]) -> Section:
    """Robots in physics: per robot "wins", "done" (share put away) and "seconds" of every layout; pouring "spilled"."""
    rows = [
        (
            task, name, str(wilson(sum(r["wins"]), len(r["wins"]))), f"{np.mean(r['done']):.1%}",
            f"{np.mean(r['spilled']):.1%}" if "spilled" in r else "-", f"{np.median(r['seconds']):.0f} s",
        )
        for task, found in (("sort_onions", sorted_), ("pour", poured))
        for name, r in found.items()
        if r.get("wins")
    ]  # fmt: skip
    text = (
        "Sorting succeeds when all five onions lie where they belong; a label is shown only at the inspection pose. Pouring "
        "succeeds when at least 80 % of the beads lie in the bowl that was asked for, at most 5 % neither there nor in the "
        "bottle, and the bottle in the crate. Done: onions put away, beads in the right bowl."
    )
    return Section(
        "On a robot, in physics",
        table(("task", "robot", "success [95 %]", "done", "spilled", "median time"), rows) + paragraph(text, note=True)
        if rows
        else paragraph("No robot was run."),
    )
