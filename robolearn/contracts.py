"""The language of the house on one page, numpy only.

Devices speak unbatched arrays; an `Env` and a `Policy` always have a leading axis of n rows (a real bench
is n = 1). `act` and `write` return what was really sent; observations come only from `observe` and `read`,
so nobody acts on stale data by accident. A contract grows only when two real implementations need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from robolearn.episode import Episode, Event, Outcome, Perturbation, Reading
from robolearn.specs import Array, Arrays, Spec
from robolearn.task import Task

__all__ = [
    "ActKind",
    "Adversary",
    "Attended",
    "Camera",
    "ChunkModel",
    "Disturbable",
    "Env",
    "Eventful",
    "Observer",
    "Policy",
    "Restorable",
    "RewardModel",
    "Robot",
    "Stage",
    "TeleopDevice",
    "Tick",
]


class Robot(Protocol):
    """An arm, with or without a gripper. As a context manager: entering connects, leaving stops and disconnects."""

    @property
    def observation_spec(self) -> Spec: ...
    @property
    def action_spec(self) -> Spec: ...

    def read(self) -> Reading:
        """The newest measured state; never blocks longer than one control period. Raises `StaleReading`."""
        ...

    def write(self, action: Arrays) -> Arrays:
        """Send a command and return what was really sent, after the device's own limits."""
        ...

    def stop(self) -> None:
        """Decelerate and hold where the arm is; from any thread, in any state, any number of times."""
        ...


class Camera(Protocol):
    """A source of pictures under flat names such as "wrist.rgb"."""

    @property
    def spec(self) -> Spec: ...

    def read(self) -> Reading:
        """The newest whole frame with its capture time. Raises `StaleReading` when it is too old."""
        ...


class TeleopDevice(Protocol):
    """Something a person holds: its pose, sticks and buttons in its own frame."""

    @property
    def spec(self) -> Spec: ...

    def read(self) -> Reading:
        """The newest state of the device. Raises `StaleReading` when the person is gone."""
        ...


class Env(Protocol):
    """n rows of a task: hundreds in a simulation, one on a bench. Rows never influence each other."""

    @property
    def n(self) -> int: ...
    @property
    def task(self) -> Task: ...
    @property
    def observation_spec(self) -> Spec: ...
    @property
    def action_spec(self) -> Spec: ...

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        """Start a new episode in these rows; the same seed gives the same start, in any row."""
        ...

    def observe(self) -> Reading:
        """What is measured now, in all rows: arrays (n, ...), time (n,). The arrays are the caller's to keep."""
        ...

    def act(self, action: Arrays) -> Arrays:
        """Act for one control period in all rows and return what was really sent (clipped to limits)."""
        ...

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        """Disturb a row: a simulation does it, a bench cues the person. The event says whether and when."""
        ...

    def outcomes(self) -> Array:
        """(n,) int8 `Outcome` codes."""
        ...

    def close(self) -> None:
        """Give back processes, windows and devices; safe to call twice."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """An `Env` that can also start from a recorded simulator state."""

    def restore(self, states: Array, rows: Sequence[int]) -> None:
        """Start episodes in these rows from states (rows, s), as recorded in the note "sim_state"."""
        ...


@runtime_checkable
class Eventful(Protocol):
    """An `Env` in which things happen that nobody proposed: a safety gate that intervenes, a device that is lost."""

    def events(self) -> Sequence[tuple[int, Event]]:
        """Pairs of row and event since the last call; the loop asks after every `act`."""
        ...


class ActKind(Protocol):
    """One kind of disturbance, as adversaries and consoles need to know it."""

    @property
    def targets(self) -> tuple[str, ...]:
        """What it can be done to; an empty target means the first."""
        ...

    @property
    def params(self) -> Mapping[str, tuple[float, float, float]]:
        """Its numbers: smallest, largest and default value."""
        ...

    @property
    def budget(self) -> str:
        """Under which heading of `Disturbable.limits` it counts, "" when it is free."""
        ...

    @property
    def at_start(self) -> bool:
        """Whether it is possible only before the first action of an episode."""
        ...


@runtime_checkable
class Disturbable(Protocol):
    """An `Env` that says in which ways, how often and how soon again it lets itself be disturbed."""

    @property
    def acts(self) -> Mapping[str, ActKind]:
        """Every kind that `apply` takes."""
        ...

    @property
    def limits(self) -> Mapping[str, int]:
        """Most accepted acts of one episode per heading of `ActKind.budget`."""
        ...

    @property
    def gap_s(self) -> float:
        """Least time between the starts of two acts that count."""
        ...


class Policy(Protocol):
    """Anything that decides: a network, a script, a person at a device, a replay.

    Beside the arrays of `action_spec`, `act` may return notes under names starting with "note." (shape (n,)
    or (n, ...)), which are recorded and never sent. Two are known to the loop: "note.actor" says who decided
    (`Actor` codes) and "note.outcome" ends an episode by decision of the policy (`Outcome` codes): a person
    pressing stop, a replay at its end.
    """

    @property
    def observation_spec(self) -> Spec:
        """Only what it needs of the environment's observations."""
        ...

    @property
    def action_spec(self) -> Spec: ...

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        """Forget the past of these rows; the seed fixes every random choice of the row."""
        ...

    def act(self, observation: Arrays) -> Arrays:
        """One decision for all n rows."""
        ...


