"""Episodes made from a seed, and the public example file when it is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robolearn.clock import FakeClock
from robolearn.data.episode_writer import EpisodeWriter
from robolearn.data.session import Session
from robolearn.data.store import Store
from robolearn.episode import Episode, EpisodeMeta, Event, Outcome, Reading
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


@pytest.fixture
def store(tmp_path):
    """An empty one; files that need another have their own."""
    with Store.create(tmp_path / "store", durable=False) as made:
        yield made


@pytest.fixture(scope="session")
def begin() -> Callable[..., EpisodeWriter]:
    """Begins an episode of two joints in a store; its observation spec may be another."""
    two = {"arm.q": ArraySpec((2,))}

    def begun(store: Store, observed: Spec = two) -> EpisodeWriter:
        return store.record(EpisodeMeta("t", "do it", 20.0), observed, {"arm.v": ArraySpec((1,))})

    return begun


@pytest.fixture(scope="session")
def record() -> Callable[[EpisodeWriter, int], None]:
    """Records row k of such an episode."""

    def one(writer: EpisodeWriter, k: int) -> None:
        writer.observation(Reading(0.05 * k, {"arm.q": np.array([k, -k], float)}))
        action = {"arm.v": np.array([float(k)])}
        writer.action(action, action, {"actor": np.array(0, np.int8)})

    return one


@pytest.fixture
def live(tmp_path):
    """Rows at 10 Hz, joints at 200 Hz, a camera and a depth camera at 28.6 Hz."""
    spec = {
        "arm.q": ArraySpec((2,), unit="rad"),
        "wrist.rgb": ArraySpec((16, 24, 3), "uint8"),
        "wrist.depth": ArraySpec((16, 24), "uint16", unit="mm"),
    }
    clock = FakeClock(5.0)
    depth = np.tile(np.linspace(300, 900, 24).astype(np.uint16), (16, 1))
    depth[0] = 0
    with Store.create(tmp_path / "live", durable=False) as store:
        meta = EpisodeMeta("t", "look", 10.0, operator="Ada")
        with Session(store, meta, spec, {"arm.dq": ArraySpec((2,))}, clock, longest_s=5.0) as session:
            session.arm()
            session.start()
            for k in range(601):  # the 200 Hz clock of 3 s
                clock.sleep_until(5.0 + k / 200)
                peak = 9.0 if k == 333 else 0.0
                session.sample({"arm.q": np.array([np.sin(k / 50), peak])}, clock.now())
                assert session._writer is not None
                while any(encoder.waiting > 6 for encoder in session._writer._log._pictures._encoders.values()):
                    time.sleep(0.001)  # a real camera is slower than this clock
                if k % 7 == 0:
                    picture = np.full((16, 24, 3), k // 7 * 2, np.uint8)
                    session.sample({"wrist.rgb": picture}, clock.now(), counter=k // 7)
                    session.sample({"wrist.depth": depth}, clock.now(), counter=k // 7)
                if k % 20 == 0:
                    session.observation(Reading(clock.now(), {}))
                    if k < 600:
                        command = {"arm.dq": np.zeros(2)}
                        session.action(command, command, {"actor": np.array(0, np.int8)})
            session.stop()
            session.commit(Outcome.SUCCESS)
    return Store.open(tmp_path / "live")
