"""What happened: readings, events and whole episodes, refused when their shapes do not fit.

An episode holds T actions and T + 1 observations, with what was asked for and what was really sent side by
side, who acted at each step, and everything that disturbed the scene as events with their own times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from robolearn.errors import BadEpisode, SpecError
from robolearn.specs import Array, Arrays, Spec, check

__all__ = ["Actor", "Episode", "EpisodeMeta", "Event", "Outcome", "Perturbation", "Reading"]


class Outcome(IntEnum):
    """How an episode stands. A timeout is a truncation: the task could have gone on."""

    RUNNING = 0
    SUCCESS = 1
    FAILURE = 2
    TIMEOUT = 3
    ABORTED = 4


class Actor(IntEnum):
    """Who decided a step."""

    OPERATOR = 0
    POLICY = 1
    INTERVENTION = 2
    SCRIPT = 3
    REPLAY = 4


class Reading(NamedTuple):
    """Values with their capture time.

    Attributes:
        time: Seconds on the source's monotonic clock: a float from a device, shape (n,) from an `Env`.
        arrays: The values, with a leading axis n when they come from an `Env`.
        captured: Capture times of arrays that differ from `time`, by name (a camera slower than its arm).
    """

    time: float | Array
    arrays: Arrays
    captured: Mapping[str, float | Array] = {}


@dataclass(frozen=True, slots=True)
class Perturbation:
    """Something an adversary wants done to the scene.

    Attributes:
        kind: The act, such as "MOVE_OBJ" or "SET_CMD".
        target: What it is done to, such as the name of an object.
        params: Numbers of the act in SI units.
        instruction: The new command of a "SET_CMD".
        source: Who wants it: "human", "rule", "random", "learned".
        cause: What made it happen, plain numbers and texts: the trigger, the phase, distances.
    """

    kind: str
    target: str = ""
    params: Mapping[str, float] = field(default_factory=lambda: {})
    instruction: str = ""
    source: str = ""
    cause: Mapping[str, Any] = field(default_factory=lambda: {})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during an episode, at its own time.

    Attributes:
        kind: What: a perturbation's kind, or a mark such as "success".
        time: Start in seconds, on the clock of the episode's times.
        end: End in seconds, equal to `time` for an instant.
        source: Who caused it: "human", "rule", "random", "learned", "gate", "loop".
        target: What it was done to.
        params: Plain numbers, texts and lists.
        accepted: False when the environment refused it; `reason` says why.
        reason: Why it was refused, or "".
    """

    kind: str
    time: float
    end: float
    source: str = ""
    target: str = ""
    params: Mapping[str, Any] = field(default_factory=lambda: {})
    accepted: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeMeta:
    """The facts around an episode.

    Attributes:
        task: Name of the task.
        instruction: The command at the start.
        rate_hz: Control decisions per second.
        seed: Seed of the start state, None when a person set the scene.
        robot: Name of the robot.
        operator: Who demonstrated: a person, a policy's fingerprint, "expert".
        adversary: Who disturbed, "" when nobody did.
        bench: Which bench or simulation this is.
        source: Where foreign data came from, "" for our own recordings.
        extra: Anything else, plain JSON values.
    """

    task: str
    instruction: str
    rate_hz: float
    seed: int | None = None
    robot: str = ""
    operator: str = ""
    adversary: str = ""
    bench: str = ""
    source: str = ""
    extra: Mapping[str, Any] = field(default_factory=lambda: {})


@dataclass(frozen=True, slots=True)
class Episode:
    """One demonstration or rollout, complete and consistent.

    Attributes:
        observation_spec: Meaning of `observations`.
        action_spec: Meaning of `requested` and `actions`.
        observations: Leading axis T + 1: what was seen before each action and after the last.
        requested: Leading axis T: what was asked for, be it out of limits or not finite.
        actions: Leading axis T: what was really sent, after limits and the safety gate.
        actor: (T,) int8, `Actor` codes.
        times: (T + 1,) float64, capture time of each observation in seconds, strictly growing.
        notes: Leading axis T: annotations of each step, such as "subtask".
        events: Perturbations and marks in order of time.
        outcome: How it ended.
        meta: The facts around it.
    """

    observation_spec: Spec
    action_spec: Spec
    observations: Arrays
    requested: Arrays
    actions: Arrays
    actor: Array
    times: Array
    outcome: Outcome
    meta: EpisodeMeta
    notes: Arrays = field(default_factory=lambda: {})
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        steps = len(self.times) - 1
        if steps < 1:
            raise BadEpisode(
                f"An episode needs at least one action and two observations; found {len(self.times)} times."
            )
        try:
            check(self.observations, self.observation_spec, lead=(steps + 1,), where="observations (T + 1 of them)")
            check(self.requested, self.action_spec, lead=(steps,), finite=False, where="requested actions (T of them)")
            check(self.actions, self.action_spec, lead=(steps,), where="sent actions (T of them)")
        except SpecError as error:
            raise BadEpisode(f"The episode does not fit together: {error}") from error
        if self.actor.shape != (steps,):
            raise BadEpisode(f"Expected one actor per action, shape ({steps},); found {self.actor.shape}.")
        for name, value in self.notes.items():
            if value.shape[:1] != (steps,):
                raise BadEpisode(f"The note {name!r} needs one value per action, {steps}; found shape {value.shape}.")
        if not np.all(np.isfinite(self.times)) or not np.all(np.diff(self.times) > 0):
            raise BadEpisode(
                "Times must be finite and strictly growing; sort or drop the offending rows at the source."
            )

    @property
    def steps(self) -> int:
        """Number of actions T."""
        return len(self.times) - 1
