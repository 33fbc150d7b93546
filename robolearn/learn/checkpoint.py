"""A checkpoint is a folder that is either complete and intact or not there.

    model.safetensors      the weights that act (the moving average) and all buffers
    optimizer.safetensors  what resuming needs beside them: raw weights and AdamW's moments (a shipped policy has none)
    config.json            the plugin's name and its fields
    specs.json stats.json  the arrays it speaks, and the statistics its normalisers were built from
    state.json             step, schema version, the run's settings, size and SHA-256 of every other file

Written aside, each file fsynced, renamed, the parent folder fsynced; nothing is ever overwritten in place and
the newest complete folder is found by looking, so a crash at any moment leaves a good checkpoint. No pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from robolearn import specs
from robolearn.errors import ArtefactError, TrainingFault
from robolearn.learn import aside, normaliser
from robolearn.learn.model import Model
from robolearn.specs import ArraySpec

__all__ = [
    "SCHEMA",
    "Checkpoint",
    "CheckpointConfig",
    "adopt",
    "all_complete",
    "install",
    "last",
    "load",
    "load_policy",
    "save",
]

SCHEMA = 1

_NEEDED = ("model.safetensors", "config.json", "specs.json", "stats.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a verified folder says, without its tensors.

    Attributes:
        path: The folder.
        step: How many training steps it has behind it.
        config: The plugin's name and fields.
        observation_spec: The observations the model uses.
        action_spec: What it produces.
        statistics: What its normalisers were built from.
        state: Everything else in `state.json`.
    """

    path: Path
    step: int
    config: Mapping[str, Any]
    observation_spec: Mapping[str, ArraySpec]
    action_spec: Mapping[str, ArraySpec]
    statistics: Mapping[str, normaliser.Moments]
    state: Mapping[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """The weights that act and all buffers."""
        return _tensors(self.path / "model.safetensors")

    def training(self) -> dict[str, Tensor]:
        """What resuming needs beside them. Raises `ArtefactError` when the checkpoint was made without."""
        return _tensors(self.path / "optimizer.safetensors")


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """The policy of a checkpoint as a model to act with; see `robolearn.trained`."""

    path: str = ""
    """Its folder, or a run's for its newest."""

    @property
    def folder(self) -> Path:
        """The folder that is read. Raises `ArtefactError` when there is no complete checkpoint."""
        return load(Path(self.path)).path

    def build(self, threads: int = 0) -> Any:
        """The model, in evaluation mode; `threads` above 0 sets torch's number for the whole process."""
        if threads:
            torch.set_num_threads(threads)
        return load_policy(Path(self.path))


def save(
    root: Path,
    model: Model,
    config: Mapping[str, Any],
    *,
    step: int,
    weights: Mapping[str, Tensor] | None = None,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    keep: int | None = None,
) -> Path:
    """Write a checkpoint folder below `root`, then remove the oldest beyond `keep`.

    Args:
        root: Where the checkpoints of a run lie.
        model: Gives specs and statistics.
        config: The plugin's name and fields.
        step: Training steps behind it; names the folder.
        weights: The weights that act; default the model's own.
        training: What resuming needs beside them.
        state: More plain facts for `state.json`.
        keep: How many newest checkpoints to keep; None keeps all.

    Returns:
        The folder. One of this step that is already complete is left as it is.

    Raises:
        TrainingFault: A tensor is not finite; nothing is written.
        StorageFull: No space; older checkpoints are intact and nothing half-written is left.
        ArtefactError: The disk failed in another way, likewise.
    """
    folder = root / f"step_{step:08d}"
    if folder in all_complete(root):
        return folder
    named = {"model.safetensors": dict(model.state_dict() if weights is None else weights)}
    if training is not None:
        named["optimizer.safetensors"] = dict(training)
    files = {name: _packed(name, tensors) for name, tensors in named.items()}
    files["config.json"] = _json(dict(config))
    files["specs.json"] = _json(
        {"observation": specs.to_json(model.observation_spec), "action": specs.to_json(model.action_spec)}
    )
    files["stats.json"] = _json(normaliser.to_json(model.statistics))
    facts = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    versions = {"torch": str(torch.__version__)}
    files["state.json"] = _json(
        {"schema": SCHEMA, "step": step, "versions": versions} | dict(state or {}) | {"files": facts}
    )
    aside.write(folder, files)
    if keep is not None:
        for old in all_complete(root)[:-keep]:
            aside.remove(old)
    return folder


def all_complete(root: Path) -> list[Path]:
    """The complete checkpoint folders below `root`, oldest first (complete: every file there, with its size)."""
    return [path for path in sorted(root.glob("step_*")) if _complete(path)]


def last(path: Path) -> Path | None:
    """The newest complete checkpoint: `path` itself, or below `path` or its "checkpoints"; None when there is none."""
    if (path / "state.json").exists() and _complete(path):
        return path
    found = all_complete(path / "checkpoints") or all_complete(path)
    return found[-1] if found else None


def adopt(policy: Path, out: Path) -> None:
    """Make the newest checkpoint of `policy` that of the run `out`; it appears whole or not at all."""
    found = load(policy).path
    target = out / "checkpoints" / found.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.write(target, {file.name: file.read_bytes() for file in found.iterdir()})


def load(path: Path) -> Checkpoint:
    """Verify a checkpoint (a folder, or a run's folder for its newest) and read its facts.

    Raises:
        ArtefactError: There is none, or it is damaged, or of another schema.
    """
    folder = last(path)
    if folder is None:
        raise ArtefactError(
            f"Expected a complete checkpoint at {path} (a folder with state.json and the files it lists, or a run "
            "with such folders below checkpoints/); found none. Was the training interrupted before its first save?"
        )
    state = _read_json(folder / "state.json")
    if state["schema"] != SCHEMA:
        raise ArtefactError(
            f"The checkpoint {folder} has schema version {state['schema']}; this version of robolearn reads {SCHEMA}. "
            "Use the version of robolearn that wrote it, or train again."
        )
    for name, fact in state["files"].items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != fact["sha256"]:
            raise ArtefactError(
                f"The file {name} of the checkpoint {folder} is damaged: expected SHA-256 {fact['sha256'][:12]}..., "
                f"found {found[:12]}.... Copy it again from its source, or delete this folder to use an older one."
            )
    spec = _read_json(folder / "specs.json")
    return Checkpoint(
        path=folder,
        step=int(state["step"]),
        config=_read_json(folder / "config.json"),
        observation_spec=specs.from_json(spec["observation"]),
        action_spec=specs.from_json(spec["action"]),
        statistics=normaliser.from_json(_read_json(folder / "stats.json")),
        state=state,
    )


def load_policy(path: Path, build: Callable[[Mapping[str, Any]], Any] | None = None) -> Any:
    """Rebuild the model of a checkpoint, ready to act.

    Args:
        path: A checkpoint's folder, or a run's for its newest.
        build: Makes the config object from `config.json`; default the plugin registry.

    Returns:
        The model, in evaluation mode.

    Raises:
        ArtefactError: The checkpoint is missing or damaged, or its weights do not fit its config.
    """
    found = load(path)
    if build is None:
        from robolearn import plugins

        config = plugins.from_dict("policy", dict(found.config))
    else:
        config = build(found.config)
    model: Model = config.build(found.observation_spec, found.action_spec, found.statistics)
    install(model, found)
    return model.eval()


def install(model: Model, found: Checkpoint) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        ArtefactError: They do not fit.
    """
    try:
        model.load_state_dict(found.weights(), strict=True)
    except RuntimeError as error:
        raise ArtefactError(
            f"The weights in {found.path} do not fit the network its config.json describes. "
            f"Was the code of the network changed since? {error}"
        ) from error


def _complete(folder: Path) -> bool:
    try:
        files = _read_json(folder / "state.json")["files"]
        return files.keys() >= set(_NEEDED) and all(
            (folder / name).stat().st_size == fact["bytes"] for name, fact in files.items()
        )
    except (OSError, ArtefactError, KeyError, TypeError, AttributeError):
        return False


def _packed(file: str, tensors: Mapping[str, Tensor]) -> bytes:
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingFault(
                f"The tensor {name!r} for {file} has values that are not finite; such a checkpoint is never saved. "
                "The last saved one is good; lower the learning rate or look at the data before resuming."
            )
        plain[name] = tensor.detach().cpu().contiguous()
    return safetensors.torch.save(plain)


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise ArtefactError(
            f"The checkpoint {path.parent} has no {path.name}: it was made to be used, not to be trained on. "
            "Resume from a checkpoint of the training run itself."
        )
    try:
        return safetensors.torch.load_file(path)  # pyright: ignore[reportUnknownMemberType]
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"The file {path} cannot be read as safetensors: {error}.") from error


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtefactError(f"The file {path} is not valid JSON: {error}.") from error
