"""What a store holds is counted, from its journal alone."""

from __future__ import annotations

import pytest

from robolearn.data.facts import describe
from robolearn.data.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "s", durable=False) as made:
        yield made


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
