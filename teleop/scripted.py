"""The task's scripted expert as the operator: for rehearsing a bench, testing the console, and batches without people.

It is engaged whenever the person who watches it holds nothing back: it needs no clutch, and its steps are noted as
`Actor.SCRIPT`. As a device it is a person who is always there and moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn import plugins
from robolearn.clock import Clock
from robolearn.contracts import Env, Policy
from robolearn.episode import Actor, Outcome, Reading
from robolearn.specs import Arrays, Spec
from teleop.hand import Marks, twist_spec
from teleop.operator import HandConfig

__all__ = ["Attendant", "Expert", "ExpertConfig"]


@dataclass(frozen=True, slots=True)
class ExpertConfig(HandConfig):
    """The scripted expert of the environment's task."""

    def build(self, clock: Clock) -> Attendant:
        """The attendant of the script."""
        return Attendant(clock)

    def operator(self, env: Env, clock: Clock) -> Policy:
        """The expert as a policy with the notes of an operator.

        Raises:
            UnknownName: The task has no scripted expert.
        """
        return Expert(plugins.load("expert", env.task.name)().build(env), env.n)


class Attendant:
    """A `TeleopDevice` at rest with the clutch held."""

    def __init__(self, clock: Clock):
        self._clock = clock

    @property
    def spec(self) -> Spec:
        return twist_spec()

    def read(self) -> Reading:
        arrays = {
            "hand.twist": np.zeros(6),
            "hand.grip": np.array([-1.0]),
            "hand.enable": np.array([True]),
            "hand.marks": Marks().counts,
        }
        return Reading(self._clock.now(), arrays)


class Expert:
    """The scripted policy, with "note.engaged" and `Actor.SCRIPT`."""

    def __init__(self, policy: Policy, n: int):
        self._policy, self._n = policy, n

    @property
    def observation_spec(self) -> Spec:
        return self._policy.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._policy.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._policy.reset(seeds, rows)

    def act(self, observation: Arrays) -> Arrays:
        notes = {
            "note.engaged": np.ones(self._n, bool),
            "note.actor": np.full(self._n, Actor.SCRIPT, np.int8),
            "note.outcome": np.full(self._n, Outcome.RUNNING, np.int8),
        }
        return notes | dict(self._policy.act(observation))
