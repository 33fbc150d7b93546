"""What is exported to robomimic's format comes back as it was, and is what the original file holds."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from robolearn.data.robomimic import import_robomimic
from robolearn.data.robomimic_export import export_robomimic
from robolearn.data.store import Store
from robolearn.errors import DataFileError, EmptyStore


@pytest.fixture
def three_demos(tmp_path, lift_file):
    """Three of the ten demonstrations, whole, as a file of its own."""
    path = tmp_path / "three.hdf5"
    with h5py.File(lift_file) as opened, h5py.File(path, "w") as made:
        theirs: Any = opened
        demos = sorted(theirs["data"])[:3]
        made.create_group("data").attrs.update(theirs["data"].attrs)
        for demo in demos:
            theirs.copy(f"data/{demo}", made["data"])
        for mask, names in theirs["mask"].items():
            made[f"mask/{mask}"] = [name for name in names[:] if name.decode() in demos]
    return path


def test_a_real_file_goes_out_as_it_came_in(tmp_path, three_demos):
    lift_file = three_demos
    with Store.create(tmp_path / "a", durable=False) as first, Store.create(tmp_path / "b", durable=False) as second:
        import_robomimic(lift_file, first, extra=True)
        assert export_robomimic(first, tmp_path / "out.hdf5") == 3
        with h5py.File(lift_file) as their_file, h5py.File(tmp_path / "out.hdf5") as our_file:
            theirs: Any = their_file
            ours: Any = our_file
            assert sorted(ours["mask/train"][:]) == sorted(theirs["mask/train"][:])
            for demo in theirs["data"]:
                for key in ("actions", "rewards", "states"):
                    np.testing.assert_allclose(ours[f"data/{demo}/{key}"], theirs[f"data/{demo}/{key}"], atol=1e-12)
                for part in ("obs", "next_obs"):
                    for key, value in theirs[f"data/{demo}/{part}"].items():
                        mine = ours[f"data/{demo}/{part}/{key}"][:]
                        if key == "robot0_eef_quat":
                            mine = mine * np.sign((mine * value[:]).sum(-1, keepdims=True))
                        if key == "object":
                            mine, value = mine[:, :3], value[:, :3]
                        np.testing.assert_allclose(mine, value, atol=1e-12, err_msg=f"{demo} {part} {key}")
        import_robomimic(tmp_path / "out.hdf5", second, extra=True)
        for a, b in zip(first.ids(), second.ids(), strict=True):
            one, two = first[a], second[b]
            assert first.split_of(a) == second.split_of(b)
            assert (one.outcome, one.meta.extra, one.meta.task) == (two.outcome, two.meta.extra, two.meta.task)
            for name, value in one.observations.items():
                np.testing.assert_allclose(value, two.observations[name], atol=1e-12)
            np.testing.assert_allclose(one.actions["arm.delta"], two.actions["arm.delta"], atol=1e-15)
            assert {n: s.frame for n, s in one.observation_spec.items()} == {
                n: s.frame for n, s in two.observation_spec.items()
            }


def test_what_cannot_be_exported_is_refused(tmp_path, make_episode):
    with Store.create(tmp_path / "s", durable=False) as store:
        with pytest.raises(EmptyStore, match="Nothing to export"):
            export_robomimic(store, tmp_path / "out.hdf5")
        store.append(make_episode(4))
        with pytest.raises(DataFileError, match=r"robomimic needs the actions arm\.delta, gripper\.command"):
            export_robomimic(store, tmp_path / "out.hdf5")
        (tmp_path / "there.hdf5").touch()
        with pytest.raises(DataFileError, match="Expected nothing at"):
            export_robomimic(store, tmp_path / "there.hdf5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "there.hdf5"]
