"""The study as a list of jobs: one policy each, from demonstrations to measured cells, in a process of its own.

A job is an arm, a seed and a share of the arm's frames. Jobs of one arm and seed share their demonstrations. Whatever
is finished in the study's folder is not done again, so the same command goes on after a stop, and a larger study
(more seeds, more starts) extends a smaller one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn.data.store import Store
from robolearn.errors import RobolearnError
from robolearn.stages.adc_arms import ARMS, Collect, prefix
from robolearn.stages.adc_cells import CELLS, MeasureCells, Result, read_results
from robolearn.stages.imitation import Imitation

__all__ = ["PIXELS", "QUICK", "STATE", "Job", "Sizes", "Study"]

CAMERAS = (("agent", 84, 84), ("wrist", 84, 84))
SHARED = ("R", "A")
"""Arms that are also trained on shares of their frames."""
SHARED_CELLS = ("varied.h0.seen", "varied.h1.seen", "varied.h2.seen", "object", "container")
BLOCK = 20
"""Starts of one measurement; a study of more starts adds blocks."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        frames: Per arm.
        steps: Optimiser steps of every policy, whatever its share of the frames.
        batch: Windows per step.
        starts: Per cell.
        horizon: Control steps of a measured episode.
        cells: Measured cells.
        pixels: Whether the policies see pictures instead of poses.
        train: More fields of the training config.
    """

    frames: int
    steps: int
    batch: int
    starts: int
    horizon: int
    cells: tuple[str, ...]
    pixels: bool = False
    train: Mapping[str, Any] = field(default_factory=lambda: {})

    @property
    def policy(self) -> dict[str, Any]:
        """Dict form of the policy's config; chosen on tuning starts (seed 77), see docs/results/adc.md."""
        chosen = {"plugin": "diffusion", "history": 1, "horizon": 8, "chunk": 4, "dropout": 0.0, "words": "scene.words"}
        chosen |= {"temperature": 0.6}
        seen = ("scene.words", "scene.things", "scene.hand")  # nothing absolute: what works here works 10 cm aside
        if self.pixels:  # the hand by what it is above and how it is turned, not where: the pictures say that
            seen = ("scene.words", "scene.hand", "agent.rgb", "wrist.rgb")
            return chosen | {"observations": seen, "image_widths": (16, 32, 32), "observation_noise": 0.002, "draws": 4}
        return chosen | {"observations": seen, "observation_noise": 0.002}


STATE_CELLS = tuple(name for name, cell in CELLS.items() if not cell.dark)
STATE = Sizes(20_000, 5000, 128, 100, 240, STATE_CELLS)
PIXELS = Sizes(
    30_000,
    4000,
    64,
    60,
    240,
    ("off", "object", "dark.wrist", "dark.agent"),
    pixels=True,
    # With the usual rate, networks of pictures learn where things are too slowly (docs/results/adc.md).
    train={"learning_rate": 3e-3},
)
QUICK = Sizes(300, 30, 32, 1, 40, ("normal.h0.seen", "varied.h0.seen", "varied.h0.held", *STATE_CELLS[12:]))


@dataclass(frozen=True, slots=True)
class Job:
    """One policy."""

    arm: str
    seed: int
    share: int = 100

    def __str__(self) -> str:
        return f"{self.arm}:{self.seed}:{self.share}"

    @classmethod
    def read(cls, text: str) -> Job:
        """The inverse of `str`.

        Raises:
            RobolearnError: It is no job.
        """
        arm, _, rest = text.partition(":")
        seed, _, share = rest.partition(":")
        if arm not in ARMS or not (seed.isdigit() and share.isdigit()):
            raise RobolearnError(f"Expected a job ARM:SEED:SHARE with an arm of {', '.join(ARMS)}; found {text!r}.")
        return cls(arm, int(seed), int(share))


