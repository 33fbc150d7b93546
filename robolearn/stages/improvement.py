"""Staged improvement: imitation, corrections, gated offline RL, growth, online RL, one step, on the same starts.

Source: RL-100 (arXiv 2510.14830). From a store of demonstrations on: a policy is cloned (and, as an
option that the paper does not have, corrected by its teacher); it collects, and offline RL
may change it where two estimators agree that recordings say so; what it then collects joins the recordings and a policy
is cloned afresh; that one learns by trying; the result is distilled to one network evaluation and exported. Every stage
is a run of its own below `out`, skipped when finished and resumed when half done, so the whole goes on anywhere. One
report ends it (`improvement_report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.stages.corrections import Corrections
from robolearn.stages.distill import Distill
from robolearn.stages.evaluate import Evaluate, Evaluation, read_evaluation
from robolearn.stages.export import Export
from robolearn.stages.growth import Growth
from robolearn.stages.imitation import Imitation
from robolearn.stages.improvement_report import write_report
from robolearn.stages.offline_rl import OfflineRL
from robolearn.stages.online_rl import OnlineRL

__all__ = ["STAGES", "Improvement"]

STAGES = ("imitation", "corrections", "offline RL", "growth", "online RL", "one step", "exported")
"""Stages that leave a policy, in order."""


@dataclass(frozen=True)
class Improvement:
    """The stages and their report."""

    store: str
    """Folder of the demonstrations."""
    env: Mapping[str, Any]
    """Dict form of the environment's config; its rows are those of online RL."""
    policy: Mapping[str, Any]
    """Dict form of the policy to clone, a denoising one with horizon = chunk."""
    train: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `TrainConfig` for cloning."""
    episodes: int = 0
    """Clone only the first so many demonstrations; 0 takes all."""
    corrections: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `Corrections` that differ from its defaults; {} goes without them."""
    gated: bool = True
    """Whether offline RL and growth take part."""
    rollouts: int = 200
    """Episodes that the cloned policy collects for offline RL, and the improved one for growth."""
    offline: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `OfflineRL` that differ from its defaults."""
    online: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `OnlineRL` that differ from its defaults."""
    distill: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `Distill` that differ from its defaults."""
    starts: int = 500
    """Evaluation starts, the same for every stage."""
    rows: int = 100
    """Rows of the environment while evaluating and collecting."""
    evaluation_seed: int = 1_000_000
    """Seed of the evaluation starts; used for nothing else."""
    films: int = 1
    """How many successes and failures of each stage to film."""
    seed: int = 0
    """Of everything else."""
    practice: Mapping[str, Any] = field(default_factory=lambda: {})
    """Fields of `env` that differ where corrections and online RL learn; policies are compared in `env` as it is."""

    def run(self, out: Path) -> Path:
        """Run what is not finished below `out` and write `report.html`."""
        paths = {"imitation": self._imitation(out)}
        wide, store = self._env(), self.store
        if self.corrections:
            numbers: dict[str, Any] = {"seed": 9_000_000 + 100 * self.seed, "train": self._train()}
            numbers |= {"trial": min(self.starts, 200), "tried": wide} | dict(self.corrections)
            practice = wide | dict(self.practice)
            stage = Corrections(store, str(paths["imitation"]), practice, self.policy, **numbers)
            paths["corrections"] = stage.run(out / "corrections")
            store = str(out / "corrections" / "store")
        if self.gated:
            paths["offline RL"], paths["growth"] = self._gated(out, store, list(paths.values())[-1], wide)
        env = plugins.to_dict("env", plugins.from_dict("env", dict(self.env) | dict(self.practice)))
        best = list(paths.values())[-1]
        seed: dict[str, Any] = {"seed": self.seed}
        paths["online RL"] = OnlineRL(env, str(best), **(seed | dict(self.online))).run(out / "online")
        student = Distill(wide, str(paths["online RL"]), **(seed | dict(self.distill)))
        paths["one step"] = student.run(out / "one_step")
        paths["exported"] = Export(str(paths["one step"])).run(out / "exported")
        results = {name: self._evaluate(out, name, path, wide) for name, path in paths.items()}
        return write_report(out, results, paths, self.evaluation_seed)

    def _env(self) -> dict[str, Any]:
        fields = dict(self.env) | {"n": min(self.rows, self.starts)}
        return plugins.to_dict("env", plugins.from_dict("env", fields))

    def _imitation(self, out: Path) -> Path:
        return Imitation(self.store, self.policy, self._train(), episodes=self.episodes).run(out / "imitation")

    def _train(self) -> dict[str, Any]:
        return {"seed": self.seed} | dict(self.train)

    def _gated(self, out: Path, store: str, cloned: Path, env: Mapping[str, Any]) -> tuple[Path, Path]:
        """Offline RL on the recordings so far and rollouts, then growth; the policies of both."""
        noise = {k: v for k, v in self.online.items() if k in ("sigma_min", "sigma_max")}
        numbers: dict[str, Any] = {"episodes": self.rollouts, "seed": 6_000_000 + 10 * self.seed} | noise
        first = Growth(store, str(cloned), env, **numbers).run(out / "rollouts")
        fields: dict[str, Any] = {"env": env, "seed": self.seed} | noise | dict(self.offline)
        offline = OfflineRL(str(first / "store"), str(cloned), **fields).run(out / "offline")
        numbers |= {"seed": 6_000_001 + 10 * self.seed, "policy": self.policy}
        numbers |= {"train": self._train(), "trial": min(self.rollouts, 200)}
        grown = Growth(str(first / "store"), str(offline), env, **numbers).run(out / "growth")
        return offline, grown

    def _evaluate(self, out: Path, name: str, path: Path, env: Mapping[str, Any]) -> Evaluation:
        folder = out / "evaluation" / name.replace(" ", "_")
        Evaluate(env, str(path), self.starts, self.evaluation_seed, label=name, films=self.films).run(folder)
        return read_evaluation(folder)
