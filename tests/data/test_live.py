"""A live recording is what happened: every sample once, every row what it showed, every lost frame said to be lost."""

from __future__ import annotations

import errno
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robolearn.clock import FakeClock, MonotonicClock
from robolearn.data import log as log_module
from robolearn.data import pictures, syncing
from robolearn.data.freshness import NO_COUNTER, FrameTrack, Freshness, doubt
from robolearn.data.room import room_needed
from robolearn.data.session import Phase, Session
from robolearn.data.store import Store
from robolearn.data.streams import read_streams
from robolearn.data.video import VideoWriter, open_video, read_video, resize
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.errors import BadEpisode, DataFileError, SpecError, StorageFull, StoreError, UnknownName
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from robolearn.specs import ArraySpec

META = EpisodeMeta("t", "do it", 20.0)
SPEC = {
    "arm.q": ArraySpec((2,)),
    "cam.rgb": ArraySpec((16, 16, 3), "uint8"),
    "cam.depth": ArraySpec((16, 24), "uint16"),
}
ACT = {"arm.v": ArraySpec((1,))}
ZERO = {"arm.v": np.zeros(1)}
WHO = {"actor": np.array(0, np.int8)}


def frame(counter):
    """A picture that says its counter in its first pixels."""
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[0, :, 0] = [255 * (counter >> bit & 1) for bit in range(16)]
    return picture


def number(picture):
    return sum(int(picture[0, bit, 0] > 127) << bit for bit in range(16))


def depth(counter):
    return np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) * 170 + counter


@pytest.fixture
def clock():
    return FakeClock(5.0)


@pytest.fixture
def session(tmp_path, clock):
    with (
        Store.create(tmp_path / "s", durable=False) as store,
        Session(store, META, SPEC, ACT, clock, longest_s=10.0) as made,
    ):
        yield made


def opener(cls):
    """`open_video` with another class of writer."""
    return lambda path, spec, rate, lossless: cls(path, *spec.shape[:2], rate, lossless, depth=len(spec.shape) == 2)


def drain(session):
    for encoder in session._writer._log._pictures._encoders.values():
        while encoder._waiting.qsize():
            time.sleep(0.001)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("acdr"), st.integers(1, 60)), min_size=3, max_size=60), st.booleans())
def test_any_interleaving_of_rates_comes_back(tmp_path_factory, steps, named):
    """Against a model that keeps the newest sample of every stream in a dict."""
    clock = FakeClock(5.0)
    store = Store.create(tmp_path_factory.mktemp("s") / "s", durable=False)
    session = Session(store, META, SPEC, ACT, clock, longest_s=1.0)
    session.arm()
    session.start()
    newest, rows, streams, frames = {}, [], {"arm.q": [], "cam.rgb": []}, 0

    def see(what):
        nonlocal frames
        now = clock.now()
        if what in "cd":
            frames += 1
            if what == "d":  # the device made a frame that never arrived
                return
            assert session.sample(
                {"cam.rgb": frame(frames), "cam.depth": depth(frames)}, now, counter=frames, received=now + 0.001
            )
            newest["cam.rgb"] = (now, frames)
            streams["cam.rgb"].append((now, frames))
            drain(session)
        elif what == "a":
            assert session.sample({"arm.q": np.full(2, now)}, now)
            newest["arm.q"] = (now, now)
            streams["arm.q"].append((now, now))

    def row():
        if not rows or clock.now() > rows[-1]["time"]:
            captured = {n: at for n, (at, _) in newest.items()} if named else {}
            if named:
                captured["cam.depth"] = captured["cam.rgb"]
            session.observation(Reading(clock.now(), {}, captured))
            rows.append({"time": clock.now(), **newest})
            session.action(ZERO, ZERO, WHO)

    see("a")
    see("c")
    for what, wait_ms in [*steps, ("r", 5), ("r", 5)]:
        clock.advance(wait_ms / 1e3)
        if what == "r":
            row()
        else:
            see(what)
    session.stop()
    id = session.commit(Outcome.SUCCESS)
    log = store.log(id)
    assert log.episode is not None
    rows = rows[: log.episode.steps + 1]
    assert log.episode.observations["arm.q"][:, 0].tolist() == [r["arm.q"][1] for r in rows]
    assert [number(p) for p in log.episode.observations["cam.rgb"]] == [r["cam.rgb"][1] for r in rows]
    for r, picture in zip(rows, log.episode.observations["cam.depth"], strict=True):
        np.testing.assert_array_equal(picture, depth(r["cam.rgb"][1]))
    assert log.captured["cam.rgb"].tolist() == [log_module.nanoseconds(r["cam.rgb"][0]) for r in rows]
    seen = log.frames["cam.rgb"]
    assert seen.counter[: len(rows)].tolist() == [r["cam.rgb"][1] for r in rows]
    fresh = [k == 0 or r["cam.rgb"] != rows[k - 1]["cam.rgb"] for k, r in enumerate(rows)]
    for k, r in enumerate(rows):
        age_ns = log_module.nanoseconds(r["time"]) - log_module.nanoseconds(r["cam.rgb"][0])
        assert seen.age_ns[k] == age_ns
        assert (seen.state[k] == Freshness.FRESH) <= fresh[k]
        if not fresh[k]:
            assert seen.state[k] != Freshness.FRESH
    found = read_streams(store.path / "episodes" / id)
    assert found["arm.q"].values[:, 0].tolist() == [v for _, v in streams["arm.q"]]
    assert found["cam.rgb"].counters.tolist() == [v for _, v in streams["cam.rgb"]]
    assert found["cam.rgb"].captured_ns.tolist() == [log_module.nanoseconds(t) for t, _ in streams["cam.rgb"]]
    assert found["cam.rgb"].received_ns.tolist() == [log_module.nanoseconds(t + 0.001) for t, _ in streams["cam.rgb"]]
    pictures_found = list(found["cam.rgb"].pictures())
    assert [number(p) for _, p in pictures_found] == [v for _, v in streams["cam.rgb"]]
    store.close()


