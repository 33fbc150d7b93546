"""The dataset store: ingest, opening and listing, random training windows, and a soak.

    python benchmarks/store.py [--quick] [--minutes M] [--only ingest|open|windows|soak]

Ingest feeds two synthetic cameras (640 x 480 at 30 Hz, a counter drawn into their pixels) and a 500 Hz state through
`Session` on a simulated clock, as fast as it goes but never faster than the encoders, and reads the counters back from
the stored video. CPU seconds (of all threads) are per recorded second, with and without the cameras; drawing is not
counted. Ratios compare interleaved blocks in one process, and medians are printed.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from robolearn.clock import FakeClock
from robolearn.data.cache import build_cache
from robolearn.data.edits import relabel
from robolearn.data.journal import line_of
from robolearn.data.pictures import BackgroundVideo
from robolearn.data.sealing import SEAL_NAME, seal_text
from robolearn.data.session import Session
from robolearn.data.store import Store
from robolearn.data.streams import read_streams
from robolearn.data.windows import Windows
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.learn.order import batch_indices
from robolearn.specs import Array, ArraySpec, Spec

BITS = 16
WHO = {"actor": np.array(0, np.int8)}
CELL = 8  # pixels; a counter survives H.264 in cells of this size


def stamp(picture: Array, counter: int) -> None:
    """Draw a counter into the first rows of a picture."""
    bits = (counter >> np.arange(BITS) & 1).astype(np.uint8) * 255
    picture[:CELL, : BITS * CELL] = np.repeat(bits, CELL)[None, :, None]


def stamped(picture: Array) -> int:
    """Read the counter back."""
    means = picture[:CELL, : BITS * CELL].reshape(CELL, BITS, CELL, 3).mean(axis=(0, 2, 3))
    return int(sum(1 << bit for bit in range(BITS) if means[bit] > 127))


def scene(height: int, width: int, count: int) -> list[Array]:
    """Pictures of a moving pattern with sensor noise, as hard for an encoder as a real camera."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    pictures = []
    for k in range(count):
        wave = 127 + 60 * np.sin((x + 6 * k) / 37.0) + 40 * np.sin(y / 23.0)
        noisy = wave[..., None] + np.array([0, 20, -20]) + rng.normal(0, 2.0, (height, width, 1))
        pictures.append(noisy.clip(0, 255).astype(np.uint8))
    return pictures


def many_episodes(path: Path, count: int) -> Store:
    """A store of `count` tiny sealed episodes: one recorded, the others its hard links under other ids."""
    store = Store.create(path, durable=False)
    spec = {"arm.q": ArraySpec((6,))}
    action = {"arm.dq": ArraySpec((6,))}
    writer = store.record(EpisodeMeta("lift", "lift the cube", 20.0), spec, action)
    for k in range(3):
        writer.observation(Reading(0.05 * k, {"arm.q": np.full(6, float(k))}))
        if k < 2:
            command = {"arm.dq": np.zeros(6)}
            writer.action(command, command, WHO)
    first = writer.commit(Outcome.SUCCESS)
    store.close()
    folder = path / "episodes" / first
    seal = json.loads((folder / SEAL_NAME).read_text())
    here = path / "manifest.jsonl"
    number = len(here.read_bytes().splitlines())
    with here.open("ab") as journal:  # in one go: opening the file for every line would take most of the time
        for k in range(2, count + 1):
            id = f"{k:06d}-{k:06x}"
            (path / "episodes" / id).mkdir()
            os.link(folder / "log.mcap", path / "episodes" / id / "log.mcap")
            facts = {**seal["episode"], "id": id}
            (path / "episodes" / id / SEAL_NAME).write_text(seal_text({**seal, "episode": facts}))
            journal.write(line_of({"n": number, "op": "add", "ids": [id], "episode": facts, "tags": []}))
            number += 1
    return Store.open(path, durable=False)


