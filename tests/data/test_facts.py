"""What is wrong with an episode is found and named; what is right is left alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robolearn.data.facts import describe, validate
from robolearn.data.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "s", durable=False) as made:
        yield made


def kinds(store):
    return sorted({finding.kind for finding in validate(store)})


def test_a_good_episode_has_no_findings(store, make_episode):
    store.append(make_episode(30, pictures=True))
    assert validate(store) == []


def changed(episode, **arrays):
    return dataclasses.replace(episode, observations={**episode.observations, **arrays})


def test_each_fault_is_found(store, make_episode):
    good = make_episode(30, pictures=True)
    frames = good.observations["wrist.rgb"]
    cases = {
        "black camera": changed(good, **{"wrist.rgb": np.zeros_like(frames)}),
        "frozen camera": changed(good, **{"wrist.rgb": np.repeat(frames[:1], 31, axis=0)}),
        "gap in time": dataclasses.replace(good, times=good.times + 0.5 * (np.arange(31) > 10)),
        "out of spec": changed(good, **{"arm.q": good.observations["arm.q"] * 20}),
        "constant action": dataclasses.replace(
            good, actions={name: np.repeat(v[:1], 30, axis=0) for name, v in good.actions.items()}
        ),
    }
    for kind, episode in cases.items():
        id = store.append(episode)
        found = validate(store, [id])
        assert [f.kind for f in found] == [kind]
        assert found[0].where.startswith(id)
        assert found[0].cure
        assert kind in str(found[0])


def test_damage_is_found(store, make_episode):
    id = store.append(make_episode(5))
    path = store.path / "episodes" / id / "log.mcap"
    path.write_bytes(path.read_bytes()[:-20])
    assert kinds(store) == ["damaged"]


def test_describe_counts(store, make_episode):
    assert describe(store)["episodes"] == 0
    ids = [store.append(make_episode(5, seed=k)) for k in range(3)]
    store.delete(ids[0])
    store.split(ids[1], "train")
    facts = describe(store)
    assert (facts["episodes"], facts["deleted"], facts["steps"], facts["frames"]) == (2, 1, 10, 12)
    assert facts["splits"] == {"train": 1, "none": 1}
    assert facts["duration_s"] == pytest.approx(0.5)
    assert facts["events"] == 2
    assert facts["size_bytes"] > 1000
    assert facts["observation_spec"]["arm.q"]["unit"] == "rad"
