"""Public recordings beside the checkout; tests that need one skip loudly where it is not there."""

from pathlib import Path

import pytest

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
