"""Things and places as gaps from the tool: what a policy sees when it shall not learn positions by heart.

A network that is shown where the tool is and where the cube is has to learn their difference from demonstrations, and
with few of them it learns it for the places it was shown. Here the difference is computed (what that is worth:
docs/results/lift.md). Everything is in the frame it is observed in, per thing ("<name>.position" in m,
"<name>.quaternion") and per place on the table ("<name>.place": x and y in m, a yaw in rad where there is a third
number):

    a thing     gap to the tool (3) and the first two columns of its rotation (6; Zhou et al. 2019)
    a place     gap to the tool (2), cos and sin of its yaw
    both        from each thing to each place: gap (2); where both are turned also in the thing's frame, and cos and
                sin of the turn that is left
    the tool    its height, the first two columns of its rotation

A gap is there as such (divided by 20 cm) and near by (tanh(gap / 4 cm)): millimetres count where something is touched,
and where it is far they do not. Where a thing or place is turned, gaps are also told in its own frame, in which
pushing at a corner, and where to push next, are the same whichever way it lies. Nothing here has statistics, so
nothing is extrapolated.

Shapes: L any leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.specs import Spec

__all__ = ["ARM", "Gaps", "absolute"]

FAR_M, NEAR_M = 0.2, 0.04
TOOL = "tool.position"
ARM = ("arm.q", "arm.dq")


def absolute(spec: Spec) -> list[str]:
    """The observations that gaps stand for: poses, places, and what the arm's joints say of the tool's."""
    return [name for name in spec if name in ARM or _is_pose(name, spec) or _is_place(name, spec)]


def _is_pose(name: str, spec: Spec) -> bool:
    kind, shape = name.rsplit(".", 1)[-1], spec[name].shape
    return (kind == "position" and shape == (3,)) or (kind == "quaternion" and shape == (4,))


def _is_place(name: str, spec: Spec) -> bool:
    return name.endswith(".place") and spec[name].shape in ((2,), (3,))


class Gaps(nn.Module):
    """Named observations (L, ...) to gaps (L, size).

    Args:
        spec: The observations there are; positions, quaternions and places among them are used.

    Raises:
        SpecError: There is no tool, or nothing it could have a gap to.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        poses = [name.rsplit(".", 1)[0] for name in spec if name.endswith(".position") and _is_pose(name, spec)]
        self.things = [name for name in poses if name != "tool"]
        self.places = {name: spec[name].shape[0] for name in spec if _is_place(name, spec)}
        self.turned = {name for name in poses if f"{name}.quaternion" in spec}
        if TOOL not in spec or not (self.things or self.places):
            raise SpecError(
                f'A relative policy needs "{TOOL}" and a thing ("<name>.position") or a place ("<name>.place"); found '
                f"{', '.join(spec) or 'nothing'}."
            )
        yaws = [name for name, count in self.places.items() if count == 3]
        turned = [thing for thing in self.things if thing in self.turned]
        self.size = 1 + 6 * len(self.turned) + 2 * len(yaws) + 6 * len(yaws) * len(turned)
        self.size += 6 * (len(self.things) + len(turned))
        self.size += 4 * (len(self.places) + len(yaws)) * (1 + len(self.things))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """(L, size) float32."""
        tool = observation[TOOL].float()
        at = {thing: observation[f"{thing}.position"].float() for thing in self.things}
        rotations = {name: _columns(observation[f"{name}.quaternion"].float()) for name in sorted(self.turned)}
        parts = [tool[..., 2:] / FAR_M, *rotations.values()]
        for thing, position in at.items():
            gap = position - tool
            parts += _scales(gap)
            if thing in self.turned:
                first, second = rotations[thing].split(3, dim=-1)
                axes = (first, second, torch.linalg.cross(first, second))
                parts += _scales(torch.cat([(axis * gap).sum(-1, keepdim=True) for axis in axes], dim=-1))
        for name, count in self.places.items():
            place = observation[name].float()
            xy, yaw = place[..., :2], place[..., 2:]
            for start in (tool, *at.values()):
                gap = xy - start[..., :2]
                parts += _scales(gap)
                if count == 3:
                    parts += _scales(_turned(gap, yaw.cos(), yaw.sin()))
            if count == 3:
                parts += [yaw.cos(), yaw.sin()]
                for thing in (thing for thing in self.things if thing in self.turned):
                    x, y = rotations[thing][..., 0:1], rotations[thing][..., 1:2]
                    length = (x * x + y * y).sqrt().clamp(min=1e-6)
                    x, y = x / length, y / length
                    parts.append(_turned(torch.cat([yaw.cos(), yaw.sin()], dim=-1), x, y))
                    parts += _scales(_turned(xy - at[thing][..., :2], x, y))
        return torch.cat(parts, dim=-1)


def _turned(v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(L, 2) vectors in the frame that is turned by an angle."""
    x, y = v[..., 0:1], v[..., 1:2]
    return torch.cat([cos * x + sin * y, cos * y - sin * x], dim=-1)


def _scales(gap: Tensor) -> list[Tensor]:
    return [gap / FAR_M, (gap / NEAR_M).tanh()]


def _columns(quaternion: Tensor) -> Tensor:
    """(L, 6) the first two columns of the rotation of quaternions (L, 4), w first."""
    w, x, y, z = quaternion.unbind(-1)
    first = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    second = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return torch.stack(first + second, dim=-1)
