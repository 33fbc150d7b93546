"""An observer that shows: pictures, what the loop is doing, and what there is to review. It never waits for a page."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from robolearn.contracts import Env, Tick
from robolearn.data.session import Review
from robolearn.episode import Actor, Event, Outcome, Reading
from robolearn.specs import Array
from teleop.console import acts
from teleop.console.console import Console
from teleop.console.coverage import places_of, told

__all__ = ["View"]

QUIET = ("gate.engage", "gate.limit")
"""What the gate does all the time: it is recorded, and would hide on the pages what people have done."""


class View:
    """What the pages see of one bench.

    Args:
        console: Where it is shown.
        env: The bench.
        things: Names of the objects whose places are shown.
    """

    def __init__(self, console: Console, env: Env, things: Sequence[str]):
        self._console, self._env, self._things = console, env, tuple(things)
        self._cameras = [name for name, spec in env.observation_spec.items() if spec.is_image]
        self.instruction = env.task.instruction
        """The active command."""
        self.recording = False
        """Whether the ticks belong to an episode that is recorded."""
        self.facts: dict[str, Any] = {}
        """What the session says of itself, shown with every state."""
        self.events: list[Event] = []
        self._rows: list[dict[str, Any]] = []
        self._ticks: deque[float] = deque(maxlen=40)
        self._decisions: deque[float] = deque(maxlen=40)
        self._last: Reading | None = None
        self._started = 0.0
        self._reviews = 0

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._rows, self.events, self._started = [], [], self._console.clock.now()
        self._ticks.clear()
        if self.recording:
            self._console.film.begin()

    def step(self, tick: Tick) -> None:
        self.show(tick.reading)
        self._ticks.append(self._console.clock.now())
        self._decisions.append(tick.decision_s)
        engaged = bool(np.asarray(tick.notes.get("engaged", [True]))[0])
        if self.recording:
            grip = tick.requested.get("gripper.command")
            self._row(tick.reading, Actor(int(tick.notes["actor"][0])), engaged, None if grip is None else grip[0])
        self.publish(engaged=engaged)

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self.show(reading)
        if self.recording:
            self._row(reading, None, False, None)

    def look(self, event: Event) -> None:
        """An event, complete or about to be, for the pages."""
        if event.kind in QUIET:
            return
        known = [k for k, e in enumerate(self.events) if (e.kind, e.time) == (event.kind, event.time)]
        if event.kind == "SET_CMD" and known:
            self.events[known[-1]] = event  # it has been seen meanwhile
            return
        self.events.append(event)
        if event.kind == "SET_CMD" and event.accepted:
            self.instruction = str(event.params.get("instruction", ""))

    def show(self, reading: Reading) -> None:
        """Take in what is measured: pictures, places, the command."""
        self._last = reading
        for camera in self._cameras:
            captured = float(np.asarray(reading.captured.get(camera, reading.time))[0])
            self._console.film.offer(camera, captured, reading.arrays[camera][0], keep=self.recording)
        one = {name: value[0] for name, value in reading.arrays.items() if name not in self._cameras}
        self.instruction = told(one, self._env.observation_spec) or self.instruction

    def publish(self, **facts: Any) -> None:
        """Show the state of things to the pages."""
        now, desk = self._console.clock.now(), self._console.desk
        rate_hz = self._env.task.rate_hz
        gaps = np.diff(np.array(self._ticks)) if len(self._ticks) > 1 else np.array([1.0 / rate_hz])
        status: dict[str, Any] = {
            "t": now,
            "recording": self.recording,
            "instruction": {"text": self.instruction, "number": desk.command_number},
            "loop": {
                "hz": round(1.0 / max(float(gaps.mean()), 1e-6), 1),
                "target_hz": rate_hz,
                "late_ms": round(1e3 * max(0.0, float(gaps.max()) - 1.0 / rate_hz), 1),
                "decision_ms": round(1e3 * float(np.mean(self._decisions or [0.0])), 1),
            },
            "cameras": {},
            "elapsed_s": round(now - self._started, 2) if self.recording else 0.0,
            "budgets": acts.budgets(self._env),
            "wait_s": round(acts.wait_s(self._env, now), 2),
            "events": [_brief(event, self._started) for event in self.events[-6:]],
            "disturbed": any(event.accepted and event.source and now < event.end for event in self.events[-6:]),
        }
        if (last := self._last) is not None:
            one = {name: value[0] for name, value in last.arrays.items() if name not in self._cameras}
            status["cameras"] = {c: float(np.asarray(last.captured.get(c, last.time))[0]) for c in self._cameras}
            status["objects"] = {name: _round(xy) for name, xy in places_of(one, self._things).items()}
            if "tool.position" in one:
                status["tool"] = _round(one["tool.position"])
        self._console.publish(status | self.facts | facts)

    def review(self, review: Review) -> dict[str, Any]:
        """Everything that the page of the review draws."""
        self._reviews += 1
        self._console.film.drain()
        rows = self._rows
        start = rows[0]["time"] if rows else self._started
        return {
            "number": self._reviews,
            "id": review.id,
            "proposed": review.proposed.name.lower(),
            "steps": review.steps,
            "duration_s": round(review.duration_s, 3),
            "degraded": review.degraded,
            "fault": review.fault,
            "start": start,
            "times": [round(row["time"] - start, 4) for row in rows],
            "actor": [row["actor"] for row in rows],
            "engaged": [row["engaged"] for row in rows],
            "command": [row["command"] for row in rows],
            "streams": {name: [row["numbers"].get(name) for row in rows] for name in _names(rows)},
            "events": [asdict(e) | {"time": e.time - start, "end": e.end - start} for e in self.events],
            "cameras": self._cameras,
        }

    def _row(self, reading: Reading, actor: Actor | None, engaged: bool, grip: Array | None) -> None:
        numbers: dict[str, float] = {}
        if "tool.position" in reading.arrays:
            numbers = dict(zip(("x", "y", "z"), _round(reading.arrays["tool.position"][0]), strict=True))
        if "gripper.width" in reading.arrays:
            numbers["gripper width"] = round(float(reading.arrays["gripper.width"][0, 0]), 4)
        if grip is not None:
            numbers["close"] = round(float(grip[0]), 3)
        self._rows.append(
            {
                "time": float(np.asarray(reading.time)[0]),
                "actor": "" if actor is None else actor.name.lower(),
                "engaged": engaged,
                "command": self.instruction,
                "numbers": numbers,
            }
        )


def _names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["numbers"]))


def _round(values: Array) -> list[float]:
    return [round(float(v), 4) if np.isfinite(v) else 0.0 for v in values]


def _brief(event: Event, start: float) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "target": event.target,
        "time": round(event.time - start, 2),
        "end": round(event.end - start, 2),
        "source": event.source,
        "accepted": event.accepted,
        "reason": event.reason,
        "instruction": event.params.get("instruction", ""),
    }