def test_a_row_shows_what_the_policy_saw_and_not_what_came_after(session, clock):
    session.arm()
    session.start()
    for k in range(4):
        for part in range(3):  # the policy decides on the middle one while the third arrives
            clock.advance(0.01)
            at = clock.now()
            session.sample({"arm.q": np.full(2, 10.0 * k + part)}, at)
            session.sample({"cam.rgb": frame(3 * k + part), "cam.depth": depth(0)}, at, counter=3 * k + part)
            if part == 1:
                seen = at
            drain(session)
        clock.advance(0.01)
        session.observation(Reading(clock.now(), {"arm.q": np.zeros(2)}, {"arm.q": seen, "cam.rgb": seen}))
        session.action(ZERO, ZERO, WHO)
    session.stop()
    id = session.commit(Outcome.SUCCESS)
    log = session._store.log(id)
    assert log.episode.observations["arm.q"][:, 0].tolist() == [1, 11, 21, 31]
    assert [number(p) for p in log.episode.observations["cam.rgb"]] == [1, 4, 7, 10]
    assert log.frames["cam.rgb"].counter.tolist() == [1, 4, 7, 10]
    assert not log.frames["cam.rgb"].state.any()
    assert len(read_streams(session._store.path / "episodes" / id)["arm.q"]) == 12


class SlowVideo(VideoWriter):
    """Holds the encoder as long as it is told to."""

    gate = threading.Event()

    def add(self, frame):
        self.gate.wait()
        return super().add(frame)


