"""Real demonstrations come in whole, exact and in our units; damaged ones are named and leave nothing."""

from __future__ import annotations

import json
import shutil
from typing import Any

import h5py
import numpy as np
import pytest

from robolearn.data.facts import describe, validate
from robolearn.data.robomimic import import_robomimic, inspect_robomimic
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import DataFileError, StorageFull
from robolearn.geometry import quaternion_to_matrix
from robolearn.specs import first_difference, select
from sim.robosuite_env import RobosuiteConfig
from sim.task import DISPLACEMENT_SPEC

BASE = np.array([-0.56, 0.0, 0.912])  # of the robot in the world of these recordings


@pytest.fixture(scope="module")
def imported(tmp_path_factory, lift_file):
    store = Store.create(tmp_path_factory.mktemp("lift") / "s", durable=False)
    return store, import_robomimic(lift_file, store)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, lift_file):
    """The first three demonstrations, eight steps of each."""
    path = tmp_path_factory.mktemp("small") / "small.hdf5"
    with h5py.File(lift_file) as opened, h5py.File(path, "w") as small:
        file: Any = opened
        for key, value in file["data"].attrs.items():
            small.require_group("data").attrs[key] = value
        for demo in ("demo_0", "demo_1", "demo_2"):

            def cut(name, item, demo=demo):
                if isinstance(item, h5py.Dataset):
                    small[f"data/{demo}/{name}"] = item[:8]

            file[f"data/{demo}"].visititems(cut)
    return path


def test_the_file_is_described(lift_file):
    facts = inspect_robomimic(lift_file)
    assert (facts.task, facts.robot, facts.rate_hz, len(facts.demos)) == ("lift", "panda", 20.0, 10)
    assert "robot0_gripper_qvel" in facts.unknown
    assert facts.high == (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)


def test_every_number_is_where_it_belongs(imported, lift_file):
    store, ids = imported
    assert len(ids) == len(store) == 10
    assert (len(store.ids(split="train")), len(store.ids(split="valid"))) == (7, 3)
    with h5py.File(lift_file) as opened:
        file: Any = opened
        for number, id in enumerate(ids):
            demo, episode = file[f"data/demo_{number}"], store[id]
            obs, after = demo["obs"], demo["next_obs"]
            assert episode.steps == len(demo["actions"])
            assert episode.outcome == Outcome.SUCCESS
            for key, name in {
                "robot0_joint_pos": "arm.q",
                "agentview_image": "agent.rgb",
                "robot0_eye_in_hand_image": "wrist.rgb",
            }.items():
                np.testing.assert_array_equal(episode.observations[name][:-1], obs[key][:])
                np.testing.assert_array_equal(episode.observations[name][1:], after[key][:])
            np.testing.assert_array_equal(episode.observations["tool.position"][:-1], obs["robot0_eef_pos"][:] - BASE)
            np.testing.assert_array_equal(episode.observations["tool.position"][1:], after["robot0_eef_pos"][:] - BASE)
            np.testing.assert_array_equal(episode.observations["cube.position"][:-1], obs["object"][:, :3] - BASE)
            x, y, z, w = obs["robot0_eef_quat"][:].T
            ours = quaternion_to_matrix(episode.observations["tool.quaternion"][:-1])
            np.testing.assert_allclose(ours[:, 0, 0], w * w + x * x - y * y - z * z, atol=1e-6)
            np.testing.assert_allclose(ours[:, 2, 1], 2 * (y * z + w * x), atol=1e-6)
            assert (episode.observations["tool.quaternion"][:, 1] >= 0).all()
            assert (episode.observations["cube.quaternion"][:, 0] >= 0).all()
            scale = np.array([0.05] * 3 + [0.5] * 3)
            np.testing.assert_allclose(episode.actions["arm.delta"], demo["actions"][:, :6] * scale, rtol=1e-15)
            np.testing.assert_array_equal(episode.actions["gripper.command"], demo["actions"][:, 6:])
            np.testing.assert_array_equal(episode.notes["sim_state"], demo["states"][:])
    assert store.verify() == {}
    assert [f for f in validate(store) if f.certainty == "certain"] == []
    facts = describe(store)
    assert facts["outcomes"] == {"SUCCESS": 10}
    assert facts["splits"] == {"train": 7, "valid": 3}
    json.dumps(facts)


