"""A trial: two policies play the same fresh starts, and the newcomer goes on only if it did at least as well.

A policy that is cloned afresh can be worse than the one it should replace: it copies noise, or it learned from more and
got worse at what mattered. Stages that clone end with this.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robolearn.intervals import Rate
from robolearn.report import Section, bars, paragraph
from robolearn.stages.evaluate import Evaluate, read_evaluation

__all__ = ["better"]


def better(
    out: Path, env: Mapping[str, Any], before: tuple[str, Path], newcomer: tuple[str, Path], starts: int, seed: int
) -> tuple[Path, list[Section]]:
    """The policy that goes on, and what a report says of the trial.

    Args:
        out: Folder of the two evaluations.
        env: Dict form of the environment's config.
        before: Name and folder of the policy to replace.
        newcomer: Name and folder of the one to take its place; it does if no trial is asked for.
        starts: How many paired starts, played as deployed; 0 is no trial.
        seed: Seed of these starts.
    """
    if not starts:
        return newcomer[1], []
    rates: dict[str, Rate] = {}
    for name, path in (before, newcomer):
        folder = out / name.replace(" ", "_")
        Evaluate(env, str(path), starts, seed, label=name, films=0).run(folder)
        rates[name] = read_evaluation(folder).rate
    name, path = newcomer if rates[newcomer[0]].value >= rates[before[0]].value else before
    told = paragraph(f"On the same {starts} starts, as deployed; {name} goes on.")
    return path, [Section("Trial", told + bars(rates))]
