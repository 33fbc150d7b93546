"""A store as a LeRobotDataset v3.0, whole or not at all: written aside in a safe order, then renamed.

One mp4 per episode and camera (legal, and free of the drift of joined videos), group of pictures 2, exact statistics;
depth maps, 16 bits and lossless, lie as two-dimensional columns beside the numbers (`lerobot_format.depth_key`).
What that format cannot hold is listed in the result: it has one rate, T observations for T actions and made-up times,
so the last observation is left out and true times go to the column "captured_s". Specs and units go to
`meta/robolearn.json`.
"""

# pyarrow has no types: its modules are Any here. PyAV's stubs leave packets open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from robolearn.data.lerobot_columns import (
    Plan,
    arrow_schema,
    cells,
    columns,
    features,
    instructions,
    layout,
    make_plan,
    note_key,
    tasks_table,
    vector_statistics,
)
from robolearn.data.lerobot_format import (
    DATA_PATH,
    EPISODES_PATH,
    OURS,
    VERSION,
    VIDEO_PATH,
    camera_key,
    depth_key,
    depth_statistics,
    histogram,
    parquet,
    picture_statistics,
    sync,
    write_json,
)
from robolearn.data.sealing import room_named
from robolearn.data.store import Store
from robolearn.episode import Episode
from robolearn.errors import DataFileError, EmptyStore, UnknownName
from robolearn.specs import Array, to_json

__all__ = ["LeRobotExport", "export_lerobot"]

_FILE_BYTES, _VIDEO_MB, _DATA_MB, _CHUNK = 100 << 20, 200, 100, 1000


@dataclass(frozen=True, slots=True)
class LeRobotExport:
    """What was written.

    Attributes:
        path: The dataset.
        episodes: How many.
        frames: Rows.
        left_out: What the format cannot hold, one sentence each.
    """

    path: Path
    episodes: int
    frames: int
    left_out: tuple[str, ...]


