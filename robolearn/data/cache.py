"""The training cache: decoded, resized, fixed-rate arrays of many episodes, memory-mapped, deletable at any time.

Layout: the rows of all episodes one after another. An episode of T actions has T + 1 rows, from `starts[i]` on: row t
holds observation t and action t; the last row holds the final observation, and its action is a copy of the last one
that no sample may use. So the observation after any action is simply the next row. Built aside and renamed, under a key
made of the episodes' content, the names, the alignment rule and the sizes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from robolearn.data.alignment import Alignment, grid, latest_before
from robolearn.data.log_format import nanoseconds
from robolearn.data.sealing import room_named
from robolearn.data.store import Store
from robolearn.data.video import is_filmed, iterate_video
from robolearn.data.video import resize as resize_frames
from robolearn.errors import DataFileError, EmptyStore, SpecError
from robolearn.specs import Array, ArraySpec, Spec, from_json, select, to_json

__all__ = ["CACHE_VERSION", "Cache", "build_cache", "open_cache"]

CACHE_VERSION = 1
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cache:
    """Memory-mapped arrays over N = sum(lengths + 1) rows.

    Attributes:
        path: Its folder.
        key: What it was made from.
        ids: Episodes, in order of their rows.
        starts: (episodes,) int64, first row of each.
        lengths: (episodes,) int64, number of actions T of each; it has T + 1 rows.
        arrays: (N, ...) per name: observations under their names, actions under "sent.<name>" and
            "requested.<name>", "actor" (int8) and "time" (float64, seconds since the episode's start).
        stale: (N,) bool per observation name.
        observation_spec: Of the observations as cached (after resizing).
        action_spec: Of the actions.
        rate_hz: Rows per second.
    """

    path: Path
    key: str
    ids: tuple[str, ...]
    starts: Array
    lengths: Array
    arrays: Mapping[str, Array]
    stale: Mapping[str, Array]
    observation_spec: Spec
    action_spec: Spec
    rate_hz: float

    @property
    def rows(self) -> int:
        """Number of rows N."""
        return int(np.sum(self.lengths + 1))

    def action_rows(self) -> Array:
        """Indices of all rows that have an action, (sum(lengths),) int64."""
        final = self.starts + self.lengths
        keep = np.ones(self.rows, bool)
        keep[final] = False
        return np.flatnonzero(keep)


def build_cache(
    store: Store,
    ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    *,
    rate_hz: float | None = None,
    resize: Size | None = None,
    staleness_s: float = 0.1,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cache:
    """Open the cache of these episodes, building it first when it is not there.

    Args:
        store: Where the episodes are; the cache lies below `<store>/cache/`.
        ids: Episodes in order; by default all that training may use.
        names: Observations to keep; by default all. All actions are kept.
        rate_hz: Rows per second; by default as recorded (then all episodes must have the same rate).
        resize: (height, width) of all pictures; by default as recorded.
        staleness_s: Age from which a sample counts as stale.
        workers: Episodes that are read at the same time; by default one per processor, at most 8.
        progress: Called with the number of episodes done and of all, after each; not when the cache is there.

    Raises:
        EmptyStore: There are no episodes.
        UnknownName: A name or an id that is not there.
        SpecError: Episodes of several rates, or a size that is not positive.
        StorageFull: No room; nothing is left behind.
    """
    ids = store.ids() if ids is None else list(ids)
    if not ids or store.specs is None:
        raise EmptyStore(
            f"Expected episodes in {store.path} to make a training cache of; found none. Record or import some, and "
            "mind that recovered and deleted ones do not count (store.ids())."
        )
    observation_spec, action_spec = store.specs
    spec = select(observation_spec, observation_spec if names is None else names)
    if resize is not None:
        if min(resize) < 1:
            raise SpecError(f"A picture's size must be positive (height, width); found {resize}.")
        spec = {n: _resized(one, resize) if is_filmed(one) else one for n, one in spec.items()}
    rates = sorted({store.info(id).rate_hz for id in ids})
    if rate_hz is None and len(rates) > 1:
        raise SpecError(f"The episodes have several rates, {rates} Hz; choose one with rate_hz=.")
    alignment = Alignment(rate_hz, staleness_s)
    facts = {
        "version": CACHE_VERSION,
        "content": [store.info(id).content for id in ids],
        "observation_spec": to_json(spec),
        "action_spec": to_json(action_spec),
        "alignment": asdict(alignment),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    folder = store.path / "cache" / key
    with contextlib.suppress(DataFileError):
        return open_cache(folder)
    _drop_leftovers(folder.parent)
    aside = folder.parent / f".building-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with room_named("build a training cache", "The episodes are untouched and nothing half-built is kept."):
            aside.mkdir(parents=True)
            rate = rates[0] if rate_hz is None else rate_hz
            _build(store, ids, spec, action_spec, alignment, aside, key, rate, workers, progress)
            _publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return open_cache(folder)


def open_cache(folder: Path) -> Cache:
    """Map a built cache into memory.

    Raises:
        DataFileError: It is not there or not whole.
    """
    try:
        index = json.loads((folder / "index.json").read_text())
        names: list[str] = index["arrays"]
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
        stale = {
            name: np.load(folder / f"stale.{name}.npy", mmap_mode="r", allow_pickle=False) for name in index["stale"]
        }
        lengths = np.array(index["lengths"], np.int64)
        cache = Cache(
            path=folder,
            key=index["key"],
            ids=tuple(index["ids"]),
            starts=np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64),
            lengths=lengths,
            arrays=arrays,
            stale=stale,
            observation_spec=from_json(index["observation_spec"]),
            action_spec=from_json(index["action_spec"]),
            rate_hz=index["rate_hz"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            f"Expected a training cache at {folder}; found {type(error).__name__}: {error}. Delete that folder; it is "
            "built again from the episodes."
        ) from error
    if wrong := [name for name, array in (*arrays.items(), *stale.items()) if len(array) != cache.rows]:
        raise DataFileError(
            f"Expected {cache.rows} rows in every array of {folder}; {wrong} differ. Delete the folder."
        )
    return cache


def _resized(spec: ArraySpec, size: Size) -> ArraySpec:
    return ArraySpec((*size, *spec.shape[2:]), spec.dtype, unit=spec.unit, frame=spec.frame)


def _new_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    create = cast(Any, np.lib.format.open_memmap)  # pyright: ignore[reportUnknownMemberType] - untyped in numpy
    return create(path, "w+", np.dtype(dtype), shape)


def _build(
    store: Store,
    ids: Sequence[str],
    spec: Spec,
    action_spec: Spec,
    alignment: Alignment,
    folder: Path,
    key: str,
    rate_hz: float,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> None:
    lengths = [_length(store, id, alignment) for id in ids]
    total = sum(lengths) + len(ids)
    declared: dict[str, ArraySpec] = {**spec, "actor": ArraySpec((), "int8"), "time": ArraySpec((), unit="s")}
    for kind in ("sent", "requested"):
        declared |= {f"{kind}.{name}": one for name, one in action_spec.items()}
    if len(declared) != len(spec) + 2 * len(action_spec) + 2:
        raise SpecError(
            "Observations may not be called 'actor', 'time', 'sent.<action>' or 'requested.<action>' in a training "
            f"cache; found {sorted(spec)}. Rename them at the device."
        )
    arrays = {
        name: _new_array(folder / f"{name}.npy", one.dtype, (total, *one.shape)) for name, one in declared.items()
    }
    stale = {name: _new_array(folder / f"stale.{name}.npy", "bool", (total,)) for name in spec}
    starts = np.concatenate([[0], np.cumsum(np.array(lengths) + 1)])

    def fill(k: int) -> None:  # every episode has rows of its own
        here = slice(int(starts[k]), int(starts[k + 1]))
        for name, (values, old) in _aligned(store, ids[k], spec, action_spec, alignment).items():
            arrays[name][here] = values
            if name in stale:
                stale[name][here] = old

    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))  # decoding pictures leaves Python free
    try:
        tasks = [pool.submit(fill, k) for k in range(len(ids))]
        for done, task in enumerate(as_completed(tasks), 1):
            task.result()
            progress(done, len(ids))
    finally:
        pool.shutdown(cancel_futures=True)
    for array in (*arrays.values(), *stale.values()):
        array.flush()
    index = {
        "version": CACHE_VERSION,
        "key": key,
        "ids": list(ids),
        "lengths": lengths,
        "arrays": list(arrays),
        "stale": list(stale),
        "observation_spec": to_json(spec),
        "action_spec": to_json(action_spec),
        "alignment": asdict(alignment),
        "rate_hz": rate_hz,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))


def _length(store: Store, id: str, alignment: Alignment) -> int:
    """Number of actions of an episode in the cache, without reading its pictures."""
    if alignment.rate_hz is None:
        return store.info(id).steps
    duration_ns = nanoseconds(store.info(id).duration_s)
    return max(1, len(grid(np.array([0, duration_ns], np.int64), alignment.rate_hz)) - 1)


def _aligned(store: Store, id: str, spec: Spec, action_spec: Spec, alignment: Alignment) -> dict[str, tuple[Any, Any]]:
    """Rows of every array of one episode, with a staleness mask for observations."""
    log = store.log(id, pictures=False)
    episode = log.episode
    assert episode is not None  # `Store.log` refuses anything else
    times_ns = np.array([nanoseconds(t) for t in episode.times], np.int64)
    rows_ns = grid(times_ns, alignment.rate_hz)
    if len(rows_ns) < 2:  # shorter than one period: the first and the last moment
        rows_ns = times_ns[[0, -1]]
    rows: dict[str, tuple[Any, Any]] = {"time": ((rows_ns - rows_ns[0]) / 1e9, False)}
    for name, one in spec.items():
        newest, old = latest_before(times_ns, log.captured[name], rows_ns, alignment.staleness_s)
        if is_filmed(one):
            values = _pictures(store.folder(id) / f"{name}.mp4", log.numbers[name][newest], one)
        else:
            values = episode.observations[name][newest]
        rows[name] = (values, old)
    acting = np.minimum(latest_before(times_ns, times_ns, rows_ns, alignment.staleness_s)[0], episode.steps - 1)
    rows["actor"] = (episode.actor[acting], False)
    for name in action_spec:
        rows[f"sent.{name}"] = (episode.actions[name][acting], False)
        rows[f"requested.{name}"] = (episode.requested[name][acting], False)
    return rows


def _pictures(path: Path, numbers: Array, spec: ArraySpec) -> Array:
    """The pictures with these numbers in their final size; the video is never in memory as a whole."""
    found = np.empty((len(numbers), *spec.shape), spec.dtype)
    missing = set(numbers.tolist())
    for number, picture in enumerate(iterate_video(path)):
        if number in missing:
            found[numbers == number] = resize_frames(picture[None], spec.shape[0], spec.shape[1])
            missing.remove(number)
    if missing:
        raise DataFileError(
            f"Expected {max(missing) + 1} pictures in {path}; it was cut off before. Restore it from a copy, or delete "
            "the episode so that training skips it."
        )
    return found


def _publish(aside: Path, folder: Path) -> None:
    if folder.exists() and not (folder / "index.json").exists():
        shutil.rmtree(folder)  # half deleted by somebody
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        try:
            open_cache(folder)  # another process was quicker: the same content under the same key
        except DataFileError:
            shutil.rmtree(folder)
            aside.rename(folder)


def _drop_leftovers(folder: Path) -> None:
    """Remove what killed builders left; a running one is recognised by its pid."""
    for path in folder.glob(".building-*"):
        pid = path.name.split("-")[1]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(path, ignore_errors=True)
