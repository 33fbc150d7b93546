"""The trained policy in a folder, whoever wrote it: a training run's checkpoint, or an exported graph.

`evaluate`, `deploy` and `serve` all open policies here, so that what one of them can run the others can run too. The
formats are plugins of the kind "model": a checkpoint needs torch, an exported policy needs onnxruntime and no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.contracts import ChunkModel
from robolearn.errors import ArtefactError
from robolearn.runs import folder_hash

__all__ = ["load_model"]

_GRAPH = "policy.onnx"
"""The file by which an exported policy is known."""


def load_model(path: Path, *, threads: int = 0) -> tuple[ChunkModel, str]:
    """The model in a folder, and the hash of the files it was read from.

    Args:
        path: A checkpoint, the folder of a training run (its newest checkpoint), or an exported policy.
        threads: Threads of a decision; 0 leaves it to the format.

    Raises:
        ArtefactError: There is none, or it is damaged.
        MissingDependency: The format's own package is not installed.
    """
    if not path.is_dir():
        raise ArtefactError(
            f"Expected the folder of a policy at {str(path)!r}; found {'a file' if path.exists() else 'nothing'}. "
            "Possible: a training run, one of its checkpoints, or what robolearn export wrote."
        )
    config: Any = plugins.load("model", "onnx" if (path / _GRAPH).exists() else "checkpoint")(str(path))
    return config.build(threads=threads), folder_hash(config.folder)
