"""Evaluate a policy: success with an interval, length, jerk, decision time, per-seed table and videos.

Starts are paired: the same `seed` gives the same starts to every policy evaluated in the same environment, so two
evaluations can be compared start by start (`robolearn.intervals.paired_difference`). Evaluation starts come from a
seed of their own and must be used for nothing else. Videos are made afterwards by replaying what was sent, so
filming costs nothing while measuring and shows exactly the measured episodes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.clock import MonotonicClock
from robolearn.compose import Chunked, Replay
from robolearn.contracts import ChunkModel, Env, Policy
from robolearn.data.video import VideoWriter
from robolearn.episode import Episode, Outcome
from robolearn.errors import ArtefactError
from robolearn.intervals import Rate, wilson
from robolearn.observers import Film, Memory, Progress, jerk
from robolearn.report import Section, bars, films, paragraph, provenance, table, video, write_page
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.scene.derived import deriving
from robolearn.trained import load_model

__all__ = ["Evaluate", "Evaluation", "describe", "read_evaluation"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation measured.

    Attributes:
        label: Name of the policy in reports.
        env: Name of the environment.
        seeds: Start seeds in order.
        outcomes: `Outcome` codes in the same order.
        seconds: Length of each episode.
        jerk: Mean jerk of the tool per episode in m/s^3; NaN where the tool is not observed.
        decision_ms: Wall time of one decision of one row, p50 and p99, model included; () for a script.
        wall_s: Wall time of all episodes together.
    """

    label: str
    env: str
    seeds: tuple[int, ...]
    outcomes: tuple[int, ...]
    seconds: tuple[float, ...]
    jerk: tuple[float, ...]
    decision_ms: tuple[float, ...]
    wall_s: float

    @property
    def successes(self) -> list[bool]:
        """Per start, whether it succeeded."""
        return [outcome == Outcome.SUCCESS for outcome in self.outcomes]

    @property
    def rate(self) -> Rate:
        """Success rate with its Wilson 95 % interval."""
        return wilson(sum(self.successes), len(self.outcomes))


