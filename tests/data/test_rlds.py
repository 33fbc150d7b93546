"""RLDS records without TensorFlow: real ones come in whole, damaged ones are named and leave nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from robolearn.data.rlds import import_rlds, read_features
from robolearn.data.store import Store
from robolearn.data.tfrecord import crc32c, parse_example, read_records
from robolearn.errors import DataFileError, UnknownName

NAME = "bridge_dataset-val.tfrecord-00000-of-00001"


@pytest.fixture
def bridge(shared_data):
    return shared_data / "bridge_debug"


def test_the_checksum_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_real_records_come_in_whole(tmp_path, bridge):
    records = [parse_example(data) for data in read_records(bridge / NAME)]
    assert len(records) == 25
    features = read_features(bridge)
    assert features["steps/observation/state"].shape == (7,)
    with Store.create(tmp_path / "s", durable=False) as store:
        done = import_rlds(bridge, store, rate_hz=5, robot="widowx")
        assert len(done.ids) == len(store.ids(split="valid")) == 25
        for id, record in zip(done.ids, records, strict=True):
            one = store[id]
            state = np.asarray(record["steps/observation/state"]).reshape(-1, 7)
            np.testing.assert_array_equal(one.observations["robot.state"], state)
            action = np.asarray(record["steps/action"]).reshape(-1, 7)
            np.testing.assert_array_equal(one.actions["robot.command"], action[:-1])
            assert one.meta.instruction == record["steps/language_instruction"][0].decode()
            assert one.meta.extra["episode_id"] == int(record["episode_metadata/episode_id"][0])
            assert one.steps == len(state) - 1
        first = store[done.ids[0]]
        height, width, _ = first.observation_spec["image_0.rgb"].shape
        assert first.observations["image_0.rgb"].shape == (first.steps + 1, height, width, 3)
        assert 20 < first.observations["image_0.rgb"].mean() < 235
        assert np.abs(np.diff(first.observations["image_0.rgb"].astype(float), axis=0)).mean() < 20, "a film, not noise"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-100], r"record 24 .*the file ends after"),
        (
            lambda b: b[: -(len(b) // 2)] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
            "damaged|cut off|checksum",
        ),
        (lambda b: bytes([b[0] ^ 1]) + b[1:], "record 0 at byte 0: its length is damaged"),
        (lambda b: b[:50] + bytes([b[50] ^ 4]) + b[51:], "record 0 at byte 0: its checksum is wrong"),
    ],
)
def test_damage_is_named_and_nothing_is_kept(tmp_path, bridge, damage, message):
    folder = tmp_path / "bridge"
    shutil.copytree(bridge, folder, copy_function=shutil.copyfile)
    (folder / NAME).chmod(0o644)
    (folder / NAME).write_bytes(damage((bridge / NAME).read_bytes()))
    with Store.create(tmp_path / "s", durable=False) as store:
        with pytest.raises(DataFileError, match=message):
            import_rlds(folder, store, rate_hz=5)
        assert len(store) == 0


def test_refusals(tmp_path, bridge):
    with Store.create(tmp_path / "s", durable=False) as store:
        with pytest.raises(UnknownName, match=r"Unknown split 'vall'\. Did you mean 'val'"):
            import_rlds(bridge, store, rate_hz=5, split="vall")
        with pytest.raises(DataFileError, match=r"Expected features\.json"):
            import_rlds(tmp_path, store, rate_hz=5)
        shutil.copyfile(bridge / "features.json", tmp_path / "features.json")
        with pytest.raises(DataFileError, match=r"Expected files \*\.tfrecord"):
            import_rlds(tmp_path, store, rate_hz=5)
    with pytest.raises(DataFileError, match=r"no tf\.train\.Example"):
        parse_example(b"\x0a\x05hello")
