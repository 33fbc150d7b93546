import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from robolearn import plugins
from robolearn.keypoints.onions import EYE_M, HAND_M, SLOTS_M, TABLE_M
from robolearn.keypoints.tracks import ARM, Tracks
from robolearn.specs import ArraySpec


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def point(monkeypatch, point_env):
    """The toy environment, of which only the point is seen; as the plugin "point" its episodes have 24 steps."""

    class Point(point_env):
        @property
        def observation_spec(self):
            return {"point.x": ArraySpec((1,), unit="m")}

        def observe(self):
            reading = super().observe()
            return reading._replace(arrays={"point.x": reading.arrays["point.x"]})

    @dataclasses.dataclass(frozen=True)
    class PointConfig:
        n: int = 1

        def build(self):
            return Point(self.n, horizon=24)

    load = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda kind, name: PointConfig if (kind, name) == ("env", "point") else load(kind, name)
    )
    return Point


@pytest.fixture(scope="session")
def scripted() -> Callable[[int], Tracks]:
    """Made-up people who sort onions, by seed."""
    return sorter


def sorter(seed: int) -> Tracks:
    """A made-up person who sorts five onions, at two frames per second."""
    rng = np.random.default_rng(seed)
    onions = np.column_stack([rng.uniform(0.64, 0.80, 5), SLOTS_M, np.full(5, TABLE_M), rng.random(5) < 0.5])
    wrist, states = [np.array([0.45, -0.12, 1.05])], [onions.copy()]
    for k in range(5):
        good = onions[k, 3] > 0.5
        places = [onions[k, :3] - HAND_M, EYE_M, EYE_M, EYE_M, [0.6, -0.36, 0.93] if good else [0.45, 0.35, 1.1]]
        for step, place in enumerate(places):
            wrist.append(np.array(place) + rng.normal(0.0, 0.01, 3))
            now = states[-1].copy()
            if step:
                now[k, :3] = wrist[-1] + HAND_M
                now[k, 2] = max(now[k, 2], TABLE_M + 0.1)
            states.append(now)
        states.append(states[-1].copy())
        wrist.append(np.array([0.5, -0.1, 1.0]))
        states[-1][k] = [0.65, -0.5, TABLE_M, 1.0] if good else [-1.0] * 4
    wrists = np.array(wrist)
    points = np.stack([wrists + np.array([-0.1, 0.0, 0.45]), wrists + np.array([-0.1, 0.0, 0.18]), wrists], axis=1)
    return Tracks(ARM, points, 0.0, f"scripted_{seed}", onions=np.array(states))
