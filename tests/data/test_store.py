"""The store keeps what is given to it, and its edits can be undone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robolearn.data import store as store_module
from robolearn.data.journal import JOURNAL_NAME
from robolearn.data.store import Store
from robolearn.episode import Outcome, Reading
from robolearn.errors import BadEpisode, DataFileError, StoreError, UnknownName
from robolearn.specs import ArraySpec


@pytest.mark.parametrize("durable", [True, False])
def test_append_and_read_back(tmp_path, make_episode, assert_same, durable):
    episodes = [make_episode(4 + k, seed=k, pictures=True) for k in range(3)]
    with Store.create(tmp_path / "s", durable=durable) as store:
        ids = [store.append(episode) for episode in episodes]
        with pytest.raises(StoreError, match="found a store"):
            Store.create(tmp_path / "s")
    again = Store.open(tmp_path / "s")
    assert again.ids() == ids == sorted(ids)
    assert len(again) == 3
    for id, episode, back in zip(ids, episodes, again, strict=True):
        assert_same(back, episode)
        info = again.info(id)
        assert (info.steps, info.outcome, info.status) == (episode.steps, episode.outcome, "complete")
        assert info.duration_s == pytest.approx(episode.steps * 0.05)
    assert again.verify() == {}
    assert not again.recovery.lossy
    with pytest.raises(UnknownName, match="Unknown episode"):
        again.info("../x")


def test_many_writers_at_once(store, assert_same, begin, record):
    writers = [begin(store) for _ in range(40)]
    for k in range(3):
        for i, writer in enumerate(writers):
            record(writer, k + i)
    for i, writer in enumerate(writers):
        if i % 2:
            writer.discard()
            continue
        writer.observation(Reading(0.05 * (i + 3), {"arm.q": np.zeros(2)}))
        writer.commit(Outcome.SUCCESS)
    assert len(store) == 20
    assert [e.actions["arm.v"][0, 0] for e in store] == list(range(0, 40, 2))
    assert list((store.path / "recording").iterdir()) == []


def test_other_specs_are_refused_before_the_first_row(store, make_episode, begin):
    store.append(make_episode())
    with pytest.raises(StoreError, match=r"observation spec does not fit .* 'arm.q' differs in shape: expected \(3,\)"):
        begin(store)
    other = make_episode().observation_spec | {"arm.q": ArraySpec((3,), low=-10.0, high=10.0, unit="deg")}
    with pytest.raises(StoreError, match=r"'arm.q' differs in unit: expected 'rad', found 'deg'"):
        begin(store, other)
    assert list((store.path / "recording").iterdir()) == []


def test_an_episode_without_a_step_is_refused(store, begin, record):
    writer = begin(store)
    record(writer, 0)
    with pytest.raises(BadEpisode, match="1 observations and 1 actions"):
        writer.commit(Outcome.SUCCESS)
    with pytest.raises(StoreError, match="discarded already"):
        writer.commit(Outcome.SUCCESS)
    assert len(store) == 0


def test_edits_and_undo(store, make_episode):
    a, b, c = (
        store.append(make_episode(seed=k, outcome=o))
        for k, o in enumerate((Outcome.SUCCESS, Outcome.FAILURE, Outcome.SUCCESS))
    )
    store.split([a, b], "train")
    store.tag(b, add=("shaky",))
    before = store.fingerprint()
    store.delete([a])
    assert store.ids() == [b, c]
    assert store.ids(include_deleted=True) == [a, b, c]
    assert store.fingerprint() != before
    assert store.undo() == f"undid delete of {a}"
    assert store.fingerprint() == before
    assert store.ids(split="train") == [a, b]
    assert store.ids(tags=["shaky"]) == store.ids(outcome=Outcome.FAILURE) == [b]
    assert store.undo() == f"undid tag of {b}"
    assert store.undo().startswith("undid split")
    assert store.undo() is None
    assert store.split_of(a) == ""
    assert Store.open(store.path).ids() == [a, b, c]
    with pytest.raises(UnknownName):
        store.delete("000099-abc")


def test_a_torn_journal_line_is_ignored_and_a_damaged_one_is_named(store, make_episode):
    a, b = store.append(make_episode(seed=1)), store.append(make_episode(seed=2))
    store.delete(a)
    store.close()
    path = store.path / JOURNAL_NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(1, len(lines[-1]), 7):
        path.write_bytes(whole[:-cut])
        assert Store.open(store.path).ids() == [a, b]
    with Store.open(store.path) as again:  # writing over the torn line
        again.delete(b)
        assert again.ids() == [a]
    assert Store.open(store.path).ids() == [a]
    path.write_bytes(whole[:-80].replace(b'"steps": 5', b'"steps": 6', 1) + whole[-80:])
    with pytest.raises(StoreError, match=r"Line 3 of .* is damaged"):
        Store.open(store.path)
    path.write_bytes(b"".join([*lines[:3], *lines[2:]]))  # every line is whole, and one is there twice
    with pytest.raises(StoreError, match=r"Line 4 of .* is damaged"):
        Store.open(store.path)
    path.write_bytes(b"".join([*lines[:-1], b"\0" * len(lines[-1])]))  # a block that never reached the disk
    assert Store.open(store.path).ids() == [a, b]


def test_refresh_sees_what_others_wrote_and_reads_nothing_twice(store, make_episode, monkeypatch):
    a, b = store.append(make_episode(seed=1)), store.append(make_episode(seed=2))
    reader = Store.open(store.path)
    store.delete(a)
    assert reader.ids() == [a, b]
    reader.refresh()
    assert reader.ids() == [b]

    def read(path):
        raise AssertionError("the journal has not changed")

    with monkeypatch.context() as patch:
        patch.setattr(store_module.Path, "read_bytes", read)
        reader.refresh()
        store.refresh()  # its own edits are no news either
    store.undo()
    reader.refresh()
    assert reader.ids() == [a, b]


def test_verify_finds_every_kind_of_damage(store, make_episode):
    ids = [store.append(make_episode(seed=k, pictures=True)) for k in range(6)]
    folders = [store.path / "episodes" / id for id in ids]
    for name, folder in (("log.mcap", folders[0]), ("wrist.rgb.mp4", folders[1])):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 4
        (folder / name).write_bytes(data)
    (folders[2] / "wrist.rgb.mp4").unlink()
    seal = json.loads((folders[3] / "seal.json").read_text())
    seal["episode"]["steps"] = 7
    (folders[3] / "seal.json").write_text(json.dumps(seal))
    (folders[4] / "log.mcap").write_bytes((folders[4] / "log.mcap").read_bytes()[:-5])
    found = store.verify()
    assert sorted(found) == ids[:5]
    assert "SHA-256 differs" in found[ids[0]][0]
    assert "SHA-256 differs" in found[ids[1]][0]
    assert "is missing" in found[ids[2]][0]
    assert "its checksum does not fit" in found[ids[3]][0]
    assert "bytes; expected" in found[ids[4]][0]
    with pytest.raises(DataFileError, match="is damaged: expected 5 steps"):
        store[ids[0]]
