"""What a person and a program see of a training run.

Numbers go to `metrics.jsonl`, one line per logged step, and to TensorBoard if asked for. A terminal gets a bar
with the time left; anything else (a log file, CI) gets a plain line now and then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robolearn.clock import Clock
from robolearn.errors import MissingDependency

__all__ = ["TrainingLog"]


class TrainingLog:
    """Writes numbers and shows progress; a context manager.

    Args:
        out: The run's folder; gets `metrics.jsonl` and, if asked for, `tensorboard/`.
        total: How many steps the run has.
        start: The step it begins at; lines of later steps, left by an interrupted run, are removed.
        tensorboard: Also write TensorBoard scalars.
        clock: For the rate of plain lines.
        line_every_s: Seconds between plain lines.
        quiet: Show nothing.
    """

    def __init__(
        self,
        out: Path,
        *,
        total: int,
        start: int,
        tensorboard: bool,
        clock: Clock,
        line_every_s: float = 10.0,
        quiet: bool = False,
    ):
        self._path = out / "metrics.jsonl"
        self._total, self._start, self._clock, self._every = total, start, clock, line_every_s
        self._console = Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        self._last_line = -line_every_s
        self._board = _board(out / "tensorboard", start) if tensorboard else None

    def __enter__(self) -> Self:
        _keep_until(self._path, self._start)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._began = self._clock.now()
        if self._console.is_terminal and not self._console.quiet:
            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(
                *columns, TimeRemainingColumn(), TextColumn("{task.description}"), console=self._console
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, completed=self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log scalars after `step` steps (a non-finite one is written as null, since JSON has none)."""
        line = {name: value if abs(value) < float("inf") else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step} | line) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        text = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        now = self._clock.now()
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif now - self._last_line >= self._every or step == self._total:
            self._last_line = now
            left = (now - self._began) / max(1, step - self._start) * (self._total - step)
            self._console.print(
                f"step {step}/{self._total}  {text}  {left:.0f} s left", highlight=False, soft_wrap=True
            )

    def advance(self, step: int) -> None:
        """`step` steps are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """Tell the person something now."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _board(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise MissingDependency("tensorboard", "train", "Writing TensorBoard scalars") from error
    return SummaryWriter(str(folder), purge_step=start or None)


def _keep_until(path: Path, step: int) -> None:
    """Drop the lines after `step`, and a torn last one: the steps will be made and logged again."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            at = int(json.loads(line)["step"])
        except ValueError:
            break
        if at <= step:
            kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")
