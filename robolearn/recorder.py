"""Recording is watching: an observer that turns the loop's ticks into episodes of a store.

Each row writes to its own episode while it runs, record by record, so a crash keeps what was acknowledged.
An episode is sealed when it ends, before anything is reset. For a bench with devices at their own rates and a person
who decides what is kept, see `robolearn.data.session`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Env, Tick
from robolearn.data.store import EpisodeWriter, Store
from robolearn.episode import EpisodeMeta, Event, Outcome, Reading
from robolearn.specs import Arrays

__all__ = ["Recorder", "row_of", "row_reading"]


class Recorder:
    """Writes every episode of a rollout to a store.

    Leaving it as a context manager seals what is unfinished as aborted: an error or Ctrl-C loses no demonstration.

    Args:
        store: Where to.
        clock: The clock of a bench's capture times; it stamps the receive times and makes the recording live (pictures
            encoded in the background, synced to the disk each 100 ms). None for a simulation.
        longest_s: The longest allowed episode; there must be room for it on the disk.
        keep: Outcomes worth keeping; the rest is discarded, except when the log is all there is (a bench).
        operator: Who demonstrates, for the episode's facts.
        adversary: Who disturbs.
        bench: Which bench or simulation.
        extra: Anything else to remember with each episode.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        longest_s: float = 0.0,
        keep: Callable[[Outcome], bool] = lambda outcome: True,
        operator: str = "",
        adversary: str = "",
        bench: str = "",
        extra: Mapping[str, Any] | None = None,
    ):
        self.kept: list[str] = []
        self._store, self._keep = store, keep
        self._clock, self._longest_s = clock, longest_s
        self._facts: dict[str, Any] = {"operator": operator, "adversary": adversary, "bench": bench}
        self._facts["extra"] = dict(extra or {})
        self._writers: dict[int, EpisodeWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for writer in self._writers.values():
            if writer.steps:
                self.kept.append(writer.commit(Outcome.ABORTED))
            else:
                writer.discard()
        self._writers.clear()

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        task = env.task
        for row, seed in zip(rows, seeds, strict=True):
            meta = EpisodeMeta(
                task=task.name,
                instruction=task.instruction,
                rate_hz=task.rate_hz,
                seed=seed,
                robot=task.robot,
                **self._facts,
            )
            self._writers[row] = self._store.record(
                meta, env.observation_spec, env.action_spec, clock=self._clock, longest_s=self._longest_s
            )

    def step(self, tick: Tick) -> None:
        events: dict[int, list[Event]] = {}
        for row, event in tick.events:
            events.setdefault(row, []).append(event)
        for row, writer in self._writers.items():
            writer.observation(row_reading(tick.reading, row))
            for event in events.get(row, ()):
                writer.event(event)
            writer.action(row_of(tick.requested, row), row_of(tick.sent, row), row_of(tick.notes, row))

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            writer = self._writers.pop(row)
            if self._keep(outcome):
                writer.observation(row_reading(reading, row))
                self.kept.append(writer.commit(outcome))
            else:
                writer.discard()


def row_reading(reading: Reading, row: int) -> Reading:
    """One row of a batched reading, unbatched."""
    times = np.asarray(reading.time)
    captured = {name: float(np.asarray(value)[row]) for name, value in reading.captured.items()}
    return Reading(float(times[row]), row_of(reading.arrays, row), captured)


def row_of(arrays: Arrays, row: int) -> Arrays:
    """One row of batched arrays."""
    return {name: value[row] for name, value in arrays.items()}