def export_lerobot(
    store: Store, path: Path | str, ids: Sequence[str] | None = None, *, action: str = "sent"
) -> LeRobotExport:
    """Write episodes as a LeRobotDataset v3.0.

    Args:
        store: Where they are.
        path: The dataset's folder; nothing or an empty folder may be there.
        ids: Which, in this order; by default all that are live.
        action: Which action is "action", "sent" or "requested"; the other is kept in a column of its own.

    Raises:
        EmptyStore: There is no episode.
        DataFileError: Something is at `path`, or the episodes have no common whole rate.
        StorageFull: No room; nothing is left behind.
    """
    path, wanted = Path(path), store.ids() if ids is None else list(ids)
    if action not in ("sent", "requested"):
        raise UnknownName("kind of action", action, ("sent", "requested"))
    if not wanted or store.specs is None:
        raise EmptyStore(f"Nothing to export: {store.path} has no live episode. Record or import some first.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataFileError(f"Expected nothing or an empty folder at {path}; found files. Choose another folder.")
    plan = make_plan(store, wanted, action)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with room_named(f"export to {path}", "Nothing of the export was kept."):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.mkdir()
            frames = _Writer(aside, plan).write(store, wanted)
            aside.replace(path)
            sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return LeRobotExport(path, len(wanted), frames, plan.left_out)


class _Writer:
    """Writes the parts in an order in which every kill leaves a dataset without info.json, never a wrong one."""

    def __init__(self, root: Path, plan: Plan):
        self._root, self._plan = root, plan
        self._features = features(plan)
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._columns: dict[str, list[Array]] = {}
        self._counts = {name: np.zeros((3, 256), np.int64) for name in plan.cameras}
        self._depths = {depth_key(name): np.zeros(1 << 16, np.int64) for name in plan.depths}
        self._frames = 0

    def write(self, store: Store, ids: Sequence[str]) -> int:
        """Everything; returns the number of rows."""
        pa, pq = parquet()
        schema = arrow_schema(pa, self._features)
        file, writer = -1, None
        target = self._root
        try:
            for number, id in enumerate(ids):
                episode = store[id]
                row = self._describe(store, id, number, episode)
                row |= self._videos(number, episode)
                if writer is None or target.stat().st_size >= _FILE_BYTES:
                    if writer is not None:
                        writer.close()
                        sync(target)
                    file += 1
                    target = self._file(DATA_PATH.format(**_shard(file)))
                    packed = "zstd" if self._depths else "snappy"
                    writer = pq.ParquetWriter(target, schema, compression=packed, use_dictionary=not self._depths)
                table = columns(self._plan, number, self._frames, episode, self._tasks)
                writer.write_table(pa.table(cells(pa, table, schema), schema=schema))  # one row group
                row |= {f"data/{k}": v for k, v in _shard(file).items()}
                self._rows.append(row | self._statistics(table))
                self._frames += episode.steps
        finally:
            if writer is not None:
                writer.close()
        sync(target)
        episodes = self._file(EPISODES_PATH.format(**_shard(0)))
        pq.write_table(pa.Table.from_pylist(self._rows), episodes, compression="snappy")
        sync(episodes)
        self._meta(pa, pq)
        return self._frames

    def _file(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _describe(self, store: Store, id: str, number: int, episode: Episode) -> dict[str, Any]:
        meta, steps = episode.meta, episode.steps
        return {
            "episode_index": number,
            "tasks": list(dict.fromkeys(instructions(episode))),
            "length": steps,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + steps,
            **{f"meta/episodes/{key}": value for key, value in _shard(0).items()},
            "outcome": episode.outcome.name,
            "operator": meta.operator,
            "adversary": meta.adversary,
            "bench": meta.bench,
            "task": meta.task,
            "seed": "" if meta.seed is None else str(meta.seed),
            "split": store.split_of(id),
            "tags": sorted(store.tags_of(id)) or [""],
            "events": json.dumps([asdict(event) for event in episode.events]),
            "robolearn_id": id,
        }

    def _videos(self, number: int, episode: Episode) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name in self._plan.cameras:
            key, frames = camera_key(name), episode.observations[name][:-1]
            path = self._file(VIDEO_PATH.format(video_key=key, **_shard(number)))
            _encode(path, frames, self._plan.fps, self._features[key]["info"]["video.pix_fmt"])
            sync(path)
            counts = histogram(frames)
            self._counts[name] += counts
            row |= {f"videos/{key}/{part}": value for part, value in _shard(number).items()}
            row |= {f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": len(frames) / self._plan.fps}
            row |= {f"stats/{key}/{part}": v for part, v in picture_statistics(counts, len(frames)).items()}
        return row

    def _statistics(self, table: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for key, value in table.items():
            if key in self._depths:
                counts = np.bincount(value.ravel(), minlength=1 << 16)
                self._depths[key] += counts
                row |= {f"stats/{key}/{part}": v for part, v in depth_statistics(counts, len(value)).items()}
            elif value.dtype.kind != "U":
                self._columns.setdefault(key, []).append(value)
                row |= {f"stats/{key}/{part}": v for part, v in (vector_statistics(key, value) or {}).items()}
        return row

    def _meta(self, pa: Any, pq: Any) -> None:
        plan = self._plan
        path = self._file("meta/tasks.parquet")
        pq.write_table(tasks_table(pa, self._tasks), path)
        sync(path)
        whole = {key: vector_statistics(key, np.concatenate(parts)) for key, parts in self._columns.items()}
        stats = {key: value for key, value in whole.items() if value is not None}
        stats |= {camera_key(name): picture_statistics(c, self._frames) for name, c in self._counts.items()}
        stats |= {key: depth_statistics(counts, self._frames) for key, counts in self._depths.items()}
        write_json(self._root / "meta/stats.json", stats)
        ours = {
            "format": 1,
            "action": plan.action,
            "observation_spec": to_json({n: plan.observed[n] for n in (*plan.vectors, *plan.cameras, *plan.depths)}),
            "action_spec": to_json(plan.commanded),
            "state": layout(plan.observed, plan.vectors),
            "commands": layout(plan.commanded, tuple(plan.commanded)),
            "cameras": {name: camera_key(name) for name in plan.cameras},
            "depths": {name: depth_key(name) for name in plan.depths},
            "notes": {name: {"column": note_key(name), "dtype": d, "shape": s} for name, (d, s) in plan.notes.items()},
        }
        write_json(self._root / OURS, ours)
        info = {
            "codebase_version": VERSION,
            "robot_type": plan.robot or None,
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": _DATA_MB,
            "video_files_size_in_mb": _VIDEO_MB,
            "fps": plan.fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if plan.cameras else None,
            "features": self._features,
        }
        write_json(self._root / "meta/info.json", info)


def _shard(number: int) -> dict[str, int]:
    return {"chunk_index": number // _CHUNK, "file_index": number % _CHUNK}


def _encode(path: Path, frames: Array, fps: int, pixels: str) -> None:
    """H.264 with a key frame every second picture, times exactly k / fps."""
    quality = {"preset": "veryfast", "crf": "18", "bf": "0", "sc_threshold": "0", "keyint_min": "1"}
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=fps, options=quality)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = 2
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
