"""The cells in which policies of the study are measured: where episodes start and what is done to them once.

After Huang et al. 2025 (arXiv 2503.11646, tables II to V), 100 starts per cell instead of 10. All policies meet the
same starts, and every disturbed cell has the same starts as the cell "off", in which nothing is done. Cells of one kind
of start are measured in one rollout: rows that end are refilled with the next episode, whichever cell it belongs to.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.compose import Chunked, Wrapped
from robolearn.contracts import Adversary, Env, Observer, Policy, Tick
from robolearn.episode import Outcome, Perturbation, Reading
from robolearn.learn.checkpoint import load_policy
from robolearn.observers import Progress
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.scene.derived import deriving
from robolearn.scene.view import Moment, read_scene, view
from robolearn.stages.adc_arms import HEIGHTS_M, HELD_OUT, NARROW, TASK, commands_for_training

__all__ = ["CELLS", "DYNAMIC", "Cell", "MeasureCells", "Result", "read_results"]

MEASURING = 20_261_125
"""Seed of the starts; nothing else uses it."""
ROWS = 50
WITHIN_S = 8.0
"""A recovery counts within this time of the disturbance."""
STARTS = {"normal": {"spread_m": NARROW["spread_m"], "heights_m": HEIGHTS_M}, "varied": {"heights_m": HEIGHTS_M}}
DYNAMIC = ("object", "container", "before", "during", "after", "slip", "pull", "push", "distractor")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        name: Such as "varied.h1.seen" or "object".
        starts: Which kind of start, of `STARTS`.
        heights: Numbers of the table heights of its starts.
        held_out: Whether the command is the one that no demonstration shows.
        act: What is done once (see the adversary plugin "probe"), "" for nothing.
        dark: The camera that shows nothing, "" for none.
    """

    name: str
    starts: str
    heights: tuple[int, ...] = (0, 1, 2)
    held_out: bool = False
    act: str = ""
    dark: str = ""


def _static() -> list[Cell]:
    return [
        Cell(f"{starts}.h{height}.{'held' if held else 'seen'}", starts, (height,), held)
        for starts in STARTS
        for height in range(len(HEIGHTS_M))
        for held in (False, True)
    ]


CELLS: Mapping[str, Cell] = {
    cell.name: cell
    for cell in (
        *_static(),
        Cell("off", "varied"),
        *(Cell(act, "varied", act=act) for act in DYNAMIC),
        Cell("dark.wrist", "varied", dark="wrist"),
        Cell("dark.agent", "varied", dark="agent"),
    )
}


@dataclass(frozen=True, slots=True)
class Result:
    """One measured episode.

    Attributes:
        cell: Name of the cell.
        seed: Of the start.
        placed: Whether it ended well: the fruit that was told last lies in the container that was told last.
        picked: Whether that fruit was lifted by the hand, or placed.
        done_at: When the disturbance happened, s; NaN when nothing was done or everything was refused.
        recovered: Whether it ended well within 8 s of the disturbance.
        seconds: Length.
    """

    cell: str
    seed: int
    placed: bool
    picked: bool
    done_at: float
    recovered: bool
    seconds: float


class _Dark(Wrapped):
    """An `Env` in which cameras of single rows show nothing."""

    def __init__(self, env: Env):
        super().__init__(env)
        self.dark = [""] * env.n

    def observe(self) -> Reading:
        reading = self.inner.observe()
        for row, camera in enumerate(self.dark):
            if camera:
                reading.arrays[f"{camera}.rgb"][row] = 0
        return reading


class _Referee:
    """Adversary and observer in one: each episode gets the disturbance of its cell, and is judged.

    Episodes begin in the order of the plan, which is what `rollout` promises.
    """

    def __init__(self, env: _Dark, plan: Sequence[tuple[Cell, int]], commands: Sequence[str]):
        acts = sorted({cell.act for cell, _ in plan if cell.act})
        config = {"plugin": "probe", "commands": tuple(commands)}
        self._acts: dict[str, Adversary] = {
            act: plugins.from_dict("adversary", {**config, "act": act}).build(env.inner) for act in acts
        }
        self._env, self._plan, self._next = env, plan, 0
        self._scene = read_scene(env.observation_spec)
        self._cell: list[Cell | None] = [None] * env.n
        self._picked, self._command = np.zeros(env.n, bool), np.full(env.n, -1)
        self._seeds, self._done_at = [0] * env.n, np.full(env.n, np.nan)
        self.results: list[Result] = []

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            cell, planned = self._plan[self._next]
            assert seed == planned
            self._next += 1
            self._cell[row], self._seeds[row], self._env.dark[row] = cell, seed, cell.dark
            self._picked[row], self._command[row], self._done_at[row] = False, -1, np.nan
            if cell.act:
                self._acts[cell.act].reset([seed], [row])

    def propose(self, reading: Reading) -> list[tuple[int, Perturbation]]:
        wanted = {act: {row for row, cell in enumerate(self._cell) if cell and cell.act == act} for act in self._acts}
        return [
            (row, act)
            for name, adversary in self._acts.items()
            if wanted[name]
            for row, act in adversary.propose(reading)
            if row in wanted[name]
        ]

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        return

    def step(self, tick: Tick) -> None:
        for row, event in tick.events:
            if event.accepted and np.isnan(self._done_at[row]):
                self._done_at[row] = event.time
        self._look(tick.reading)

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self._look(reading)
        for row, outcome in zip(rows, outcomes, strict=True):
            cell, good = self._cell[row], outcome is Outcome.SUCCESS
            assert cell is not None
            now, at = float(np.asarray(reading.time)[row]), float(self._done_at[row])
            recovered = good and not np.isnan(at) and now - at <= WITHIN_S
            self.results.append(
                Result(cell.name, self._seeds[row], good, good or bool(self._picked[row]), at, recovered, now)
            )
            self._cell[row], self._env.dark[row] = None, ""

    def _look(self, reading: Reading) -> None:
        seen = view(self._scene, reading.arrays)
        self._picked &= seen.command == self._command  # another command asks for another pick
        self._command = seen.command
        self._picked |= seen.moment == Moment.AFTER


