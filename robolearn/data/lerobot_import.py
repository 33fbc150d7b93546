"""LeRobot datasets (2.0, 2.1, 3.0) into a store, as far as they can be read; what is absent is listed, never invented.

T rows become T observations and T - 1 actions, because what was seen after the last action is not in that format.
Units and frames are unknown, so vectors arrive as "robot.state" and "robot.command" without them, unless
`meta/robolearn.json` says what they are. Pictures stream from file to file; memory holds one at a time.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from robolearn.data.lerobot_rows import EpisodeRows, camera_name, few_of, is_depth_video, read_rows
from robolearn.data.lerobot_source import EpisodeFiles, LeRobotSource, read_columns
from robolearn.data.lerobot_video import stored_pictures, video_pictures
from robolearn.data.store import Store
from robolearn.episode import Reading
from robolearn.errors import DataFileError, UnknownName
from robolearn.specs import Array, ArraySpec

__all__ = ["LeRobotImport", "import_lerobot"]


@dataclass(frozen=True, slots=True)
class LeRobotImport:
    """What was imported.

    Attributes:
        ids: New episodes, in the order of the dataset.
        absent: What was missing, contradictory or left out, one sentence each.
    """

    ids: tuple[str, ...]
    absent: tuple[str, ...]


def import_lerobot(
    root: Path | str,
    store: Store,
    *,
    episodes: Collection[int] | None = None,
    cameras: Collection[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LeRobotImport:
    """Store the episodes of a LeRobot dataset.

    Args:
        root: Its folder, with meta/ and data/ in it.
        store: Where to; its schema must fit.
        episodes: Which episode indices; by default all.
        cameras: Which camera keys; by default those that most episodes have. Episodes without one are left out.
        progress: Called with (done, all) before each episode.

    Raises:
        DataFileError: There is no dataset, or nothing of it can be read.
        UnknownName: It has no such camera or episode.
        StoreError: The store holds episodes of another kind; what was imported is taken back.
        StorageFull: No room; what was imported is taken back.
    """
    source = LeRobotSource.open(root)
    absent = list(source.absent)
    known = {one.number for one in source.episodes}
    for number in episodes or ():
        if number not in known:
            raise UnknownName("episode index", str(number), [str(n) for n in sorted(known)])
    wanted = [one for one in source.episodes if episodes is None or one.number in episodes]
    if missing := [one.number for one in wanted if one.data is None]:
        absent.append(f"{len(missing)} of {len(wanted)} episodes have no data file: {few_of(missing)}.")
    wanted = [one for one in wanted if one.data is not None]
    keys = _cameras(source, wanted, cameras, absent)
    ids: list[str] = []
    schema: tuple[dict[str, ArraySpec], dict[str, ArraySpec]] | None = None
    try:
        for done, one in enumerate(wanted):
            progress(done, len(wanted))
            try:
                rows = read_rows(source, one, keys, absent)
                if schema is None:
                    schema = rows.observation_spec, rows.action_spec
                if schema != (rows.observation_spec, rows.action_spec):
                    raise DataFileError("its shapes or names differ from those of the first episode")
                ids.append(_write(source, one, rows, keys, store, absent))
            except DataFileError as error:
                absent.append(f"Episode {one.number} is left out: {error}")
    except BaseException:
        if ids:
            store.delete(ids)
        raise
    absent = list(dict.fromkeys(absent))
    if not ids:
        raise DataFileError(f"Nothing of {source.root} can be imported. " + " ".join(absent[:8]))
    return LeRobotImport(tuple(ids), tuple(absent))


def _cameras(
    source: LeRobotSource, wanted: list[EpisodeFiles], chosen: Collection[str] | None, absent: list[str]
) -> tuple[str, ...]:
    files = [key for key in source.cameras if source.features[key]["dtype"] == "video"]
    having = Counter(key for one in wanted for key in one.videos)
    for key in chosen or ():
        if key not in source.cameras:
            raise UnknownName("camera", key, source.cameras)
    keys: list[str] = []
    for key in source.cameras:
        if is_depth_video(source.features[key]):
            absent.append(f"{key}: a depth video, which is not colour; the camera is left out.")
            continue
        if key not in files:
            take = True
        elif not having[key]:
            absent.append(f"{key}: no video of any of the {len(wanted)} episodes; the camera is left out.")
            take = False
        else:
            take = 2 * having[key] > len(wanted)
            if having[key] < len(wanted):
                lacking = [one.number for one in wanted if key not in one.videos]
                what = "these episodes are left out" if take else "the camera is left out"
                absent.append(f"{key}: no video of episodes {few_of(lacking)}; {what}. Choose with `cameras`.")
        if take if chosen is None else key in chosen:
            keys.append(key)
    return tuple(keys)


def _write(
    source: LeRobotSource, one: EpisodeFiles, rows: EpisodeRows, keys: tuple[str, ...], store: Store, absent: list[str]
) -> str:
    assert one.data is not None
    streams: dict[str, Iterator[tuple[int, Array]]] = {}
    for key in keys:
        name = camera_name(source, key)
        if source.features[key]["dtype"] == "video":
            streams[name] = video_pictures(*one.videos[key], source.fps, len(rows.times))
        else:
            streams[name] = stored_pictures(read_columns(one.data, one.number)[key], source.root)
    writer = store.record(rows.meta, rows.observation_spec, rows.action_spec)
    try:
        ended = ""
        for k in range(len(rows.times)):
            pictures = {name: next(stream, None) for name, stream in streams.items()}
            if gone := [name for name, picture in pictures.items() if picture is None]:
                ended = f"Episode {one.number}: {gone[0]} has pictures of {k} of {len(rows.times)} rows; cut there."
                break
            if k:
                _action(writer, rows, k - 1)
            arrays = {name: value[k] for name, value in rows.observations.items()}
            captured: dict[str, float | Array] = {}
            for name, picture in cast(dict[str, tuple[int, Array]], pictures).items():
                arrays[name] = picture[1]
                if picture[0] != k:
                    captured[name] = float(rows.times[picture[0]])
                    absent.append(
                        f"Episode {one.number}: {name} lacks pictures; the one before is repeated, and marked."
                    )
            writer.observation(Reading(float(rows.times[k]), arrays, captured))
        if ended:
            if writer.steps < 1:
                raise DataFileError(ended)
            absent.append(ended)
        for event in rows.events:
            writer.event(event)
        return writer.commit(rows.outcome)
    except BaseException:
        writer.discard()
        raise
    finally:
        for stream in streams.values():
            cast(Any, stream).close()


def _action(writer: Any, rows: EpisodeRows, k: int) -> None:
    notes = {name: value[k] for name, value in rows.notes.items()} | {"actor": rows.actor[k]}
    requested = {name: value[k] for name, value in rows.requested.items()}
    writer.action(requested, {name: value[k] for name, value in rows.actions.items()}, notes)
