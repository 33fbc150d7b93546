"""A thing's heading as the frame in which a policy sees and acts: the same scene, turned, is the same scene to it.

What to do with a T that lies so, and a hand there, is the same when all of it lies turned by any angle. A policy that
sees gaps (`networks.gaps`) would still have to learn it for every direction. Here everything observed is turned about
the base's vertical until the thing lies straight, the policy decides, and what it decided is turned back: it is exact
where augmentation is not, and costs no training (a canonical frame; Kaba et al. 2023, arXiv 2211.06489). Together with
gaps the policy no longer depends on where and which way the scene lies. Not for tasks in which the direction matters,
such as those in which the hand's turn comes to its end.

The heading is that of the newest observation, for its whole history and for the whole chunk. It is the twist of the
thing's rotation about the vertical: of a quaternion (w, x, y, z) the part (w, 0, 0, z), normalised; a thing that lies
exactly upside down has none, and is not turned.

Shapes: B batch, L further leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.specs import Spec

__all__ = ["Heading"]

DELTA = "arm.delta"


class Heading(nn.Module):
    """Turns observations and actions into the frame and actions back; without a thing it changes nothing.

    Args:
        thing: Whose heading: there is an observation "<thing>.quaternion". "" for none.
        observation_spec: Numbers, "<name>.position" (3), "<name>.quaternion" (4) and "<name>.place" (2 or 3).
        action_spec: Numbers, and "arm.delta" (6), displacement and rotation vector in the base's frame.

    Raises:
        SpecError: There is no such thing, or something of which nobody knows how it turns.
    """

    def __init__(self, thing: str, observation_spec: Spec, action_spec: Spec):
        super().__init__()
        self._thing = f"{thing}.quaternion" if thing else ""
        if not thing:
            return
        things = [name.removesuffix(".quaternion") for name in observation_spec if name.endswith(".quaternion")]
        if thing not in things:
            raise SpecError(
                f"Expected a thing with a quaternion as the frame of a policy; found {thing!r}. Possible: "
                f"{', '.join(things) or 'none'}."
            )
        self._seen = {name: _kind(name, spec.shape) for name, spec in observation_spec.items()}
        self._done = {name: "delta" if name == DELTA else _kind("", spec.shape) for name, spec in action_spec.items()}
        odd = [name for name, kind in self._seen.items() if not kind]
        if odd := odd + [f"action {name}" for name, kind in self._done.items() if not kind]:
            raise SpecError(
                "A policy in a thing's frame needs numbers, positions, quaternions and places, and displacements of "
                f"the tool ({DELTA!r}); found also: {', '.join(odd)}. Name the observations to use, or set no frame."
            )

    def see(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observations (B, history, ...) in the frame."""
        if not self._thing:
            return dict(observation)
        cos, sin = self._half(observation)
        return {name: _turned(observation[name], cos, -sin, kind) for name, kind in self._seen.items()}

    def enter(self, action: Mapping[str, Tensor], observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Actions (B, L, ...) in the frame of observations (B, history, ...)."""
        if not self._thing:
            return dict(action)
        cos, sin = self._half(observation)
        return {name: _turned(action[name], cos, -sin, kind) for name, kind in self._done.items()}

    def leave(self, action: Mapping[str, Tensor], observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `enter`."""
        if not self._thing:
            return dict(action)
        cos, sin = self._half(observation)
        return {name: _turned(action[name], cos, sin, kind) for name, kind in self._done.items()}

    def _half(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cosine and sine (B,) of half the newest heading."""
        newest = observation[self._thing][:, -1].float()
        w, z = newest[:, 0], newest[:, 3]
        length = (w * w + z * z).sqrt()
        there = length > 1e-6
        length = length.clamp(min=1e-6)
        return torch.where(there, w / length, 1.0), torch.where(there, z / length, 0.0)


def _kind(name: str, shape: tuple[int, ...]) -> str:
    """How something turns; "" is unknown."""
    if shape in ((), (1,)):
        return "number"
    kinds = {"position": ("position", (3,)), "quaternion": ("quaternion", (4,))}
    kind, expected = kinds.get(name.rsplit(".", 1)[-1], ("", ()))
    if name.endswith(".place") and shape in ((2,), (3,)):
        return "place"
    return kind if shape == expected else ""


def _turned(value: Tensor, half_cos_B: Tensor, half_sin_B: Tensor, kind: str) -> Tensor:
    """Turned by the angle of which these are the cosine and sine of the half."""
    if kind == "number":
        return value
    c, s = (x.to(value.dtype).view(-1, *(1,) * (value.dim() - 1)) for x in (half_cos_B, half_sin_B))
    if kind == "quaternion":
        w, x, y, z = value.split(1, dim=-1)
        return torch.cat([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], dim=-1)
    cos, sin = c * c - s * s, 2 * c * s
    xy, rest = value[..., :2], value[..., 2:]
    parts = [_rotated(xy, cos, sin)]
    if kind == "place":
        parts.append(rest + 2 * torch.atan2(s, c))
    elif kind == "delta":
        parts += [rest[..., :1], _rotated(rest[..., 1:3], cos, sin), rest[..., 3:]]
    else:
        parts.append(rest)
    return torch.cat(parts, dim=-1)


def _rotated(xy: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x, y = xy[..., :1], xy[..., 1:]
    return torch.cat([cos * x - sin * y, sin * x + cos * y], dim=-1)
