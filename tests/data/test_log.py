"""The log gives back what was acknowledged, bit for bit, whole or torn anywhere."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from robolearn.clock import FakeClock
from robolearn.data.framing import scan
from robolearn.data.log import LOG_NAME, LogWriter, nanoseconds, seconds
from robolearn.data.log_reader import read_log, scan_log
from robolearn.episode import EpisodeMeta, Event, Outcome, Reading
from robolearn.errors import BadEpisode, DataFileError, SpecError, UnknownName
from robolearn.specs import ArraySpec

META = EpisodeMeta("t", "do it", 20.0)
Q = {"arm.q": ArraySpec((2,))}
V = {"arm.v": ArraySpec((1,))}


def write(folder, episode, close=True):
    folder.mkdir(parents=True, exist_ok=True)
    writer = LogWriter.open(folder, episode.meta, episode.observation_spec, episode.action_spec)
    for k in range(episode.steps + 1):
        writer.observation(Reading(episode.times[k], {n: v[k] for n, v in episode.observations.items()}))
        if k < episode.steps:
            rows = [{n: v[k] for n, v in a.items()} for a in (episode.requested, episode.actions, episode.notes)]
            writer.action(rows[0], rows[1], rows[2] | {"actor": episode.actor[k]})
    for event in episode.events:
        writer.event(event)
    if close:
        writer.close(episode.outcome)
    else:
        writer.abandon()


@pytest.mark.parametrize("pictures", [False, True])
def test_round_trip(tmp_path, make_episode, assert_same, pictures):
    episode = make_episode(7, seed=3, pictures=pictures)
    write(tmp_path, episode)
    back = read_log(tmp_path)
    assert_same(back, episode)
    assert back.outcome == episode.outcome
    (mine,), (theirs,) = back.events, episode.events
    assert mine.params == theirs.params
    assert mine.kind == theirs.kind
    assert abs(mine.time - theirs.time) <= 1e-9
    assert abs(mine.end - theirs.end) <= 1e-9


exact = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    doubles=st.lists(exact, min_size=4, max_size=4),
    singles=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2),
    start=st.floats(0, 5e6),
    gaps=st.lists(st.floats(2e-9, 10), min_size=1, max_size=1),
)
def test_every_value_is_exact(tmp_path_factory, doubles, singles, integers, start, gaps):
    spec = {"a.d": ArraySpec((2,)), "a.s": ArraySpec((), "float32"), "b": ArraySpec((), "int64")}
    folder = tmp_path_factory.mktemp("log")
    times = [start, start + gaps[0]]
    writer = LogWriter.open(folder, META, spec, V)
    rows = [
        {"a.d": np.array(doubles[2 * k : 2 * k + 2]), "a.s": np.float32(singles[k]), "b": np.int64(integers[k])}
        for k in range(2)
    ]
    writer.observation(Reading(times[0], rows[0]))
    action = {"arm.v": np.array([doubles[0]])}
    writer.action(action, action, {"actor": np.array(2, np.int8), "odd": np.array([np.nan, np.inf, -np.inf, 0.5])})
    writer.observation(Reading(times[1], rows[1]))
    writer.close(Outcome.SUCCESS)
    back = read_log(folder)
    for k in range(2):
        for name in spec:
            assert back.observations[name][k].tobytes() == np.asarray(rows[k][name]).tobytes()
    assert back.actions["arm.v"].tobytes() == action["arm.v"].tobytes()
    np.testing.assert_array_equal(back.notes["odd"], [[np.nan, np.inf, -np.inf, 0.5]])
    assert back.actor.tolist() == [2]
    assert np.abs(back.times - times).max() <= 1e-9
    assert np.diff(back.times)[0] > 0


@given(st.integers(0, 97 * 86400 * 10**9 - 1))
def test_nanoseconds_round_trip(time_ns):
    assert nanoseconds(seconds(time_ns)) == time_ns


def test_the_stock_reader_reads_it(tmp_path, make_episode):
    write(tmp_path, make_episode(4, pictures=True))
    with (tmp_path / LOG_NAME).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary: Any = reader.get_summary()
        messages: list[Any] = list(reader.iter_messages())
    topics = {c.topic for c in summary.channels.values()}
    assert topics >= {"/episode", "/observation/arm", "/observation/wrist", "/tick", "/requested", "/sent", "/note"}
    assert summary.statistics.message_count == len(messages)
    by_topic = {}
    for schema, channel, message in messages:
        assert schema.encoding == "jsonschema"
        assert channel.message_encoding == "json"
        by_topic.setdefault(channel.topic, []).append(json.loads(message.data))
    assert messages[0][1].topic == "/episode"
    assert {c.topic for _, c, m in messages if m is messages[-1][2]} == {"/outcome"}
    assert [m["rgb"] for m in by_topic["/observation/wrist"]] == [0, 1, 2, 3, 4]
    assert len(by_topic["/observation/arm"][0]["q"]) == 3


def test_cut_anywhere_gives_the_exact_prefix(tmp_path, make_episode, assert_same):
    episode = make_episode(6, seed=1)
    write(tmp_path / "whole", episode)
    data = (tmp_path / "whole" / LOG_NAME).read_bytes()
    torn = tmp_path / "torn"
    torn.mkdir()
    ends = [m.end for m in scan(data).messages]
    seen = set()
    cuts = sorted({*range(0, len(data), 61), *ends, *(e - 1 for e in ends), len(data) - 1})
    for cut in cuts:
        (torn / LOG_NAME).write_bytes(data[:cut])
        log = scan_log(torn)
        assert not log.finished
        whole = sum(end <= cut for end in ends)
        if log.episode is not None:
            assert_same(log.episode, episode, log.episode.steps)
            assert log.episode.steps == min(log.observations - 1, log.actions)
            seen.add(log.episode.steps)
        assert log.observations <= whole
    assert seen == set(range(1, 7))


def test_a_flip_never_becomes_data(tmp_path, make_episode, assert_same):
    episode = make_episode(4, seed=2)
    write(tmp_path, episode)
    data = bytearray((tmp_path / LOG_NAME).read_bytes())
    shorter = 0
    for at in range(8, len(data), 37):
        data[at] ^= 1
        (tmp_path / LOG_NAME).write_bytes(data)
        log = scan_log(tmp_path)
        data[at] ^= 1
        if log.episode is not None:
            assert_same(log.episode, episode, log.episode.steps)
        shorter += log.episode is None or log.episode.steps < episode.steps
    assert shorter > 10


def test_an_unfinished_log_has_every_acknowledged_record(tmp_path, make_episode, assert_same):
    episode = make_episode(5, pictures=True)
    write(tmp_path, episode, close=False)
    log = scan_log(tmp_path)
    assert not log.finished
    assert log.outcome == Outcome.RUNNING
    assert log.observations == 6
    assert_same(log.episode, episode)


def test_one_write_per_call(tmp_path, make_episode, monkeypatch):
    import os

    from robolearn.data import framing

    sizes = []
    real = os.write
    monkeypatch.setattr(framing.os, "write", lambda fd, data: sizes.append(len(data)) or real(fd, data))
    write(tmp_path, make_episode(5))
    assert len(sizes) == 1 + 6 + 5 + 1 + 1  # head, observations, actions, event, end


def test_a_repeated_sample_is_not_written_twice_and_keeps_its_capture_time(tmp_path):
    spec = Q | {"cam.rgb": ArraySpec((8, 8, 3), "uint8")}
    clock = FakeClock(10.0)
    writer = LogWriter.open(tmp_path, META, spec, V, clock=clock)
    frames = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    captured = [9.98, 9.98, 10.08]
    for k in range(3):
        frame = frames[k // 2]
        writer.observation(Reading(10.0 + 0.05 * k, {"arm.q": np.ones(2), "cam.rgb": frame}, {"cam.rgb": captured[k]}))
        clock.advance(0.05)
        if k < 2:
            writer.action({"arm.v": np.zeros(1)}, {"arm.v": np.zeros(1)}, {"actor": np.array(0, np.int8)})
    writer.close(Outcome.TIMEOUT)
    log = scan_log(tmp_path)
    assert log.captured["cam.rgb"].tolist() == [nanoseconds(t) for t in captured]
    assert log.received.tolist() == [nanoseconds(10.0 + 0.05 * k) for k in range(3)]
    assert log.episode is not None
    np.testing.assert_array_equal(log.episode.observations["cam.rgb"], frames[[0, 0, 1]])
    with (tmp_path / LOG_NAME).open("rb") as file:
        assert len(list(make_reader(file).iter_messages(topics=["/observation/cam"]))) == 2


def test_refusals_name_what_is_wrong(tmp_path):
    writer = LogWriter.open(tmp_path, META, Q, V)
    good = {"arm.q": np.zeros(2)}
    with pytest.raises(BadEpisode, match="An action without an observation"):
        writer.action({"arm.v": np.zeros(1)}, {"arm.v": np.zeros(1)}, {"actor": np.array(0, np.int8)})
    with pytest.raises(SpecError, match=r"'arm.q' must be finite; found nan at index \(1,\)"):
        writer.observation(Reading(0.0, {"arm.q": np.array([0.0, np.nan])}))
    with pytest.raises(SpecError, match="must be float64; found float32"):
        writer.observation(Reading(0.0, {"arm.q": np.zeros(2, np.float32)}))
    with pytest.raises(BadEpisode, match=r"finite and at least 0; found -1.0"):
        writer.observation(Reading(-1.0, good))
    with pytest.raises(UnknownName, match=r"Did you mean 'arm.q'"):
        writer.observation(Reading(0.0, good, {"arm.p": 0.0}))
    writer.observation(Reading(1.0, good))
    with pytest.raises(BadEpisode, match="Two observations in a row"):
        writer.observation(Reading(2.0, good))
    with pytest.raises(SpecError, match="must hold 'actor'"):
        writer.action({"arm.v": np.zeros(1)}, {"arm.v": np.zeros(1)}, {})
    writer.action({"arm.v": np.zeros(1)}, {"arm.v": np.zeros(1)}, {"actor": np.array(0, np.int8)})
    with pytest.raises(BadEpisode, match="must grow by at least 1 ns"):
        writer.observation(Reading(1.0 + 1e-10, good))
    with pytest.raises(SpecError, match="plain finite numbers"):
        writer.event(Event("x", 1.0, 1.0, params={"a": float("nan")}))
    writer.observation(Reading(1.1, good))
    writer.close(Outcome.SUCCESS)
    assert read_log(tmp_path).steps == 1  # nothing of the refused calls was kept
    with pytest.raises(SpecError, match="cannot be recorded"):
        LogWriter.open(tmp_path, META, {"../x": ArraySpec(())}, V)
    with pytest.raises(DataFileError, match="there is none"):
        read_log(tmp_path / "nowhere")
