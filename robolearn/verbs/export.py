"""`robolearn export`: a policy as an ONNX graph for a computer without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.cli import parse, say
from robolearn.stages.export import Export


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Export a policy to ONNX and check it against its source. Run it with --policy onnx, or from policies.onnx."""

    checkpoint: str
    """Folder of the policy: a run, or a checkpoint in it."""
    out: Path
    """Folder of the exported policy."""
    tolerance: float = 1e-3
    """Largest difference of an action, as a share of its demonstrated range."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Arguments, arguments, prog="robolearn export")
    out = Export(chosen.checkpoint, chosen.tolerance).run(chosen.out)
    say(f"Exported policy: {out}", f"Report: {out / 'report.html'}")
    return 0
