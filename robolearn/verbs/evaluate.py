"""`robolearn evaluate`: success with an interval, from fresh paired starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.stages.evaluate import Evaluate, read_evaluation


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure a policy's success with a 95 % interval. The same seed gives every policy the same starts."""

    out: Path
    """Folder of the result and its report."""
    checkpoint: str = ""
    """Folder of a trained or exported policy; leave out to evaluate the task's scripted expert."""
    task: str = "lift"
    """Which environment plugin; its fields follow as --task.<field>."""
    episodes: int = 100
    """How many starts."""
    seed: int = 1_000_000
    """Seed of the starts, used for nothing else."""
    label: str = ""
    """Name in reports."""
    films: int = 2
    """How many successes and failures to film."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Arguments, arguments, prog="robolearn evaluate", parts={"task": "env"})
    stage = Evaluate(
        env=plugins.to_dict("env", chosen.task_config),
        checkpoint=chosen.checkpoint,
        episodes=chosen.episodes,
        seed=chosen.seed,
        label=chosen.label,
        films=chosen.films,
    )
    out = stage.run(chosen.out)
    result = read_evaluation(out)
    say(f"{result.label} in {result.env}: {result.rate}", f"Report: {out / 'report.html'}")
    return 0
