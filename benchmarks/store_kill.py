"""Kill the store everywhere and count what was lost: the full crash harness, with broken twins that must fail.

    python benchmarks/store_kill.py [--kills N] [--seed S] [--strace]

1. N random SIGKILLs of a recorder on one growing store; every acknowledged record is looked for (video: at most the
   frames that waited for their encoder and the newest).
2. A kill at every mutating system call of seal, delete, merge, compact and recover. With --strace the same by the
   kernel: strace injects the SIGKILL, per system call and occurrence.
3. A full disk at every call that may fill it.
Each beside a twin that breaks the rule (rewrites in place, buffers, does not announce), on which the check must fail.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from robolearn.clock import MonotonicClock
from robolearn.data import edits, publishing, sealing
from robolearn.data.crash_points import failing_from, kill_points
from robolearn.data.episode_writer import EpisodeWriter
from robolearn.data.framing import RecordWriter
from robolearn.data.freshness import Freshness
from robolearn.data.journal import Journal, line_of
from robolearn.data.pictures import QUEUE_FRAMES
from robolearn.data.recovery import Recovery
from robolearn.data.store import Store
from robolearn.data.streams import read_streams
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.errors import RobolearnError, StorageFull
from robolearn.specs import ArraySpec

META = EpisodeMeta("t", "do it", 20.0)
SPEC = {"arm.q": ArraySpec((2,)), "cam.rgb": ArraySpec((16, 16, 3), "uint8")}
ACT = {"arm.v": ArraySpec((1,))}
WHO = {"actor": np.array(0, np.int8)}
OPERATIONS = ("seal", "delete", "merge", "compact", "recover")


class Lost(AssertionError):
    """Something was lost or damaged that must not be."""


def must(condition: bool, message: str) -> None:
    """Raise `Lost` unless the condition holds."""
    if not condition:
        raise Lost(message)


def rows(writer: EpisodeWriter, count: int, told: Callable[[str, int], None] = lambda what, k: None) -> None:
    """Record rows that can be told apart, acknowledging each record."""
    for k in range(count):
        picture = np.full((16, 16, 3), k % 256, np.uint8)
        writer.observation(Reading(0.05 * k, {"arm.q": np.array([k, -k], float), "cam.rgb": picture}))
        told("o", k)
        if k < count - 1:
            command = {"arm.v": np.array([float(k)])}
            writer.action(command, command, WHO)
            told("a", k)


def filled(path: Path, episodes: int, *, offset: int = 0) -> Store:
    """A store with some sealed episodes."""
    store = Store.create(path, durable=True)
    store._counter = offset
    for k in range(episodes):
        writer = store.record(META, SPEC, ACT)
        rows(writer, 3 + k)
        writer.commit(Outcome.SUCCESS)
    store.close()
    return store


def fingerprints(path: Path) -> dict[str, str]:
    """Content of every sealed episode that is there."""
    return {id: store.info(id).content for store in [Store.open(path)] for id in store.ids(include_deleted=True)}


# -- kills at every mutating call ---------------------------------------------------------------------------------


class Scenario:
    """One operation on a store of its own, with what must hold after a kill at any point."""

    def __init__(self, name: str, folder: Path):
        self.name, self.path, self.other = name, folder / name, folder / f"{name}-other"
        self._pristine = folder / f"{name}-pristine"
        filled(self.path, 3)
        filled(self.other, 2, offset=100)
        if name == "recover":
            store = Store.open(self.path)
            writer = store.record(META, SPEC, ACT)
            rows(writer, 6)
            store.close()
            log = writer.folder / "log.mcap"
            log.write_bytes(log.read_bytes()[:-20])
        elif name == "compact":
            with Store.open(self.path) as store:
                store.delete(store.ids()[:1])
        shutil.copytree(self.path, self._pristine)
        self.sealed = {} if name == "recover" else fingerprints(self.path)
        if name == "recover":
            self.sealed = {p.name: sealing.read_seal(p)[0].content for p in (self.path / "episodes").iterdir()}
        self.ids = sorted(self.sealed)
        self.merged = fingerprints(self.other)

    def prepare(self) -> None:
        """The state before the operation."""
        shutil.rmtree(self.path)
        shutil.copytree(self._pristine, self.path)

    def work(self) -> None:
        """The operation."""
        if self.name == "recover":
            Store.open(self.path).close()
            return
        with Store.open(self.path) as store:
            if self.name == "seal":
                writer = store.record(META, SPEC, ACT)
                rows(writer, 4)
                writer.commit(Outcome.SUCCESS)
            elif self.name == "delete":
                store.delete(self.ids[0])
            elif self.name == "merge":
                edits.merge(store, [self.other])
            else:
                edits.compact(store)

    def check(self) -> None:
        """What must hold after a kill, whenever it came.

        Raises:
            Lost: It does not.
        """
        try:
            store = Store.open(self.path)
            store.close()
            must(not store.recovery.skipped, f"recovery was skipped: {store.recovery.skipped}")
            again = Store.open(self.path)
            must(again.recovery == Recovery(), f"recovering twice did {again.recovery}")
            everything = set(again.ids(include_deleted=True, include_recovered=True))
            damaged = again.verify()
        except (RobolearnError, OSError, ValueError, KeyError) as error:
            raise Lost(f"the store does not open: {error}") from error
        must(not damaged, f"damaged: {damaged}")
        gone = {self.ids[0]} if self.name == "compact" else set()
        must(everything >= set(self.ids) - gone, f"sealed episodes are gone: {set(self.ids) - everything}")
        for id in everything & set(self.ids):
            must(again.info(id).content == self.sealed[id], f"{id} changed")
        folders = {p.name for p in (self.path / "episodes").iterdir()}
        must(folders == everything, f"files and journal differ: {sorted(folders ^ everything)}")
        must(not list((self.path / "recording").iterdir()), "something is left in recording/")
        for id in everything:
            must(again[id].steps == again.info(id).steps, f"{id} has other rows than its seal says")
        new = everything - set(self.ids)
        if self.name == "delete":
            live = again.ids()
            must(live in (self.ids, self.ids[1:]), f"half a deletion: {live}")
        elif self.name == "merge":
            must(new in (set(), set(self.merged)), f"half a merge: {sorted(new)}")
        elif self.name == "recover":
            must(len(new) == 1, f"expected one recovered episode; found {sorted(new)}")
            must(again.info(next(iter(new))).steps >= 4, "recovery lost whole rows")


def sweep(name: str, folder: Path) -> tuple[int, list[str]]:
    """Kill an operation at all of its mutating calls: how many there were, and what went wrong."""
    scenario = Scenario(name, folder)
    wrong: list[str] = []
    points = 0
    for point in kill_points(scenario.prepare, scenario.work):
        points += 1
        try:
            scenario.check()
        except Lost as lost:
            wrong.append(f"{name}, killed before call {point}: {lost}")
    return points, wrong


def strace_sweep(name: str, folder: Path) -> tuple[int, list[str]]:
    """The same kills by the kernel: per system call and occurrence, until one is not reached any more."""
    scenario = Scenario(name, folder)
    calls = [
        "write",
        "pwrite64",
        "ftruncate",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "unlinkat",
        "rmdir",
        "mkdir",
        "link",
    ]
    wrong: list[str] = []
    points = 0
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import store_kill; store_kill.resume()"
    for call in calls:
        occurrence = 0
        while True:
            occurrence += 1
            scenario.prepare()
            rule = f"inject={call}:signal=SIGKILL:when={occurrence}"
            done = subprocess.run(
                ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", rule, sys.executable,
                 "-c", code, name, str(folder)],
                capture_output=True, check=False, text=True,
            )  # fmt: skip
            if done.returncode == 0:
                break
            must(done.returncode in (-signal.SIGKILL, 137), f"strace: {done.stderr}")
            points += 1
            try:
                scenario.check()
            except Lost as lost:
                wrong.append(f"{name}, {call} number {occurrence}: {lost}")
    return points, wrong


def resume() -> None:
    """In a child of strace: the operation alone."""
    name, folder = sys.argv[1:3]
    scenario = Scenario.__new__(Scenario)
    scenario.name, scenario.path = name, Path(folder) / name
    scenario.other = Path(folder) / f"{name}-other"
    scenario.ids = sorted(p.name for p in (scenario.path / "episodes").iterdir())
    scenario.work()


# -- a full disk --------------------------------------------------------------------------------------------------


def full_disk(folder: Path, code: int = errno.ENOSPC) -> tuple[int, list[str]]:
    """Fill the disk at every call of recording, sealing, editing and merging in turn."""
    wrong: list[str] = []
    point = 0
    other = filled(folder / "full-other", 1, offset=100).path
    pristine = filled(folder / "full-pristine", 1).path
    before = fingerprints(pristine)
    while True:
        path = folder / f"full-{point}"
        shutil.copytree(pristine, path)
        store = Store.open(path)
        writer: EpisodeWriter | None = None
        told: list[int] = []
        try:
            with failing_from(point, code) as failed:
                try:
                    writer = store.record(META, SPEC, ACT)
                    rows(writer, 4, lambda what, k, told=told: told.append(k) if what == "a" else None)
                    writer.commit(Outcome.SUCCESS)
                    store.delete(store.ids()[:1])
                    edits.merge(store, [other])
                except OSError as error:
                    must(code not in sealing.FULL and error.errno == code, f"an OSError came through: {error!r}")
                except StorageFull:
                    must(code in sealing.FULL, "another fault was called a full disk")
            if not failed:
                store.close()
                return point, wrong
            if writer is not None and len(store.ids(include_deleted=True, include_recovered=True)) == 1:
                if writer.steps < 3:  # with its newest pictures gone there may be no whole step
                    writer.discard()
                    told.clear()
                else:
                    writer.commit(Outcome.SUCCESS)  # there is room again, in the same process
            fresh = store.record(META, SPEC, ACT)
            rows(fresh, 3)
            id = fresh.commit(Outcome.SUCCESS)
            must(store[id].steps == 2, "recording does not go on after the disk has room")
            store.close()
            again = Store.open(path)
            must(not again.verify(), f"damaged: {again.verify()}")
            after = {id: again.info(id).content for id in again.ids(include_deleted=True, include_recovered=True)}
            must(before.items() <= after.items(), "earlier episodes changed")
            steps = [again.info(id).steps for id in sorted(after.keys() - before.keys() - {id})]
            must(len(told) < 3 or (bool(steps) and max(steps) >= len(told) - 2), f"told {told}, kept {steps}")
        except (Lost, RobolearnError) as lost:
            wrong.append(f"disk full from call {point} ({failed[:1]}): {type(lost).__name__}: {lost}")
        store.close()
        point += 1


# -- random kills -------------------------------------------------------------------------------------------------


def recorder(path: str, live: bool) -> None:
    """The process that is killed: episode after episode, each record acknowledged on stdout after it was taken."""
    store = Store.open(path)
    while True:
        writer = store.record(META, SPEC, ACT, clock=MonotonicClock() if live else None)

        def told(what: str, k: int, id: str = writer.id) -> None:
            os.write(1, f"{what} {id} {k}\n".encode())
            if live:
                time.sleep(0.001)

        rows(writer, 25, told)
        told("c", 0, writer.commit(Outcome.SUCCESS))


def random_kills(
    folder: Path, kills: int, seed: int, *, child: str = "recorder", first: bool = False
) -> tuple[dict[str, int], list[str]]:
    """Kill a recorder at random instants on one store that grows; counts, and what went wrong (`first` stops there)."""
    path = folder / "kills"
    Store.create(path).close()
    rng = random.Random(seed)
    committed: dict[str, str] = {}
    counts = {"kills": 0, "acknowledged": 0, "sealed": 0, "recovered": 0, "lost": 0, "pictures lost": 0}
    wrong: list[str] = []
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import store_kill as s; s.{child}(*sys.argv[1:])"
    )
    for kill in range(kills):
        live = kill % 2
        process = subprocess.Popen([sys.executable, "-c", code, str(path), "1" if live else ""], stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        told = [line.split() for line in (first + process.stdout.read()).decode().splitlines()]
        process.wait()
        counts["kills"] += 1
        counts["acknowledged"] += len(told)
        try:
            check_kill(path, told, committed, counts, live=bool(live))
        except (Lost, RobolearnError) as lost:
            wrong.append(f"kill {kill}: {lost}")
            if first:
                break
    return counts, wrong


def check_kill(
    path: Path, told: list[list[str]], committed: dict[str, str], counts: dict[str, int], *, live: bool
) -> None:
    """Every acknowledged record is there, every sealed episode unchanged, and recovering twice is recovering once."""
    with Store.open(path) as store:
        must(Store.open(path).recovery == Recovery(), "recovering twice differs")
        must(not list((path / "recording").iterdir()), "something is left in recording/")
        now = {id: store.info(id).content for id in store.ids(include_recovered=True)}
        must(committed.items() <= now.items(), "a sealed episode changed or is gone")
        must(not store.verify(list(now.keys() - committed.keys())), "damaged")
        last: dict[str, dict[str, int]] = {}
        for what, id, k in told:
            last.setdefault(id, {"o": -1, "a": -1, "c": -1})[what] = int(k)
        for id, seen in last.items():
            if seen["c"] >= 0:
                must(id in store.ids(), f"{id} was committed and is not there")
            whole = min(seen["a"] + 1, seen["o"])
            # The newest picture, and when live those that waited for their encoder.
            pictures = 0 if seen["c"] >= 0 else 1 + (QUEUE_FRAMES + 1 if live else 0)
            if id not in now:
                must(whole - pictures < 1, f"{id} is gone with {whole} whole steps")
                counts["lost"] += max(0, whole - pictures)
                continue
            log = store.log(id)
            episode = store[id]
            counts["pictures lost"] += max(0, whole - episode.steps)
            must(episode.steps >= whole - pictures, f"{id} has {episode.steps} steps of {whole}")
            must(log.actions >= seen["a"] + 1, f"{id} has {log.actions} actions; {seen['a'] + 1} were acknowledged")
            must(log.observations >= seen["o"] + 1, f"{id} lost observations")
            states = read_streams(store.folder(id), ["arm.q"])["arm.q"].values[:, 0]
            must(np.array_equal(states, np.arange(len(states))) and len(states) > seen["o"], f"{id} lost samples")
            shown = episode.observations["cam.rgb"][:, 0, 0, 0].tolist()
            state = log.frames["cam.rgb"].state.tolist() if live else [Freshness.FRESH] * len(shown)
            true = all(shown[k] == k % 256 if state[k] == Freshness.FRESH else shown[k] < k for k in range(len(shown)))
            must(true and len(shown) == episode.steps + 1, f"{id} shows {shown}, said to be {state}")
        counts["sealed"] = len(store.ids())
        counts["recovered"] = len(now) - counts["sealed"]
        committed.update(now)


# -- broken twins -------------------------------------------------------------------------------------------------


def buffered_recorder(path: str, live: bool) -> None:
    """A recorder that hands over every tenth group of records only."""
    real, held = RecordWriter.flush, {}

    def flush(self: RecordWriter) -> None:
        held[id(self)] = held.get(id(self), 0) + 1
        if held[id(self)] % 10 == 1:
            real(self)

    RecordWriter.flush = flush
    finish = RecordWriter.finish

    def finish_all(self: RecordWriter) -> None:
        RecordWriter.flush = real
        finish(self)
        RecordWriter.flush = flush

    RecordWriter.finish = finish_all
    recorder(path, live)


def in_place_append(self: Journal, edit: dict[str, object]) -> None:
    """A journal that is rewritten as a whole with every edit, as JSON manifests usually are."""
    entry = {"n": len(self.edits), **edit}
    self.edits.append(entry)
    data = b"".join(line_of(one) for one in self.edits)
    fd = os.open(self.path, os.O_WRONLY)
    os.ftruncate(fd, 0)
    half = len(data) // 2
    os.write(fd, data[:half])
    os.write(fd, data[half:])
    os.close(fd)
    self._end = len(data)
    self._fold()


def unannounced_append(self: Journal, edit: dict[str, object], real: Callable[..., None] = Journal.append) -> None:
    """A journal whose merges do not say what is coming."""
    if edit["op"] != "merging":
        real(self, edit)


def hasty_compact(store: Store) -> int:
    """Compacting that removes the files before it says so."""
    store.lock()
    ids = sorted(store.journal.state.deleted)
    for id in ids:
        shutil.rmtree(store.path / "episodes" / id)
    store.journal.append({"op": "compact", "ids": ids})
    return 0


def eager_publish(store: Path, journal: Journal, folder: Path, id: str, summary: sealing.Summary, status: str) -> None:
    """A store that publishes first and seals what it has published."""
    target = store / "episodes" / id
    folder.rename(target)
    sealing.write_seal(target, id, status, summary, durable=journal.durable)
    publishing.enter(store, journal, id, summary.observation_spec, summary.action_spec)


TWINS: dict[str, tuple[str, object, str, object]] = {
    "delete with a journal rewritten in place": ("delete", Journal, "append", in_place_append),
    "merge that is not announced": ("merge", Journal, "append", unannounced_append),
    "seal after publishing": ("seal", publishing, "publish", eager_publish),
    "recover after publishing": ("recover", publishing, "publish", eager_publish),
    "compact that removes first": ("compact", edits, "compact", hasty_compact),
}


def twins(folder: Path, *, first: bool = False) -> Iterator[tuple[str, int, int]]:
    """Per broken twin: its name, how many kill points, and how many of them the check finds; `first` stops at one."""
    for k, (name, (operation, owner, attribute, broken)) in enumerate(TWINS.items()):
        here = folder / f"twin-{k}"
        here.mkdir()
        real = getattr(owner, attribute)
        scenario = Scenario(operation, here)
        found = points = 0
        try:
            work = partial(with_broken, scenario.work, owner, attribute, broken)
            for _ in kill_points(scenario.prepare, work):
                points += 1
                setattr(owner, attribute, real)
                try:
                    scenario.check()
                except Lost:
                    found += 1
                    if first:
                        break
        finally:
            setattr(owner, attribute, real)
        yield name, points, found


def with_broken(work: Callable[[], None], owner: object, attribute: str, broken: object) -> None:
    """Run in the child with a broken part."""
    setattr(owner, attribute, broken)
    work()


def main() -> None:
    """Run the whole harness and print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="random kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strace", action="store_true", help="also the kills by the kernel, about ten minutes")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="robolearn-kill-"))
    failures: list[str] = []
    try:
        for name in OPERATIONS:
            points, wrong = sweep(name, folder)
            failures += wrong
            print(f"{name:<8} killed at {points} mutating calls: {len(wrong)} violations")
        for name, points, found in twins(folder):
            print(f"twin, {name}: {found} of {points} kills found")
            failures += [] if found else [f"the check does not fail on the twin {name!r}"]
        for code in (errno.ENOSPC, errno.EIO):
            (at := folder / f"full-{code}").mkdir()
            points, wrong = full_disk(at, code)
            failures += wrong
            print(f"{errno.errorcode[code]} from each of {points} calls on: {len(wrong)} violations")
        counts, wrong = random_kills(folder, chosen.kills, chosen.seed)
        failures += wrong
        print(f"random kills: {json.dumps(counts)}: {len(wrong)} violations")
        (at := folder / "buffered").mkdir()
        _, wrong = random_kills(at, 8, chosen.seed, child="buffered_recorder")
        print(f"twin, buffered log: {len(wrong)} of 8 kills found")
        failures += [] if wrong else ["the check does not fail on the buffered twin"]
        if chosen.strace:
            (at := folder / "strace").mkdir()
            for name in OPERATIONS:
                points, wrong = strace_sweep(name, at)
                failures += wrong
                print(f"{name:<8} killed by strace at {points} system calls: {len(wrong)} violations", flush=True)
    finally:
        shutil.rmtree(folder)
    print(*failures, sep="\n")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
