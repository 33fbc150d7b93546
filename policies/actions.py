"""Between named actions in physical units and the vector a network speaks.

Actions are scaled to [-1, 1] by their smallest and largest demonstrated value, so clipping a clean sample there keeps
a policy within what was demonstrated; on the way out the action spec's own limits hold as well.

Shapes: B batch, H horizon, A numbers per action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.learn.examples import ACTION
from robolearn.learn.normaliser import ArrayStatistics, Normaliser, Statistics
from robolearn.specs import Array, Arrays, Spec, bounds, check

__all__ = ["ActionCodec", "as_tensors", "used_statistics"]


def used_statistics(statistics: Statistics, observation_spec: Spec, action_spec: Spec) -> dict[str, ArrayStatistics]:
    """The statistics a policy needs, actions always under "action.<name>".

    Args:
        statistics: Of observations under their names, of actions under "action.<name>" or, where no observation has
            the same name, under their names.
        observation_spec: The observations used; pictures need no statistics.
        action_spec: The actions.

    Raises:
        SpecError: Some are missing, or it is not clear whether they are an observation's or an action's.
    """
    wanted: dict[str, tuple[str, ...]] = {name: (name,) for name, spec in observation_spec.items() if not spec.is_image}
    for name in action_spec:
        wanted[ACTION + name] = (ACTION + name,) if name in observation_spec else (ACTION + name, name)
    found: dict[str, ArrayStatistics] = {}
    for name, candidates in wanted.items():
        there = [candidate for candidate in candidates if candidate in statistics]
        if not there:
            raise SpecError(
                f"Statistics of {name!r} are missing; there are some of: {', '.join(sorted(statistics)) or 'nothing'}. "
                "Compute them over the training episodes."
            )
        found[name] = statistics[there[0]]
    return found


class ActionCodec(nn.Module):
    """Named actions to normalised vectors and back.

    Args:
        spec: The action spec.
        statistics: Of all actions, under "action.<name>".

    Raises:
        SpecError: Statistics are missing, or there are no actions.
    """

    def __init__(self, spec: Spec, statistics: Statistics):
        super().__init__()
        if not spec:
            raise SpecError("A policy needs at least one action; the action spec is empty.")
        self.normaliser = Normaliser(spec, {name: statistics[ACTION + name] for name in spec}, "min_max")
        self.size = self.normaliser.size
        self._spec = dict(spec)
        self._bounds = {name: bounds(s) for name, s in spec.items()}

    def join(self, actions: Mapping[str, Tensor]) -> Tensor:
        """x_BHA within [-1, 1] from demonstrated actions (B, H, ...)."""
        return self.normaliser.encode(actions)

    def split(self, x_BHA: Tensor) -> dict[str, Array]:
        """Numpy actions (B, H, ...) of the spec's types, within its limits.

        Raises:
            SpecError: A value is not finite.
        """
        actions: dict[str, Array] = {}
        for name, value in self.normaliser.decode(x_BHA).items():
            found, spec = value.cpu().numpy().astype(np.float64), self._spec[name]
            if not np.isfinite(found).all():
                raise SpecError(
                    f"The policy computed a non-finite value for the action {name!r}. Are its observations far outside "
                    "of what it was trained on? Nothing was sent."
                )
            found = np.clip(found, *self._bounds[name])
            dtype = np.dtype(spec.dtype)
            actions[name] = (
                np.rint(found) if dtype.kind in "iu" else found > 0.5 if dtype.kind == "b" else found
            ).astype(dtype)
        return actions


def as_tensors(observations: Arrays, spec: Spec, history: int, device: torch.device) -> dict[str, Tensor]:
    """Checked observations (rows, history, ...) as tensors; names outside of `spec` are ignored.

    Raises:
        SpecError: A name is missing, or a shape, type or value is wrong.
    """
    used = {name: value for name, value in observations.items() if name in spec}
    rows = len(next(iter(used.values()))) if used else 0
    check(used, spec, lead=(rows, history), where="the policy's observations")
    return {name: torch.as_tensor(value).to(device) for name, value in used.items()}