@dataclass(frozen=True)
class MeasureCells:
    """The stage: one policy in some cells, a block of starts at a time."""

    checkpoint: str
    """Folder of the trained policy; "" measures the scripted expert."""
    cells: tuple[str, ...]
    """Names of cells."""
    first: int = 0
    """Number of the first start of every cell."""
    starts: int = 50
    """How many starts of every cell."""
    horizon: int = 240
    """Most control steps of an episode."""
    cameras: tuple[tuple[str, int, int], ...] = ()
    """Cameras the policy sees."""
    seed: int = MEASURING
    """Seed of the starts."""

    def run(self, out: Path) -> Path:
        """Write `results.json` below `out`."""
        config = json.loads(json.dumps(dataclasses.asdict(self)))
        inputs = {"checkpoint": folder_hash(Path(self.checkpoint))} if self.checkpoint else {}
        return run_stage(out, Manifest("adc_measure", config, inputs, self.seed, code_version(), False), self._work)

    def _work(self, out: Path, resume: bool) -> None:
        torch.set_num_threads(1)
        model = load_policy(Path(self.checkpoint)) if self.checkpoint else None
        results: list[Result] = []
        for kind in STARTS:
            chosen = [CELLS[name] for name in self.cells if CELLS[name].starts == kind]
            if not chosen:
                continue
            rows = min(ROWS, len(chosen) * self.starts)
            env = _Dark(plugins.from_dict("env", self._config(kind) | {"n": rows}).build())
            try:
                commands = commands_for_training(env)
                pools = _pools(env, chosen, self.first + self.starts, self.seed)
                # Starts outside, cells inside: neighbours in time differ in length, so no long tail at the end.
                plan = [
                    (cell, pools[cell.name][k]) for k in range(self.first, self.first + self.starts) for cell in chosen
                ]
                referee = _Referee(env, plan, commands)
                full = deriving(model, env.observation_spec) if model else None
                policy: Policy = Chunked(full, env.n) if full else plugins.load("expert", TASK)().build(env)
                watching: list[Observer] = [referee, Progress(f"measure {kind}", len(plan))]
                seeds = [seed for _, seed in plan]
                rollout(env, policy, seeds=seeds, adversary=referee, observers=watching)
                results += referee.results
            finally:
                env.close()
        rows = [{k: None if v != v else v for k, v in dataclasses.asdict(one).items()} for one in results]
        write_json(out / "results.json", rows)

    def _config(self, kind: str) -> dict[str, Any]:
        return {"plugin": TASK, "horizon": self.horizon, "cameras": self.cameras, **STARTS[kind]}


def _pools(env: Env, cells: Sequence[Cell], count: int, seed: int) -> dict[str, list[int]]:
    """Per cell the first `count` start seeds with its height and command; equal conditions give equal starts."""
    found: dict[str, list[int]] = {cell.name: [] for cell in cells}
    names = env.observation_spec["task.command"].names
    for block in range(1000):
        seeds = episode_seeds((block + 1) * env.n, seed)[block * env.n :]
        env.reset(seeds, range(env.n))
        arrays = env.observe().arrays
        heights = np.argmin(np.abs(arrays["table.place"] - np.array(HEIGHTS_M)), axis=1)
        held = np.array([names[k] in HELD_OUT for k in np.argmax(arrays["task.command"], axis=1)])
        for cell in cells:
            here = np.isin(heights, cell.heights) & (held == cell.held_out)
            found[cell.name] += [seeds[row] for row in np.flatnonzero(here)]
        if all(len(pool) >= count for pool in found.values()):
            break
    return found


def read_results(folder: Path) -> list[Result]:
    """The results of a finished measurement."""
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())
    for row in rows:
        row["done_at"] = math.nan if row["done_at"] is None else row["done_at"]
    return [Result(**row) for row in rows]