@pytest.mark.parametrize("broken", [False, True])
def test_lost_frames_are_flagged_and_nothing_is_shifted(session, clock, monkeypatch, broken):
    """Frames 7 and 20 to 29 never come, and from 40 on the encoder stalls. The broken twin numbers what it encodes."""
    SlowVideo.gate.set()
    monkeypatch.setattr(
        pictures,
        "open_video",
        opener(SlowVideo),
    )
    if broken:  # counts rows where it should name the frame, as recorders with pts = frame_count do
        real = pictures.Pictures.add

        def add(self, name, picture, at_ns, counter=NO_COUNTER, *, keep=True):
            self.made = getattr(self, "made", {})
            self.made[name] = self.made.get(name, 0) + 1
            return None if real(self, name, picture, at_ns, counter, keep=keep) is None else counter

        monkeypatch.setattr(pictures.Pictures, "add", add)
    session.arm()
    session.start()
    lost = {7, *range(20, 30)}
    for k in range(60):
        clock.advance(0.02)
        if k == 40:
            SlowVideo.gate.clear()
        if k not in lost:
            session.sample({"cam.rgb": frame(k), "cam.depth": depth(k)}, clock.now(), counter=k)
        if k < 40:
            drain(session)
        session.observation(Reading(clock.now(), {"arm.q": np.full(2, float(k))}))
        session.action(ZERO, ZERO, WHO)
    SlowVideo.gate.set()
    review = session.stop()
    assert "cam.rgb" in review.degraded
    id = session.commit(Outcome.SUCCESS)
    if broken:
        with pytest.raises((AssertionError, DataFileError)):
            assert_true_rows(session._store.log(id), lost)
        return
    log = session._store.log(id)
    assert_true_rows(log, lost)
    assert (log.frames["cam.rgb"].state[54:] == Freshness.MISSING).all()  # 12 waiting, one held: the queue was full
    assert session._store.tags_of(id) == {"degraded"}
    assert session._store.info(id).degraded == review.degraded


def assert_true_rows(log, lost):
    shown, seen = [number(p) for p in log.episode.observations["cam.rgb"]], log.frames["cam.rgb"]
    assert log.episode.steps == 59
    assert shown == seen.counter.tolist()
    for k in range(60):
        if seen.state[k] == Freshness.FRESH:
            assert shown[k] == k
        else:
            assert shown[k] < k
    assert set(np.flatnonzero(seen.state[:40])) == lost
    assert seen.state[7] == Freshness.REPEATED
    assert seen.state[29] == Freshness.MISSING  # older than 100 ms


def test_frames_offered_twice_count_once(session, clock):
    session.arm()
    session.start()
    for k in (0, 0, 1, 1, 1, 2):
        clock.advance(0.01)
        new = session.sample({"cam.rgb": frame(k), "cam.depth": depth(k)}, clock.now(), counter=k)
        session.observation(Reading(clock.now(), {"arm.q": np.zeros(2)}))
        session.action(ZERO, ZERO, WHO)
        drain(session)
        assert new == (session._writer._log._pictures.tracks["cam.rgb"].captured_ns[-1] == round(clock.now() * 1e9))
    assert session.stop().degraded == ""
    log = session._store.log(session.commit(Outcome.SUCCESS))
    assert log.frames["cam.rgb"].state.tolist() == [0, 1, 0, 1, 1, 0]
    assert len(read_video(session._store.path / "episodes" / session.kept[0] / "cam.rgb.mp4")) == 3


def test_phases(session, clock):
    arrays = {"arm.q": np.zeros(2), "cam.rgb": frame(0), "cam.depth": depth(0)}
    with pytest.raises(StoreError, match="Cannot start while idle: expected the phase armed"):
        session.start()
    session.arm(seed=3, instruction="put it back")
    assert not session.sample({"arm.q": np.zeros(2)}, 1.0)
    with pytest.raises(StoreError, match="Cannot record while armed"):
        session.observation(Reading(5.0, arrays))
    session.reject()
    assert session.phase is Phase.IDLE
    assert list((session._store.path / "recording").iterdir()) == []
    session.arm(seed=3, instruction="put it back")
    session.start()
    session.observation(Reading(5.0, arrays))
    session.action(ZERO, ZERO, WHO)
    session.observation(Reading(5.05, arrays))
    review = session.stop(Outcome.TIMEOUT)
    assert (review.steps, review.proposed, review.degraded) == (1, Outcome.TIMEOUT, "")
    assert not session.sample({"arm.q": np.zeros(2)}, 6.0)
    with pytest.raises(StoreError, match="Cannot arm while review: expected the phase idle"):
        session.arm()
    id = session.commit(Outcome.SUCCESS)
    assert session._store[id].outcome is Outcome.SUCCESS
    assert (session._store.info(id).instruction, session._store.info(id).seed) == ("put it back", 3)
    session.arm()
    session.start()
    session.observation(Reading(5.0, arrays))
    session.stop()
    with pytest.raises(BadEpisode, match="discarded"):
        session.commit(Outcome.SUCCESS)
    assert session.phase is Phase.IDLE
    session.arm()
    session.start()
    session.observation(Reading(5.0, arrays))
    session.action(ZERO, ZERO, WHO)
    session.observation(Reading(5.05, arrays))
    session.close()
    assert session._store[session.kept[-1]].outcome is Outcome.ABORTED


