"""Public recordings beside the checkout, without which tests skip loudly, and a pourer that nobody learned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robolearn.keypoints.pouring import BOTTLE_HEIGHT_M, GRIP_M, UNIT_M, axis_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    for root in (SHARED, Path(__file__).resolve().parents[4] / "shared" / "data"):
        if (root / name).exists():
            return root / name
    pytest.skip(f"the recording {name} is not in ../shared/data")


@pytest.fixture
def onion_human() -> Path:
    return shared("onion_human")


@pytest.fixture
def human_assembly() -> Path:
    return shared("human_assembly")


@pytest.fixture
def hand_video() -> Path:
    return shared("hand_video")


def by_the_book(seen: np.ndarray, *, tip_rad: float = 1.95) -> np.ndarray:
    """Straight to the bottle, over the bowl, tip until it is empty, into the crate: features (n, 12) to (n, 4)."""
    gaps = UNIT_M * seen[:, :9].reshape(-1, 3, 3)
    held, tip, full = seen[:, 9] > 0.5, seen[:, 10], seen[:, 11] > 0.02
    over = gaps[:, 1] + [0.0, 0.0, 0.05]
    near = np.hypot(over[:, 0], over[:, 1]) < 0.06
    turn = np.clip(np.where(full, np.where(near, tip_rad, np.minimum(tip, 1.0)), 0.0) - tip, -1.0, 1.0)
    around = axis_of(tip + turn) - axis_of(tip)
    to_bowl = over - (BOTTLE_HEIGHT_M - GRIP_M) * around
    to_crate = np.where((tip < 0.3)[:, None], gaps[:, 2] + [0.0, 0.0, 0.015] + GRIP_M * around, 0.0)
    move = np.clip(np.where(full[:, None], to_bowl, to_crate), -0.25, 0.25)
    return np.column_stack([np.where(held[:, None], move, gaps[:, 0]), np.where(held, turn, 0.0)])


@pytest.fixture
def pour_by_the_book() -> Callable[..., np.ndarray]:
    """A pourer that nobody learned."""
    return by_the_book
