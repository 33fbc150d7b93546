"""The adversary that does not look: the rule's acts at random times, at the same rate.

The control of the question whether the timing of disturbances matters: same kinds, same budgets, same displacements,
but each kind arrives as a Poisson process instead of at a trigger. Match its rates to a rule's recording with
`rates_of` of `robolearn.scene.labels`. It can also make the fingers slip, in any task: then demonstrations show how
what was lost is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Perturbation, Reading
from robolearn.scene.view import SceneView
from robolearn.specs import Array
from teleop.adversaries.hand import Hand

__all__ = ["RandomAdversary", "RandomConfig"]

SLIP_S = 0.2
"""How long the fingers open."""


@dataclass(frozen=True, slots=True)
class RandomConfig:
    """Acts at Poisson times."""

    object_hz: float = 0.25
    """Acts on the told thing per second."""
    container_hz: float = 0.15
    """Acts on the told container per second."""
    language_hz: float = 0.15
    """New commands per second."""
    slip_hz: float = 0.0
    """Opened fingers per second."""
    commands: tuple[str, ...] = ()
    """Commands it may give; () allows all."""
    reach_m: tuple[float, float] = (0.05, 0.25)
    """Range of displacements."""
    turn_rad: float = 1.2
    """Largest turn of a moved thing."""

    def build(self, env: Env) -> RandomAdversary:
        """The adversary of all rows of an environment."""
        return RandomAdversary(self, env)


class RandomAdversary:
    """An `Adversary`. Build it with `RandomConfig`."""

    def __init__(self, config: RandomConfig, env: Env):
        self._config, self._period_s = config, 1.0 / env.task.rate_hz
        self._hand = Hand(env, "random", config.commands, stream=2)
        kinds = {"MOVE_OBJ": config.object_hz, "MOVE_CONT": config.container_hz, "SET_CMD": config.language_hz}
        kinds |= {"SLIP": config.slip_hz}
        self._kinds = {kind: hz for kind, hz in kinds.items() if kind in self._hand.acts and hz > 0}
        self._next = np.zeros((env.n, len(self._kinds)))
        self.reset(range(env.n), range(env.n))

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._hand.reset(seeds, rows)
        for row in rows:
            for k, hz in enumerate(self._kinds.values()):
                self._next[row, k] = self._hand.rows[row].random.exponential(1.0 / hz)

    def propose(self, reading: Reading) -> list[tuple[int, Perturbation]]:
        times = np.asarray(reading.time)
        due = times[:, None] >= self._next
        waiting = np.array([row.asked is not None or row.refused is not None for row in self._hand.rows])
        rows = np.flatnonzero(due.any(axis=1) | waiting)
        if not len(rows):
            return []
        seen = self._hand.look(reading)
        proposed: list[tuple[int, Perturbation]] = []
        for row in map(int, rows):
            if not self._hand.settle(row, reading):
                continue
            kind = self._due(row, due[row], float(times[row]))
            act = self._make(row, kind, seen, reading) if kind else None
            if act is not None:
                proposed.append((row, self._hand.ask(row, act, reading)))
        return proposed

    def _due(self, row: int, due: Array, now: float) -> str:
        """The kind whose time has come, or the one that was refused; "" for none."""
        if (refused := self._hand.rows[row].refused) is not None:
            return refused.kind
        for k, (kind, hz) in enumerate(self._kinds.items()):
            if due[k] and self._hand.may(row, kind, now):
                self._next[row, k] = now + self._hand.rows[row].random.exponential(1.0 / hz)
                return kind
        return ""

    def _make(self, row: int, kind: str, seen: SceneView, reading: Reading) -> Perturbation | None:
        hand, c = self._hand, self._config
        cause = hand.cause(seen, row, "time")
        if kind == "SLIP":
            return Perturbation(kind, "", {"for_s": SLIP_S}, source=hand.source, cause=cause)
        if kind == "SET_CMD":
            return hand.command(row, int(seen.command[row]), cause)
        thing, place = hand.told(seen, row)
        target = thing if kind == "MOVE_OBJ" else place
        return hand.drag(row, kind, target, reading, c.reach_m, c.turn_rad, cause) if target else None