def test_a_death_in_review_is_recovered_without_a_verdict(tmp_path, clock):
    store = Store.create(tmp_path / "s", durable=False)
    session = Session(store, META, SPEC, ACT, clock, longest_s=1.0)
    session.arm()
    session.start()
    for k in range(3):
        session.observation(Reading(5.0 + 0.05 * k, {"arm.q": np.zeros(2), "cam.rgb": frame(k), "cam.depth": depth(k)}))
        session.action(ZERO, ZERO, WHO)
    session.stop()
    store.close()  # leaves the files as a dead process would
    again = Store.open(store.path)
    assert [steps for _, steps in again.recovery.recovered] == [2]
    assert again[again.ids(include_recovered=True)[0]].outcome is Outcome.ABORTED


def test_a_full_disk_in_an_encoder_ends_the_episode_at_the_next_record(session, clock, monkeypatch):
    class Full(VideoWriter):
        def add(self, frame):
            if self.count >= 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().add(frame)

    monkeypatch.setattr(
        pictures,
        "open_video",
        opener(Full),
    )
    session.arm()
    session.start()
    done = []

    def record():
        for k in range(40):
            clock.advance(0.05)
            session.sample({"cam.rgb": frame(k), "cam.depth": depth(k)}, clock.now(), counter=k)
            session.observation(Reading(clock.now(), {"arm.q": np.full(2, float(k))}))
            session.action(ZERO, ZERO, WHO)
            done.append(k)
            drain(session)

    with pytest.raises(StorageFull, match="Hold the robot, free some space"):
        record()
    assert 5 <= len(done) <= 8
    assert session.phase is Phase.REVIEW
    assert "No room to go on" in session.last.fault
    monkeypatch.undo()
    id = session.commit(Outcome.FAILURE)
    assert session._store.info(id).status == "recovered"
    assert 3 <= session._store.info(id).steps <= 5
    assert session._store.verify() == {}
    session.arm()
    session.reject()


def test_only_known_arrays_of_one_device_are_samples(session, clock):
    session.arm()
    session.start()
    with pytest.raises(SpecError, match=r"one device at one moment; found arrays of \['arm', 'cam'\]"):
        session.sample({"arm.q": np.zeros(2), "cam.rgb": frame(0)}, 5.0)
    with pytest.raises(UnknownName, match=r"Did you mean 'arm\.q'"):
        session.sample({"arm.p": np.zeros(2)}, 5.0)
    with pytest.raises(SpecError, match=r"sample of arm: 'arm\.q' must be finite"):
        session.sample({"arm.q": np.full(2, np.nan)}, 5.0)
    session.sample({"arm.q": np.zeros(2)}, 5.0)
    with pytest.raises(SpecError, match=r"observation: expected the names .* missing \['cam.depth', 'cam.rgb'\]"):
        session.observation(Reading(5.0, {}))
    writer = session._store.record(META, SPEC, ACT)
    with pytest.raises(BadEpisode, match="need a live recording"):
        writer.sample({"arm.q": np.zeros(2)}, 5.0)
    writer.discard()
    with pytest.raises(SpecError, match="belongs to the log's frame counters"):
        log_module.LogWriter.open(session._store.path, META, {"a._counter": ArraySpec(())}, ACT)


def test_room_for_the_longest_episode_is_asked_for(session):
    needed = room_needed(20.0, SPEC, ACT, 60.0)
    assert room_needed(20.0, SPEC, ACT, 120.0) == pytest.approx(2 * needed, rel=1e-6)
    raw = 60 * 60 * (16 * 16 * 3 + 16 * 24 * 2)
    assert needed > raw
    session._longest_s = 1e9
    with pytest.raises(StorageFull, match=r"MiB of free space to start an episode; found \d+ MiB. All 0 episodes"):
        session.arm()
    assert session.phase is Phase.IDLE
    with pytest.raises(SpecError, match="found nan"):
        room_needed(20.0, SPEC, ACT, float("nan"))


