"""The store survives kills, torn files, full disks and second writers."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from robolearn.data import publishing
from robolearn.data import store as store_module
from robolearn.data.store import Store
from robolearn.episode import Outcome, Reading
from robolearn.errors import SpecError, StorageFull, StoreError


def test_a_second_writer_is_refused_and_a_dead_one_is_replaced(store, make_episode):
    store.append(make_episode())
    with pytest.raises(StoreError, match=rf"process {os.getpid()}"):
        Store.open(store.path).delete(store.ids())
    code = f"""
from robolearn.data.store import Store
from robolearn.errors import StoreError
try:
    Store.open({str(store.path)!r}).undo()
except StoreError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"Another writer has the store {store.path} open: process {os.getpid()}" in said
    store.close()
    hold = f"""
import time
from robolearn.data.store import Store
store = Store.open({str(store.path)!r})
store.undo()
print("up", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    with pytest.raises(StoreError, match=rf"process {holder.pid}"):
        store.delete(store.ids())
    holder.kill()
    holder.wait()
    store.delete(store.ids())
    assert len(store) == 0


CHILD = """
import sys, os, numpy as np
from robolearn.data.store import Store
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.specs import ArraySpec
PICTURES = sys.argv[2] == "pictures"
spec = {"arm.q": ArraySpec((2,))} | ({"cam.rgb": ArraySpec((16, 16, 3), "uint8")} if PICTURES else {})
store = Store.open(sys.argv[1], durable=False)
n = 0
while True:
    writer = store.record(EpisodeMeta("t", "do it", 20.0), spec, {"arm.v": ArraySpec((1,))})
    for k in range(30):
        arrays = {"arm.q": np.array([k, n], float)}
        if PICTURES:
            arrays["cam.rgb"] = np.full((16, 16, 3), k, np.uint8)
        writer.observation(Reading(0.05 * k, arrays))
        os.write(1, f"o {writer.id} {k}\\n".encode())
        if k < 29:
            v = {"arm.v": np.array([float(k)])}
            writer.action(v, v, {"actor": np.int8(0)})
            os.write(1, f"a {writer.id} {k}\\n".encode())
    id = writer.commit(Outcome.SUCCESS)
    os.write(1, f"c {id} 0\\n".encode())
    n += 1