def cpu_s() -> float:
    """CPU time of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ingest(folder: Path, seconds: int, *, cameras: bool, height: int = 480, width: int = 640) -> dict[str, float]:
    """Record `seconds` of two cameras and a 500 Hz state; figures by name.

    Raises:
        AssertionError: A row does not show the frame it says.
    """
    state = {"arm.q": ArraySpec((7,)), "arm.dq": ArraySpec((7,)), "arm.force": ArraySpec((6,))}
    names = ("wrist.rgb", "scene.rgb") if cameras else ()
    spec: Spec = {**state, **{name: ArraySpec((height, width, 3), "uint8") for name in names}}
    action = {"arm.dq": ArraySpec((7,))}
    clock = FakeClock(100.0)
    pattern = scene(height, width, 16) if cameras else []
    drawing = 0.0
    store = Store.create(folder, durable=True)
    began, wall = cpu_s(), time.monotonic()
    meta = EpisodeMeta("ingest", "", 30.0)
    with Session(store, meta, spec, action, clock, longest_s=float(seconds)) as session:
        session.arm()
        session.start()
        encoders = list(session_encoders(session))
        ticks = 0
        for k in range(seconds * 500 + 1):
            clock.sleep_until(100.0 + k / 500)
            values = np.full(7, float(k))
            session.sample({"arm.q": values, "arm.dq": values, "arm.force": values[:6]}, clock.now())
            if k * 30 >= ticks * 500:  # 30 Hz frames and decisions
                if cameras:
                    at = cpu_s()
                    pictures = [pattern[(ticks + 5 * i) % 16].copy() for i in range(2)]
                    for picture in pictures:
                        stamp(picture, ticks)
                    drawing += cpu_s() - at
                    while any(encoder.waiting > 6 for encoder in encoders):  # a real camera is slower than this
                        time.sleep(0.001)
                    for name, picture in zip(names, pictures, strict=True):
                        session.sample({name: picture}, clock.now(), counter=ticks)
                session.observation(Reading(clock.now(), {}))
                if k < seconds * 500:
                    command = {"arm.dq": np.zeros(7)}
                    session.action(command, command, WHO)
                ticks += 1
        session.stop()
        id = session.commit(Outcome.SUCCESS)
    used, took = cpu_s() - began - drawing, time.monotonic() - wall
    figures = {"CPU-s per recorded s": used / seconds, "wall-s per recorded s": took / seconds}
    streams = read_streams(store.folder(id))
    state_values = streams["arm.q"].values[:, 0]
    assert np.array_equal(state_values, np.arange(len(state_values))), "state samples are not in order"
    figures["state recorded / produced"] = len(state_values) / (seconds * 500 + 1)
    for name in names:
        shown = [(stamped(picture), int(streams[name].counters[k])) for k, picture in streams[name].pictures()]
        assert all(seen == counter for seen, counter in shown), f"{name}: a picture is not the one its row names"
        figures[f"{name} recorded / produced"] = len(shown) / ticks
    figures["MB per recorded s"] = store.info(id).size_bytes / 1e6 / seconds
    store.close()
    return figures


def session_encoders(session: Session) -> Iterable[BackgroundVideo]:
    """The encoders of a session that is armed; a benchmark may look inside."""
    assert session._writer is not None
    return session._writer._log._pictures._encoders.values()


def bench_ingest(folder: Path, quick: bool) -> None:
    """Ingest with and without cameras."""
    seconds = 10 if quick else 60
    for cameras in (True, False):
        figures = ingest(folder / f"ingest-{cameras}", seconds, cameras=cameras)
        print(f"ingest {seconds} s, {'2 x 640x480@30 + ' if cameras else ''}500 Hz state:")
        for name, value in figures.items():
            print(f"  {name:<32} {value:.3f}")


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bench_open(folder: Path, quick: bool) -> None:
    """Open, list, load and edit stores of 100 and 10 000 episodes."""
    sizes = (100, 10_000)
    opened: dict[int, list[float]] = {n: [] for n in sizes}
    loaded: dict[tuple[int, str], list[float]] = {}
    for n in sizes:
        print(f"made a store of {n} episodes in {timed(lambda n=n: many_episodes(folder / str(n), n)):.1f} s")
    for _ in range(3 if quick else 9):
        for n in sizes:
            at = time.process_time()  # of this process only: nothing here waits for a disk
            Store.open(folder / str(n)).ids()
            opened[n].append(time.process_time() - at)
            store = Store.open(folder / str(n))
            ids = store.ids()
            for what, id in (("first", ids[0]), ("middle", ids[n // 2]), ("last", ids[-1])):
                loaded.setdefault((n, what), []).append(timed(lambda store=store, id=id: store[id]))
    times = {n: statistics.median(opened[n]) for n in sizes}
    for n in sizes:
        parts = ", ".join(f"{w} {statistics.median(t) * 1e3:.2f} ms" for (m, w), t in loaded.items() if m == n)
        print(f"open and list {n}: {times[n] * 1e3:.1f} CPU-ms; load episode: {parts}")
    print(f"open(10 000) / open(100) = {times[sizes[1]] / times[sizes[0]]:.1f} (allowed 120)")
    with Store.open(folder / "10000", durable=True) as store:
        ids = store.ids()
        edits: dict[str, Callable[[], object]] = {
            "delete one": lambda: store.delete(ids[7]),
            "tag all": lambda: store.tag(ids, ["seen"]),
            "split all": lambda: store.split(ids, "train"),
            "relabel all": lambda: relabel(store, ids, operator="someone else"),
            "undo": store.undo,
        }
        for name, edit in edits.items():
            print(f"edit of 10 000 episodes, {name}: {timed(edit) * 1e3:.0f} ms (allowed 1000)")


def bench_windows(folder: Path, quick: bool) -> None:
    """64 windows of two 96 x 96 pictures with history 2, a state and 16 actions, against indexing raw memory maps."""
    spec = {
        "arm.q": ArraySpec((7,)),
        "wrist.rgb": ArraySpec((96, 96, 3), "uint8"),
        "scene.rgb": ArraySpec((96, 96, 3), "uint8"),
    }
    action = {"arm.dq": ArraySpec((7,))}
    store = Store.create(folder / "windows", durable=False)
    rng = np.random.default_rng(0)
    for _ in range(5 if quick else 20):
        writer = store.record(EpisodeMeta("w", "", 20.0), spec, action)
        pattern = scene(96, 96, 8)
        for k in range(101):
            arrays = {"arm.q": rng.normal(size=7), "wrist.rgb": pattern[k % 8], "scene.rgb": pattern[(k + 3) % 8]}
            writer.observation(Reading(0.05 * k, arrays))
            if k < 100:
                command = {"arm.dq": rng.normal(size=7)}
                writer.action(command, command, WHO)
        writer.commit(Outcome.SUCCESS)
    store.close()
    cache = build_cache(store)
    windows = Windows(cache, 2, 16)
    raw = {name: cache.arrays[name] for name in (*spec, "sent.arm.dq")}
    first, last = cache.starts[windows.episodes], (cache.starts + cache.lengths - 1)[windows.episodes]

    def ours(step: int) -> dict[str, Array]:
        return windows.gather(batch_indices(len(windows), 64, 0, step))

    def gather(step: int) -> dict[str, Array]:  # a whole batch is held at once, as a training step needs it
        chosen = batch_indices(len(windows), 64, 0, step)
        rows = windows.rows[chosen, None]
        seen = np.maximum(rows + np.arange(-1, 1), first[chosen, None])
        done = np.minimum(rows + np.arange(16), last[chosen, None])
        return {name: np.asarray(array[done if name == "sent.arm.dq" else seen]) for name, array in raw.items()}

    for step in range(20):
        ours(step)
        gather(step)
    blocks, size = (8, 20) if quick else (16, 50)
    ratios, rates = [], []
    for block in range(blocks):  # other samples for each, and each first in turn, so that neither finds the pages warm
        took: dict[str, float] = {}
        for name in ("ours", "raw") if block % 2 else ("raw", "ours"):
            run, at = (ours, 2 * block * size) if name == "ours" else (gather, (2 * block + 1) * size)
            took[name] = timed(lambda run=run, at=at: collections.deque((run(at + k) for k in range(size)), maxlen=1))
        ratios.append(took["raw"] / took["ours"])
        rates.append(64 * size / took["ours"])
    print(
        f"random windows/s: {statistics.median(rates):.0f}; of a raw memory-mapped gather: "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; at least 0.7 wanted)"
    )


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def bench_soak(folder: Path, minutes: float) -> None:
    """Record, seal and discard until the time is over: memory, descriptors and threads must stay flat."""
    store = Store.create(folder / "soak", durable=True)
    spec = {"arm.q": ArraySpec((7,)), "wrist.rgb": ArraySpec((120, 160, 3), "uint8")}
    action = {"arm.dq": ArraySpec((7,))}
    clock = FakeClock(100.0)
    pattern = scene(120, 160, 8)
    until = time.monotonic() + 60 * minutes
    seen: list[tuple[float, float, int]] = []
    cycles = 0
    with Session(store, EpisodeMeta("soak", "", 30.0), spec, action, clock, longest_s=10.0) as session:
        start = time.monotonic()
        while time.monotonic() < until:
            session.arm()
            session.start()
            for k in range(60):
                clock.advance(1 / 30)
                session.sample({"wrist.rgb": pattern[k % 8]}, clock.now(), counter=k)
                session.observation(Reading(clock.now(), {"arm.q": np.full(7, float(k))}))
                command = {"arm.dq": np.zeros(7)}
                session.action(command, command, WHO)
            session.stop()
            if cycles % 3:
                session.reject()
            else:
                session.commit(Outcome.SUCCESS)
            cycles += 1
            if cycles % 10 == 0:
                gc.collect()
                seen.append((time.monotonic() - start, resident_mb(), len(os.listdir("/proc/self/fd"))))
    store.close()
    later = np.array(seen[len(seen) // 3 :])
    slope = np.polyfit(later[:, 0] / 60, later[:, 1], 1)[0] if len(later) > 2 else float("nan")
    print(
        f"soak {minutes:g} min: {cycles} cycles; memory {later[0, 1]:.0f} to {later[-1, 1]:.0f} MB, slope {slope:+.2f} "
        f"MB/min (allowed +1); descriptors {int(later[0, 2])} to {int(later[-1, 2])}"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    parser.add_argument("--minutes", type=float, help="length of the soak; default 10, with --quick 0.2")
    parser.add_argument("--only", choices=("ingest", "open", "windows", "soak"))
    chosen = parser.parse_args()
    minutes = chosen.minutes or (0.2 if chosen.quick else 10.0)
    parts: dict[str, Callable[[Path], None]] = {
        "ingest": lambda folder: bench_ingest(folder, chosen.quick),
        "open": lambda folder: bench_open(folder, chosen.quick),
        "windows": lambda folder: bench_windows(folder, chosen.quick),
        "soak": lambda folder: bench_soak(folder, minutes),
    }
    for name, part in parts.items():
        if chosen.only in (None, name):
            folder = Path(tempfile.mkdtemp(prefix="robolearn-store-"))
            try:
                part(folder)
            finally:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
