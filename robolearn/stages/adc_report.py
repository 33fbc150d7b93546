"""The page of the study: what was asked, what came out, and what does not follow from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robolearn.intervals import Rate
from robolearn.report import Section, bars, curves, paragraph, provenance, table, write_page
from robolearn.runs import write_json
from robolearn.stages.adc_arms import ARMS, HELD_OUT, SHAKE_M
from robolearn.stages.adc_cells import CELLS, MEASURING
from robolearn.stages.adc_claims import LANGUAGE, NORMAL, RECOVERY, VARIED, VARIED_HELD, VISUAL, Measured, claims
from robolearn.stages.adc_digest import draw, markdown
from robolearn.stages.adc_study import Study

__all__ = ["gather", "groups", "write_report"]


def groups() -> dict[str, tuple[str, ...]]:
    """Cells that answer one question together, by their name in reports."""
    return {
        "normal positions": NORMAL,
        "varied positions": VARIED,
        "held-out command, varied": VARIED_HELD,
        "undisturbed twin": ("off",),
        "thing moved": ("object",),
        "container moved": ("container",),
        "command before": ("before",),
        "command during": ("during",),
        "command after": ("after",),
        "slip": ("slip",),
        "pulled away": ("pull",),
        "push 20 N": ("push",),
        "distractor": ("distractor",),
        "wrist camera dark": ("dark.wrist",),
        "table camera dark": ("dark.agent",),
    }


def gather(study: Study) -> Measured:
    """Everything that is there so far."""
    collected: dict[tuple[str, int], Any] = {}
    for seed in study.seeds:
        for arm in study.arms:
            path = study.demonstrations(arm, seed) / "collected.json"
            if path.exists():
                collected[arm, seed] = json.loads(path.read_text())
    return Measured({job: study.results(job) for job in study.jobs}, collected)


def write_report(study: Study) -> Path:
    """Write `report.html`, `summary.json`, `summary.md` and `cells.png` into the study's folder, of what is there."""
    m = gather(study)
    found = claims(m)
    done = sorted({job for job in m.results}, key=str)
    seeds = {arm: sum(job.arm == arm and job.share == 100 for job in done) for arm in study.arms}
    starts = study.sizes.starts
    lead = (
        f"{sum(c.verdict == 'passed' for c in found)} of 12 claims pass their mark, "
        f"{sum(c.verdict == 'failed' for c in found)} fail, {sum(c.verdict == 'not run' for c in found)} not run. "
        f"Training seeds per arm: {', '.join(f'{arm} {n}' for arm, n in seeds.items())}; "
        f"{starts} starts per cell and seed."
    )
    sections = [
        Section("What this is", "".join(map(paragraph, _story(study)))),
        Section("Claims", _claims_table(found)),
        Section("The question that matters: A against R", _against(m, study.arms)),
        Section("Arms and cells", _cells_table(m, study.arms)),
        Section("Picked, if not placed", _cells_table(m, study.arms, "picked")),
        Section("How much data", _shares(m)),
        Section("What the demonstrations hold", _data_table(m, study.arms)),
        Section("How often it happened", _applied(m, study.arms)),
        Section("Every cell", _every_cell(m, study.arms)),
        Section("What does not follow", "".join(map(paragraph, _limits(seeds, starts)))),
        Section("How this was made", provenance(_facts(study))),
    ]
    summary = {
        "claims": [{name: getattr(c, name) for name in ("id", "text", "mark", "found", "verdict")} for c in found],
        "seeds": seeds,
        "starts": starts,
    }
    write_json(study.out / "summary.json", summary)
    (study.out / "summary.md").write_text(markdown(m, found, study.arms, groups()))
    draw(m, study.arms, groups(), study.out / "cells.png")
    return write_page(study.out / "report.html", "Does it pay to disturb a demonstration?", lead, sections)


def _story(study: Study) -> list[str]:
    arms = "; ".join(f"{name}: {ARMS[name].text}" for name in study.arms)
    seen = "it sees pictures" if study.sizes.pixels else "it sees gaps between the hand and what is told"
    return [
        "A robot is told to put one of three fruits into one of two containers. In adversarial data collection a "
        "second person disturbs every demonstration on purpose: moves the fruit away under the gripper, moves the "
        "container, changes the command. The published comparison is between tidy demonstrations that all start alike, "
        "and disturbed ones that start everywhere; so nobody knows which of the two differences helped.",
        f"Here all ways of recording have the same {study.sizes.frames} frames, the same scripted teacher and the same "
        f"small diffusion policy ({seen}; the command as a learned bag of words, no pretrained language model). "
        f"{arms}.",
        f"The command {HELD_OUT[0]!r} is in no demonstration, though its words are. Policies were tuned on starts of "
        f"seed 77 only and measured on starts of seed {MEASURING}, the same for all.",
    ]


def _claims_table(found: Sequence[Any]) -> str:
    rows = [(c.id, c.text, c.paper, c.mark, c.found, c.verdict) for c in found]
    return table(("claim", "", "paper", "pass mark", "found here", "verdict"), rows)


