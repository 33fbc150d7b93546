"""Rules about one moment, as functions: may it engage, does a command jump, how fast may it be."""

from __future__ import annotations

import numpy as np

from robolearn.safety.layout import Layout, element
from robolearn.safety.limits import Limits
from robolearn.specs import Array, Arrays, Spec

__all__ = ["RAMP_START", "allowed_pace", "why_far_off", "why_jump", "why_not_at_start"]

RAMP_START = 0.1
"""Fraction of full speed right after engaging."""


def why_not_at_start(limits: Limits, spec: Spec, measured: Arrays) -> str:
    """Why an episode may not begin where the arm stands, or ""."""
    if limits.start_tolerance is None:
        return ""
    for name, pose in limits.start.items():
        gap = np.abs(measured[name] - np.asarray(pose, float))
        if not np.all(gap <= limits.start_tolerance):
            where = element(spec, name, int(np.argmax(gap)))
            return (
                f"the arm does not stand at its start pose: {where} is {gap.max():.3f} away from it, at most "
                f"{limits.start_tolerance} is allowed. Bring it there."
            )
    return ""


def why_far_off(limits: Limits, spec: Spec, layout: Layout, target: Array, q: Array) -> str:
    """Why a first command (n,) is too far from where the arm is measured (n,), or ""."""
    if limits.engage_gap is None:
        return ""
    for name, where in layout.slices.items():
        gap = np.abs(target[where] - q[where])
        if name in limits.measured and not np.all(gap <= limits.engage_gap):
            which = element(spec, name, int(np.argmax(gap)))
            return (
                f"the first command of {which} is {gap.max():.3f} away from where the arm is, at most "
                f"{limits.engage_gap} is allowed. Bring the two together."
            )
    return ""


def why_jump(limits: Limits, layout: Layout, speed: Array, before: Array | None, target: Array, since: float) -> str:
    """Why a command (n,) is too far from the one before, which came `since` seconds earlier, or "".

    Only where the arm's own position is measured: a gripper is told to open or to close, from one end to the other.
    """
    if limits.jump is None or before is None or since <= 0:
        return ""
    step = np.zeros_like(target)
    for name, where in layout.slices.items():
        if name in limits.measured:
            step[where] = np.abs(target[where] - before[where])
    most = limits.jump * speed * since
    if np.all(step <= most):
        return ""
    index = int(np.argmax(step - most))
    return (
        f"the command of {layout.element(index)} jumped by {step[index]:.3f} in {since:.3f} s; at most "
        f"{most[index]:.3f} is allowed"
    )


def allowed_pace(limits: Limits, now: float, ramp_from: float, disturbed_until: float) -> float:
    """Fraction of full speed that is allowed now."""
    pace = 1.0
    if limits.ramp_s is not None:
        pace = min(1.0, RAMP_START + (1 - RAMP_START) * (now - ramp_from) / limits.ramp_s)
    if limits.adversary_speed is not None and now < disturbed_until:
        pace = min(pace, limits.adversary_speed)
    return pace
