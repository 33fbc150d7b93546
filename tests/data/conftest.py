"""Episodes made from a seed, and the public example file when it is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robolearn.episode import Episode, EpisodeMeta, Event, Outcome
from robolearn.specs import ArraySpec, Spec

OBSERVED = {
    "arm.q": ArraySpec((3,), low=-10.0, high=10.0, unit="rad", names=("a", "b", "c")),
    "arm.load": ArraySpec((2, 2), "float32"),
    "gripper": ArraySpec((), "int64"),
    "gripper.closed": ArraySpec((2,), "bool"),
}
COMMANDED = {"arm.delta": ArraySpec((3,), low=-1.0, high=1.0, unit="m"), "gripper.close": ArraySpec((), "float32")}
PICTURE = {"wrist.rgb": ArraySpec((16, 20, 3), "uint8")}


def random_arrays(rng: np.random.Generator, spec: Spec, lead: int) -> dict[str, np.ndarray]:
    out = {}
    for name, one in spec.items():
        shape = (lead, *one.shape)
        kind = np.dtype(one.dtype).kind
        if kind == "f":
            out[name] = rng.uniform(-1, 1, shape).astype(one.dtype)
        elif kind == "b":
            out[name] = rng.random(shape) < 0.5
        else:
            out[name] = rng.integers(0, 256, shape).astype(one.dtype)
    return out


def _make_episode(
    steps: int = 5, seed: int = 0, *, pictures: bool = False, outcome: Outcome = Outcome.SUCCESS, task: str = "lift"
) -> Episode:
    rng = np.random.default_rng(seed)
    observed = OBSERVED | (PICTURE if pictures else {})
    times = 0.05 * np.arange(steps + 1)
    return Episode(
        observation_spec=observed,
        action_spec=COMMANDED,
        observations=random_arrays(rng, observed, steps + 1),
        requested=random_arrays(rng, COMMANDED, steps),
        actions=random_arrays(rng, COMMANDED, steps),
        actor=rng.integers(0, 4, steps).astype(np.int8),
        times=times,
        outcome=outcome,
        meta=EpisodeMeta(task, "lift the cube", 20.0, seed=seed, operator="expert", extra={"note": [1, "two"]}),
        notes={"value": rng.normal(size=(steps, 2)), "subtask": np.array(["reach", "grasp"] * steps)[:steps]},
        events=(Event("MOVE_OBJ", times[1], times[1] + 0.01, "human", "cube", {"x": 0.1, "path": [1, 2]}),),
    )


def _assert_same(a: Episode, b: Episode, steps: int | None = None) -> None:
    """Bit-equal, or the first `steps` of b are all of a."""
    n = b.steps if steps is None else steps
    assert a.steps == n
    assert dict(a.observation_spec) == dict(b.observation_spec)
    assert dict(a.action_spec) == dict(b.action_spec)
    for mine, theirs, count in (
        (a.observations, b.observations, n + 1),
        (a.requested, b.requested, n),
        (a.actions, b.actions, n),
        (a.notes, b.notes, n),
        ({"actor": a.actor}, {"actor": b.actor}, n),
    ):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            want = np.asarray(theirs[name][:count])
            if want.dtype.kind == "U":
                assert value.tolist() == want.tolist()
            else:
                assert value.dtype == want.dtype
                assert value.tobytes() == want.tobytes(), name
    np.testing.assert_allclose(a.times, b.times[: n + 1], rtol=0, atol=1e-9)
    assert a.meta == b.meta


@pytest.fixture(scope="session")
def lift_file(lift_ph: Path) -> Path:
    return lift_ph


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    return _make_episode


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    return _assert_same
