"""Policies made of policies: play a model's chunks, replay an episode, let a person take over.

To change how a policy or an environment behaves, wrap it. Histories and unfinished chunks are kept per row, so rows can
start, end and run at different points of their chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.contracts import ChunkModel, Env, Policy
from robolearn.episode import Actor, Episode, Event, Outcome, Perturbation, Reading
from robolearn.errors import SpecError
from robolearn.specs import Array, Arrays, Spec, first_difference, zeros
from robolearn.task import Task

__all__ = ["Chunked", "Intervene", "Replay", "Wrapped"]


class Chunked:
    """Plays the action chunks of a `ChunkModel`, asking again when a row's chunk is used up.

    The history of a fresh row is its first observation repeated, as in training. What the model says under names
    starting with "note." (rows, ...) is passed on with every action of the chunk, beside "note.decision" (n,), true
    where the model was asked at this step.
    """

    def __init__(self, model: ChunkModel, n: int):
        self._model = model
        self._history = {name: _rows(n, model.history, s.shape, s.dtype) for name, s in model.observation_spec.items()}
        self._chunks = {name: _rows(n, model.chunk, s.shape, s.dtype) for name, s in model.action_spec.items()}
        self._position = np.full(n, model.chunk)  # next action of the chunk; `chunk` means used up
        self._fresh = np.ones(n, bool)
        self._random: list[np.random.Generator] = [np.random.default_rng(0) for _ in range(n)]
        self._notes: dict[str, Array] = {}

    @property
    def observation_spec(self) -> Spec:
        return self._model.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._model.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            self._random[row] = np.random.default_rng(seed)
        self._fresh[list(rows)] = True
        self._position[list(rows)] = self._model.chunk

    def act(self, observation: Arrays) -> Arrays:
        for name, history in self._history.items():
            history[:, :-1] = history[:, 1:]
            history[:, -1] = observation[name]
            history[self._fresh] = observation[name][self._fresh][:, None]
        self._fresh[:] = False
        empty = np.flatnonzero(self._position >= self._model.chunk)
        if len(empty):
            drawn: list[Any] = [self._random[row].integers(2**63) for row in empty]  # pyright: ignore[reportUnknownMemberType]
            noise = np.array(drawn, np.uint64)
            chunks = self._model.predict({name: h[empty] for name, h in self._history.items()}, noise)
            for name, chunk in self._chunks.items():
                chunk[empty] = chunks[name]
            for name in chunks.keys() - self._chunks.keys():
                self._notes.setdefault(name, np.zeros((len(self._fresh), *chunks[name].shape[1:]), chunks[name].dtype))
                self._notes[name][empty] = chunks[name]
            self._position[empty] = 0
        rows = np.arange(len(self._position))
        action = {name: chunk[rows, self._position] for name, chunk in self._chunks.items()}
        notes = {name: note.copy() for name, note in self._notes.items()}
        if notes:
            notes["note.decision"] = self._position == 0
        self._position += 1
        return action | {"note.actor": np.full(len(rows), Actor.POLICY, np.int8)} | notes


class Replay:
    """Plays recorded actions open loop, one episode per row, and ends when they run out.

    Args:
        episodes: One per row, all with the same action spec.
        requested: Play what was requested instead of what was sent.
    """

    def __init__(self, episodes: Sequence[Episode], *, requested: bool = False):
        if not episodes:
            raise SpecError("Replay needs at least one episode; found none.")
        self._spec = episodes[0].action_spec
        for episode in episodes[1:]:
            if difference := first_difference(self._spec, episode.action_spec):
                raise SpecError(f"Replay needs episodes with equal actions: {difference}.")
        self._actions = [episode.requested if requested else episode.actions for episode in episodes]
        self._steps = np.array([episode.steps for episode in episodes])
        self._position = np.zeros(len(episodes), int)

    @property
    def observation_spec(self) -> Spec:
        return {}

    @property
    def action_spec(self) -> Spec:
        return self._spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._position[list(rows)] = 0

    def act(self, observation: Arrays) -> Arrays:
        n = len(self._steps)
        action = zeros(self._spec, (n,))
        for row in range(n):
            step = min(int(self._position[row]), int(self._steps[row]) - 1)
            for name, values in action.items():
                values[row] = self._actions[row][name][step]
        self._position += 1
        over = self._position >= self._steps
        return action | {
            "note.actor": np.full(n, Actor.REPLAY, np.int8),
            "note.outcome": np.where(over, Outcome.TIMEOUT, Outcome.RUNNING).astype(np.int8),
        }


class Intervene:
    """Lets an operator take over from a policy row by row; both see every observation.

    The operator takes over in rows where its note "engaged" is true, and keeps them while its note "keeps" is: a
    person who was lost in the middle (a page closed, a phone gone) has not given the arm back, so it holds until they
    let go on purpose. All of this is noted as `Actor.INTERVENTION`; what the policy wanted is kept under
    "note.policy.<name>".
    """

    def __init__(self, policy: Policy, operator: Policy):
        if difference := first_difference(policy.action_spec, operator.action_spec):
            raise SpecError(f"Policy and operator must take the same actions: {difference}.")
        self._policy, self._operator = policy, operator

    @property
    def observation_spec(self) -> Spec:
        return {**self._policy.observation_spec, **self._operator.observation_spec}

    @property
    def action_spec(self) -> Spec:
        return self._policy.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._policy.reset(seeds, rows)
        self._operator.reset(seeds, rows)

    def act(self, observation: Arrays) -> Arrays:
        proposed = self._policy.act({name: observation[name] for name in self._policy.observation_spec})
        person = self._operator.act({name: observation[name] for name in self._operator.observation_spec})
        engaged = np.asarray(person["note.engaged"], bool)
        kept = engaged | np.asarray(person.get("note.keeps", engaged), bool)
        result: dict[str, Array] = {}
        for name in self.action_spec:
            shape = (-1,) + (1,) * (proposed[name].ndim - 1)
            result[name] = np.where(kept.reshape(shape), person[name], proposed[name])
            result[f"note.policy.{name}"] = proposed[name]
        result["note.engaged"] = engaged
        actor = proposed.get("note.actor", np.int8(Actor.POLICY))
        result["note.actor"] = np.where(kept, Actor.INTERVENTION, actor).astype(np.int8)
        if "note.outcome" in person:
            result["note.outcome"] = person["note.outcome"]
        return result


class Wrapped:
    """An `Env` that is another one in everything; change what you need in a subclass."""

    def __init__(self, env: Env):
        self.inner = env

    @property
    def n(self) -> int:
        return self.inner.n

    @property
    def task(self) -> Task:
        return self.inner.task

    @property
    def observation_spec(self) -> Spec:
        return self.inner.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self.inner.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self.inner.reset(seeds, rows)

    def observe(self) -> Reading:
        return self.inner.observe()

    def act(self, action: Arrays) -> Arrays:
        return self.inner.act(action)

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        return self.inner.apply(row, perturbation)

    def outcomes(self) -> Array:
        return self.inner.outcomes()

    def close(self) -> None:
        self.inner.close()


def _rows(n: int, length: int, shape: tuple[int, ...], dtype: str) -> Array:
    return np.zeros((n, length, *shape), dtype)
