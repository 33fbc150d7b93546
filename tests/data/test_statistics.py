"""Statistics are exact, and fail by name where data are missing or not finite."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robolearn.data.cache import build_cache
from robolearn.data.statistics import QUANTILES, Counted, array_statistics, cache_statistics, from_json, to_json
from robolearn.data.store import Store
from robolearn.errors import DataFileError, EmptyStore, UnknownName

FIELDS = ("low", "high", "mean", "std", "quantiles")


def test_pictures_agree_with_numpy_per_channel():
    frames = np.random.default_rng(0).integers(3, 250, (300, 5, 4, 3), dtype=np.uint8)
    found = array_statistics("cam.rgb", frames)
    flat = frames.reshape(-1, 3).astype(float)
    np.testing.assert_array_equal(found.low, flat.min(0))
    np.testing.assert_array_equal(found.high, flat.max(0))
    np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, flat.std(0), rtol=1e-12)
    np.testing.assert_allclose(found.quantiles, np.quantile(flat, QUANTILES, axis=0), rtol=1e-12)
    assert found.count == len(flat)


def test_depth_and_pictures_add_up_over_pieces():
    rng = np.random.default_rng(3)
    depth = rng.integers(0, 1 << 16, (7, 5, 6)).astype(np.uint16)
    whole = array_statistics("wrist.depth", depth)
    pieces = Counted(depth=True).add(depth[:3]).add(depth[3:]).statistics()
    assert (whole.low.shape, whole.count) == ((), depth.size)
    for one in (whole, pieces):
        assert (one.low, one.high) == (depth.min(), depth.max())
        np.testing.assert_allclose([one.mean, one.std], [depth.mean(), depth.std()])
        np.testing.assert_allclose(one.quantiles, np.quantile(depth, QUANTILES))
    frames = rng.integers(0, 256, (9, 4, 5, 3)).astype(np.uint8)
    apart = Counted(depth=False).add(frames[:4]).add(frames[4:]).statistics()
    np.testing.assert_array_equal(apart.quantiles, array_statistics("wrist.rgb", frames).quantiles)


def test_a_cache_and_back_through_json(tmp_path, make_episode):
    with Store.create(tmp_path / "s", durable=False) as store:
        episodes = [make_episode(5, seed=k, pictures=True) for k in range(2)]
        for episode in episodes:
            store.append(episode)
        statistics = cache_statistics(build_cache(store))
    actions = np.concatenate([e.actions["arm.delta"] for e in episodes])
    np.testing.assert_allclose(statistics["action.arm.delta"].mean, actions.mean(0))
    assert statistics["action.arm.delta"].count == 10  # the final rows have no action
    assert statistics["arm.q"].count == 12
    back = from_json(json.loads(json.dumps(to_json(statistics))))
    assert back.keys() == statistics.keys()
    for name, one in statistics.items():
        for field in FIELDS:
            assert getattr(back[name], field).tobytes() == np.asarray(getattr(one, field)).tobytes(), (name, field)


def test_missing_and_non_finite_are_named(tmp_path, make_episode):
    with pytest.raises(DataFileError, match=r"'arm.q' need finite numbers; found nan at row 2, element \(1,\)"):
        array_statistics("arm.q", np.array([[0, 0], [0, 0], [0, np.nan]]))
    with pytest.raises(EmptyStore, match=r"'arm.q' need at least one row"):
        array_statistics("arm.q", np.zeros((0, 2)))
    plain = to_json({"arm.q": array_statistics("arm.q", np.ones((2, 2)))})
    with pytest.raises(DataFileError, match=r"'arm.q' are not complete"):
        from_json({"arm.q": {k: v for k, v in plain["arm.q"].items() if k != "std"}})
    plain["arm.q"]["mean"] = [float("nan"), 0.0]
    with pytest.raises(DataFileError, match=r"'arm.q' must be finite"):
        from_json(plain)
    with Store.create(tmp_path / "s", durable=False) as store:
        store.append(make_episode())
        cache = build_cache(store)
    with pytest.raises(UnknownName, match="kind of action"):
        cache_statistics(cache, action="dreamt")
