"""The cache and its windows agree with a plain reading of the episodes, row by row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.data.alignment import grid, latest_before
from robolearn.data.cache import Cache, build_cache
from robolearn.data.store import Store
from robolearn.data.video import resize
from robolearn.data.windows import Windows
from robolearn.episode import Actor, EpisodeMeta, Outcome, Reading
from robolearn.errors import DataFileError, EmptyStore, SpecError, UnknownName
from robolearn.specs import ArraySpec


@pytest.fixture
def store(tmp_path, make_episode):
    with Store.create(tmp_path / "store", durable=False) as made:
        for k, steps in enumerate((3, 1, 6)):
            made.append(make_episode(steps, seed=k, pictures=True))
        yield made


def test_rows_are_the_episodes(store):
    cache = build_cache(store)
    assert cache.lengths.tolist() == [3, 1, 6]
    assert cache.starts.tolist() == [0, 4, 6]
    assert cache.rows == 13
    for id, start, length in zip(cache.ids, cache.starts, cache.lengths, strict=True):
        episode = store[id]
        for name, values in episode.observations.items():
            np.testing.assert_array_equal(cache.arrays[name][start : start + length + 1], values)
        for name, values in episode.actions.items():
            np.testing.assert_array_equal(cache.arrays[f"sent.{name}"][start : start + length], values)
            np.testing.assert_array_equal(
                cache.arrays[f"requested.{name}"][start : start + length], episode.requested[name]
            )
        np.testing.assert_array_equal(cache.arrays["actor"][start : start + length], episode.actor)
        np.testing.assert_allclose(cache.arrays["time"][start : start + length + 1], episode.times, atol=1e-9)
    assert not any(mask.any() for mask in cache.stale.values())
    assert isinstance(cache.arrays["arm.q"], np.memmap)
    assert cache.action_rows().tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]


def test_the_key_says_what_is_inside(store, make_episode):
    one = build_cache(store)
    assert build_cache(store).path == one.path
    others = [
        build_cache(store, names=["arm.q"]),
        build_cache(store, rate_hz=10.0),
        build_cache(store, resize=(8, 8)),
        build_cache(store, staleness_s=0.2),
        build_cache(store, store.ids()[:2]),
    ]
    assert len({one.key, *(other.key for other in others)}) == 6
    np.testing.assert_array_equal(
        others[2].arrays["wrist.rgb"][:4], resize(store[store.ids()[0]].observations["wrist.rgb"], 8, 8)
    )
    with pytest.raises(UnknownName, match=r"Did you mean 'arm.q'"):
        build_cache(store, names=["arm.p"])
    with pytest.raises(EmptyStore, match="found none"):
        build_cache(store, [])


@pytest.mark.parametrize("workers", [1, 3, None])
def test_building_in_parallel_says_how_far_it_is_and_changes_nothing(store, workers):
    told = []
    cache = build_cache(store, workers=workers, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    for id, start, length in zip(cache.ids, cache.starts, cache.lengths, strict=True):
        want = store[id].observations["wrist.rgb"]
        np.testing.assert_array_equal(cache.arrays["wrist.rgb"][start : start + length + 1], want)
    build_cache(store, progress=lambda done, total: told.append((done, total)))
    assert len(told) == 3


def test_an_episode_that_cannot_be_read_stops_the_build_and_leaves_nothing(store):
    path = store.folder(store.ids()[2]) / "wrist.rgb.mp4"
    path.write_bytes(path.read_bytes()[:-2500])
    with pytest.raises(DataFileError, match=r"Expected 7 pictures in .*wrist\.rgb\.mp4; it was cut off"):
        build_cache(store)
    assert list((store.path / "cache").iterdir()) == []


def test_a_damaged_cache_is_built_again(store):
    cache = build_cache(store)
    want = np.array(cache.arrays["arm.q"])
    (cache.path / "arm.q.npy").write_bytes(b"nonsense")
    np.testing.assert_array_equal(build_cache(store).arrays["arm.q"], want)
    (cache.path / "index.json").unlink()
    np.testing.assert_array_equal(build_cache(store).arrays["arm.q"], want)
    assert [p.name for p in (store.path / "cache").iterdir()] == [cache.key]


def test_two_processes_build_the_same_cache(store):
    code = f"""
