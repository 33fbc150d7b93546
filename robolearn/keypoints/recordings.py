"""From repaired tracks to what retargeting and learning take: one batch, a finer rate, and a place for the robot.

A recording at one or two frames per second cannot be judged by how far a wrist moves in a frame, so its rules differ
(`SLOW`); everything else is as for a camera's rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.keypoints.adjust import nearest_turn
from robolearn.keypoints.arm_maps import ArmMap
from robolearn.keypoints.quality import Rules
from robolearn.specs import Array

__all__ = ["SLOW", "finer", "placed_chain", "together"]

SLOW = Rules(jump_m=1.0, flicker_m=float("inf"))
"""Rules for recordings of one or two frames per second: an honest wrist moves 0.75 m between two frames of them."""


def finer(points: Array, factor: int = 2) -> Array:
    """Points (T, ...) at `factor` times the rate, on straight lines between frames: ((T - 1) factor + 1, ...)."""
    flat = points.reshape(len(points), -1)
    at = np.arange((len(points) - 1) * factor + 1) / factor
    below = np.minimum(at.astype(int), len(points) - 2)
    share = (at - below)[:, None]
    return ((1.0 - share) * flat[below] + share * flat[below + 1]).reshape(len(at), *points.shape[1:])


def together(recordings: Sequence[Array]) -> tuple[Array, Array]:
    """Recordings (T_i, ...) as one batch (n, T, ...), the last frame repeated, and (n, T) bool, the real ones."""
    longest = max(len(points) for points in recordings)
    batch = np.stack([np.concatenate([p, np.repeat(p[-1:], longest - len(p), axis=0)]) for p in recordings])
    return batch, np.stack([np.arange(longest) < len(p) for p in recordings])


def placed_chain(arm: ArmMap, base: Chain, shoulders: Array, symbolic: Array, wrists: Array) -> Chain:
    """Where to bolt the robot: its arm is longer than a person's, so its shoulder stands back by what that takes.

    The robot is put where the median over frames of (hand's target - tool of the symbolic posture) vanishes; with the
    robot's shoulder in the person's, the arm would have to fold up in front of every target.

    Args:
        arm: The map.
        base: The robot's chain in its base frame.
        shoulders: (T, 3) the person's shoulder, m.
        symbolic: (T, k) symbolic postures, rad.
        wrists: (T, 3) where the hand was, m.
    """
    chain = arm.mounted(base, np.median(shoulders, axis=0))
    q = np.clip(nearest_turn(chain, symbolic, np.zeros_like(symbolic)), chain.low, chain.high)
    return arm.mounted(base, np.median(shoulders, axis=0) + np.median(wrists - chain.posture(q).tool, axis=0))