@given(st.integers(2, 300), st.integers(0, 20), st.booleans())
def test_doubt_counts_lost_frames(count, lost, numbered):
    rng = np.random.default_rng(count * 31 + lost)
    kept = sorted({0, count - 1} | set(range(count)) - set(rng.permutation(count)[:lost].tolist()))
    times = [k * 33_333_333 for k in kept]
    missing = count - len(kept)
    why = doubt("cam", times, kept if numbered else [NO_COUNTER] * len(kept), times[-1])
    if numbered and missing > 0.01 * count:
        assert f"cam lost {missing} of {count} frames." == why
    if missing == 0:
        assert why is None


def test_a_frozen_camera_is_doubted_and_a_slow_one_is_not():
    slow = [k * 200_000_000 for k in range(20)]
    assert doubt("cam", slow, list(range(20)), slow[-1] + 10**8) is None
    assert "shows nothing new for 2.000 s after frame 19" in str(
        doubt("cam", slow, list(range(20)), slow[-1] + 2 * 10**9)
    )
    assert doubt("cam", [], [], 0) == "cam has no frame."
    track = FrameTrack()
    track.add(0, NO_COUNTER)
    assert track.row(10**7, 0)[0] is Freshness.FRESH
    assert track.row(2 * 10**7, 0)[0] is Freshness.REPEATED
    assert track.row(2 * 10**8, 0)[0] is Freshness.MISSING


