"""The topics of an episode log: how each is declared to plotting tools, and the messages that are not arrays.

Every topic is JSON with a schema, so that Foxglove and rerun plot it: "/episode" first, "/observation/<device>",
"/frames" in a live recording with pictures, "/tick", "/requested", "/sent", "/note", "/event", and "/outcome" last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import robolearn
from robolearn.data import encoding
from robolearn.data.framing import RecordWriter
from robolearn.data.log_format import FORMAT_VERSION, nanoseconds
from robolearn.data.video import is_filmed
from robolearn.episode import EpisodeMeta, Event, Outcome
from robolearn.errors import BadEpisode, SpecError
from robolearn.specs import ArraySpec, Spec, to_json

__all__ = ["Topics", "episode_text", "event_text", "outcome_text", "refuse"]


class Topics:
    """The channels of one log, declared as they are made.

    Args:
        records: The file.
        observation_spec: One topic per device in it.
        action_spec: Of "/requested" and "/sent".
        frames: Whether rows say how fresh their pictures are.
    """

    def __init__(self, records: RecordWriter, observation_spec: Spec, action_spec: Spec, *, frames: bool):
        self.frames = frames
        self._records = records
        self._channels: dict[str, int] = {}
        for device, fields in encoding.split_by_device(observation_spec).items():
            described = [(field, observation_spec[name]) for field, name in fields.items()]
            self._declare(f"/observation/{device}", encoding.json_schema(described), {"names": json.dumps(fields)})
        for topic in ("/requested", "/sent"):
            nested = {
                device: encoding.json_schema((field, action_spec[name]) for field, name in fields.items())
                for device, fields in encoding.split_by_device(action_spec).items()
            }
            self._declare(topic, {"type": "object", "properties": nested})
        whole = ArraySpec((), "int64")
        self._declare("/tick", encoding.json_schema([("tick", whole), ("crc", whole)]))
        for topic in ("/episode", "/event", "/outcome", *(("/frames",) if frames else ())):
            self._declare(topic, encoding.json_schema([]))

    def declare_notes(self, spec: Spec) -> None:
        """The notes of an episode, known with its first action."""
        self._declare("/note", encoding.json_schema(spec.items()), {"spec": json.dumps(to_json(spec))})

    def write(self, topic: str, received_ns: int, captured_ns: int, text: str) -> None:
        """Add one message; `RecordWriter.flush` hands it to the kernel."""
        self._records.message(self._channels[topic], received_ns, captured_ns, text.encode())

    def _declare(self, topic: str, schema: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
        self._channels[topic] = self._records.channel(topic, json.dumps(schema).encode(), metadata)


def refuse(meta: EpisodeMeta, observation_spec: Spec, action_spec: Spec) -> None:
    """Refuse what no log can hold.

    Raises:
        BadEpisode: A rate that is not positive and finite.
        SpecError: Names that cannot be topics, or an action that is a picture.
    """
    if not (math.isfinite(meta.rate_hz) and meta.rate_hz > 0):
        raise BadEpisode(f"An episode's rate must be a positive, finite number of hertz; found {meta.rate_hz!r}.")
    for spec in (observation_spec, action_spec):
        encoding.split_by_device(spec)
    if images := [name for name, spec in action_spec.items() if is_filmed(spec)]:
        raise SpecError(f"An action cannot be a picture; found {images}. Only observations go to video.")


def episode_text(meta: EpisodeMeta, started: str, observation_spec: Spec, action_spec: Spec) -> str:
    """The facts in front of an episode.

    Raises:
        SpecError: They are not plain JSON values.
    """
    facts = {
        "format": FORMAT_VERSION,
        "software": robolearn.__version__,
        "started": started,
        "rate_hz": meta.rate_hz,
        "meta": asdict(meta),
        "observation_spec": to_json(observation_spec),
        "action_spec": to_json(action_spec),
    }
    try:
        return json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"The episode's facts must be plain JSON values ({error}); found {meta}.") from error


def event_text(event: Event) -> tuple[int, str]:
    """When an event began, in nanoseconds, and what is written of it.

    Raises:
        BadEpisode: Its times are not valid or end before they start.
        SpecError: Its parameters are not plain JSON values.
    """
    start_ns, end_ns = nanoseconds(event.time), nanoseconds(event.end)
    if end_ns < start_ns:
        raise BadEpisode(f"The event {event.kind!r} ends at {event.end!r} s, before its start {event.time!r} s.")
    facts = asdict(event) | {"time": start_ns, "end": end_ns, "params": dict(event.params)}
    try:
        return start_ns, json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"The parameters of the event {event.kind!r} must be plain finite numbers, texts and lists ({error}); "
            f"found {dict(event.params)!r}. Convert them where the event is made."
        ) from error


def outcome_text(outcome: Outcome, observations: int, actions: int) -> str:
    """How an episode ended, with the counts that a reader checks."""
    return json.dumps({"outcome": outcome.name, "observations": observations, "actions": actions})
