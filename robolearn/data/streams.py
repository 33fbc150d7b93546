"""The samples of an episode at their own rates, as they came, between and beside the rows.

`Log` answers what a row saw; this answers what a device delivered. A row that refers back to an older sample writes it
once more; here every sample appears once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data import encoding
from robolearn.data.framing import Message, scan
from robolearn.data.freshness import NO_COUNTER
from robolearn.data.log_format import LOG_NAME
from robolearn.data.log_reader import scan_log
from robolearn.data.video import is_filmed, iterate_video
from robolearn.errors import DataFileError, UnknownName
from robolearn.specs import Array

__all__ = ["Stream", "read_streams"]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One array's samples.

    Attributes:
        name: The array.
        captured_ns: (n,) int64 capture times, growing.
        received_ns: (n,) int64 receive times.
        counters: (n,) int64 frame counters of the device, `NO_COUNTER` where it gave none.
        values: (n, ...) the samples; for pictures (n,) int64 numbers of frames in the video.
        video: The video of pictures, None for other arrays.
    """

    name: str
    captured_ns: Array
    received_ns: Array
    counters: Array
    values: Array
    video: Path | None = None

    def __len__(self) -> int:
        return len(self.captured_ns)

    def pictures(self) -> Iterator[tuple[int, Array]]:
        """Index of a sample and its picture, one by one, never all in memory; pictures that were lost are left out.

        Raises:
            DataFileError: The stream has no pictures, or its video is missing.
        """
        if self.video is None:
            raise DataFileError(f"{self.name} is not a stream of pictures; its samples are in `values`.")
        index = {int(number): k for k, number in enumerate(self.values)}
        for number, picture in enumerate(iterate_video(self.video)):
            if number in index:
                yield index[number], picture


def read_streams(folder: Path, names: Sequence[str] | None = None) -> dict[str, Stream]:
    """The streams of an episode, sealed or unfinished, from the valid prefix of its log.

    Args:
        folder: The episode's folder.
        names: Observations to read; by default all.

    Raises:
        DataFileError: There is no log.
        UnknownName: A name that was not observed.
    """
    log = scan_log(folder, pictures=False)
    path = folder / LOG_NAME
    data = path.read_bytes()[: log.valid_bytes]
    found = scan(data)
    streams: dict[str, Stream] = {}
    for name in log.observation_spec if names is None else names:
        if name not in log.observation_spec:
            raise UnknownName("observation", name, log.observation_spec)
        spec = log.observation_spec[name]
        device, field = encoding.field_of(name)
        channel = next((n for n, c in found.channels.items() if c.topic == f"/observation/{device}"), -1)
        messages, facts = _samples(data, [m for m in found.messages if m.channel == channel], field)
        values = [fact[field] for fact in facts]
        filmed = is_filmed(spec)
        streams[name] = Stream(
            name,
            np.array([m.captured_ns for m in messages], np.int64),
            np.array([m.received_ns for m in messages], np.int64),
            np.array([fact.get(encoding.COUNTER, NO_COUNTER) for fact in facts], np.int64),
            np.array(values, np.int64) if filmed else encoding.decode_arrays(values, spec),
            folder / f"{name}.mp4" if filmed else None,
        )
    return streams


def _samples(data: bytes, messages: list[Message], field: str) -> tuple[list[Message], list[dict[str, Any]]]:
    """Messages with this field, each sample once."""
    kept: list[Message] = []
    facts: list[dict[str, Any]] = []
    for message in messages:
        if kept and message.captured_ns <= kept[-1].captured_ns:
            continue
        fact = json.loads(data[message.start : message.end])
        if field in fact:
            kept.append(message)
            facts.append(fact)
    return kept, facts