def test_unknown_keys_only_when_asked(tmp_path, small_file):
    with Store.create(tmp_path / "s", durable=False) as store:
        (first, *_) = import_robomimic(small_file, store, extra=True, masks=False)
        assert store[first].observations["extra.robot0_gripper_qvel"].shape[1:] == (2,)
        assert store.ids(split="train") == []


def edit_nan(f):
    f["data/demo_9/obs/robot0_joint_pos"][3, 2] = np.nan


def edit_group(f):
    del f["data/demo_4/next_obs"]


def edit_key(f):
    f["data/demo_4/obs"].move("robot0_eef_pos", "eef")


def edit_shape(f):
    values = f["data/demo_9/obs/robot0_eef_quat"][:-1]
    del f["data/demo_9/obs/robot0_eef_quat"]
    f["data/demo_9/obs/robot0_eef_quat"] = values


def edit_action(f):
    f["data/demo_2/actions"][0, 0] = 1.5


def edit_env(f):
    f["data"].attrs["env_args"] = "{}"


def edit_control(f):
    f["data"].attrs["env_args"] = str(f["data"].attrs["env_args"]).replace("OSC_POSE", "JOINT_VELOCITY")


def edit_quaternion(f):
    f["data/demo_0/obs/robot0_eef_quat"][5] *= 1.1


def edit_mask(f):
    f["mask/train"][0] = b"demo_x"


def edit_data(f):
    del f["data"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_nan, r"demo_9/obs/robot0_joint_pos: expected finite numbers; found nan at index \(3, 2\)"),
        (edit_group, r"demo_4/next_obs: expected a group; found none \(there is: actions"),
        (edit_key, r"demo_4/obs/robot0_eef_pos: expected an array; found nothing \(there is: .*eef"),
        (edit_shape, r"demo_9/obs/robot0_eef_quat: expected shape \(51, 4\); found \(50, 4\)"),
        (edit_action, r"demo_2/actions: expected values within \[-1, 1\]; found 1.5"),
        (edit_env, r"env_args of 'data': expected JSON with env_name .* found KeyError 'env_kwargs'"),
        (edit_control, r"controller_configs: expected type OSC_POSE .* found JOINT_VELOCITY"),
        (edit_quaternion, r"robot0_eef_quat: expected unit quaternions .* found one of length 1\.1"),
        (edit_mask, r"mask/train: expected names among 10 demonstrations; found \['demo_x'\]"),
        (edit_data, r"/data: expected a group; found none \(there is: mask\)"),
    ],
)
def test_damage_is_named_and_nothing_is_imported(tmp_path, lift_file, edit, message):
    path = tmp_path / "damaged.hdf5"
    shutil.copy(lift_file, path)
    with h5py.File(path, "r+") as file:
        edit(file)
    with Store.create(tmp_path / "s", durable=False) as store:
        with pytest.raises(DataFileError, match=message) as caught:
            import_robomimic(path, store)
        assert "\n" not in str(caught.value)
        assert len(store) == len(store.ids(include_deleted=True)) == 0


