"""Export: a policy as an ONNX graph that a robot's computer runs without torch, checked against its source.

The check gives both the same observations and the same noise, in batches of one and of many rows, and refuses to finish
when any action differs by more than a share of its range. Times of one decision stand beside each other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn import plugins, specs
from robolearn.clock import MonotonicClock
from robolearn.errors import ArtefactError, SpecError
from robolearn.learn import checkpoint
from robolearn.learn.checkpoint import load_policy
from robolearn.learn.onnx_graph import OPSET, write_graph
from robolearn.report import Section, provenance, table, write_page
from robolearn.runs import Manifest, code_version, folder_hash, run_stage, write_json
from robolearn.specs import Array

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """The stage: from a checkpoint to a folder for `policies.onnx`."""

    checkpoint: str
    """Folder of the policy."""
    tolerance: float = 1e-3
    """Largest difference of an action, as a share of its demonstrated range."""
    samples: int = 256
    """Observations to compare on."""
    seed: int = 0
    """Of the observations and noises of the comparison."""

    def run(self, out: Path) -> Path:
        """Export, check, and write `policy.onnx`, `specs.json`, `export.json` and `report.html` below `out`."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        inputs = {"checkpoint": folder_hash(checkpoint.load(Path(self.checkpoint)).path)}
        manifest = Manifest("export", config, inputs, self.seed, code_version(), False)
        return run_stage(out, manifest, lambda folder, resume: self._work(folder))

    def _work(self, out: Path) -> None:
        found = checkpoint.load(Path(self.checkpoint))
        model: Any = load_policy(found.path)
        if not hasattr(model, "denoise_from") or getattr(model.config, "explore", False):
            raise SpecError(
                f"The policy {found.config['plugin']!r} in {found.path} cannot be exported: it must denoise without "
                "drawing noise on the way. Possible: consistency, and diffusion with sampler 'chain' or 'ddim' (eta 0)."
            )
        cls = plugins.load("policy", "onnx")
        names = [f"observation.{name}" for name in model.observation_spec]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            write_graph(model, out / "policy.onnx", [*names, "noise"], list(model.action_spec))
            facts: dict[str, Any] = {
                "history": model.history,
                "chunk": model.chunk,
                "noise_shape": list(model.sample_shape),
                "opset": OPSET,
                "source": {"checkpoint": str(found.path), "sha256": folder_hash(found.path), "config": found.config},
                "sha256": hashlib.sha256((out / "policy.onnx").read_bytes()).hexdigest(),
            }
            spec = {"observation": model.observation_spec, "action": model.action_spec}
            write_json(out / "specs.json", {side: specs.to_json(s) for side, s in spec.items()})
            write_json(out / "export.json", facts)
            exported: Any = cls(str(out)).build(model.observation_spec, model.action_spec)
            worst = self._compare(model, exported)
            times = {"torch": self._times(model), "onnxruntime": self._times(exported)}
        finally:
            torch.set_num_threads(threads)
        write_json(out / "export.json", facts | {"largest_difference": worst, "decision_ms": times})
        rows = [(name, f"{p50:.3f}", f"{p99:.3f}") for name, (p50, p99) in times.items()]
        numbers = [
            ("size", f"{(out / 'policy.onnx').stat().st_size / 1e6:.2f} MB"),
            ("largest difference, share of the range", f"{worst:.2e} (allowed {self.tolerance:.0e})"),
            ("observations compared", f"{self.samples}, in batches of 1 and all at once"),
        ]
        sections = [
            Section("The graph and its source", table(("what", "value"), numbers)),
            Section("Time of one decision of one row", table(("runtime", "p50 in ms", "p99 in ms"), rows)),
            Section("How this was made", provenance({"checkpoint": self.checkpoint})),
        ]
        lead = f"The exported policy differs from its source by at most {worst:.1e} of an action's range."
        write_page(out / "report.html", "Export to ONNX", lead, sections)

    def _compare(self, model: Any, exported: Any) -> float:
        draw = np.random.default_rng(self.seed)
        observations = _observations(model, self.samples, draw)
        noise = draw.standard_normal((self.samples, *model.sample_shape)).astype(np.float32)
        with torch.inference_mode():
            x_BHA = model.denoise_from(torch.as_tensor(noise), model.condition(observations))
        theirs = model.actions(x_BHA)
        single = [
            exported.decide({n: v[k : k + 1] for n, v in observations.items()}, noise[k : k + 1]) for k in range(8)
        ]
        worst = 0.0
        for name, expected in theirs.items():
            moments = model.statistics["action." + name]
            # A dimension that never moves has no range; its tolerance is that of the whole action.
            span = np.maximum(moments.max - moments.min, 1e-3 * max(1e-6, float((moments.max - moments.min).max())))
            together = exported.decide(observations, noise)[name]
            for found, wanted in ((together, expected), (np.concatenate([s[name] for s in single]), expected[:8])):
                share = np.abs(found.astype(np.float64) - wanted.astype(np.float64)) / span
                worst = max(worst, float(share.max()))
        if not worst <= self.tolerance:
            raise ArtefactError(
                f"The exported graph and its source differ by {worst:.3g} of an action's range; allowed are "
                f"{self.tolerance:.3g}. Nothing should run it. Please report this with the versions in the report."
            )
        return worst

    def _times(self, model: Any) -> tuple[float, float]:
        clock, draw = MonotonicClock(), np.random.default_rng(self.seed)
        observations = _observations(model, 1, draw, getattr(model, "statistics", None))
        return _milliseconds(lambda k: model.predict(observations, np.array([k], np.uint64)), clock)


def _milliseconds(decide: Callable[[int], object], clock: MonotonicClock, count: int = 500) -> tuple[float, float]:
    """p50 and p99 of a call, after ten to warm up."""
    durations: list[float] = []
    for k in range(count + 10):
        start = clock.now()
        decide(k)
        durations.append(1e3 * (clock.now() - start))
    p50, p99 = np.percentile(durations[10:], [50, 99])
    return float(p50), float(p99)


def _observations(model: Any, rows: int, draw: np.random.Generator, statistics: Any = None) -> dict[str, Array]:
    """Random observations (rows, history, ...) within the demonstrated range, pictures of any colour."""
    known = statistics or getattr(model, "statistics", {})
    made: dict[str, Array] = {}
    for name, spec in model.observation_spec.items():
        shape = (rows, model.history, *spec.shape)
        if spec.is_image:
            made[name] = np.floor(draw.uniform(0, 256, shape)).astype(np.uint8)
            continue
        low, high = (known[name].min, known[name].max) if name in known else (-1.0, 1.0)
        made[name] = draw.uniform(low, high, shape).astype(spec.dtype)
    return made
