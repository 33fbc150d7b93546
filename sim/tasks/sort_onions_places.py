"""Where things are on the onion line: the places, the eye, and how to tell that an onion lies in a place."""

from __future__ import annotations

import numpy as np

from robolearn.specs import Array

__all__ = ["BIN", "CONVEYOR", "EYE_M", "ONIONS", "RADIUS_M", "on_place", "slots"]

ONIONS = tuple(f"onion{i}" for i in range(5))
RADIUS_M = 0.03
EYE_M = np.array([0.48, 0.0, 0.30])
"""The inspection pose of the tool."""
BIN = np.array([[0.45, 0.35], [0.12, 0.09], [0.006, 0.07]])
"""Middle, half sizes and heights of floor and wall, m."""
CONVEYOR = np.array([[0.45, -0.34], [0.175, 0.05], [0.02, 0.035]])


def on_place(onions: Array, place: Array) -> Array:
    """(...,) whether onions at (..., 3) lie in a place."""
    aside = np.abs(onions[..., :2] - place[0])
    return np.all(aside < place[1], axis=-1) & (onions[..., 2] < place[2, 0] + 2.5 * RADIUS_M) & (onions[..., 2] > 0)


def slots(place: Array) -> Array:
    """(5, 2) one spot for each onion in a place, so that none is dropped on another."""
    if place[1, 1] < 2.0 * RADIUS_M:  # one row
        x = place[0, 0] + 0.066 * (np.arange(5) - 2.0)
        return np.column_stack([x, np.full(5, place[0, 1])])
    x = place[0, 0] + np.array([-0.07, 0.0, 0.07, -0.07, 0.07])
    y = place[0, 1] + np.array([-0.04, -0.04, -0.04, 0.04, 0.04])
    return np.column_stack([x, y])