def test_files_that_are_no_hdf5(tmp_path, lift_file):
    with Store.create(tmp_path / "s", durable=False) as store:
        with pytest.raises(DataFileError, match=r"found nothing. Check the path"):
            import_robomimic(tmp_path / "none.hdf5", store)
        with pytest.raises(DataFileError, match="found a folder"):
            import_robomimic(tmp_path, store)
        (tmp_path / "text.hdf5").write_text("hello")
        with pytest.raises(DataFileError, match="It is no HDF5 file, or was cut off or damaged"):
            import_robomimic(tmp_path / "text.hdf5", store)
        data = lift_file.read_bytes()
        (tmp_path / "cut.hdf5").write_bytes(data[: len(data) // 2])
        with pytest.raises(DataFileError, match="cut off or damaged"):
            import_robomimic(tmp_path / "cut.hdf5", store)
        assert len(store.ids(include_deleted=True)) == 0


def test_a_failure_while_storing_takes_everything_back(tmp_path, small_file, monkeypatch):
    with Store.create(tmp_path / "s", durable=False) as store:
        calls = []

        def append(episode, real=store.append):
            calls.append(1)
            if len(calls) == 3:
                raise StorageFull("no room")
            return real(episode)

        monkeypatch.setattr(store, "append", append)
        with pytest.raises(StorageFull):
            import_robomimic(small_file, store)
        assert len(store) == 0


def test_it_means_what_the_robosuite_environment_observes(imported):
    """Names, shapes, units and frames equal those of the adapter, so that a policy runs there unchanged."""
    store, _ = imported
    config = RobosuiteConfig(cameras=(("agent", 84, 84), ("wrist", 84, 84)))
    env = config.build()
    try:
        observed, commanded = env.observation_spec, env.action_spec
    finally:
        env.close()
    assert commanded == DISPLACEMENT_SPEC == store.specs[1]
    shared = sorted(observed.keys() & store.specs[0].keys())
    assert {"agent.rgb", "arm.dq", "arm.q", "cube.position", "cube.quaternion", "gripper.q", "tool.position"} < {
        *shared
    }
    assert first_difference(select(observed, shared), select(store.specs[0], shared), limits=False) is None


def test_the_first_numbers_of_a_demonstration_lie_where_a_lift_happens(imported):
    store, ids = imported
    for id in ids:
        seen = store[id].observations
        assert np.abs(seen["tool.position"][0] - [0.46, 0.0, 0.1]).max() < 0.1  # above the table, in the base frame
        assert np.abs(seen["cube.position"][0] - [0.56, 0.0, -0.08]).max() < 0.05
        assert (seen["tool.quaternion"] @ [0, 1, 0, 0] > 0.9).all()


def edit_model(f):
    f["data/demo_0"].attrs["model_file"] = "<mujoco><worldbody><body name='table'/></worldbody></mujoco>"


def edit_turn(f):
    f["data/demo_0"].attrs["model_file"] = (
        "<mujoco><worldbody><body name='robot0_base' quat='0 0 0 1'/></worldbody></mujoco>"
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_model, r"a body 'robot0_base' in the world; found \['table'\]"),
        (edit_turn, r"placed by 'pos' and not turned"),
    ],
)
def test_a_base_that_cannot_be_found_is_an_error(tmp_path, small_file, edit, message):
    path = shutil.copy(small_file, tmp_path / "changed.hdf5")
    with h5py.File(path, "r+") as file:
        file["data/demo_0"].attrs["model_file"] = "<mujoco/>"
        edit(file)
    with Store.create(tmp_path / "s", durable=False) as store, pytest.raises(DataFileError, match=message):
        import_robomimic(path, store)


def test_a_file_without_models_says_that_its_frame_is_the_world(tmp_path, small_file, lift_file):
    with Store.create(tmp_path / "s", durable=False) as store:
        assert inspect_robomimic(small_file).frame == "world"
        assert inspect_robomimic(lift_file).frame == "base"
        id = import_robomimic(small_file, store)[0]
        assert store.info(id).outcome == Outcome.FAILURE  # no reward within eight steps
        assert store.specs[0]["tool.position"].frame == store.specs[0]["cube.quaternion"].frame == "world"
        assert store[id].meta.extra["frame"].startswith("world: the file has no model_file")
        assert store[id].observations["cube.position"][0, 2] > 0.8
