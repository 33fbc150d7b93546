"""What the web page of a store is made of: lists, streams and pictures as JSON and JPEG, without any web server.

Every stream comes with the times of its own samples, so that a force at 500 Hz is not shown at the rate of the rows.
Pictures are sent as one "film" per camera: a table of lengths and the JPEG of every sample, so that the page shows
exactly the picture that was newest at its cursor, whatever codec the store uses.
"""

# PyAV's stubs leave the type of codecs open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import av
import av.error
import numpy as np

from robolearn.data.store import RECOVERED, Store
from robolearn.data.streams import Stream, read_streams
from robolearn.data.video import is_filmed
from robolearn.episode import Actor, Episode
from robolearn.errors import UnknownName
from robolearn.specs import Array, ArraySpec, Spec

__all__ = ["ACCEPTED", "REJECTED", "depth_limits", "depth_picture", "episode_facts", "episode_list", "film", "jpeg"]
__all__ += ["plain_json", "thin", "thumbnail"]

ACCEPTED, REJECTED = "accepted", "rejected"
_MOST_SAMPLES = 4000
_MOST_ELEMENTS = 64
_WIDTH = 480


def episode_list(store: Store) -> list[dict[str, Any]]:
    """Facts about every episode, deleted ones too, from the journal alone."""
    live = set(store.ids(include_recovered=True))
    rows: list[dict[str, Any]] = []
    for id in store.ids(include_deleted=True, include_recovered=True):
        info, tags = store.info(id), store.tags_of(id)
        rows.append(
            {
                "id": id,
                "task": info.task,
                "instruction": info.instruction,
                "robot": info.robot,
                "operator": info.operator,
                "source": info.source,
                "started": info.started,
                "outcome": info.outcome.name.lower(),
                "steps": info.steps,
                "duration_s": info.duration_s,
                "events": info.events,
                "split": store.split_of(id),
                "tags": sorted(tags),
                "deleted": id not in live,
                "recovered": RECOVERED in tags,
            }
        )
    return rows


def episode_facts(store: Store, id: str) -> dict[str, Any]:
    """Everything that is plotted of one episode; every stream with the times of its own samples."""
    info, log = store.info(id), store.log(id, pictures=False)
    episode = log.episode
    assert episode is not None  # `log` has compared its steps with the journal
    start, stride = float(episode.times[0]), _stride(episode.steps + 1)
    corrected = ("task", "instruction", "robot", "operator", "adversary", "source")
    meta = {key: value for key, value in asdict(episode.meta).items() if key != "extra"}
    streams = read_streams(store.folder(id))
    return {
        "id": id,
        "meta": meta | {name: getattr(info, name) for name in corrected},
        "outcome": info.outcome.name.lower(),
        "tags": sorted(store.tags_of(id)),
        "split": store.split_of(id),
        "rows": episode.steps + 1,
        "stride": stride,
        "times": (episode.times[::stride] - start).round(6).tolist(),
        "streams": [*_observed(episode, log.observation_spec, streams), *_commanded(episode)],
        "cameras": [
            {"name": name, "times": _times(streams[name], start)[:: _stride(len(streams[name]))].round(6).tolist()}
            for name, spec in log.observation_spec.items()
            if is_filmed(spec)
        ],
        "events": [asdict(e) | {"time": e.time - start, "end": e.end - start} for e in episode.events],
        "actor": [Actor(int(code)).name.lower() for code in episode.actor[::stride]],
        "texts": {n: v[::stride].tolist() for n, v in episode.notes.items() if v.dtype.kind == "U" and v.ndim == 1},
    }


