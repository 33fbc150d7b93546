"""The same scene, turned about the vertical: training samples for nothing where only gaps are seen.

What to do with a T that lies so, and a hand there, is the same when all of it lies turned by any angle; a policy that
sees gaps (`networks.gaps`) still has to learn it for every direction. In training every sample's positions, rotations,
places and tool displacements are turned about the base's vertical axis by an angle drawn anew: augmentation by a
symmetry of the task (van der Pol et al. 2020, arXiv 2006.16908, build it into the network instead). Not for tasks in
which the direction matters, such as those in which the hand's turn comes to its end.

Shapes: B batch, L further leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from robolearn.errors import SpecError
from robolearn.specs import Spec

__all__ = ["Turning"]

DELTA = "arm.delta"


class Turning:
    """Turns samples.

    Args:
        observation_spec: Numbers, "<name>.position" (3), "<name>.quaternion" (4) and "<name>.place" (2 or 3).
        action_spec: Numbers, and "arm.delta" (6), displacement and rotation vector in the base's frame.

    Raises:
        SpecError: There is something else, of which nobody knows how it turns.
    """

    def __init__(self, observation_spec: Spec, action_spec: Spec):
        self._kinds = {name: _kind(name, spec.shape) for name, spec in observation_spec.items()}
        self._kinds |= {f"action {n}": "delta" if n == DELTA else _kind("", s.shape) for n, s in action_spec.items()}
        if odd := [name for name, kind in self._kinds.items() if not kind]:
            raise SpecError(
                "Turned samples need numbers, positions, quaternions and places, and displacements of the tool "
                f"({DELTA!r}); found also: {', '.join(odd)}. Name the observations to use, or set turned to false."
            )

    def __call__(
        self, observation: Mapping[str, Tensor], action: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Observations (B, L, ...) and actions (B, L, ...), each sample turned by its own angle."""
        first = next(iter(action.values()))
        angle_B = 2 * math.pi * torch.rand(len(first), generator=generator, device=first.device)
        seen = {name: _turned(value, angle_B, self._kinds[name]) for name, value in observation.items()}
        return seen, {name: _turned(value, angle_B, self._kinds[f"action {name}"]) for name, value in action.items()}


def _kind(name: str, shape: tuple[int, ...]) -> str:
    """How something turns; "" is unknown."""
    if shape in ((), (1,)):
        return "number"
    kinds = {"position": ("position", (3,)), "quaternion": ("quaternion", (4,))}
    kind, expected = kinds.get(name.rsplit(".", 1)[-1], ("", ()))
    if name.endswith(".place") and shape in ((2,), (3,)):
        return "place"
    return kind if shape == expected else ""


def _turned(value: Tensor, angle_B: Tensor, kind: str) -> Tensor:
    if kind == "number":
        return value
    angle = angle_B.to(value.dtype).view(-1, *(1,) * (value.dim() - 1))
    cos, sin = angle.cos(), angle.sin()
    if kind == "quaternion":
        cos, sin = (angle / 2).cos(), (angle / 2).sin()
        w, x, y, z = value.split(1, dim=-1)
        return torch.cat([cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w], dim=-1)
    xy, rest = value[..., :2], value[..., 2:]
    parts = [_rotated(xy, cos, sin)]
    if kind == "place":
        parts.append(rest + angle)
    elif kind == "delta":
        parts += [rest[..., :1], _rotated(rest[..., 1:3], cos, sin), rest[..., 3:]]
    else:
        parts.append(rest)
    return torch.cat(parts, dim=-1)


def _rotated(xy: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x, y = xy[..., :1], xy[..., 1:]
    return torch.cat([cos * x - sin * y, sin * x + cos * y], dim=-1)