from robolearn.data.store import Store
from robolearn.data.cache import build_cache
print(build_cache(Store.open({str(store.path)!r})).arrays["arm.q"].sum())
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in running}
    assert said == {f"{build_cache(store).arrays['arm.q'].sum()}\n"}
    (aside,) = (store.path / "cache").iterdir()
    assert aside.name == build_cache(store).key


def test_what_a_dead_builder_left_is_removed(store):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (store.path / "cache" / f".building-{pid}-x").mkdir(parents=True)
    build_cache(store)
    assert [p.name for p in (store.path / "cache").glob(".building*")] == [f".building-{os.getpid()}-x"]


def test_a_late_camera_is_flagged_and_never_interpolated(tmp_path):
    spec = {"arm.q": ArraySpec((1,)), "cam.rgb": ArraySpec((4, 4, 3), "uint8")}
    with Store.create(tmp_path / "s", durable=False) as store:
        writer = store.record(EpisodeMeta("t", "", 20.0), spec, {"arm.v": ArraySpec((1,))})
        captured = [1.0, 1.05, 1.05, 1.05, 1.05, 1.25, 1.3]
        for k, at in enumerate(captured):
            frame = np.full((4, 4, 3), round(at * 100), np.uint8)
            writer.observation(
                Reading(1 + 0.05 * k, {"arm.q": np.full(1, float(k)), "cam.rgb": frame}, {"cam.rgb": at})
            )
            if k < 6:
                action = {"arm.v": np.full(1, float(k))}
                writer.action(action, action, {"actor": np.array(0, np.int8)})
        writer.commit(Outcome.SUCCESS)
        cache = build_cache(store)
        assert cache.stale["cam.rgb"].tolist() == [False, False, False, False, True, False, False]
        assert not cache.stale["arm.q"].any()
        assert Windows(cache, 2, 1, ["arm.q"]).rows.tolist() == [0, 1, 2, 3, 4, 5]
        assert Windows(cache, 2, 1).rows.tolist() == [0, 1, 2, 3]
        assert len(Windows(cache, 2, 1, exclude_stale=False)) == 6
        half = build_cache(store, rate_hz=10.0)
        assert half.arrays["arm.q"][:, 0].tolist() == [0, 2, 4, 6]
        assert half.arrays["sent.arm.v"][:3, 0].tolist() == [0, 2, 4]
        assert half.stale["cam.rgb"].tolist() == [False, False, True, False]
        twice = build_cache(store, rate_hz=40.0)
        assert twice.arrays["arm.q"][:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    with pytest.raises(EmptyStore, match="all 2 have a stale observation"):
        Windows(toy_cache([2], [0, 1]), 1, 1)


times = st.lists(st.integers(0, 10**9), min_size=1, max_size=20, unique=True).map(sorted)


@given(times, times, st.floats(1e-6, 1.0))
def test_latest_before_against_a_loop(known, rows, limit):
    index, stale = latest_before(np.array(known), np.array(known), np.array(rows), limit)
    for row, i, old in zip(rows, index, stale, strict=True):
        before = [k for k, t in enumerate(known) if t <= row]
        assert i == (before[-1] if before else 0)
        assert old == (not before or row - known[before[-1]] > round(limit * 1e9))


@given(st.integers(1, 400), st.sampled_from([5.0, 20.0, 30.0, 29.97, 125.0, 500.0]))
def test_a_grid_at_the_recorded_rate_has_the_recorded_rows(count, rate):
    recorded = np.round(np.arange(count + 1) * (1e9 / rate)).astype(np.int64) + 12345
    found = grid(recorded, rate)
    assert len(found) == count + 1
    assert np.abs(found - recorded).max() <= 1000
    assert (np.diff(found) > 0).all()


def toy_cache(lengths, stale, actors=()):
    lengths = np.array(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    n = int(np.sum(lengths + 1))
    arrays: dict[str, np.ndarray] = {}
    arrays |= {"x": np.arange(n)[:, None] * 1.0, "sent.a": np.arange(n) + 1000.0, "requested.a": np.arange(n) + 5000.0}
    arrays["actor"] = np.resize(np.array([*actors, Actor.OPERATOR], np.int8), n)
    mask = np.zeros(n, bool)
    mask[[s % n for s in stale]] = True
    ids = tuple(map(str, range(len(lengths))))
    specs = {"x": ArraySpec((1,))}, {"a": ArraySpec(())}
    return Cache(Path("toy"), "", ids, starts, lengths, arrays, {"x": mask}, *specs, 20.0)


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(lengths, st.lists(st.integers(0, 50), max_size=3), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_windows_against_a_loop(lengths, stale, history, horizon, exclude):
    cache = toy_cache(lengths, stale)
    expected = []
    for start, length in zip(cache.starts, cache.lengths, strict=True):
        for t in range(length):
            seen = [start + max(0, t - back) for back in reversed(range(history))]
            done = [start + min(t + ahead, length - 1) for ahead in range(horizon)]
            if not (exclude and any(cache.stale["x"][seen])):
                expected.append((seen, done, [t + ahead < length for ahead in range(horizon)]))
    if not expected:
        with pytest.raises(EmptyStore):
            Windows(cache, history, horizon, exclude_stale=exclude)
        return
    windows = Windows(cache, history, horizon, exclude_stale=exclude)
    assert len(windows) == len(expected)
    batch = windows.gather(np.arange(len(windows)))
    assert batch["x"][..., 0].tolist() == [seen for seen, _, _ in expected]
    assert (batch["action.a"] - 1000).tolist() == [done for _, done, _ in expected]
    assert batch["mask"].tolist() == [mask for _, _, mask in expected]
    assert ("fresh" in batch) == (not exclude)
    if not exclude:  # a row that is shown twice at an episode's start is real once, as the newest
        real = [
            [row not in seen[k + 1 :] and not cache.stale["x"][row] for k, row in enumerate(seen)]
            for seen, *_ in expected
        ]
        assert batch["fresh"].tolist() == real


@settings(max_examples=60, deadline=None)
@given(
    lengths,
    st.lists(st.sampled_from(list(Actor)), max_size=12),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sets(st.sampled_from(list(Actor)), min_size=1),
)
def test_windows_of_some_actors_have_nobody_elses_action(lengths, played, history, horizon, actors):
    cache = toy_cache(lengths, [], played)
    who = cache.arrays["actor"]
    expected = [
        start + t
        for start, length in zip(cache.starts, cache.lengths, strict=True)
        for t in range(length)
        if all(who[start + min(t + ahead, length - 1)] in actors for ahead in range(horizon))
    ]
    if not expected:
        with pytest.raises(EmptyStore, match="Choose among these, or shorten the horizon"):
            Windows(cache, history, horizon, actors=sorted(actors))
        return
    windows = Windows(cache, history, horizon, actors=sorted(actors))
    assert windows.rows.tolist() == expected
    everything = Windows(cache, history, horizon)
    same = everything.gather(np.flatnonzero(np.isin(everything.rows, expected)))
    assert all((windows.gather(np.arange(len(windows)))[name] == same[name]).all() for name in same)


def test_windows_refuse_nonsense():
    cache = toy_cache([3], [])
    with pytest.raises(SpecError, match="at least 1; found 0 and 1"):
        Windows(cache, 0, 1)
    with pytest.raises(SpecError, match="'sent' or 'requested'"):
        Windows(cache, 1, 1, action="done")
    with pytest.raises(UnknownName, match="Unknown array 'y'"):
        Windows(cache, 1, 1, ["y"])
    assert Windows(cache, 1, 1, action="requested").gather([0])["action.a"].tolist() == [[5000.0]]
