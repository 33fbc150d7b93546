"""The operator and the adversary of a session, under the session's words.

`Lookout` stands where the adversary stands, before every decision: there the whole reading is seen, with the capture
times that a policy is not given. `Directed` is the operator, held back when somebody said stop, a camera froze or the
gate has latched, slowed while a hand is in the scene, and ended when the person has ended the episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from robolearn.contracts import Adversary, Env, Policy
from robolearn.episode import Outcome, Perturbation, Reading
from robolearn.specs import Array, Arrays, Spec, zeros

__all__ = ["Directed", "Lookout", "Words"]

SLOW = 0.3
"""Part of the commanded displacement that is left while somebody has a hand in the scene."""


class Words(Protocol):
    """What a session says, tick by tick."""

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        ...

    def look(self, reading: Reading) -> None:
        """Take in what is measured, and what people want."""
        ...

    def started(self, reading: Reading) -> None:
        """A recorded episode begins with this reading."""
        ...

    def holds(self, *, scripted: bool) -> str:
        """Why nobody may move the arm now, "" when somebody may."""
        ...

    def slow(self) -> bool:
        """Whether somebody has a hand in the scene."""
        ...

    def ending(self) -> Outcome:
        """How the person has just ended what is running, RUNNING when they have not."""
        ...

    def noted(self, *, engaged: bool, reason: str) -> None:
        """Who moves the arm, and if nobody, why."""
        ...


class Lookout:
    """Looks before every decision, and lets the adversary propose while something is recorded."""

    def __init__(self, live: Words, adversary: Adversary | None):
        self._live, self._adversary = live, adversary
        self._fresh = True

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._fresh = True
        if self._adversary is not None:
            self._adversary.reset(seeds, rows)

    def propose(self, reading: Reading) -> Sequence[tuple[int, Perturbation]]:
        self._live.look(reading)
        if not self._live.recording:
            return []
        if self._fresh:
            self._live.started(reading)
            self._fresh = False
        return [] if self._adversary is None else self._adversary.propose(reading)


class Directed:
    """The operator under the session's words: somebody said stop, a camera froze, an episode was ended."""

    def __init__(self, live: Words, operator: Policy, env: Env):
        self._live, self._operator, self._env = live, operator, env
        self._scripted = not hasattr(operator, "engagement")
        measured = {"arm.q": env.observation_spec["arm.q"]} if "arm.q" in env.observation_spec else {}
        self._spec: Spec = dict(operator.observation_spec) | measured
        self._grip = np.array([[-1.0]])
        self._hold: Array | None = None

    @property
    def observation_spec(self) -> Spec:
        return self._spec

    @property
    def action_spec(self) -> Spec:
        return self._operator.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._operator.reset(seeds, rows)
        self._hold = None

    def act(self, observation: Arrays) -> Arrays:
        reason = self._live.holds(scripted=self._scripted)
        if reason and not self._scripted:
            self._operator.lose(reason)  # pyright: ignore[reportAttributeAccessIssue]  # it has an engagement
        if reason and self._scripted:
            decision = self._still(observation)
        else:
            decision = dict(self._operator.act({name: observation[name] for name in self._operator.observation_spec}))
            self._hold = None
        if not self._scripted:
            reason = self._operator.engagement.reason  # pyright: ignore[reportAttributeAccessIssue]
        if self._live.slow() and "arm.delta" in decision:
            decision["arm.delta"] = SLOW * decision["arm.delta"]
        self._grip = decision.get("gripper.command", self._grip)
        decision["note.outcome"] = np.array([self._live.ending()], np.int8)
        self._live.noted(engaged=bool(decision["note.engaged"][0]), reason=reason)
        return decision

    def _still(self, observation: Arrays) -> dict[str, Array]:
        action = zeros(self.action_spec, (1,))
        if "arm.q_target" in action:
            self._hold = self._hold if self._hold is not None else observation["arm.q"].copy()
            action["arm.q_target"] = self._hold
        if "gripper.command" in action:
            action["gripper.command"] = self._grip
        act = self._operator.act({name: observation[name] for name in self._operator.observation_spec})
        notes = {name: value for name, value in act.items() if name.startswith("note.")}
        return action | notes | {"note.engaged": np.array([False])}
