"""One episode in rerun: every stream, picture and event on the episode's own time, each at its own rate.

Names become paths ("observed/arm/q/shoulder"), so that rerun groups by device. rerun is optional; without a display the
recording goes to an .rrd file that opens anywhere.
"""

# rerun's types are wide open; the module is Any here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.log_reader import Log
from robolearn.data.store import Store
from robolearn.data.streams import Stream, read_streams
from robolearn.data.video import is_filmed
from robolearn.data.web import depth_limits, depth_picture, jpeg
from robolearn.episode import Actor
from robolearn.errors import DataFileError, MissingDependency
from robolearn.specs import Array, Arrays, Spec

__all__ = ["view_episode"]

_LARGEST = 4096


def view_episode(store: Store, id: str, save: Path | str | None = None) -> Path | None:
    """Open an episode in rerun's window, or save it.

    Args:
        store: Where it is.
        id: Which.
        save: An .rrd file to write instead of opening a window; it must not exist.

    Returns:
        The file, or None for a window.

    Raises:
        MissingDependency: rerun is not installed.
        DataFileError: There is something at `save`, or no window can be opened.
        UnknownName: No episode has this id.
    """
    try:
        rerun: Any = importlib.import_module("rerun")
    except ModuleNotFoundError as error:
        raise MissingDependency("rerun-sdk", "view", "robolearn data view") from error
    target = None if save is None else Path(save)
    if target is not None and target.exists():
        raise DataFileError(f"Expected nothing at {target}; found a file or folder. Choose another name.")
    log, streams = store.log(id, pictures=False), read_streams(store.folder(id))
    recording: Any = rerun.RecordingStream("robolearn", recording_id=f"{store.path.name}-{id}")
    if target is not None:
        recording.save(str(target))
    else:
        try:
            recording.spawn()
        except (RuntimeError, OSError) as error:
            raise DataFileError(
                f"rerun's viewer did not start ({error}). Save the episode with --save and open the file elsewhere."
            ) from error
    _View(rerun, recording, store, id, log, streams).everything()
    recording.flush(blocking=True)
    recording.disconnect()  # the file ends properly
    return target


class _View:
    def __init__(self, rerun: Any, recording: Any, store: Store, id: str, log: Log, streams: Mapping[str, Stream]):
        assert log.episode is not None  # `Store.log` has compared its steps with the journal
        self._rr, self._to, self._info, self._episode = rerun, recording, store.info(id), log.episode
        self._spec, self._streams = log.observation_spec, streams
        self._times = self._episode.times - self._episode.times[0]

    def everything(self) -> None:
        """Facts, pictures, numbers, notes, events."""
        rr, episode, info = self._rr, self._episode, self._info
        facts = [f"**{name}**: {getattr(info, name)}" for name in ("instruction", "task", "robot", "operator")]
        text = "\n\n".join([*facts, f"**outcome**: {info.outcome.name.lower()}"])
        self._to.log("episode", rr.TextDocument(text, media_type="text/markdown"), static=True)
        for name, spec in self._spec.items():
            stream = self._streams[name]
            times = stream.captured_ns / 1e9 - float(episode.times[0])
            if is_filmed(spec):
                self._film(f"cameras/{name}", stream, times)
            elif np.prod(spec.shape) <= _LARGEST:
                self._scalars(f"observed/{name.replace('.', '/')}", stream.values, spec.names, times)
        self._vectors("sent", episode.actions, episode.action_spec)
        if any(not np.array_equal(episode.actions[n], episode.requested[n]) for n in episode.actions):
            self._vectors("requested", episode.requested, episode.action_spec)
        for name, values in episode.notes.items():
            if values.dtype.kind == "U":
                self._changes(f"notes/{name}", [str(v) for v in values.reshape(len(values), -1)[:, 0]])
            elif np.prod(values.shape[1:]) <= 64:
                self._scalars(f"notes/{name}", values, (), self._times)
        self._changes("actor", [Actor(int(code)).name.lower() for code in episode.actor])
        for event in episode.events:
            refused = "" if event.accepted else f" refused: {event.reason}"
            self._to.set_time("time", duration=event.time - float(episode.times[0]))
            line = f"{event.kind} {event.target} ({event.source}){refused} {dict(event.params)}"
            self._to.log("events", rr.TextLog(line, level="INFO" if event.accepted else "WARN"))

    def _film(self, path: str, stream: Stream, times: Array) -> None:
        limits: tuple[float, float] | None = None
        at: list[float] = []
        pictures: list[bytes] = []
        for k, picture in stream.pictures():
            if picture.ndim == 2:
                limits = limits or depth_limits(picture)
                picture = depth_picture(picture, limits or (0.0, 1.0))
            at.append(float(times[k]))
            pictures.append(jpeg(picture, 960))
        columns = self._rr.EncodedImage.columns(blob=pictures, media_type=["image/jpeg"] * len(pictures))
        self._to.send_columns(path, [self._rr.TimeColumn("time", duration=np.array(at))], columns)

    def _vectors(self, root: str, arrays: Arrays, spec: Spec) -> None:
        for name, one in spec.items():
            if np.prod(one.shape) <= _LARGEST:
                self._scalars(f"{root}/{name.replace('.', '/')}", arrays[name], one.names, self._times)

    def _scalars(self, path: str, values: Array, names: Sequence[str], times: Array) -> None:
        rows = np.asarray(values, np.float64).reshape(len(values), -1)
        if names:
            self._to.log(path, self._rr.SeriesLines(names=list(names)), static=True)
        columns = self._rr.Scalars.columns(scalars=rows)
        self._to.send_columns(path, [self._rr.TimeColumn("time", duration=times[: len(rows)])], columns)

    def _changes(self, path: str, texts: Sequence[str]) -> None:
        for k, text in enumerate(texts):
            if k == 0 or text != texts[k - 1]:
                self._to.set_time("time", duration=float(self._times[k]))
                self._to.log(path, self._rr.TextLog(text))
