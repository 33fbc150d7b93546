"""A point on a line: the smallest environment that obeys the contract, for tests of the loop."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from robolearn.episode import Event, Outcome, Perturbation, Reading
from robolearn.keypoints.pouring import BOTTLE_HEIGHT_M, GRIP_M, UNIT_M, axis_of
from robolearn.specs import Array, Arrays, ArraySpec, check
from robolearn.task import Task

# A shell that starts the tests in the background makes them ignore Ctrl-C, and the programs they interrupt too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("MUJOCO_GL", "egl")
# A busy machine is not a failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


class PointEnv:
    """n points that must reach the origin; the action is a velocity in [-1, 1] m/s, ten ticks a second."""

    def __init__(self, n: int = 3, horizon: int = 40):
        self._n = n
        self._task = Task("point", "go to the origin", 10.0, horizon, "point")
        self.x, self.steps, self.time = np.zeros(n), np.zeros(n, int), np.zeros(n)
        self.closed = False

    n = property(lambda self: self._n)
    task = property(lambda self: self._task)

    @property
    def observation_spec(self):
        return {"point.x": ArraySpec((1,), unit="m"), "point.rgb": ArraySpec((4, 6, 3), "uint8")}

    @property
    def action_spec(self):
        return {"point.velocity": ArraySpec((1,), low=-1.0, high=1.0, unit="m/s")}

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            self.x[row] = np.random.default_rng(seed).uniform(-2, 2)
            self.steps[row], self.time[row] = 0, 0.0

    def observe(self) -> Reading:
        rgb = np.zeros((self._n, 4, 6, 3), np.uint8)
        rgb[:] = self.steps[:, None, None, None]
        return Reading(self.time.copy(), {"point.x": self.x[:, None].copy(), "point.rgb": rgb})

    def act(self, action: Arrays) -> Arrays:
        check(action, self.action_spec, lead=(self._n,), where="action")
        sent = np.clip(action["point.velocity"], -1, 1)
        self.x += 0.1 * sent[:, 0]
        self.steps += 1
        self.time += 0.1
        return {"point.velocity": sent}

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        now = float(self.time[row])
        self.x[row] += perturbation.params["dx"]
        return Event(perturbation.kind, now, now, "rule", params=dict(perturbation.params))

    def outcomes(self) -> Array:
        result = np.where(np.abs(self.x) < 0.06, Outcome.SUCCESS, Outcome.RUNNING)
        return np.where((result == 0) & (self.steps >= self._task.horizon), Outcome.TIMEOUT, result).astype(np.int8)

    def close(self) -> None:
        self.closed = True


class TowardsZero:
    """A policy that heads for the origin at up to 2 m/s, more than the environment allows."""

    observation_spec = {"point.x": ArraySpec((1,), unit="m")}
    action_spec = {"point.velocity": ArraySpec((1,), low=-1.0, high=1.0, unit="m/s")}

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        pass

    def act(self, observation: Arrays) -> Arrays:
        return {"point.velocity": np.clip(-10 * observation["point.x"], -2, 2)}


@pytest.fixture
def point_env():
    return PointEnv


@pytest.fixture
def towards_zero():
    return TowardsZero()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data that others recorded, beside the checkout; tests that need it skip loudly without it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.exists():
        pytest.skip(f"no test data at {path}")
    return path


@pytest.fixture(scope="session")
def lift_ph() -> Path:
    """The human Lift demonstrations as robomimic published them."""
    from robolearn.data.fetch import get
    from robolearn.errors import DataFileError

    if "ROBOLEARN_LIFT_PH" in os.environ:
        return Path(os.environ["ROBOLEARN_LIFT_PH"])
    try:
        return get("lift-ph", Path(__file__).resolve().parents[1] / "data" / "downloads")
    except DataFileError as error:
        pytest.skip(f"the human demonstrations could not be fetched: {error}")


def pourer(seen: np.ndarray, *, tip_rad: float = 1.95) -> np.ndarray:
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


@pytest.fixture(scope="session")
def pour_by_the_book() -> Callable[..., np.ndarray]:
    """A pourer that nobody learned."""
    return pourer