@dataclass(frozen=True, slots=True)
class Study:
    """All jobs in a folder."""

    out: Path
    sizes: Sizes
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    shares: tuple[int, ...] = (20, 50)

    @property
    def jobs(self) -> list[Job]:
        """Every policy, the ones that matter most first."""
        whole = [Job(arm, seed) for seed in self.seeds for arm in self.arms]
        parts = [Job(arm, s, share) for s in self.seeds for share in self.shares for arm in SHARED if arm in self.arms]
        return whole + parts

    def demonstrations(self, arm: str, seed: int) -> Path:
        """Folder of an arm's demonstrations."""
        return self.out / "data" / f"{ARMS[arm].data or arm}_{seed}"

    def work(self, job: Job) -> None:
        """Collect, train and measure one policy, as far as it is not done."""
        data = self._collect(job.arm, job.seed)
        store = Store.open(data / "store")
        episodes = len(prefix(store, self.sizes.frames * job.share // 100))
        run = self.out / "runs" / _name(job)
        Imitation(
            str(data / "store"),
            {**self.sizes.policy, **ARMS[job.arm].policy},
            {"steps": self.sizes.steps, "batch_size": self.sizes.batch, "seed": job.seed, **self.sizes.train},
            episodes=episodes,
            label="aligned",
            # A shaken arm is not to be imitated, but what the teacher wanted.
            action="requested" if ARMS[job.arm].shake else "sent",
        ).run(run)
        for first, starts in self._blocks():
            MeasureCells(
                str(run), self._cells(job), first, starts, self.sizes.horizon, CAMERAS if self.sizes.pixels else ()
            ).run(self._block(job, first))

    def results(self, job: Job) -> list[Result]:
        """What was measured of a job so far; [] for nothing."""
        found: list[Result] = []
        for first, _ in self._blocks():
            if (self._block(job, first) / "results.json").exists():
                found += read_results(self._block(job, first))
        return found

    def run(self, command: Sequence[str], processes: int, say: Callable[[str], None]) -> None:
        """Work on all jobs, `processes` at a time, each started as `command` + [job].

        Raises:
            RobolearnError: A job failed; the others were finished first.
        """
        # Arms that need another's demonstrations come after it; two processes must not collect the same twice.
        for arm, seed in dict.fromkeys((job.arm, job.seed) for job in self.jobs):
            if ARMS[arm].adversary.get("plugin") == "random":
                self._collect(arm, seed)
        waiting, running, failed = [job for job in self.jobs], dict[Job, subprocess.Popen[bytes]](), list[Job]()
        logs = self.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        while waiting or running:
            busy = {self.demonstrations(job.arm, job.seed) for job in running}
            while len(running) < processes and (
                ready := [j for j in waiting if self.demonstrations(j.arm, j.seed) not in busy]
            ):
                job = ready[0]
                waiting.remove(job)
                with (logs / f"{_name(job)}.log").open("ab") as log:
                    running[job] = subprocess.Popen([*command, str(job)], stdout=log, stderr=subprocess.STDOUT)
                busy.add(self.demonstrations(job.arm, job.seed))
            job, process = next(iter(running.items()))
            for job, process in list(running.items()):
                try:
                    process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                del running[job]
                say(f"{job}: {'done' if process.returncode == 0 else 'FAILED'} ({len(waiting) + len(running)} to go)")
                failed += [job] if process.returncode else []
        if failed:
            raise RobolearnError(f"These jobs failed: {', '.join(map(str, failed))}. Their logs are in {logs}.")

    def _collect(self, arm: str, seed: int) -> Path:
        arm, matched = ARMS[arm].data or arm, ""
        if ARMS[arm].adversary.get("plugin") == "random":
            matched = str(self._collect("A", seed) / "store")
        cameras = CAMERAS if self.sizes.pixels else ()
        return Collect(arm, self.sizes.frames, seed, cameras, matched).run(self.demonstrations(arm, seed))

    def _cells(self, job: Job) -> tuple[str, ...]:
        if job.share == 100:
            return self.sizes.cells
        return tuple(name for name in SHARED_CELLS if name in self.sizes.cells)

    def _blocks(self) -> list[tuple[int, int]]:
        size = min(BLOCK, self.sizes.starts)
        return [(first, size) for first in range(0, self.sizes.starts, size)]

    def _block(self, job: Job, first: int) -> Path:
        return self.out / "measured" / _name(job) / f"{first:03d}"


def _name(job: Job) -> str:
    return f"{job.arm}_{job.seed}_{job.share}"


def python() -> list[str]:
    """How to start this program again."""
    return [sys.executable, "-m", "robolearn.cli"]