@runtime_checkable
class Attended(Protocol):
    """A person's policy whose device has a place, things to show there, or a stop of its own."""

    observers: list[Observer]
    """Who has to see every step of the loop in which the person acts, such as the pages of a console."""

    @property
    def url(self) -> str:
        """Where the person finds the device, "" when it is at hand."""
        ...

    def on_stop(self, call: Callable[[str], None]) -> None:
        """What to call at once, from whatever thread, with the name of somebody who says stop at the device."""
        ...

    def close(self) -> None:
        """Give the device back; safe to call twice."""
        ...


class ChunkModel(Protocol):
    """A model that looks at a history and predicts several actions; `compose.Chunked` makes it a `Policy`."""

    @property
    def observation_spec(self) -> Spec: ...
    @property
    def action_spec(self) -> Spec: ...
    @property
    def history(self) -> int:
        """How many observations it wants, newest last."""
        ...

    @property
    def chunk(self) -> int:
        """How many actions to play before asking again."""
        ...

    def predict(self, observations: Arrays, noise: Array) -> Arrays:
        """Actions (rows, chunk, ...) from observations (rows, history, ...).

        Args:
            observations: Per name (rows, history, ...), newest last.
            noise: (rows,) uint64, one random number per row, from which all randomness of the row must come.
        """
        ...


class Adversary(Protocol):
    """Proposes disturbances; the environment disposes and the safety gate still applies."""

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None: ...

    def propose(self, reading: Reading) -> Sequence[tuple[int, Perturbation]]:
        """Pairs of row and perturbation, often none."""
        ...


@dataclass(frozen=True, slots=True)
class Tick:
    """One step of the loop, as observers see it.

    Attributes:
        active: (n,) bool, the rows that belong to an episode.
        reading: What the policy saw.
        requested: What it asked for (arrays of the action spec).
        sent: What was really sent.
        notes: The policy's notes without the "note." prefix, with "actor" always there.
        events: Pairs of row and event since the last tick.
        decision_s: Wall time of the policy's decision in seconds.
    """

    active: Array
    reading: Reading
    requested: Arrays
    sent: Arrays
    notes: Arrays
    events: Sequence[tuple[int, Event]]
    decision_s: float


class Observer(Protocol):
    """Watches the loop: records, measures, draws. It never changes what happens."""

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Episodes start in these rows."""
        ...

    def step(self, tick: Tick) -> None: ...

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        """Episodes have ended in these rows; `reading` is the observation after the last action."""
        ...


class RewardModel(Protocol):
    """One number per step, pure."""

    def __call__(self, episode: Episode) -> Array:
        """(T,) rewards."""
        ...


class Stage(Protocol):
    """A frozen dataclass whose fields are all of its inputs."""

    def run(self, out: Path) -> Path:
        """Read the inputs, write below `out` and nothing else, return the artefact's folder."""
        ...