def _against(m: Measured, arms: Sequence[str]) -> str:
    rows: list[tuple[str, ...]] = []
    for name, cells in {**groups(), "all moved or told": (*VISUAL, *LANGUAGE), "all recoveries": RECOVERY}.items():
        cells_found = [m.difference("A", other, cells) for other in ("R", "A-rand", "D") if other in arms]
        if any(cells_found):
            rows.append((name, *(str(one) if one else "-" for one in cells_found)))
    others = [f"A - {other}" for other in ("R", "A-rand", "D") if other in arms]
    if not rows:
        return paragraph("A and R were not both measured.", note=True)
    text = "Differences in success on the same starts with the same training seed, with 95 % intervals (Newcombe)."
    return paragraph(text, note=True) + table(("cells", *others), rows)


def _cells_table(m: Measured, arms: Sequence[str], what: str = "placed") -> str:
    rows: list[tuple[str, ...]] = []
    for name, cells in groups().items():
        rates = [m.rate(arm, cells, what=what) for arm in arms]
        if any(rates):
            rows.append((name, *(_short(rate) for rate in rates)))
    plot = ""
    if what == "placed":
        dynamic = {arm: m.rate(arm, (*VISUAL, *LANGUAGE)) for arm in arms}
        static = {arm: m.rate(arm, VARIED) for arm in arms}
        plot = paragraph("Varied positions, nothing happens:") + bars({a: r for a, r in static.items() if r})
        plot += paragraph("Things moved and commands changed:") + bars({a: r for a, r in dynamic.items() if r})
    return plot + table(("cells", *arms), rows)


def _short(rate: Rate | None) -> str:
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]" if rate else "-"


def _shares(m: Measured) -> str:
    cells = (*VARIED, *VISUAL)
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for arm in ("A", "R"):
        points = [(share, m.rate(arm, cells, share=share)) for share in (20, 50, 100)]
        if shown := [(float(share), 100 * rate.value) for share, rate in points if rate]:
            lines[arm] = ([x for x, _ in shown], [y for _, y in shown])
    if not lines:
        return paragraph("Not measured.", note=True)
    return curves(lines, x="share of the frames in %", y="success in %")


def _data_table(m: Measured, arms: Sequence[str]) -> str:
    rows: list[tuple[object, ...]] = []
    for arm in arms:
        for (name, seed), facts in m.collected.items():
            if name == arm:
                acts = ", ".join(f"{kind} {count}" for kind, count in facts["acts"].items()) or "none"
                rows.append(
                    (arm, seed, facts["episodes"], facts["frames"], f"{facts['per_1000']:.0f}",
                     f"{facts['per_episode']:.1f}", f"{facts['redundancy']:.1%}", acts,
                     f"{facts['person_seconds']:.0f}")
                )  # fmt: skip
    heads = (
        "arm",
        "seed",
        "episodes",
        "frames",
        "situations / 1000",
        "/ episode",
        "redundant",
        "acts",
        "person-seconds",
    )
    return table(heads, rows)


def _applied(m: Measured, arms: Sequence[str]) -> str:
    """A disturbance that waits for a grasp does not come to a policy that never grasps."""
    rows: list[tuple[str, ...]] = []
    for name in (cell.name for cell in CELLS.values() if cell.act):
        row = [name]
        for arm in arms:
            found = [
                one.done_at == one.done_at
                for job, many in m.results.items()
                if job.arm == arm and job.share == 100
                for one in many
                if one.cell == name
            ]
            row.append(f"{sum(found) / len(found):.0%}" if found else "-")
        if set(row[1:]) != {"-"}:
            rows.append(tuple(row))
    text = (
        "Share of episodes in which the disturbance of the cell happened. All episodes count in the rates above, also "
        "those that were spared because the policy never came so far, or because nothing could be moved anywhere."
    )
    return paragraph(text, note=True) + table(("cell", *arms), rows)


def _every_cell(m: Measured, arms: Sequence[str]) -> str:
    rows: list[tuple[str, ...]] = []
    for name in CELLS:
        rates = [m.rate(arm, (name,)) for arm in arms]
        if any(rates):
            by_seed = [" / ".join(f"{x:.0%}" for x in m.by_seed(arm, (name,))) for arm in arms]
            rows.append((name, *(f"{_short(r)} ({s})" if r else "-" for r, s in zip(rates, by_seed, strict=True))))
    return table(("cell", *arms), rows, fold="Every cell, with the rates of single training seeds in brackets")


def _limits(seeds: dict[str, int], starts: int) -> list[str]:
    return [
        f"Training seeds: {', '.join(f'{arm} {n}' for arm, n in seeds.items())}. Intervals treat all episodes as "
        "independent, though those of one policy share its luck in training; with few training seeds they are too "
        "narrow.",
        "The teacher and both adversaries are scripts. A person disturbs in ways that are on no list, and tires.",
        "The policy is small; the paper's is a large pretrained model that sees pictures. What holds for one need not "
        "hold for the other.",
        "The held-out command leaves one composition out; the paper leaves out all placing of one fruit.",
        f"Arm D's noise ({1000 * SHAKE_M:.0f} mm per step) was not tuned; DART's own way of choosing it was not used.",
        f"{starts} starts per cell and training seed.",
    ]


def _facts(study: Study) -> dict[str, object]:
    sizes = study.sizes
    return {
        "frames per arm": sizes.frames,
        "optimiser steps": f"{sizes.steps} of {sizes.batch} windows",
        "policy": json.dumps(sizes.policy),
        "training seeds asked for": ", ".join(map(str, study.seeds)),
        "seed of measured starts": MEASURING,
        "horizon": f"{sizes.horizon} control steps at 20 Hz",
    }
