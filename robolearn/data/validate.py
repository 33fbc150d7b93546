"""What is wrong with the episodes of a store: files, counts, cameras, commands, motion, duplicates.

Everything is read, one episode at a time; nothing is repaired. Each finding says where it is, how sure we are and what
to do; a store with findings can still be trained on, which is for a person to decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from robolearn.data.camera_findings import camera_faults
from robolearn.data.findings import Finding, few
from robolearn.data.log_format import nanoseconds
from robolearn.data.log_reader import Log
from robolearn.data.motion_findings import idle_ends, jumps
from robolearn.data.store import Store
from robolearn.data.video import is_filmed
from robolearn.episode import Episode
from robolearn.errors import DataFileError
from robolearn.specs import Array, bounds, first_difference

__all__ = ["validate"]

_STALL_S = 0.1  # a device that is late by less is not reported
_RESTORE = "Restore the folder from a copy, or delete the episode."


def validate(
    store: Store, ids: Sequence[str] | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Finding]:
    """Check files and contents of episodes.

    Args:
        store: Where they are.
        ids: Which; by default all that are not deleted.
        progress: Called with (done, all) before each episode.
    """
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    wanted = store.ids(include_recovered=True) if ids is None else list(ids)
    for done, id in enumerate(wanted):
        progress(done, len(wanted))
        damaged = store.verify([id]).get(id, [])
        for text in damaged:
            gone = "is missing" in text and any(kind in text for kind in (".mp4", ".mkv"))
            findings.append(Finding("absent video" if gone else "damaged", id, "certain", f"{text}.", _RESTORE))
        try:
            log = store.log(id)
        except DataFileError as error:
            if not damaged:
                findings.append(Finding("damaged", id, "certain", str(error), _RESTORE))
            continue
        if log.episode is None:
            continue
        findings.extend(_counts(store, id, log, log.episode))
        findings.extend(_content(id, log, log.episode))
        key = _content_key(log.episode)
        if key in seen:
            text = f"It has the same numbers as {seen[key]} to the last bit; the data counts double in training."
            findings.append(Finding("duplicate episode", id, "certain", text, "Delete one of the two."))
        seen.setdefault(key, id)
    return findings


def _content_key(episode: Episode) -> str:
    digest = hashlib.sha256()
    for arrays in (episode.observations, episode.actions):
        for name in sorted(arrays):
            if arrays[name].dtype != np.uint8:
                digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _counts(store: Store, id: str, log: Log, episode: Episode) -> Iterator[Finding]:
    if log.observations - 1 > episode.steps:
        yield Finding(
            "wrong count",
            id,
            "certain",
            f"Its log has {log.observations} rows, but only {episode.steps + 1} of them have all pictures.",
            _RESTORE,
        )
    assert store.specs is not None
    for kind, want, have in zip(
        ("observation", "action"), store.specs, (log.observation_spec, log.action_spec), strict=True
    ):
        if (difference := first_difference(want, have, limits=False)) is not None:
            absent = "is missing" in difference
            yield Finding(
                "absent column" if absent else "mismatched dims",
                f"{id}, {kind} spec",
                "certain",
                f"The episode differs from the store: {difference}.",
                "It was put here by hand or by another version; delete it, or move it to a store of its own.",
            )


def _content(id: str, log: Log, episode: Episode) -> Iterator[Finding]:
    yield from _gaps(id, episode)
    yield from _stalls(id, log, episode)
    for name, spec in episode.observation_spec.items():
        values = episode.observations[name]
        if is_filmed(spec):
            yield from camera_faults(id, name, values, log.captured[name])
        else:
            yield from _limits(id, f"observation {name}", values, *bounds(spec))
    for kind, arrays in (("sent action", episode.actions), ("requested action", episode.requested)):
        for name, spec in episode.action_spec.items():
            yield from _limits(id, f"{kind} {name}", arrays[name], *bounds(spec))
    for name, values in episode.notes.items():
        if values.dtype.kind == "f" and len(
            rows := np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
        ):
            yield Finding(
                "not finite",
                f"{id}, note {name}, rows {few(rows)}",
                "likely",
                f"{len(rows)} rows hold NaN or infinity.",
                "Fine where it means that nothing was measured; a reward or a value that is trained on must be finite.",
            )
    if episode.steps >= 10 and all(np.all(values == values[0]) for values in episode.actions.values()):
        yield Finding(
            "constant action",
            f"{id}, all sent actions",
            "likely",
            f"All {episode.steps} actions are equal: nobody moved the robot, or the device was not connected.",
            "Look at the episode; delete it if it shows nothing.",
        )
    yield from jumps(id, episode)
    yield from idle_ends(id, episode)


def _gaps(id: str, episode: Episode) -> Iterator[Finding]:
    period_s = 1 / episode.meta.rate_hz
    steps_s = np.diff(episode.times)
    if len(rows := np.flatnonzero(steps_s > 2 * period_s)):
        yield Finding(
            "gap in time",
            f"{id}, rows {few(rows)}",
            "certain",
            f"Expected a row every {period_s * 1e3:.1f} ms; the longest gap is {steps_s.max() * 1e3:.1f} ms.",
            "A stall of the recorder or a device: leave out the episode if the motion did not pause, and check the "
            "load of the machine.",
        )


def _stalls(id: str, log: Log, episode: Episode) -> Iterator[Finding]:
    """Streams that stopped delivering for a while: rows that show a value far older than this device usually gives."""
    rows_ns = np.array([nanoseconds(time) for time in episode.times], np.int64)
    for name, captured in log.captured.items():
        samples = np.unique(captured)
        if len(samples) < 4 or (name in episode.observation_spec and is_filmed(episode.observation_spec[name])):
            continue  # a value that is told once, or a camera, which is judged by its pictures
        usual_s = float(np.median(np.diff(samples))) / 1e9
        ages_s = (rows_ns - captured[: len(rows_ns)]) / 1e9
        if len(rows := np.flatnonzero(ages_s > max(_STALL_S, 3 * usual_s))):
            yield Finding(
                "gap in time",
                f"{id}, observation {name}, rows {few(rows)}",
                "certain",
                f"Its device gave nothing new for {ages_s.max() * 1e3:.0f} ms; usual are {usual_s * 1e3:.1f} ms.",
                "The rows repeat an old value: leave them out (the cache marks them stale), and check the device.",
            )


def _limits(id: str, what: str, values: Array, low: Array, high: Array) -> Iterator[Finding]:
    numbers = np.asarray(values, np.float64).reshape(len(values), -1)
    flat_low, flat_high = low.reshape(-1), high.reshape(-1)
    if len(rows := np.flatnonzero(~np.isfinite(numbers).all(axis=1))):
        yield Finding(
            "not finite",
            f"{id}, {what}, rows {few(rows)}",
            "certain",
            f"{len(rows)} rows hold NaN or infinity.",
            "Somebody asked for it and the gate refused: check the policy or the device. Do not train on the request.",
        )
    if len(rows := np.flatnonzero(((numbers < flat_low) | (numbers > flat_high)).any(axis=1))):
        worst = numbers[rows]
        asked = what.startswith("requested")
        yield Finding(
            "out of spec",
            f"{id}, {what}, rows {few(rows)}",
            "possible" if asked else "certain",
            f"Expected values within {flat_low.tolist()} and {flat_high.tolist()}; found from {worst.min():.6g} to "
            f"{worst.max():.6g}.",
            "The gate limits what is sent, so this is only a request; train on what was sent."
            if asked
            else "Correct the limits in the spec if the robot can do this, else check the device and delete it.",
        )
