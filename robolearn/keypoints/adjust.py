"""Minimal-adjust inverse kinematics: reach the hand's target while staying as near as possible to a symbolic posture.

    min_q  w_x^2 |x(q) - x*|^2 + w_o^2 sum_d |d(q) - d*|^2 + |q - q_sym|^2 + w_s^2 |q - q_prev|^2,   low <= q <= high

with d the tool's z axis where only its direction matters (placing), z and y where its whole orientation does (pouring),
by Gauss-Newton with Levenberg's damping (Nocedal and Wright, section 10.3); a joint at a limit that wants to go
beyond it is held there for the step (Bertsekas 1982, projected Newton). The objective is ours: the goal is Visual
IRL's (arXiv 2412.11360), whose equations are not public. Rows are independent, so many recordings are solved at once;
one row is the live mirror.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.arm.kinematics import Chain, Posture
from robolearn.specs import Array

__all__ = ["LIVE", "AdjustConfig", "Adjusted", "adjust", "follow", "nearest_turn"]


@dataclass(frozen=True, slots=True)
class AdjustConfig:
    """Weights of the objective; the posture's own weight is one."""

    position: float = 300.0
    """w_x, 1/m: a millimetre costs as much as 0.3 rad in one joint."""
    pointing: float = 30.0
    """w_o: how much the tool's axes must point along their target directions, where any are given."""
    smoothing: float = 2.0
    """w_s: how much a posture stays near the one before."""
    posture: float = 1.0
    """Weight of the symbolic posture; a tiny number leaves plain inverse kinematics."""
    leap: bool = True
    """Also search from the symbolic posture, whose valley is often the better one. An arm that carries something out
    must not leap there from one moment to the next."""
    iterations: int = 60
    """Most Gauss-Newton steps."""
    tolerance: float = 1e-5
    """A step smaller than this in every joint, rad, ends it."""


LIVE = AdjustConfig(iterations=20)
"""For the live mirror: a frame's time has a bound, and a frame starts from the one before, which is near."""


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """What came of it, n rows.

    Attributes:
        q: (n, k) joint positions, rad.
        error_m: (n,) distance of the tool from its target.
        cost: (n,) the objective.
        limited: (n, k) bool, joints at a limit.
    """

    q: Array
    error_m: Array
    cost: Array
    limited: Array


def adjust(
    chain: Chain,
    symbolic: Array,
    target: Array,
    previous: Array | None = None,
    *,
    pointing: Array | None = None,
    across: Array | None = None,
    config: AdjustConfig | None = None,
) -> Adjusted:
    """Postures of one moment.

    Args:
        chain: The arm, in the frame of the targets.
        symbolic: (n, k) symbolic postures, rad.
        target: (n, 3) where the tool shall be, m.
        previous: (n, k) postures one moment before; None at the start, when nothing is smoothed.
        pointing: (n, 3) unit directions for the tool's z axis; None leaves it free.
        across: (n, 3) unit directions for the tool's y axis, along which fingers open; None leaves it free.
        config: The weights.
    """
    config = config or AdjustConfig()
    smoothing = 0.0 if previous is None else config.smoothing
    before = symbolic if previous is None else previous
    axes = [(axis, d) for axis, d in ((2, pointing), (1, across)) if d is not None]
    problem = _Problem(chain, symbolic, target, before, smoothing, axes, config)
    starts = ([symbolic] if previous is None or config.leap else []) + ([] if previous is None else [previous])
    q, cost = problem.solve(np.clip(starts[0], chain.low, chain.high))
    for start in starts[1:]:  # the valley of the posture before is often the better one
        other, other_cost = problem.solve(np.clip(start, chain.low, chain.high))
        better = other_cost < cost
        q, cost = np.where(better[:, None], other, q), np.where(better, other_cost, cost)
    error = np.linalg.norm(chain.posture(q).tool - target, axis=1)
    return Adjusted(q, error, cost, (q <= chain.low) | (q >= chain.high))


