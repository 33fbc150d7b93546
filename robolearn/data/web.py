"""What the web page of a store is made of: lists, streams and pictures as JSON and JPEG, without any web server.

Pictures are sent as one "film" per camera: a table of lengths and the JPEG of every row, so that the page shows exactly
the picture of the row under its cursor, whatever codec the store uses.
"""

# PyAV's stubs leave the type of codecs open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import av
import av.error
import numpy as np

from robolearn.data.store import RECOVERED, Store
from robolearn.episode import Actor, Episode
from robolearn.errors import UnknownName
from robolearn.specs import Array, ArraySpec

__all__ = ["ACCEPTED", "REJECTED", "episode_facts", "episode_list", "film", "jpeg", "plain_json", "thumbnail"]

ACCEPTED, REJECTED = "accepted", "rejected"
_MOST_ROWS = 4000
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
    """Everything that is plotted of one episode, at most `_MOST_ROWS` rows of it."""
    episode = store[id]
    stride = -(-(episode.steps + 1) // _MOST_ROWS)
    start = float(episode.times[0])
    meta = {k: v for k, v in asdict(episode.meta).items() if k != "extra"}
    return {
        "id": id,
        "meta": meta,
        "outcome": episode.outcome.name.lower(),
        "tags": sorted(store.tags_of(id)),
        "split": store.split_of(id),
        "rows": episode.steps + 1,
        "stride": stride,
        "times": (episode.times[::stride] - start).round(6).tolist(),
        "streams": list(_streams(episode, stride)),
        "cameras": [name for name, spec in episode.observation_spec.items() if spec.is_image],
        "events": [asdict(e) | {"time": e.time - start, "end": e.end - start} for e in episode.events],
        "actor": [Actor(int(code)).name.lower() for code in episode.actor[::stride]],
        "texts": {n: v[::stride].tolist() for n, v in episode.notes.items() if v.dtype.kind == "U" and v.ndim == 1},
    }


def _streams(episode: Episode, stride: int) -> Iterator[dict[str, Any]]:
    groups = (
        ("observed", episode.observations, episode.observation_spec),
        ("sent", episode.actions, episode.action_spec),
        ("requested", episode.requested, episode.action_spec),
        (
            "noted",
            episode.notes,
            {n: ArraySpec(v.shape[1:], v.dtype.name) for n, v in episode.notes.items() if v.dtype.kind != "U"},
        ),
    )
    for kind, arrays, spec in groups:
        for name, one in spec.items():
            size = int(np.prod(one.shape))
            if one.is_image or size > _MOST_ELEMENTS or size < 1:
                continue
            if kind == "requested" and np.array_equal(arrays[name], episode.actions[name]):
                continue  # it was sent as asked
            values = np.asarray(arrays[name][::stride], np.float64).reshape(-1, size).T
            yield {
                "kind": kind,
                "name": name,
                "unit": one.unit,
                "labels": list(one.names) or ([""] if size == 1 else [str(k) for k in range(size)]),
                "values": [[_number(v) for v in row] for row in values.tolist()],
            }


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def film(store: Store, id: str, camera: str) -> bytes:
    """Every row's picture: number of rows, their lengths (little-endian uint32 each), then the JPEGs.

    Raises:
        UnknownName: There is no such camera.
    """
    episode = store[id]
    cameras = [name for name, spec in episode.observation_spec.items() if spec.is_image]
    if camera not in cameras:
        raise UnknownName("camera", camera, cameras)
    stride = -(-(episode.steps + 1) // _MOST_ROWS)
    pictures = [jpeg(frame) for frame in episode.observations[camera][::stride]]
    return struct.pack(f"<I{len(pictures)}I", len(pictures), *map(len, pictures)) + b"".join(pictures)


def thumbnail(store: Store, id: str) -> bytes | None:
    """A JPEG of the first camera, from the middle of the episode; None without a readable camera."""
    assert store.specs is not None
    cameras = [name for name, spec in store.specs[0].items() if spec.is_image]
    path = store.folder(id) / f"{cameras[0]}.mp4" if cameras else None
    if path is None or not path.is_file():
        return None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            middle = int(store.info(id).duration_s / 2 / (stream.time_base or 1))
            container.seek(middle, stream=stream, backward=True)
            return jpeg(next(container.decode(stream)).to_ndarray(format="rgb24"), 160)
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
