"""LeRobot 0.4.4 itself reads what we write, and we read what it writes (`make interop` builds its environment)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robolearn.data.lerobot_check import check_lerobot
from robolearn.data.lerobot_export import export_lerobot
from robolearn.data.lerobot_import import import_lerobot
from robolearn.data.store import Store
from robolearn.episode import Actor, Episode, EpisodeMeta, Event, Outcome
from robolearn.specs import ArraySpec

HERE = Path(__file__).parent


def _load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lerobot_env = _load("lerobot_env")


def picture(k):
    y, x = np.mgrid[0:64, 0:96]
    return np.stack([(x * 2 + 5 * k) % 256, y * 4 % 256, np.full_like(x, 10 * k)], axis=-1).astype(np.uint8)


def episode(steps, seed):
    rng = np.random.default_rng(seed)
    times = np.arange(steps + 1) / 20 + rng.uniform(0, 0.01, steps + 1)
    command = {"arm.delta": rng.uniform(-1, 1, (steps, 2))}
    return Episode(
        observation_spec={
            "arm.q": ArraySpec((3,), unit="rad", names=("a", "b", "c")),
            "gripper.width": ArraySpec((1,), unit="m"),
            "wrist.rgb": ArraySpec((64, 96, 3), "uint8"),
            "wrist.depth": ArraySpec((24, 32), "uint16", unit="mm"),
        },
        action_spec={"arm.delta": ArraySpec((2,), low=-1.0, high=1.0)},
        observations={
            "arm.q": rng.normal(size=(steps + 1, 3)),
            "gripper.width": rng.uniform(0, 0.08, (steps + 1, 1)),
            "wrist.rgb": np.stack([picture(k + 3 * seed) for k in range(steps + 1)]),
            "wrist.depth": rng.integers(0, 1 << 16, (steps + 1, 24, 32)).astype(np.uint16),
        },
        requested={"arm.delta": command["arm.delta"] * 2},
        actions=command,
        actor=np.array([Actor.OPERATOR, Actor.INTERVENTION] * steps, np.int8)[:steps],
        times=times,
        outcome=(Outcome.SUCCESS, Outcome.FAILURE)[seed % 2],
        meta=EpisodeMeta("fold", "fold the towel", 20.0, seed=seed, robot="arm", operator="Ada"),
        notes={"reward": rng.normal(size=steps), "subtask": np.array(["reach", "fold"] * steps)[:steps]},
        events=(Event("SET_CMD", times[4], times[4], "human", params={"instruction": "unfold it"}),),
    )


@dataclass(frozen=True)
class Exchange:
    """One dataset of ours as LeRobot reads it, and one that it wrote."""

    episodes: list[Episode]
    rows: int
    ours: Path
    seen: dict[str, np.ndarray]
    facts: dict[str, Any]
    theirs: Path


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    root, here = lerobot_env.folder(), tmp_path_factory.mktemp("lerobot")
    if not (root / "ready").is_file():
        warnings.warn(f"SKIPPED the tests against LeRobot itself: no environment at {root}", stacklevel=1)
        pytest.skip(f"no LeRobot at {root}: run `make interop`, which installs it there")
    episodes = [episode(9 + 4 * k, k) for k in range(3)]
    with Store.create(here / "s", durable=False) as store:
        for one in episodes:
            store.append(one)
        done = export_lerobot(store, here / "out")
    paths = (here / "out", here / "seen.npz", here / "theirs")
    command = [str(root / "bin" / "python"), str(HERE / "lerobot_oracle.py"), *map(str, paths)]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert asked.returncode == 0, asked.stderr[-3000:]
    facts = json.loads((here / "seen.json").read_text())
    return Exchange(episodes, done.frames, paths[0], dict(np.load(paths[1])), facts, paths[2])


def test_lerobot_reads_every_number_we_write(exchange):
    episodes, seen, facts = exchange.episodes, exchange.seen, exchange.facts
    assert check_lerobot(exchange.ours) == []
    assert (facts["episodes"], facts["frames"], facts["fps"]) == (3, 39, 20) == (3, exchange.rows, 20)
    assert facts["state_names"] == ["arm.q.a", "arm.q.b", "arm.q.c", "gripper.width.0"]
    assert facts["outcomes"] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert facts["window"] == [[4, 2], [False, True, True, True]]

    def rows(get):
        return np.concatenate([get(one) for one in episodes])

    state = rows(lambda e: np.concatenate([e.observations["arm.q"], e.observations["gripper.width"]], axis=1)[:-1])
    np.testing.assert_array_equal(seen["observation.state"], state.astype(np.float32))
    np.testing.assert_array_equal(seen["action"], rows(lambda e: e.actions["arm.delta"]).astype(np.float32))
    asked = rows(lambda e: e.requested["arm.delta"]).astype(np.float32)
    np.testing.assert_array_equal(seen["requested_action"], asked)
    np.testing.assert_allclose(seen["captured_s"].ravel(), rows(lambda e: e.times[:-1]), rtol=1e-6)
    np.testing.assert_array_equal(seen["actor"].ravel(), rows(lambda e: e.actor))
    assert facts["tasks"] == [text for e in episodes for text in ["fold the towel"] * 4 + ["unfold it"] * (e.steps - 4)]
    assert seen["subtask"].tolist() == [str(text) for e in episodes for text in e.notes["subtask"]]
    np.testing.assert_array_equal(seen["depth.wrist"], rows(lambda e: e.observations["wrist.depth"][:-1]))
    truth = rows(lambda e: e.observations["wrist.rgb"][:-1]).transpose(0, 3, 1, 2) / 255
    error = np.abs(seen["observation.images.wrist"] - truth).mean(axis=(1, 2, 3))
    shifted = np.abs(seen["observation.images.wrist"][:-1] - truth[1:]).mean(axis=(1, 2, 3))
    assert error.max() < 0.02 < shifted.max(), "every row must show its own picture"
    stats = facts["stats"]
    np.testing.assert_allclose(stats["action"]["q10"], np.quantile(seen["action"], 0.1, axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        np.ravel(stats["observation.images.wrist"]["mean"]), truth.mean(axis=(0, 2, 3)), rtol=1e-6
    )


def test_we_read_every_number_lerobot_writes(tmp_path, exchange):
    assert [f for f in check_lerobot(exchange.theirs) if f.certainty == "certain"] == []
    with Store.create(tmp_path / "s", durable=False) as store:
        done = import_lerobot(exchange.theirs, store)
        assert done.absent == ("How episodes ended is not recorded; their outcome is RUNNING. Mark them with tags.",)
        for number, (id, count) in enumerate(zip(done.ids, (12, 7), strict=True)):
            one, k = store[id], np.arange(count)
            want = np.stack([np.full(count, number), k, k * k], axis=1)
            np.testing.assert_array_equal(one.observations["robot.state"], want)
            np.testing.assert_array_equal(one.actions["robot.command"], np.stack([k + 1, -k], axis=1)[:-1])
            np.testing.assert_array_equal(one.times, k / 20)
            assert one.observation_spec["robot.state"].names == ("a", "b", "c")
            assert one.notes["instruction"].tolist() == ["fold" if n < 5 else "unfold" for n in k[:-1]]
            truth = np.stack([picture(n + 5 * number) for n in k]).astype(float)
            error = np.abs(one.observations["top.rgb"] - truth).mean(axis=(1, 2, 3))
            assert error.max() < 8, error
            depth = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
            want = [np.roll(depth, int(n)) for n in k]
            np.testing.assert_array_equal(one.observations["top.depth"], want)
            assert one.meta.robot == "arm"
