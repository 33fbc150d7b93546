"""Every planted fault is found and named with its place; healthy and real data is left alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robolearn.data.lerobot_import import import_lerobot
from robolearn.data.robomimic import import_robomimic
from robolearn.data.store import Store
from robolearn.data.validate import validate
from robolearn.episode import Actor, Episode, EpisodeMeta, Event, Outcome, Reading
from robolearn.specs import ArraySpec

ROWS = 121


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "s", durable=False) as made:
        yield made


def motion(seed=0) -> Episode:
    """A smooth motion with sensor noise and a camera with noise, three seconds at 40 Hz."""
    rng = np.random.default_rng(seed)
    times = np.arange(ROWS) / 40
    q = np.stack([np.sin(2 * times + p + seed) for p in (0.0, 0.7, 2.0)], axis=1) + rng.normal(0, 2e-4, (ROWS, 3))
    command = {"arm.delta": np.diff(q, axis=0).clip(-0.2, 0.2)}
    return Episode(
        observation_spec={
            "arm.q": ArraySpec((3,), low=-2.0, high=2.0, unit="rad", names=("base", "elbow", "wrist")),
            "top.rgb": ArraySpec((16, 20, 3), "uint8"),
        },
        action_spec={"arm.delta": ArraySpec((3,), low=-0.2, high=0.2, unit="rad")},
        observations={"arm.q": q, "top.rgb": rng.integers(90, 110, (ROWS, 16, 20, 3)).astype(np.uint8)},
        requested=command,
        actions=command,
        actor=np.full(ROWS - 1, Actor.OPERATOR, np.int8),
        times=times,
        outcome=Outcome.SUCCESS,
        meta=EpisodeMeta("reach", "reach", 40.0),
    )


def seen(episode, **arrays):
    return dataclasses.replace(episode, observations={**episode.observations, **arrays})


def test_healthy_episodes_have_no_findings(store):
    for seed in range(4):
        store.append(motion(seed))
    assert validate(store) == []


def test_a_device_that_stops_for_a_while_is_found_and_a_slow_one_is_not(store):
    spec = {"arm.q": ArraySpec((1,)), "room.temperature": ArraySpec((1,)), "task.goal": ArraySpec((1,))}
    writer = store.record(EpisodeMeta("t", "t", 20.0), spec, {"arm.dq": ArraySpec((1,))})
    for k in range(80):
        now = 0.05 * k
        arm = now if not 30 < k < 45 else 1.5  # 0.75 s of silence
        slow = 0.5 * (k // 10)
        arrays = {"arm.q": np.sin([arm]), "room.temperature": np.array([slow]), "task.goal": np.ones(1)}
        captured = {"arm.q": arm, "room.temperature": slow, "task.goal": 0.0}
        writer.observation(Reading(now, arrays, captured))
        if k < 79:
            command = {"arm.dq": np.array([0.01 * k])}
            writer.action(command, command, {"actor": np.array(0, np.int8)})
    id = writer.commit(Outcome.SUCCESS)
    gaps = [f for f in validate(store) if f.kind == "gap in time"]
    assert [f.where for f in gaps] == [f"{id}, observation arm.q, rows 34, 35, 36, 37, 38 and 6 more"]
    assert "gave nothing new for 700 ms; usual are 50.0 ms" in gaps[0].message


def edited(name, edit):
    episode = motion()
    values = episode.observations[name].copy()
    edit(values)
    return seen(episode, **{name: values})


def add(rows, element, value):
    def edit(values):
        values[rows, element] += value

    return edit


def still_head(q):
    q[:60] = q[60]


def still_tail(q):
    q[70:] = q[70]


def freeze(frames):
    frames[40:80] = frames[40]


def requested_nan():
    episode = motion()
    asked = episode.actions["arm.delta"].copy()
    asked[17, 1] = np.nan
    return dataclasses.replace(episode, requested={"arm.delta": asked})


def constant():
    return dataclasses.replace(motion(), actions={"arm.delta": np.full((ROWS - 1, 3), 0.1)})


def deep(edit):
    episode = motion()
    maps = np.random.default_rng(1).integers(400, 420, (ROWS, 6, 8)).astype(np.uint16)
    edit(maps)
    spec = {**episode.observation_spec, "top.depth": ArraySpec((6, 8), "uint16")}
    return dataclasses.replace(episode, observation_spec=spec, observations={**episode.observations, "top.depth": maps})


def noted_nan():
    reward = np.zeros(ROWS - 1)
    reward[33] = np.nan
    return dataclasses.replace(motion(), notes={"reward": reward})


def late(episode):
    return dataclasses.replace(episode, times=episode.times + 0.5 * (np.arange(ROWS) > 10))


@pytest.mark.parametrize(
    ("kind", "where", "certainty", "episode"),
    [
        ("encoder jump", "arm.q[elbow], rows 50, 51", "likely", edited("arm.q", add(50, 1, 0.3))),
        ("encoder jump", "arm.q[wrist], rows 70", "likely", edited("arm.q", add(slice(70, None), 2, 0.5))),
        ("black camera", "top.rgb", "likely", edited("top.rgb", lambda f: f.fill(3))),
        ("frozen camera", "top.rgb, rows 40 to 79", "likely", edited("top.rgb", freeze)),
        ("gap in time", "rows 10", "certain", late(motion())),
        ("out of spec", "observation arm.q", "certain", edited("arm.q", add(slice(None), 0, 1.5))),
        ("not finite", "requested action arm.delta, rows 17", "certain", requested_nan()),
        ("not finite", "note reward, rows 33", "likely", noted_nan()),
        ("black camera", "top.depth", "likely", deep(lambda maps: maps.fill(0))),
        ("frozen camera", "top.depth, rows 40 to 79", "likely", deep(freeze)),
        ("constant action", "all sent actions", "likely", constant()),
        ("idle head", "rows 0 to 60", "likely", edited("arm.q", still_head)),
        ("idle tail", "rows 70 to 120", "likely", edited("arm.q", still_tail)),
    ],
)
def test_each_planted_fault_is_found_in_its_place(store, kind, where, certainty, episode):
    id = store.append(episode)
    found = validate(store)
    assert [f.kind for f in found] == [kind], list(map(str, found))
    assert found[0].where == f"{id}, {where}" or where in found[0].where, found[0].where
    assert found[0].certainty == certainty
    assert found[0].cure
    assert kind in str(found[0])


def test_a_fast_motion_and_a_disturbed_object_are_no_encoder_jumps(store):
    episode = motion()
    fast = episode.observations["arm.q"].copy()
    fast[60:68] += np.linspace(0, 0.8, 8)[:, None]
    fast[68:] += 0.8
    store.append(seen(episode, **{"arm.q": fast * 0.5}))
    pushed = episode.observations["arm.q"].copy()
    pushed[50:, 1] += 0.3
    at = float(episode.times[50])
    event = Event("MOVE_OBJ", at - 0.01, at, "human", "cube")
    store.append(dataclasses.replace(seen(episode, **{"arm.q": pushed}), events=(event,)))
    assert validate(store) == []


def test_duplicates_are_found(store):
    first, _, again = (store.append(motion(seed)) for seed in (0, 1, 0))
    found = validate(store)
    assert [(f.kind, f.where) for f in found] == [("duplicate episode", again)]
    assert first in found[0].message


def test_absent_videos_and_damage_are_found(store):
    id = store.append(motion())
    folder = store.path / "episodes" / id
    videos = [p for p in folder.iterdir() if p.suffix in (".mp4", ".mkv")]
    data = videos[0].read_bytes()
    videos[0].unlink()
    assert [f.kind for f in validate(store)] == ["absent video"]
    videos[0].write_bytes(data)
    assert validate(store) == []
    log = folder / "log.mcap"
    log.write_bytes(log.read_bytes()[:-20])
    assert [f.kind for f in validate(store)] == ["damaged"]


def test_episodes_of_another_kind_are_found(tmp_path, store, monkeypatch):
    store.append(motion())
    other = motion(1)
    q = other.observations["arm.q"]
    wide = {**other.observation_spec, "arm.q": ArraySpec((4,), unit="rad")}
    four = dataclasses.replace(
        other,
        observation_spec=wide,
        observations={**other.observations, "arm.q": np.concatenate([q, q[:, :1]], axis=1)},
    )
    blind = dataclasses.replace(
        motion(2),
        observation_spec={"arm.q": other.observation_spec["arm.q"]},
        observations={"arm.q": q[:, ::-1].copy()},
    )
    for k, (episode, kind) in enumerate(((four, "mismatched dims"), (blind, "absent column"))):
        with Store.create(tmp_path / f"other{k}", durable=False) as foreign:
            foreign.append(episode)
            with monkeypatch.context() as patch:  # as if the folder had been put into a store of the other kind
                patch.setattr(Store, "specs", store.specs)
                assert [f.kind for f in validate(foreign)] == [kind]


def test_real_recordings_raise_no_false_alarm(tmp_path, shared_data, lift_file):
    pytest.importorskip("pyarrow")
    with Store.create(tmp_path / "lift", durable=False) as store:
        import_robomimic(lift_file, store)
        assert [str(f) for f in validate(store) if f.kind == "encoder jump"] == []
        assert [str(f) for f in validate(store) if f.certainty == "certain"] == []
    with Store.create(tmp_path / "g1", durable=False) as store:
        import_lerobot(shared_data / "g1_v21", store, cameras=())
        assert [str(f) for f in validate(store) if f.certainty == "certain"] == []
        assert len([f for f in validate(store) if f.kind == "encoder jump"]) <= 1
