"""A denoising policy as one ONNX graph: named observations and noise in, named actions in physical units out.

Everything between a sensor and a command is inside (normalisers, network, limits), so whoever runs the graph needs
no statistics and cannot apply them wrongly. Noise is an input: the graph has no state and no random numbers.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.errors import MissingDependency
from robolearn.specs import bounds

__all__ = ["OPSET", "Whole", "write_graph"]

OPSET = 18


class Whole(nn.Module):
    """Observations (rows, history, ...) and noise (rows, H, A) to actions (rows, chunk, ...), all float32.

    Args:
        model: With `encoder`, `denoise_from` and `codec` (`policies.diffusion`, `policies.consistency`).
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.names = list(model.observation_spec)
        for k, spec in enumerate(model.action_spec.values()):
            for side, bound in zip(("low", "high"), bounds(spec), strict=True):
                # Infinite limits are no limits; the largest float32 keeps the graph free of infinities.
                largest = torch.finfo(torch.float32).max
                value = torch.as_tensor(bound.copy(), dtype=torch.float32).clamp(-largest, largest)
                self.register_buffer(f"{side}_{k}", value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *observations, noise = inputs
        condition_BC = self.model.encoder(dict(zip(self.names, observations, strict=True)))
        x_BHA = self.model.denoise_from(noise, condition_BC)[:, : self.model.chunk]
        actions = self.model.codec.normaliser.decode(x_BHA)
        return tuple(
            torch.minimum(torch.maximum(actions[name], getattr(self, f"low_{k}")), getattr(self, f"high_{k}"))
            for k, name in enumerate(self.model.action_spec)
        )


def example(model: Any, rows: int) -> tuple[Tensor, ...]:
    """Inputs of a `Whole` with the right shapes and types."""
    parts = [
        torch.zeros((rows, model.history, *spec.shape), dtype=torch.uint8 if spec.is_image else torch.float32)
        for spec in model.observation_spec.values()
    ]
    return (*parts, torch.zeros(rows, *model.sample_shape))


def write_graph(model: Any, path: Path, input_names: list[str], output_names: list[str]) -> None:
    """Write the graph; the number of rows stays free.

    Raises:
        MissingDependency: The exporter's packages are not installed.
    """
    try:
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport, reportMissingTypeStubs]
    except ImportError as error:
        raise MissingDependency("onnxscript", "export", "Exporting a policy") from error
    rows: Any = torch.export.Dim("rows", min=1, max=2**16)
    inputs = example(model, 2)
    onnx: Any = torch.onnx
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # The exporter talks a lot, to stdout and by warnings, also when all is well.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.export(
            Whole(model).eval(),
            inputs,
            str(path),
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=((*({0: rows} for _ in inputs),),),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
