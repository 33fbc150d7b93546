"""Distillation: a policy that decides in one network evaluation, as good as the one that takes many.

Source: RL-100 (arXiv 2510.14830) and consistency models; the losses are those of `policies.consistency`. The teacher
plays with its noise in the environment, and its noise-free paths from the states it visits are what the student
learns. States of other episodes are held out. The report puts both side by side: distance of their actions from the
same noise, success on the same starts, jerk, and the time of a decision.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins
from robolearn.clock import MonotonicClock
from robolearn.contracts import Env
from robolearn.intervals import paired_difference
from robolearn.learn import checkpoint
from robolearn.learn.chain_policy import load_chain, to_numpy
from robolearn.learn.collection import Collector, Starts
from robolearn.learn.decisions import Reward
from robolearn.learn.distillation import Paths, build_student, teacher_paths
from robolearn.learn.loop import TrainConfig, train
from robolearn.report import Section, curves, paragraph, provenance, table, write_page
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.specs import Array
from robolearn.stages.evaluate import Evaluate, Evaluation, describe, read_evaluation

__all__ = ["Distill"]


@dataclass(frozen=True)
class Distill:
    """The stage: from a denoising policy to a one-step policy."""

    env: Mapping[str, Any]
    """Dict form of the environment's config."""
    checkpoint: str
    """Folder of the teacher, a denoising policy."""
    method: str = "both"
    """"consistency", "same_noise", or "both" losses together."""
    decisions: int = 8192
    """States to collect with the teacher."""
    draws: int = 4
    """Paths per state."""
    held_out: float = 0.1
    """Share of the collected states, whole episodes at their end, that nothing learns from."""
    target_decay: float = 0.95
    """Decay of the consistency loss's target."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` that differ from the stage's: 3000 steps of 256, learning rate 5e-4."""
    episodes: int = 0
    """Starts on which teacher and student are compared; 0 leaves that to an evaluation."""
    parity_seed: int = 3_000_000
    """Seed of those starts; used for nothing else."""
    starts: int = 8_000_000
    """Seed of the starts of collection (plus `seed`); used for nothing else."""
    seed: int = 0
    """Of everything else."""

    def run(self, out: Path) -> Path:
        """Distil, and write `checkpoints/`, `parity.json` and `report.html` below `out`."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"env": dict(self.env)}
        inputs = {"checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path)}
        manifest = Manifest("distill", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder))

    def _work(self, out: Path) -> None:
        fields: dict[str, Any] = {"steps": 3000, "batch_size": 256, "learning_rate": 5e-4, "seed": self.seed}
        config = TrainConfig(**(fields | {"ema_maximum": 0.999} | dict(self.train)))
        teacher, _ = load_chain(Path(self.checkpoint))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            learned, unseen = self._conditions(out, teacher)
            key = f"{folder_hash(checkpoint.load(Path(self.checkpoint)).path)} {learned.shape} {self.draws}"
            windows = Paths(teacher, learned, self.draws, self.seed, key)
            validation = Paths(teacher, unseen, 1, self.seed + 1)
            student, described = build_student(teacher, method=self.method, target_decay=self.target_decay)
            train(student, windows, config, out / "training", validation=validation, described=described)
            acting = self._save(out, student, teacher, config.steps)
            distance = self._distance(teacher, acting, unseen)
        finally:
            torch.set_num_threads(threads)
        write_json(out / "parity.json", distance)
        compared = self._compare(out) if self.episodes else []
        sections = [
            Section("Distance on states nothing learned from", table(("what", "value"), list(_words(distance)))),
            *compared,
            Section("Loss", curves(_losses(out), x="step", y="loss", log=True)),
            Section("How this was made", provenance({"teacher": self.checkpoint, "method": self.method})),
        ]
        lead = f"A student of {self.method} distillation; its actions are {distance['rms']:.4f} from the teacher's."
        write_page(out / "report.html", "Distillation to one step", lead, sections)

    def _conditions(self, out: Path, teacher: Any) -> tuple[Array, Array]:
        """What the teacher sees while it plays with its noise; collected once and kept."""
        path = out / "conditions.npy"
        if not path.exists():
            env: Env = plugins.from_dict("env", self.env).build()
            generator = torch.Generator().manual_seed(self.seed)
            starts = Starts(self.starts + self.seed)
            collector = Collector(env, teacher, Reward(), self.decisions, starts, generator, MonotonicClock())
            with collector:
                batch = collector.take().batch
            np.save(path, batch.condition)
        condition = np.load(path, allow_pickle=False)
        count = round(len(condition) * (1 - self.held_out))
        return condition[:count], condition[count:]

    def _save(self, out: Path, student: Any, teacher: Any, step: int) -> Any:
        """The student without what only distillation needs."""
        acting, described = build_student(teacher, method=self.method, target_decay=0.0)
        weights = student.state_dict()
        acting.load_state_dict({name: weights[name] for name in acting.state_dict()})
        root = out / "checkpoints"
        root.mkdir(exist_ok=True)
        checkpoint.save(root, acting, described, step=step, state={"teacher": self.checkpoint})
        return acting.eval()

    def _distance(self, teacher: Any, student: Any, condition: Array) -> dict[str, float]:
        condition_BC = torch.as_tensor(condition)
        with torch.no_grad():
            path = teacher_paths(teacher, condition_BC, torch.Generator().manual_seed(self.seed + 2))
            theirs, ours = path[:, -1].clamp(-1, 1), student.denoise_from(path[:, 0], condition_BC)
            other = teacher_paths(teacher, condition_BC, torch.Generator().manual_seed(self.seed + 3))
        error = to_numpy((ours - theirs).square().flatten(1).mean(1).sqrt())
        spread = to_numpy((other[:, -1].clamp(-1, 1) - theirs).square().flatten(1).mean(1).sqrt())
        return {
            "states": float(len(condition)),
            "rms": float(np.sqrt((error**2).mean())),
            "median": float(np.median(error)),
            "p99": float(np.percentile(error, 99)),
            "teacher_spread": float(np.sqrt((spread**2).mean())),
        }

    def _compare(self, out: Path) -> list[Section]:
        results: list[Evaluation] = []
        for label, path in (("teacher", self.checkpoint), ("student", str(out))):
            # The student's folder changes while this stage writes its report; its checkpoint does not.
            found = checkpoint.load(Path(path)).path
            stage = Evaluate(self.env, str(found), self.episodes, self.parity_seed, label, films=0)
            results.append(read_evaluation(stage.run(out / "parity" / label)))
        teacher, student = results
        difference = paired_difference(student.successes, teacher.successes)
        text = f"Student minus teacher on the same {self.episodes} starts: {difference}."
        if teacher.decision_ms and student.decision_ms:
            ratios = [a / b for a, b in zip(teacher.decision_ms, student.decision_ms, strict=True)]
            text += f" A decision takes {ratios[0]:.1f} times less time at p50, {ratios[1]:.1f} at p99."
        return [*describe(results, "On the same starts"), Section("Difference", paragraph(text))]


def _words(distance: Mapping[str, float]) -> list[tuple[str, str]]:
    return [
        ("states", f"{distance['states']:.0f}"),
        ("root mean square, normalised actions", f"{distance['rms']:.4f}"),
        ("median over states", f"{distance['median']:.4f}"),
        ("99th percentile", f"{distance['p99']:.4f}"),
        ("the teacher's own, between two noises", f"{distance['teacher_spread']:.4f}"),
    ]


def _losses(out: Path) -> dict[str, tuple[list[float], list[float]]]:
    found: dict[str, tuple[list[float], list[float]]] = {}
    for line in (out / "training" / "metrics.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        for name in ("same_noise", "consistency", "held_out_loss"):
            if row.get(name) is not None:
                xs, ys = found.setdefault(name.replace("_", " "), ([], []))
                xs.append(row["step"])
                ys.append(row[name])
    return found