@pytest.mark.parametrize("shape", [(16, 24), (33, 47), (480, 640)])
def test_depth_is_lossless_and_a_torn_file_gives_whole_maps_only(tmp_path, shape):
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 65536, (6, *shape)).astype(np.uint16)
    writer = open_video(tmp_path / "d.mp4", ArraySpec(shape, "uint16"), 30.0)
    for one in maps:
        writer.add(one)
    writer.close()
    np.testing.assert_array_equal(read_video(tmp_path / "d.mp4"), maps)
    data = (tmp_path / "d.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * 0.7)])
    back = read_video(tmp_path / "cut.mp4")
    assert 3 <= len(back) < 6
    np.testing.assert_array_equal(back, maps[: len(back)])
    small = resize(maps, 8, 12)
    assert np.isin(small, maps).all()  # picked, not blended
    with pytest.raises(SpecError, match=r"Expected a picture .* uint16; found .* uint8"):
        open_video(tmp_path / "e.mp4", ArraySpec(shape, "uint16"), 30.0).add(np.zeros(shape, np.uint8))


def test_power_loss_takes_at_most_what_the_last_sync_missed(tmp_path, monkeypatch):
    """The disk has what `fdatasync` put there: at any instant, all that was acknowledged two periods before it."""
    durable, lock = {}, threading.Lock()
    real = syncing.os.fdatasync

    def fdatasync(fd):
        size = syncing.os.fstat(fd).st_size
        real(fd)
        with lock:
            durable[syncing.os.readlink(f"/proc/self/fd/{fd}")] = size

    monkeypatch.setattr(syncing.os, "fdatasync", fdatasync)
    clock = MonotonicClock()
    spec = {"arm.q": ArraySpec((2,))}
    with Store.create(tmp_path / "s") as store:
        durable.clear()
        writer = store.record(META, spec, ACT, clock=clock)
        path = writer.folder / "log.mcap"
        acknowledged = []
        start = clock.now()
        while (now := clock.now()) - start < 1.0:
            writer.observation(Reading(now, {"arm.q": np.zeros(2)}))
            writer.action(ZERO, ZERO, WHO)
            acknowledged.append((clock.now(), path.stat().st_size))
            with lock:
                safe = durable.get(str(path), 0)
            late = [at for at, size in acknowledged if size > safe]
            assert now - late[0] < 3 * 0.2  # 200 ms promised, three times that for a busy machine
            time.sleep(0.005)
        assert durable[str(path)] > 0
        writer.observation(Reading(clock.now(), {"arm.q": np.zeros(2)}))
        writer.commit(Outcome.SUCCESS)


def test_a_failing_disk_is_told_by_the_next_record(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    clock = MonotonicClock()
    with Store.create(tmp_path / "s") as store:
        writer = store.record(META, {"arm.q": ArraySpec((2,))}, ACT, clock=clock)
        monkeypatch.setattr(syncing.os, "fdatasync", fail)
        sync = writer._log._sync
        assert sync is not None
        sync._thread.join(2.0)
        with pytest.raises(OSError, match="Input/output error"):
            writer.observation(Reading(clock.now(), {"arm.q": np.zeros(2)}))
        monkeypatch.undo()


def test_threads_and_descriptors_are_given_back(tmp_path):
    import os

    clock = FakeClock(1.0)
    store = Store.create(tmp_path / "s")
    session = Session(store, META, SPEC, ACT, clock, longest_s=1.0)

    def cycle(keep):
        session.arm()
        session.start()
        for _ in range(3):
            clock.advance(0.05)
            session.observation(
                Reading(clock.now(), {"arm.q": np.zeros(2), "cam.rgb": frame(1), "cam.depth": depth(1)})
            )
            session.action(ZERO, ZERO, WHO)
        session.stop()
        if keep:
            session.commit(Outcome.SUCCESS)
        else:
            session.reject()

    cycle(True)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for k in range(10):
        cycle(k % 2 == 0)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    store.close()


def test_a_request_that_was_not_finite_is_kept_exactly(tmp_path):
    asked = {"arm.v": np.array([np.nan])}, {"arm.v": np.array([-np.inf])}, {"arm.v": np.array([0.25])}
    with Store.create(tmp_path / "s", durable=False) as store:
        writer = store.record(META, {"arm.q": ArraySpec((2,))}, ACT)
        for k, one in enumerate(asked):
            writer.observation(Reading(0.05 * k, {"arm.q": np.zeros(2)}))
            with pytest.raises(SpecError, match=r"sent action: 'arm\.v' must be finite"):
                writer.action(one, {"arm.v": np.array([np.inf])}, WHO)
            if k < 2:
                with pytest.raises(SpecError, match=r"sent action: 'arm\.v' must be finite"):
                    writer.action(one, one, WHO)
            writer.action(one, ZERO, WHO)
        writer.observation(Reading(1.0, {"arm.q": np.zeros(2)}))
        episode = store[writer.commit(Outcome.SUCCESS)]
    np.testing.assert_array_equal(episode.requested["arm.v"][:, 0], [np.nan, -np.inf, 0.25])
    assert not episode.actions["arm.v"].any()


def test_the_loop_records_through_a_session_and_a_person_decides(point_env, towards_zero, tmp_path, clock):
    env, seen = point_env(1), []

    def decide(review):
        seen.append(review)
        assert len(list((store.path / "recording").iterdir())) == 1  # decided before anything is reset
        return {0: Outcome.SUCCESS, 1: None, 2: Outcome.FAILURE}[len(seen) - 1]

    with Store.create(tmp_path / "s", durable=False) as store:
        meta = EpisodeMeta(env.task.name, env.task.instruction, env.task.rate_hz)
        with Session(
            store, meta, env.observation_spec, env.action_spec, clock, longest_s=9.0, decide=decide
        ) as session:
            rollout(env, towards_zero, seeds=[3, 4, 6], observers=[session])
        assert [r.proposed for r in seen] == [Outcome.SUCCESS] * 3
        assert store.ids() == session.kept
        assert [store.info(id).outcome for id in session.kept] == [Outcome.SUCCESS, Outcome.FAILURE]
        assert [store.info(id).seed for id in session.kept] == [3, 6]
        with pytest.raises(StoreError, match=r"environment of 2 rows\. Use a Recorder"):
            Session(store, meta, SPEC, ACT, clock, longest_s=1.0).begin(point_env(2), [0], [1])


def test_a_recorder_of_a_bench_stamps_receive_times(point_env, towards_zero, tmp_path):
    clock = FakeClock(1000.0)
    with Store.create(tmp_path / "s", durable=False) as store:
        for given in (clock, None):
            with Recorder(store, clock=given, longest_s=1.0) as recorder:
                rollout(point_env(1), towards_zero, seeds=[3], observers=[recorder])
            log = store.log(recorder.kept[0])
            assert log.episode is not None
            times = [log_module.nanoseconds(t) for t in log.episode.times]
            assert log.received.tolist() == ([1000 * 10**9] * len(times) if given else times)
        with pytest.raises(StorageFull, match="MiB of free space"):
            rollout(point_env(1), towards_zero, seeds=[3], observers=[Recorder(store, clock=clock, longest_s=1e12)])
