"""Observers of the loop that measure and show: memory, film, progress line.

The one that records is in `robolearn.recorder`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

from robolearn.clock import Clock, MonotonicClock
from robolearn.contracts import Env, Tick
from robolearn.episode import Episode, EpisodeMeta, Outcome, Reading
from robolearn.specs import Array, Arrays, ArraySpec

__all__ = ["Film", "Memory", "Progress", "jerk"]


def jerk(positions: Array, rate_hz: float) -> float:
    """Mean jerk in m/s^3 of positions (T, 3) in m sampled at a fixed rate; NaN when T < 4.

    The third finite difference over dt^3, averaged over time: how roughly a tool moves.
    """
    if len(positions) < 4:
        return float("nan")
    return float(np.linalg.norm(np.diff(positions, n=3, axis=0), axis=-1).mean() * rate_hz**3)


@dataclass
class _Steps:
    """One row's unfinished episode in memory."""

    seed: int
    observations: list[Arrays] = field(default_factory=lambda: [])
    requested: list[Arrays] = field(default_factory=lambda: [])
    sent: list[Arrays] = field(default_factory=lambda: [])
    actor: list[int] = field(default_factory=lambda: [])
    times: list[float] = field(default_factory=lambda: [])


class Memory:
    """Keeps finished episodes in memory, by seed, in full or without pictures.

    Args:
        pictures: Also keep images; they are large.
    """

    def __init__(self, *, pictures: bool = False):
        self.episodes: dict[int, Episode] = {}
        self._pictures = pictures
        self._rows: dict[int, _Steps] = {}
        self._env: Env | None = None

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._env = env
        for row, seed in zip(rows, seeds, strict=True):
            self._rows[row] = _Steps(seed)

    def step(self, tick: Tick) -> None:
        for row, steps in self._rows.items():
            self._observe(steps, tick.reading, row)
            steps.requested.append(_row(tick.requested, row))
            steps.sent.append(_row(tick.sent, row))
            steps.actor.append(int(tick.notes["actor"][row]))

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        assert self._env is not None
        task = self._env.task
        spec = self._kept_spec()
        for row, outcome in zip(rows, outcomes, strict=True):
            steps = self._rows.pop(row)
            self._observe(steps, reading, row)
            self.episodes[steps.seed] = Episode(
                observation_spec=spec,
                action_spec=self._env.action_spec,
                observations=_stack(steps.observations),
                requested=_stack(steps.requested),
                actions=_stack(steps.sent),
                actor=np.array(steps.actor, np.int8),
                times=np.array(steps.times),
                outcome=outcome,
                meta=EpisodeMeta(task.name, task.instruction, task.rate_hz, steps.seed, task.robot),
            )

    def _kept_spec(self) -> dict[str, ArraySpec]:
        assert self._env is not None
        return {k: s for k, s in self._env.observation_spec.items() if self._pictures or not s.is_image}

    def _observe(self, steps: _Steps, reading: Reading, row: int) -> None:
        steps.observations.append({name: reading.arrays[name][row] for name in self._kept_spec()})
        steps.times.append(float(np.asarray(reading.time)[row]))


class Film:
    """Keeps the pictures of one camera in the first row."""

    def __init__(self, name: str):
        self.frames: list[Array] = []
        self._name = name

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.frames.clear()

    def step(self, tick: Tick) -> None:
        self.frames.append(tick.reading.arrays[self._name][0])

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self.frames.append(reading.arrays[self._name][0])


class Progress:
    """A line saying how many episodes are done: rewritten on a terminal, now and then in a log."""

    def __init__(self, label: str, episodes: int, *, stream: TextIO | None = None, clock: Clock | None = None):
        self._label, self._episodes = label, episodes
        self._stream, self._clock = stream or sys.stderr, clock or MonotonicClock()
        self._start = self._last = self._clock.now()
        self._done = self._good = 0

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        return

    def step(self, tick: Tick) -> None:
        return

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self._done += len(rows)
        self._good += sum(outcome is Outcome.SUCCESS for outcome in outcomes)
        now, over = self._clock.now(), self._done >= self._episodes
        terminal = self._stream.isatty()
        if over or now - self._last >= (0.2 if terminal else 10.0):
            self._last = now
            left = (now - self._start) / self._done * (self._episodes - self._done)
            text = f"{self._label}: {self._done}/{self._episodes} episodes, {self._good} successes, {left:.0f} s left"
            end = "\n" if over or not terminal else "\r"
            self._stream.write(text.ljust(79) + end)
            self._stream.flush()


def _row(arrays: Arrays, row: int) -> Arrays:
    return {name: value[row] for name, value in arrays.items()}


def _stack(arrays: Sequence[Arrays]) -> Arrays:
    return {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}
