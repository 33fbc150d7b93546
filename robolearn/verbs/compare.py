"""`robolearn compare`: evaluations over the same starts, start by start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from robolearn.cli import parse, say
from robolearn.errors import ArtefactError, SpecError
from robolearn.intervals import PairedDifference, paired_difference
from robolearn.runs import read_manifest
from robolearn.stages.evaluate import Evaluation, read_evaluation

MANY = 100_000
"""Starts that nobody plays: more are not proposed."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare evaluations start by start with the first of them: difference with a 95 % interval, McNemar's p, verdict.

    robolearn compare runs/teacher_eval runs/student_eval
    """

    evaluations: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that `robolearn evaluate` wrote, two or more, the first being what the others are compared with."""
    margin: float = 0.02
    """A loss of success smaller than this would not matter (0.02: two points)."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Arguments, arguments, prog="robolearn compare")
    if len(chosen.evaluations) < 2:
        raise SpecError("Two evaluations or more can be compared; found one. Name the folder of another.")
    if not 0 < chosen.margin < 1:
        raise SpecError(f"A margin is a share between 0 and 1, such as 0.02; found {chosen.margin}.")
    found = [read_evaluation(folder) for folder in chosen.evaluations]
    if len({one.label for one in found}) < len(found):  # policies of one kind: their folders tell them apart
        found = [replace(one, label=str(folder)) for one, folder in zip(found, chosen.evaluations, strict=True)]
    base, *others = found
    say(f"{base.label} in {base.env}: {base.rate}")
    for folder, other in zip(chosen.evaluations[1:], others, strict=True):
        difference = paired(other, base)
        say(
            *different(folder, chosen.evaluations[0]),
            f"{other.label}: {other.rate}",
            f"  minus {base.label} on the {difference.trials} starts of both: {difference}",
            f"  only {other.label} succeeded on {difference.only_a}, only {base.label} on {difference.only_b}: "
            f"{told(difference, chosen.margin)}",
        )
    return 0


def paired(one: Evaluation, base: Evaluation) -> PairedDifference:
    """The rate of one minus that of a baseline, over the starts of both.

    Raises:
        SpecError: They are of different environments.
        ArtefactError: They have no start in common.
    """
    if one.env != base.env:
        raise SpecError(f"{one.label} was evaluated in {one.env}, {base.label} in {base.env}: evaluate both in one.")
    mine = dict(zip(one.seeds, one.successes, strict=True))
    theirs = dict(zip(base.seeds, base.successes, strict=True))
    if not (both := [seed for seed in mine if seed in theirs]):
        raise ArtefactError(
            f"{one.label} and {base.label} have no start in common (first seeds {one.seeds[0]} and {base.seeds[0]}). "
            "Evaluate both with the same --seed."
        )
    return paired_difference([mine[seed] for seed in both], [theirs[seed] for seed in both])


def different(folder: Path, base: Path) -> list[str]:
    """A line for the reader where two environments have other settings: then equal seeds are not equal starts."""
    mine, theirs = _settings(folder), _settings(base)
    names = [n for n in mine.keys() & theirs.keys() - {"n", "threads"} if mine[n] != theirs[n]]
    settings = ", ".join(f"{n} {mine[n]} here and {theirs[n]} there" for n in sorted(names))
    return [f"{folder} and {base} differ in their task, so their starts may too: {settings}."] if names else []


def told(difference: PairedDifference, margin: float) -> str:
    """The verdict, and how many starts would decide where these do not."""
    verdict = difference.verdict(margin)
    undecided = difference.low <= -margin and difference.high >= 0
    needed = difference.starts_needed(margin)
    if not undecided or needed is None or not difference.trials < needed <= MANY:
        return verdict
    return f"{verdict}; about {needed} fresh starts would exclude it if both went on like this"


def _settings(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    return dict(manifest.config["env"]) if manifest else {}