@dataclass(frozen=True)
class Evaluate:
    """The stage: a checkpoint, or the environment's scripted expert, from fresh paired starts."""

    env: Mapping[str, Any]
    """Dict form of the environment's config."""
    checkpoint: str = ""
    """Folder of a trained policy; "" evaluates the environment's scripted expert."""
    episodes: int = 100
    """How many starts."""
    seed: int = 1_000_000
    """Seed of the starts; reserved for evaluation."""
    label: str = ""
    """Name in reports; the name of the checkpoint's run by default."""
    films: int = 2
    """How many successes and how many failures to film; 0 for none."""
    camera: str = "agent"
    """Which camera films."""

    def run(self, out: Path) -> Path:
        """Measure, film, and write `evaluation.json` and `report.html` below `out`."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {"checkpoint": folder_hash(Path(self.checkpoint))} if self.checkpoint else {}
        return run_stage(out, Manifest("evaluate", config, inputs, self.seed, code_version(), False), self._work)

    def _work(self, out: Path, resume: bool) -> None:
        config = plugins.from_dict("env", self.env)
        model = load_model(Path(self.checkpoint))[0] if self.checkpoint else None
        # One thread: a small network is fastest so, and the other cores belong to the simulation.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result, episodes = self._measure(config, model)
        finally:
            torch.set_num_threads(threads)
        # JSON has no NaN.
        plain = dataclasses.asdict(result)
        plain["jerk"] = [None if value != value else value for value in result.jerk]
        write_json(out / "evaluation.json", plain)
        shown = [*_some(result, True, self.films), *_some(result, False, self.films)]
        videos = self._film(out, config, [(k, episodes[result.seeds[k]]) for k in shown]) if shown else []
        facts = {"environment": json.dumps(dict(self.env)), "checkpoint": self.checkpoint, "seed of starts": self.seed}
        sections = [
            *describe([result]),
            Section("Films", films([video(path, caption) for path, caption in videos])),
            Section("How this was made", provenance(facts)),
        ]
        write_page(out / "report.html", f"Evaluation: {result.label} in {result.env}", str(result.rate), sections)

    def _measure(self, config: Any, model: ChunkModel | None) -> tuple[Evaluation, dict[int, Episode]]:
        env: Env = config.build()
        model = deriving(model, env.observation_spec) if model else None
        seeds = episode_seeds(self.episodes, self.seed)
        label = self.label or (Path(self.checkpoint).name if self.checkpoint else "expert")
        memory, clock = Memory(), MonotonicClock()
        try:
            if model is None:
                policy: Policy = plugins.load("expert", str(self.env["plugin"]))().build(env)
            else:
                policy = Chunked(model, env.n)
            start = clock.now()
            rollout(env, policy, seeds=seeds, observers=[memory, Progress(f"evaluate {label}", len(seeds))])
            wall_s = clock.now() - start
            name, rate_hz = env.task.name, env.task.rate_hz
        finally:
            env.close()
        done = [memory.episodes[seed] for seed in seeds]
        nowhere = np.zeros((0, 3))
        return Evaluation(
            label=label,
            env=name,
            seeds=tuple(seeds),
            outcomes=tuple(int(e.outcome) for e in done),
            seconds=tuple(e.steps / rate_hz for e in done),
            jerk=tuple(jerk(e.observations.get("tool.position", nowhere), rate_hz) for e in done),
            decision_ms=_decision_ms(model, done[0], clock) if model else (),
            wall_s=wall_s,
        ), memory.episodes

    def _film(self, out: Path, config: Any, chosen: Sequence[tuple[int, Episode]]) -> list[tuple[Path, str]]:
        """Replay chosen episodes one at a time with a camera on."""
        made: list[tuple[Path, str]] = []
        env: Env = dataclasses.replace(config, n=1, cameras=((self.camera, 320, 240),)).build()
        try:
            for k, episode in chosen:
                assert episode.meta.seed is not None
                film = Film(f"{self.camera}.rgb")
                rollout(env, Replay([episode]), seeds=[episode.meta.seed], observers=[film])
                word = "success" if episode.outcome is Outcome.SUCCESS else "failure"
                path = out / "films" / f"{word}_{k:03d}.mp4"
                path.parent.mkdir(exist_ok=True)
                height, width, _ = film.frames[0].shape
                writer = VideoWriter(path, height, width, env.task.rate_hz, lossless=False)
                for frame in film.frames:
                    writer.add(frame)
                writer.close()
                made.append((path, f"{word}, start {k}, {episode.steps / env.task.rate_hz:.1f} s"))
        finally:
            env.close()
        return made


def read_evaluation(folder: Path) -> Evaluation:
    """The result of a finished evaluation.

    Raises:
        ArtefactError: There is none.
    """
    path = folder / "evaluation.json"
    if not path.exists():
        raise ArtefactError(
            f"{folder} holds no finished evaluation (no evaluation.json). Run robolearn evaluate first."
        )
    data: dict[str, Any] = json.loads(path.read_text())
    for name in ("seeds", "outcomes", "seconds", "jerk", "decision_ms"):
        data[name] = tuple(float("nan") if value is None else value for value in data[name])
    return Evaluation(**data)


def describe(results: Sequence[Evaluation], title: str = "Success") -> list[Section]:
    """Report section of evaluations over the same starts: rates, figures and the table of starts."""
    rows = [
        (
            r.label,
            str(r.rate),
            f"{np.mean(r.seconds):.2f} s",
            "not measured" if np.isnan(r.jerk).all() else f"{np.nanmean(r.jerk):.1f} m/s³",
            f"{r.decision_ms[0]:.2f} / {r.decision_ms[1]:.2f} ms" if r.decision_ms else "script",
            f"{r.wall_s:.1f} s",
        )
        for r in results
    ]
    header = ("policy", "success [95 % interval]", "mean length", "mean tool jerk", "decision p50 / p99", "wall time")
    starts = [
        (k, seed, *(f"{Outcome(r.outcomes[k]).name.lower()} ({r.seconds[k]:.1f} s)" for r in results))
        for k, seed in enumerate(results[0].seeds)
    ]
    return [
        Section(
            title,
            bars({r.label: r.rate for r in results})
            + table(header, rows)
            + paragraph("A decision's time is for one row, with the model asked each time, on one thread.", note=True)
            + table(("start", "seed", *(r.label for r in results)), starts, fold=f"Every start ({len(starts)})"),
        ),
    ]


def _some(result: Evaluation, success: bool, count: int) -> list[int]:
    return [k for k, good in enumerate(result.successes) if good == success][:count]


def _decision_ms(model: ChunkModel, episode: Episode, clock: MonotonicClock) -> tuple[float, float]:
    """p50 and p99 of a decision that asks the model, over the observations of an episode, one row at a time."""
    policy = Chunked(model, 1)
    durations: list[float] = []
    for k in range(200):
        step = k % episode.steps
        observation = {name: episode.observations[name][step][None] for name in model.observation_spec}
        policy.reset([k], [0])
        start = clock.now()
        policy.act(observation)
        durations.append(1e3 * (clock.now() - start))
    p50, p99 = np.percentile(durations[10:], [50, 99])  # the first calls warm caches up
    return float(p50), float(p99)