def _stride(count: int) -> int:
    return -(-count // _MOST_SAMPLES)


def _times(stream: Stream, start: float) -> Array:
    return stream.captured_ns / 1e9 - start


def _observed(episode: Episode, spec: Spec, streams: Mapping[str, Stream]) -> Iterator[dict[str, Any]]:
    """What devices delivered, at their own rates, from the first row to the last."""
    start, end = float(episode.times[0]), float(episode.times[-1] - episode.times[0])
    for name, one in spec.items():
        if not is_filmed(one) and _fits(one):
            times = _times(streams[name], start)
            inside = (times > -1e-9) & (times < end + 1e-9)
            yield _plotted("observed", name, one, times[inside], streams[name].values[inside])


def _commanded(episode: Episode) -> Iterator[dict[str, Any]]:
    """What was asked for, sent and noted, once per row."""
    notes = {n: ArraySpec(v.shape[1:], v.dtype.name) for n, v in episode.notes.items() if v.dtype.kind != "U"}
    groups = (
        ("sent", episode.actions, episode.action_spec),
        ("requested", episode.requested, episode.action_spec),
        ("noted", episode.notes, notes),
    )
    for kind, arrays, spec in groups:
        for name, one in spec.items():
            as_asked = kind == "requested" and np.array_equal(arrays[name], episode.actions[name])
            if _fits(one) and not as_asked:
                yield _plotted(kind, name, one, episode.times[:-1] - episode.times[0], arrays[name])


def _fits(spec: ArraySpec) -> bool:
    return 1 <= int(np.prod(spec.shape)) <= _MOST_ELEMENTS


def _plotted(kind: str, name: str, spec: ArraySpec, times: Array, values: Array) -> dict[str, Any]:
    size = int(np.prod(spec.shape))
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    shown, rows = thin(times, np.asarray(values, np.float64).reshape(len(values), size))
    return {
        "kind": kind,
        "name": name,
        "unit": spec.unit,
        "labels": list(spec.names) or ([""] if size == 1 else [str(k) for k in range(size)]),
        "samples": len(times),
        "rate_hz": _number((len(times) - 1) / span) if span > 0 else None,
        "times": shown.round(6).tolist(),
        "values": [[_number(v) for v in column] for column in rows.T.tolist()],
    }


def thin(times: Array, values: Array, most: int = _MOST_SAMPLES) -> tuple[Array, Array]:
    """At most `most` samples of (n,) times and (n, size) values that keep every peak: per piece the two extremes."""
    if len(times) <= most:
        return times, values
    pieces = most // 2
    size = -(-len(times) // pieces)
    starts = np.arange(0, len(times), size)
    low = np.fmin.reduceat(values, starts)
    high = np.fmax.reduceat(values, starts)
    rising = values[starts] <= values[np.minimum(starts + size, len(values)) - 1]
    first, second = np.where(rising, low, high), np.where(rising, high, low)
    kept = np.stack([starts, np.minimum(starts + size // 2, len(times) - 1)], axis=1).ravel()
    return times[kept], np.stack([first, second], axis=1).reshape(-1, values.shape[1])


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def film(store: Store, id: str, camera: str) -> bytes:
    """Every sample's picture: how many, their lengths (little-endian uint32 each, 0 for a lost one), then the JPEGs.

    Raises:
        UnknownName: There is no such camera.
    """
    assert store.specs is not None
    cameras = [name for name, spec in store.specs[0].items() if is_filmed(spec)]
    if camera not in cameras:
        raise UnknownName("camera", camera, cameras)
    stream = read_streams(store.folder(id), [camera])[camera]
    stride = _stride(len(stream))
    pictures = [b""] * -(-len(stream) // stride)
    limits: tuple[float, float] | None = None
    for k, picture in stream.pictures():
        if k % stride == 0:
            if picture.ndim == 2:
                limits = limits or depth_limits(picture)
                picture = depth_picture(picture, limits or (0.0, 1.0))
            pictures[k // stride] = jpeg(picture)
    return struct.pack(f"<I{len(pictures)}I", len(pictures), *map(len, pictures)) + b"".join(pictures)


def depth_limits(depth: Array) -> tuple[float, float] | None:
    """Where most of a depth map lies; None when nothing in it was measured (0 is no echo)."""
    seen = depth[depth > 0]
    if not len(seen):
        return None
    near, far = np.quantile(seen, [0.02, 0.98])
    return float(near), float(max(far, near + 1))


def depth_picture(depth: Array, limits: tuple[float, float]) -> Array:
    """A depth map (h, w) uint16 as grey (h, w, 3) uint8: near is bright, black was not measured."""
    near, far = limits
    grey = 40 + 215 * np.clip((far - depth.astype(np.float64)) / (far - near), 0, 1)
    return np.repeat(np.where(depth > 0, grey, 0).astype(np.uint8)[..., None], 3, axis=2)


def thumbnail(store: Store, id: str) -> bytes | None:
    """A JPEG of the first camera, from the middle of the episode; None without a readable camera."""
    assert store.specs is not None
    filmed = {name: spec for name, spec in store.specs[0].items() if is_filmed(spec)}
    name = next((name for name, spec in filmed.items() if spec.is_image), next(iter(filmed), ""))
    path = store.folder(id) / f"{name}.mp4"
    if not name or not path.is_file():
        return None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            middle = int(store.info(id).duration_s / 2 / (stream.time_base or 1))
            container.seek(middle, stream=stream, backward=True)
            frame = next(container.decode(stream))
            if filmed[name].is_image:
                return jpeg(frame.to_ndarray(format="rgb24"), 160)
            depth = frame.to_ndarray(format="gray16le")
            return jpeg(depth_picture(depth, depth_limits(depth) or (0.0, 1.0)), 160)
    except (av.error.FFmpegError, IndexError, StopIteration):
        return None


def jpeg(frame: Array, width: int = _WIDTH) -> bytes:
    """A picture (height, width, 3) uint8 as a JPEG, at most `width` wide and at least 160."""
    height, own, _ = frame.shape
    scale = min(1.0, width / own)
    if own < 160:
        scale = 160 / own
    size = max(2, round(own * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height = size
    codec.pix_fmt, codec.time_base = "yuvj420p", 1
    codec.options = {"qmin": "2", "qmax": "4"}
    picture: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    how = "POINT" if scale > 1 else "AREA"
    packets = codec.encode(picture.reformat(*size, format="yuvj420p", interpolation=how)) + codec.encode(None)
    return b"".join(bytes(packet) for packet in packets)


def plain_json(value: Any) -> bytes:
    """Compact JSON; anything not finite is a bug here."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), default=str).encode()