def follow(
    chain: Chain,
    symbolic: Array,
    target: Array,
    *,
    start: Array | None = None,
    pointing: Array | None = None,
    across: Array | None = None,
    config: AdjustConfig | None = None,
) -> Adjusted:
    """Postures over time: every moment stays near the one before.

    Args:
        chain: The arm.
        symbolic: (n, T, k) symbolic postures, rad, as the map gives them; the turn nearest to the last posture is
            taken.
        target: (n, T, 3) where the tool shall be, m.
        start: (n, k) posture before the first moment.
        pointing: (n, T, 3) unit directions for the tool's z axis.
        across: (n, T, 3) unit directions for the tool's y axis.
        config: The weights.

    Returns:
        Arrays with axes (n, T, ...).
    """
    found: list[Adjusted] = []
    previous = start
    for t in range(target.shape[1]):
        wished = symbolic[:, t] if previous is None else nearest_turn(chain, symbolic[:, t], previous)
        z, y = (None if d is None else d[:, t] for d in (pointing, across))
        found.append(adjust(chain, wished, target[:, t], previous, pointing=z, across=y, config=config))
        previous = found[-1].q
    return Adjusted(*(np.stack([getattr(f, name) for f in found], axis=1) for name in Adjusted.__slots__))


def nearest_turn(chain: Chain, q: Array, reference: Array) -> Array:
    """The same angles (n, k), a whole turn more or less where that is nearer to `reference` and inside the limits."""
    best = q
    for turn in (-2.0 * np.pi, 2.0 * np.pi):
        other = q + turn
        allowed = (other >= chain.low) & (other <= chain.high)
        best = np.where(allowed & (np.abs(other - reference) < np.abs(best - reference)), other, best)
    return best


class _Problem:
    """The objective of n rows and its damped Gauss-Newton steps."""

    def __init__(
        self,
        chain: Chain,
        symbolic: Array,
        target: Array,
        before: Array,
        smoothing: float,
        axes: list[tuple[int, Array]],
        config: AdjustConfig,
    ):
        self._chain, self._target, self._axes, self._config = chain, target, axes, config
        # The two quadratic terms around `symbolic` and `before` are one around their mean.
        self._weight = config.posture**2 + smoothing**2
        self._middle = (config.posture**2 * symbolic + smoothing**2 * before) / self._weight
        self._rest = (config.posture * smoothing) ** 2 / self._weight * ((symbolic - before) ** 2).sum(axis=1)

    def solve(self, q: Array) -> tuple[Array, Array]:
        """Local minimum (n, k) from a start within the limits, and its cost (n,)."""
        config, (low, high) = self._config, (self._chain.low, self._chain.high)
        identity = np.eye(q.shape[1])
        posture = self._chain.posture(q)
        cost, damping = self._cost(q, posture), np.full(len(q), 1e-6)
        for _ in range(config.iterations):
            hessian, gradient = self._model(q, posture)
            free = ~(((q <= low) & (gradient > 0)) | ((q >= high) & (gradient < 0)))
            both = free[:, :, None] & free[:, None, :]
            scale = self._weight + damping * np.trace(hessian, axis1=1, axis2=2)
            system = np.where(both, hessian, 0.0) + scale[:, None, None] * identity
            step: Array = np.linalg.solve(system, np.where(free, -gradient, 0.0)[..., None])[..., 0]
            trial: Array = np.clip(q + step, low, high)
            moved = self._chain.posture(trial)
            trial_cost = self._cost(trial, moved)
            good = trial_cost <= cost
            change = np.where(good[:, None], np.abs(trial - q), 0.0).max()
            q, cost = np.where(good[:, None], trial, q), np.where(good, trial_cost, cost)
            damping = np.clip(np.where(good, damping * 0.1, damping * 10.0), 1e-9, 1e3)
            if np.all(good) and change < config.tolerance:
                break
            posture = moved if np.all(good) else self._chain.posture(q)
        return q, cost

    def _cost(self, q: Array, posture: Posture) -> Array:
        config = self._config
        cost = config.position**2 * ((posture.tool - self._target) ** 2).sum(axis=1)
        cost += self._weight * ((q - self._middle) ** 2).sum(axis=1) + self._rest
        for axis, direction in self._axes:
            cost += config.pointing**2 * ((posture.hand[:, :, axis] - direction) ** 2).sum(axis=1)
        return cost

    def _model(self, q: Array, posture: Posture) -> tuple[Array, Array]:
        """Gauss-Newton Hessian (n, k, k) without the posture's part, and half of the gradient (n, k)."""
        config = self._config
        J = posture.jacobian()
        rows = config.position * J[:, :3]
        residual = config.position * (posture.tool - self._target)
        for axis, direction in self._axes:
            d = posture.hand[:, :, axis]
            turning = np.cross(J[:, 3:].transpose(0, 2, 1), d[:, None]).transpose(0, 2, 1)
            rows = np.concatenate([rows, config.pointing * turning], axis=1)
            residual = np.concatenate([residual, config.pointing * (d - direction)], axis=1)
        turned = rows.transpose(0, 2, 1)
        return turned @ rows, (turned @ residual[..., None])[..., 0] + self._weight * (q - self._middle)