"""


@pytest.mark.parametrize("kind", ["plain", "pictures"])
def test_kill_nine_loses_nothing_acknowledged(tmp_path, kind):
    path = tmp_path / "s"
    Store.create(path, durable=False).close()
    rng = random.Random(7)
    committed = set()
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), kind], stdout=subprocess.PIPE)
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        child.send_signal(signal.SIGKILL)
        lines = [line.split() for line in (first + child.stdout.read()).decode().splitlines()]
        child.wait()
        committed |= {id for what, id, _ in lines if what == "c"}
        last = {}
        for what, id, k in lines:
            last.setdefault(id, {"o": -1, "a": -1, "c": -1})[what] = int(k)
        with Store.open(path, durable=False) as store:
            again = Store.open(path)
            assert not again.recovery.lossy  # recovering twice is recovering once
            assert store.verify() == {}
            everything = set(store.ids(include_recovered=True))
            assert committed <= set(store.ids())
            for id, seen in last.items():
                steps = min(seen["a"] + 1, seen["o"]) - (kind == "pictures")  # at most the newest picture
                if id in committed or steps < 1:
                    continue
                assert id in everything
                episode = store[id]
                assert episode.steps >= steps
                assert episode.observations["arm.q"][:, 0].tolist() == list(range(episode.steps + 1))
                assert episode.actions["arm.v"][:, 0].tolist() == list(range(episode.steps))
                assert (store.info(id).status == "recovered") == (id not in store.ids())
                log = store.log(id)
                assert log.actions >= seen["a"] + 1
                assert log.observations >= seen["o"] + 1
            assert list((path / "recording").iterdir()) == []


def test_recovery_keeps_the_prefix_and_the_torn_bytes(store, make_episode):
    done = store.append(make_episode(seed=9))
    sealed = (store.path / "episodes" / done / "log.mcap").read_bytes()
    writer = store.record(make_episode().meta, *store.specs)
    episode = make_episode(6, seed=4)
    for k in range(6):
        writer.observation(Reading(episode.times[k], {n: v[k] for n, v in episode.observations.items()}))
        rows = [{n: v[k] for n, v in a.items()} for a in (episode.requested, episode.actions)]
        writer.action(*rows, {"actor": np.int8(1)})
    store.close()
    log = store.path / "recording" / writer.id / "log.mcap"
    log.write_bytes(log.read_bytes()[:-30])
    again = Store.open(store.path)
    assert again.recovery.recovered == ((writer.id, 5),)
    assert again.recovery.lossy
    assert (store.path / "episodes" / done / "log.mcap").read_bytes() == sealed
    assert again.ids() == [done]
    assert again.ids(include_recovered=True) == [done, writer.id]
    assert again[writer.id].outcome == Outcome.ABORTED
    assert again.recovery.lost_bytes == (store.path / "episodes" / writer.id / "log.torn").stat().st_size
    with again:
        again.tag(writer.id, remove=("recovered",))
        assert again.ids() == [done, writer.id]


@pytest.mark.parametrize("point", ["seal", "rename", "journal"])
def test_a_death_while_sealing_is_finished_at_the_next_open(
    tmp_path, make_episode, assert_same, point, monkeypatch, begin, record
):
    class Death(BaseException):
        pass

    def die(*args, **kwargs):
        raise Death

    store = Store.create(tmp_path / "s", durable=False)
    writer = begin(store)
    record(writer, 0)
    writer.observation(Reading(1.0, {"arm.q": np.ones(2)}))
    target = {
        "seal": (publishing, "write_seal"),
        "rename": (store_module.Path, "rename"),
        "journal": (publishing, "enter"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*target[point], die)
        with pytest.raises(Death):
            writer.commit(Outcome.SUCCESS)
    assert store._lock is not None
    store._lock.release()
    again = Store.open(tmp_path / "s")
    assert again.recovery.completed == (writer.id,)
    assert again.ids() == [writer.id]
    assert again[writer.id].outcome == Outcome.SUCCESS
    assert again.verify() == {}
    assert Store.open(tmp_path / "s").recovery == type(again.recovery)()


def test_a_full_disk_keeps_the_prefix_and_earlier_episodes(store, begin, record):
    def record_until_full():
        for k in range(100):
            record(writer, k)

    first = begin(store)
    record(first, 0)
    first.observation(Reading(1.0, {"arm.q": np.ones(2)}))
    first.commit(Outcome.SUCCESS)
    writer = begin(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (writer.folder / "log.mcap").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 6000, hard))
        with pytest.raises(StorageFull, match=r"whole steps are kept in .* all earlier episodes are intact"):
            record_until_full()
        with pytest.raises(StoreError, match="takes no more records"):
            record(writer, 100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(StorageFull, match="commit it again"):
            writer.commit(Outcome.ABORTED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    id = writer.commit(Outcome.ABORTED)  # there is room again
    assert store[id].steps == writer.steps > 3
    assert not (store.path / "episodes" / id / "log.torn").exists()  # the half-written record was cut off at once
    assert store.info(id).status == "recovered"
    assert store.verify() == {}
    record(next_one := begin(store), 0)  # and recording goes on without a restart
    next_one.discard()
    assert len(store) == 1


def test_a_full_disk_at_the_journal_keeps_or_drops_the_episode_whole(store, make_episode, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    store.append(make_episode(seed=1))
    writer = store.record(make_episode().meta, *store.specs)
    for k in range(2):
        arrays = {name: value[k] for name, value in make_episode().observations.items()}
        writer.observation(Reading(float(k), arrays))
        if k == 0:
            action = {name: value[0] for name, value in make_episode().actions.items()}
            writer.action(action, action, {"actor": np.int8(0)})
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "enter", full)
        with pytest.raises(StorageFull, match="commit it again"):
            writer.commit(Outcome.SUCCESS)
        with pytest.raises(StorageFull, match="commit it again"):
            store.append(make_episode(seed=2))
    assert len(store) == 1
    assert len(list((store.path / "episodes").iterdir())) == 2  # the appended one is gone, the recorded one waits
    writer.commit(Outcome.SUCCESS)
    assert len(store) == 2
    assert store.info(writer.id).status == "complete"


def test_appended_events_keep_receive_times_in_order(store, make_episode):
    id = store.append(make_episode(6))
    log = store.log(id)
    assert log.received.tolist() == log.captured["arm.q"].tolist()


def test_no_room_is_noticed_before_an_episode_starts(store, monkeypatch, begin):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: type("U", (), {"free": 1 << 20}))
    with pytest.raises(StorageFull, match=r"Expected 64 MiB of free space .* found 1 MiB"):
        begin(store)


def test_an_unfit_episode_leaves_nothing(store, make_episode):
    bad = make_episode()
    object.__setattr__(bad, "notes", {"x": np.array([None] * 5)})
    with pytest.raises(SpecError, match="note 'x' is object"):
        store.append(bad)
    assert len(store) == 0
    assert list((store.path / "recording").iterdir()) == []


def test_open_names_what_is_missing(tmp_path):
    with pytest.raises(StoreError, match=r"there is no manifest\.jsonl"):
        Store.open(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(StoreError, match="found other files"):
        Store.create(tmp_path)
