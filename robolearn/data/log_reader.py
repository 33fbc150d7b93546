"""Reading an episode log back, whole, unfinished or torn: always the exact valid prefix, never a guess.

A row counts when its "/tick" is there and the checksum in it matches all bytes before; so every value of the returned
episode, the last one included, was verified. Rows whose picture is missing from its video end the episode.
"""

from __future__ import annotations

import bisect
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data import encoding
from robolearn.data.framing import Channel, Message, Scan, scan, tick_checksum
from robolearn.data.freshness import NO_COUNTER, FrameRows, Freshness, doubt
from robolearn.data.log_format import FORMAT_VERSION, LOG_NAME, nanoseconds, seconds
from robolearn.data.sealing import Summary
from robolearn.data.video import is_filmed, read_video
from robolearn.episode import Episode, EpisodeMeta, Event, Outcome
from robolearn.errors import DataFileError
from robolearn.specs import Array, ArraySpec, Spec, from_json

__all__ = ["Log", "read_log", "scan_log"]

Rows = Mapping[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Log:
    """What a log holds.

    Attributes:
        meta: The facts around the episode; None when the process died before the first record.
        observation_spec: Of the observations.
        action_spec: Of the actions.
        outcome: RUNNING when none was written.
        started: Wall time of the start, ISO 8601 in UTC.
        episode: The valid prefix; None when not even one step is whole.
        captured: Per observation array (T + 1,) int64 capture times in nanoseconds.
        received: (T + 1,) int64 receive times of the rows in nanoseconds.
        observations: Valid "/tick" records.
        actions: Actions before the last of them or after it, whole but perhaps without a following observation.
        valid_bytes: Length of the valid prefix of the file.
        total_bytes: Length of the file.
        finished: It ends as it should and its checksum is right.
        frames: Per picture of a live recording, whether the rows' frames are fresh; empty for others.
        degraded: Why the cameras are not to be trusted, "" when they are.
        numbers: Per picture (T + 1,) int64, which frame of its video each row shows.
    """

    meta: EpisodeMeta | None
    observation_spec: Spec
    action_spec: Spec
    outcome: Outcome
    started: str
    episode: Episode | None
    captured: Mapping[str, Array]
    received: Array
    observations: int
    actions: int
    valid_bytes: int
    total_bytes: int
    finished: bool
    frames: Mapping[str, FrameRows] = field(default_factory=lambda: {})
    degraded: str = ""
    numbers: Mapping[str, Array] = field(default_factory=lambda: {})

    @property
    def summary(self) -> Summary | None:
        """What sealing writes down; None when there is no whole step."""
        if self.meta is None or self.episode is None:
            return None
        episode = self.episode
        return Summary(
            self.meta,
            self.observation_spec,
            self.action_spec,
            self.outcome,
            self.started,
            episode.steps,
            seconds(nanoseconds(episode.times[-1]) - nanoseconds(episode.times[0])),
            self.observations,
            self.actions,
            len(episode.events),
            self.degraded,
        )


def read_log(folder: Path) -> Episode:
    """The valid prefix of the episode in a folder.

    Raises:
        DataFileError: There is no log, or it does not hold a single whole step.
    """
    log = scan_log(folder)
    if log.episode is None:
        raise DataFileError(
            f"Expected at least two observations with an action between in {folder / LOG_NAME}; found "
            f"{log.observations} valid observations in {log.valid_bytes} valid of {log.total_bytes} bytes. "
            "There is nothing to read in it; delete the folder or restore it from a copy."
        )
    return log.episode


def scan_log(folder: Path, *, pictures: bool = True) -> Log:
    """Everything a log holds, with what is needed to judge it. A torn or damaged tail is left out without an error.

    Args:
        folder: The episode's folder.
        pictures: Decode the videos; otherwise pictures are left out of the episode and its observation spec.

    Raises:
        DataFileError: There is no log file, or it is from a newer version of this software.
    """
    path = folder / LOG_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataFileError(
            f"Expected an episode log at {path}; there is none. Restore it or delete the folder."
        ) from error
    found = scan(data)
    topics = {channel.topic: channel for channel in found.channels.values()}
    empty = Log(
        None, {}, {}, Outcome.RUNNING, "", None, {}, np.zeros(0, np.int64), 0, 0, found.end, len(data), found.finished
    )
    ticks, valid_end = _valid_ticks(data, found, topics)
    facts = _episode_facts(data, found, topics, path) if ticks or found.finished else None
    if facts is None:
        return empty
    observation_spec, action_spec = from_json(facts["observation_spec"]), from_json(facts["action_spec"])
    by_channel: dict[int, list[Message]] = {number: [] for number in found.channels}
    for message in found.messages:
        if message.end <= valid_end:
            by_channel[message.channel].append(message)
    rows = {channel.topic: by_channel[number] for number, channel in found.channels.items()}
    base = replace(
        empty,
        meta=EpisodeMeta(**facts["meta"]),
        observation_spec=observation_spec,
        action_spec=action_spec,
        outcome=_outcome(data, rows),
        started=str(facts["started"]),
        observations=len(ticks),
        actions=len(rows.get("/sent", [])),
        valid_bytes=valid_end,
    )
    return _assemble(base, data, rows, ticks, topics, folder, pictures=pictures)


def _episode_facts(data: bytes, found: Scan, topics: Mapping[str, Channel], path: Path) -> dict[str, Any] | None:
    channel = topics.get("/episode")
    first = next((m for m in found.messages if channel is not None and m.channel == channel.number), None)
    if first is None:
        return None
    facts: dict[str, Any] = json.loads(data[first.start : first.end])
    if facts.get("format") != FORMAT_VERSION:
        raise DataFileError(
            f"Expected format {FORMAT_VERSION} in {path}; found {facts.get('format')!r}, written by robolearn "
            f"{facts.get('software')!r}. Install that version or a newer one to read it."
        )
    return facts


def _valid_ticks(data: bytes, found: Scan, topics: Mapping[str, Channel]) -> tuple[list[Message], int]:
    """Ticks whose checksum matches, and where the valid prefix ends."""
    number = topics["/tick"].number if "/tick" in topics else -1
    view, crc, at, ticks = memoryview(data), 0, 0, list[Message]()
    for message in found.messages:
        if message.channel != number:
            continue
        crc, at = zlib.crc32(view[at : message.record], crc), message.record
        try:
            facts = json.loads(data[message.start : message.end])
            expected = tick_checksum(crc, len(ticks), message.received_ns, message.captured_ns)
            good = facts["crc"] == expected and facts["tick"] == len(ticks)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            # Damage lies somewhere after the last good tick; what it hit is unknown, so nothing after counts.
            return ticks, ticks[-1].end if ticks else 0
        ticks.append(message)
    return ticks, found.end


def _loads(data: bytes, messages: list[Message]) -> list[dict[str, Any]]:
    """All messages of a stream in one go; unparsable ones end the list (they lie after the last good tick)."""
    joined = b"[" + b",".join(data[m.start : m.end] for m in messages) + b"]"
    try:
        return json.loads(joined)
    except ValueError:
        values: list[dict[str, Any]] = []
        for message in messages:
            try:
                values.append(json.loads(data[message.start : message.end]))
            except ValueError:
                break
        return values


def _outcome(data: bytes, rows: Mapping[str, list[Message]]) -> Outcome:
    for facts in _loads(data, rows.get("/outcome", [])[:1]):
        if facts.get("outcome") in Outcome.__members__:
            return Outcome[facts["outcome"]]
    return Outcome.RUNNING


def _assemble(
    base: Log,
    data: bytes,
    rows: Mapping[str, list[Message]],
    ticks: list[Message],
    topics: Mapping[str, Channel],
    folder: Path,
    *,
    pictures: bool,
) -> Log:
    """Turn streams into the rows of an episode: per tick the newest sample of every array before it."""
    sent = rows.get("/sent", [])
    count = min(len(ticks), len(sent) + 1)
    spec = {name: one for name, one in base.observation_spec.items() if pictures or not is_filmed(one)}
    columns: dict[str, list[Any]] = {}
    captured: dict[str, Array] = {}
    doubts: list[str] = []
    for device, fields in encoding.split_by_device(base.observation_spec).items():
        messages = rows.get(f"/observation/{device}", [])
        values = _loads(data, messages)
        ends = [m.record for m in messages]
        before = [bisect.bisect_left(ends, tick.record) for tick in ticks[:count]]
        for key, name in fields.items():
            having = [i for i, value in enumerate(values) if key in value]
            newest = [bisect.bisect_left(having, n) - 1 for n in before]
            short = next((k for k, i in enumerate(newest) if i < 0), count)
            count = min(count, short)
            columns[name] = [values[having[i]][key] for i in newest[:count]]
            captured[name] = np.array([messages[having[i]].captured_ns for i in newest[:count]], np.int64)
            if is_filmed(base.observation_spec[name]) and rows.get("/frames"):
                new = _first_seen([messages[i].captured_ns for i in having])
                counters = [int(values[having[i]].get(encoding.COUNTER, NO_COUNTER)) for i in new]
                times = [messages[having[i]].captured_ns for i in new]
                if why := doubt(name, times, counters, ticks[count - 1].captured_ns if count else 0):
                    doubts.append(why)
    observations: dict[str, Array] = {}
    for name, one in spec.items():
        if is_filmed(one):
            observations[name], count = _frames(folder / f"{name}.mp4", columns[name], one, count)
    steps = count - 1
    if base.meta is None or steps < 1:
        return base
    for name, one in spec.items():
        if not is_filmed(one):
            observations[name] = encoding.decode_arrays(columns[name][:count], one)
    actions = {
        topic: {
            name: encoding.decode_arrays(
                [value[encoding.field_of(name)[0]][encoding.field_of(name)[1]] for value in values], one
            )
            for name, one in base.action_spec.items()
        }
        for topic in ("/requested", "/sent")
        for values in [_loads(data, rows[topic][:steps])]
    }
    noted = _loads(data, rows["/note"][:steps])
    note_spec = from_json(json.loads(topics["/note"].metadata["spec"]))
    notes = {name: encoding.decode_arrays([n[name] for n in noted], one) for name, one in note_spec.items()}
    episode = Episode(
        observation_spec=spec,
        action_spec=base.action_spec,
        observations={name: observations[name][:count] for name in spec},
        requested=actions["/requested"],
        actions=actions["/sent"],
        actor=notes.pop("actor"),
        times=np.array([seconds(tick.captured_ns) for tick in ticks[:count]]),
        outcome=base.outcome,
        meta=base.meta,
        notes=notes,
        events=_events(data, rows.get("/event", [])),
    )
    return replace(
        base,
        episode=episode,
        captured={name: times[:count] for name, times in captured.items()},
        received=np.array([tick.received_ns for tick in ticks[:count]], np.int64),
        frames=_frame_rows(_loads(data, rows.get("/frames", [])[:count]), spec),
        degraded=" ".join(doubts),
        numbers={
            name: np.array(columns[name][:count], np.int64)
            for name, one in base.observation_spec.items()
            if is_filmed(one)
        },
    )


def _first_seen(captured_ns: list[int]) -> list[int]:
    """Indices of samples newer than all before them; a row that refers back to an older one is not a new sample."""
    found: list[int] = []
    for i, at in enumerate(captured_ns):
        if not found or at > captured_ns[found[-1]]:
            found.append(i)
    return found


def _frame_rows(facts: list[dict[str, Any]], spec: Spec) -> dict[str, FrameRows]:
    """Freshness per picture, from the "/frames" messages."""
    if not facts:
        return {}

    def column(name: str, key: str) -> list[Any]:
        return [row[name][key] for row in facts]

    return {
        name: FrameRows(
            np.array([Freshness[state.upper()] for state in column(name, "state")], np.int8),
            np.array(column(name, "counter"), np.int64),
            np.array(column(name, "age_ns"), np.int64),
        )
        for name in facts[0]
        if name in spec
    }


def _frames(path: Path, numbers: list[int], spec: ArraySpec, count: int) -> tuple[Array, int]:
    """The pictures of the rows, and how many rows have theirs."""
    try:
        frames = read_video(path)
    except DataFileError:
        return np.zeros((0, *spec.shape), spec.dtype), 0
    if frames.shape[1:] != spec.shape:
        return np.zeros((0, *spec.shape), spec.dtype), 0
    count = next((k for k, number in enumerate(numbers[:count]) if number >= len(frames)), count)
    index = np.array(numbers[:count], np.int64)
    return (frames[:count] if np.array_equal(index, np.arange(count)) else frames[index]), count


def _events(data: bytes, messages: list[Message]) -> tuple[Event, ...]:
    events: list[Event] = []
    for facts in _loads(data, messages):
        try:
            start, end = seconds(facts.pop("time")), seconds(facts.pop("end"))
            events.append(Event(time=start, end=end, **facts))
        except (KeyError, TypeError):  # only possible in a damaged tail, which no tick's checksum covers
            break
    return tuple(sorted(events, key=lambda event: event.time))
