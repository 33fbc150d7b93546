"""One disturbance per episode, of one kind, at one moment of the pick: for measuring, not for collecting.

The dynamic cells of Huang et al. 2025 (arXiv 2503.11646, tables III and IV) and their recovery trials. "before" means
that the tool is further than 15 cm from the thing, "during" that it is within 5 cm or the thing is in the hand and not
lifted yet, "after" that the thing hangs 5 cm above the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Perturbation, Reading
from robolearn.scene.view import Moment, SceneView
from teleop.adversaries.hand import Hand

__all__ = ["ProbeAdversary", "ProbeConfig"]

CLOSE_M = 0.05
EARLIEST_S = 0.2
"""An arm that has not begun to move is not disturbed."""


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """One act at one moment."""

    act: Literal["object", "container", "before", "during", "after", "slip", "pull", "push", "distractor"] = "object"
    """The thing moved when the tool is within 15 cm; the container moved after the lift; another command before, during
    or after the grasp; the gripper opened after the lift; the thing pulled away from under the gripper; the arm pushed
    with 20 N; something else put on the table."""
    commands: tuple[str, ...] = ()
    """Commands it may give; () allows all."""

    def build(self, env: Env) -> ProbeAdversary:
        """The adversary of all rows of an environment."""
        return ProbeAdversary(self, env)


class ProbeAdversary:
    """An `Adversary`. Build it with `ProbeConfig`."""

    def __init__(self, config: ProbeConfig, env: Env):
        self._config = config
        self._hand = Hand(env, "probe", config.commands, stream=4)
        self._done = np.zeros(env.n, bool)
        self.reset(range(env.n), range(env.n))

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._hand.reset(seeds, rows)
        self._done[list(rows)] = False

    def propose(self, reading: Reading) -> list[tuple[int, Perturbation]]:
        seen, times = self._hand.look(reading), np.asarray(reading.time)
        due = self._moment(seen) & (times >= EARLIEST_S)
        proposed: list[tuple[int, Perturbation]] = []
        for row in map(int, np.flatnonzero(due | self._done)):
            memory = self._hand.rows[row]
            again = self._done[row] and self._hand.settle(row, reading) and memory.refused is not None
            if not (again or (due[row] and not self._done[row])):
                continue
            act = self._make(row, seen, reading)
            if act is not None:
                self._done[row] = True
                proposed.append((row, self._hand.ask(row, act, reading)))
        return proposed

    def _moment(self, seen: SceneView) -> np.ndarray:
        lifted, close = seen.moment == Moment.AFTER, (seen.distance < CLOSE_M) & (seen.moment != Moment.AFTER)
        return {
            "object": seen.moment == Moment.DURING,
            "container": lifted,
            "before": seen.moment == Moment.BEFORE,
            "during": close,
            "after": lifted,
            "slip": lifted,
            "pull": close,
            "push": seen.moment == Moment.DURING,
            "distractor": seen.moment == Moment.BEFORE,
        }[self._config.act]

    def _make(self, row: int, seen: SceneView, reading: Reading) -> Perturbation | None:
        hand, act = self._hand, self._config.act
        draw = hand.rows[row].random
        thing, place = hand.told(seen, row)
        cause = hand.cause(seen, row, act)
        if act == "object":
            return hand.drag(row, "MOVE_OBJ", thing, reading, (0.08, 0.15), 1.2, cause)
        if act == "pull":
            return hand.drag(row, "MOVE_OBJ", thing, reading, (0.06, 0.10), 0.0, cause)
        if act == "container":
            return hand.drag(row, "MOVE_CONT", place, reading, (0.08, 0.20), 1.2, cause)
        if act == "slip":
            return Perturbation("SLIP", "", {"for_s": 0.15}, source=hand.source, cause=cause)
        if act == "push":
            angle = draw.uniform(-math.pi, math.pi)
            force = {"fx": 20.0 * math.cos(angle), "fy": 20.0 * math.sin(angle), "for_s": 0.1}
            return Perturbation("PUSH_ROBOT", "", force, source=hand.source, cause=cause)
        if act == "distractor":
            spot = {"x": float(draw.uniform(0.36, 0.66)), "y": float(draw.uniform(-0.28, 0.28)), "present": 1.0}
            return Perturbation("DISTRACTOR", "can", spot, source=hand.source, cause=cause)
        return self._command(row, int(seen.command[row]), act, cause)

    def _command(self, row: int, current: int, act: str, cause: dict[str, object]) -> Perturbation | None:
        """Before and during a grasp another thing, after it another place for the same thing, where there is one."""
        hand, goals = self._hand, self._hand.scene.goals
        others = [k for k in hand.commands if k != current]
        same = [k for k in others if (goals[k][0] == goals[current][0]) == (act == "after")]
        if not (choices := same or others):
            return None
        text = hand.scene.commands[int(hand.rows[row].random.choice(choices))]
        return Perturbation("SET_CMD", instruction=text, source=hand.source, cause=cause)
