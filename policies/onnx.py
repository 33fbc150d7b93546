"""An exported policy, run by onnxruntime: numpy in, numpy out, no torch on the robot's computer.

`robolearn export` writes the folder: `policy.onnx` (normalisers, network and limits in one graph), `specs.json` (the
arrays it speaks) and `export.json` (history, chunk, shape of its noise, where it came from, hashes). A decision's noise
is an input of the graph, drawn here from the row's own number, so a row never depends on its neighbours and the graph
is a function. The draws differ from torch's, so an exported policy equals its source in law, and exactly when both are
given the same noise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import ArtefactError, CheckpointMismatch, MissingDependency, SpecError
from robolearn.specs import Array, Arrays, Spec, check, first_difference, from_json

__all__ = ["GRAPH", "OnnxConfig", "OnnxFolderConfig", "OnnxModel", "observation_input"]

GRAPH = "policy.onnx"
NOISE = "noise"


def observation_input(name: str) -> str:
    """The graph's input of an observation."""
    return f"observation.{name}"


@dataclass(frozen=True)
class OnnxConfig:
    """A policy exported by `robolearn export`."""

    path: str = ""
    """Its folder."""
    threads: int = 1
    """Threads of a decision; a small network is fastest with one."""

    def build(
        self, observation_spec: Spec | None = None, action_spec: Spec | None = None, statistics: Any = None
    ) -> OnnxModel:
        """The model; specs, when given, must be those it was exported with (statistics are inside the graph).

        Raises:
            ArtefactError: There is none, or it is damaged.
            CheckpointMismatch: The specs differ.
        """
        model = OnnxModel(Path(self.path), self.threads)
        for what, mine, given in (
            ("observations", model.observation_spec, observation_spec),
            ("actions", model.action_spec, action_spec),
        ):
            if given is not None and (difference := first_difference(mine, {n: given[n] for n in given if n in mine})):
                raise CheckpointMismatch(f"The exported policy {self.path} has other {what}: {difference}.")
        return model


@dataclass(frozen=True, slots=True)
class OnnxFolderConfig:
    """An exported policy as a model to act with; see `robolearn.trained`."""

    path: str = ""
    """Its folder."""

    @property
    def folder(self) -> Path:
        """The folder that is read."""
        return Path(self.path)

    def build(self, threads: int = 0) -> OnnxModel:
        """The model; one thread by default, with which a small network is fastest."""
        return OnnxConfig(self.path, threads or 1).build()


class OnnxModel:
    """A `ChunkModel` that onnxruntime computes; see the module's text."""

    def __init__(self, folder: Path, threads: int = 1):
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependency("onnxruntime", "onnx", "An exported policy") from error
        facts = _read(folder)
        self.observation_spec: Spec = from_json(facts["specs"]["observation"])
        self.action_spec: Spec = from_json(facts["specs"]["action"])
        self.history, self.chunk = int(facts["history"]), int(facts["chunk"])
        self.noise_shape = tuple(int(size) for size in facts["noise_shape"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])

    def predict(self, observations: Arrays, noise: Array) -> dict[str, Array]:
        """Actions (rows, chunk, ...) from observations (rows, history, ...) and one uint64 per row."""
        drawn = [np.random.default_rng(int(seed)).standard_normal(self.noise_shape, np.float32) for seed in noise]
        return self.decide(observations, np.stack(drawn))

    def decide(self, observations: Arrays, start: Array) -> dict[str, Array]:
        """Actions from observations and standard normal noise (rows, H, A) float32.

        Raises:
            SpecError: An observation is missing, misshapen or not finite, or an action is not finite.
        """
        used = {name: observations[name] for name in self.observation_spec if name in observations}
        check(used, self.observation_spec, lead=(len(start), self.history), where="the policy's observations")
        inputs = {
            observation_input(name): value if value.dtype == np.uint8 else value.astype(np.float32)
            for name, value in used.items()
        }
        found = self._session.run(list(self.action_spec), inputs | {NOISE: start.astype(np.float32)})
        return {
            name: _typed(name, np.asarray(value), np.dtype(spec.dtype))
            for (name, spec), value in zip(self.action_spec.items(), found, strict=True)
        }


def _typed(name: str, value: Array, dtype: np.dtype[Any]) -> Array:
    if not np.isfinite(value).all():
        raise SpecError(
            f"The exported policy computed a non-finite value for the action {name!r}. Are its observations far "
            "outside of what it was trained on? Nothing was sent."
        )
    if dtype.kind in "iu":
        return np.rint(value).astype(dtype)
    return value > 0.5 if dtype.kind == "b" else value.astype(dtype)


def _read(folder: Path) -> Mapping[str, Any]:
    missing = [name for name in (GRAPH, "export.json", "specs.json") if not (folder / name).exists()]
    if missing:
        raise ArtefactError(
            f"Expected an exported policy in {str(folder)!r}; {', '.join(missing)} missing. "
            "Make one with: robolearn export --checkpoint RUN --out FOLDER"
        )
    facts: dict[str, Any] = json.loads((folder / "export.json").read_text())
    digest = hashlib.sha256((folder / GRAPH).read_bytes()).hexdigest()
    if digest != facts["sha256"]:
        raise ArtefactError(
            f"{folder / GRAPH} is damaged: expected SHA-256 {facts['sha256'][:12]}..., found {digest[:12]}.... "
            "Copy it again, or export it again."
        )
    return facts | {"specs": json.loads((folder / "specs.json").read_text())}
