"""The hand of an adversary: which acts a scene offers, and how to ask for one that has a chance to be accepted.

The environment decides; it knows the budgets, what is in reach and what is in the way, and refuses the rest. An
adversary that asks blindly spends its chances on refusals, so it keeps its own count and chooses displacements that
leave the things apart. It sees only readings and what the environment says of its acts (`contracts.Disturbable`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.contracts import ActKind, Disturbable, Env
from robolearn.episode import Perturbation, Reading
from robolearn.errors import SpecError, UnknownName
from robolearn.scene.view import Moment, Scene, SceneView, read_scene, view
from robolearn.specs import Array

__all__ = ["Hand", "Row", "allowed"]

APART_M = {"MOVE_OBJ": 0.15, "MOVE_CONT": 0.21}
"""How far from the middles of all others a new place should be; what is wide needs more room."""
PATIENCE = 4
"""How often the same act is asked for when nothing comes of it."""
SEEN = 0.002
"""A change of a pose (m, or part of a quaternion) that is no noise."""
WAIT = 4
"""Periods after which an act that cannot be seen to happen counts as refused; a pull starts slowly."""


@dataclass
class Row:
    """What the hand remembers of one row.

    Attributes:
        random: All random choices of the row.
        spent: Per heading of the budget, how many acts were seen to happen.
        last: Time of the last one, s.
        asked: What was asked for and not seen to happen yet.
        before: The state it should change.
        waited: Periods since.
        refused: What nothing came of, to be asked for again.
        tries: How often it was asked for.
    """

    random: np.random.Generator
    spent: dict[str, int] = field(default_factory=lambda: {})
    last: float = -math.inf
    asked: Perturbation | None = None
    before: Array = field(default_factory=lambda: np.zeros(0))
    waited: int = 0
    refused: Perturbation | None = None
    tries: int = 0


class Hand:
    """Makes perturbations for n rows of one scene.

    Args:
        env: Whose rows; its acts, budgets and names are read once.
        source: Who is behind it, for the events.
        commands: The commands it may give; () allows all.
        stream: Number of the random stream, so that adversaries of one seed differ.

    Raises:
        SpecError: The environment does not say how it can be disturbed, or there is nothing to disturb.
        UnknownName: A command that the task does not know.
    """

    def __init__(self, env: Env, source: str, commands: Sequence[str] = (), stream: int = 0):
        if not isinstance(env, Disturbable):
            raise SpecError(
                f"The environment {env.task.name!r} does not say how it can be disturbed (contracts.Disturbable). Use "
                "a native task, or let a person disturb the bench."
            )
        self.scene: Scene = read_scene(env.observation_spec)
        self.acts: Mapping[str, ActKind] = env.acts
        self.limits, self.gap_s, self.source = env.limits, env.gap_s, source
        self.commands = allowed(self.scene, commands)
        self._stream = stream
        self.rows = [Row(np.random.default_rng([0, stream])) for _ in range(env.n)]

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        """Forget these rows; the seed fixes all that follows in them."""
        for seed, row in zip(seeds, rows, strict=True):
            self.rows[row] = Row(np.random.default_rng([seed, 5, self._stream]))

    def look(self, reading: Reading) -> SceneView:
        """The told thing and place of all rows."""
        return view(self.scene, reading.arrays)

    def settle(self, row: int, reading: Reading) -> bool:
        """Notice whether the last act of a row happened. True when the row is free to ask for something."""
        memory = self.rows[row]
        if memory.asked is None:
            return True
        memory.waited += 1
        if np.abs(self._state(memory.asked, row, reading) - memory.before).max(initial=0.0) > SEEN:
            heading = self.acts[memory.asked.kind].budget
            memory.spent[heading] = memory.spent.get(heading, 0) + 1
            memory.asked, memory.tries = None, 0
        elif memory.waited >= WAIT:
            # The environment's pause begins with an act that it accepts, so ours is over.
            memory.refused = memory.asked if memory.tries < PATIENCE else None
            memory.asked, memory.last = None, -math.inf
        return memory.asked is None

    def may(self, row: int, kind: str, now: float) -> bool:
        """Whether the scene offers the kind and its budget and the pause since the last act allow it."""
        if kind not in self.acts:
            return False
        memory, heading = self.rows[row], self.acts[kind].budget
        spent = memory.spent.get(heading, 0)
        free = not heading or spent < self.limits.get(heading, 0)
        return free and (not heading or now - memory.last >= self.gap_s - 1e-9)

    def ask(self, row: int, act: Perturbation, reading: Reading) -> Perturbation:
        """Remember that an act is being asked for, and return it."""
        memory = self.rows[row]
        again = memory.refused is not None and memory.refused.kind == act.kind
        memory.tries = memory.tries + 1 if again else 1
        memory.asked, memory.refused, memory.waited = act, None, 0
        memory.before, memory.last = self._state(act, row, reading), float(np.asarray(reading.time)[row])
        return act

    # -- acts ---------------------------------------------------------------------------------------------------

    def drag(
        self,
        row: int,
        kind: str,
        target: str,
        reading: Reading,
        reach_m: tuple[float, float],
        turn_rad: float,
        cause: Mapping[str, Any],
    ) -> Perturbation:
        """A pull of a thing by a random distance in `reach_m` and turn up to `turn_rad`, to where there is room."""
        random, arrays = self.rows[row].random, reading.arrays
        here = arrays[f"{target}.position"][row, :2]
        others = np.array(
            [arrays[f"{name}.position"][row, :2] for name in self.scene.things if name != target]
        ).reshape(-1, 2)
        middle = np.array([0.5, 0.0])
        best, room = np.zeros(2), -math.inf
        turn = float(random.uniform(-turn_rad, turn_rad))
        for _ in range(24):
            angle, length = random.uniform(-math.pi, math.pi), random.uniform(*reach_m)
            move = length * np.array([math.cos(angle), math.sin(angle)])
            gap = np.linalg.norm(others - here - move, axis=1).min(initial=math.inf)
            # Room first; then not further from the middle of the table than needed.
            score = min(gap, APART_M.get(kind, 0.15)) - 0.2 * max(
                0.0, float(np.linalg.norm(here + move - middle)) - 0.2
            )
            if score > room:
                best, room = move, score
        return Perturbation(
            kind, target, {"dx": float(best[0]), "dy": float(best[1]), "dyaw": turn}, source=self.source, cause=cause
        )

    def turn(self, row: int, target: str, turn_rad: float, cause: Mapping[str, Any]) -> Perturbation:
        """A turn on the spot."""
        angle = self.rows[row].random.uniform(0.5, 1.0) * turn_rad * self.rows[row].random.choice([-1.0, 1.0])
        return Perturbation("ROTATE_OBJ", target, {"dyaw": float(angle)}, source=self.source, cause=cause)

    def command(self, row: int, current: int, cause: Mapping[str, Any]) -> Perturbation | None:
        """Another command, or None when there is no other."""
        others = [k for k in self.commands if k != current]
        if not others:
            return None
        chosen = int(self.rows[row].random.choice(others))
        return Perturbation("SET_CMD", instruction=self.scene.commands[chosen], source=self.source, cause=cause)

    def told(self, seen: SceneView, row: int) -> tuple[str, str]:
        """Names of the thing and of the place that a row was told; "" for none."""
        thing, place = self.scene.goals[seen.command[row]]
        return self.scene.things[thing], self.scene.things[place] if place >= 0 else ""

    def cause(self, seen: SceneView, row: int, trigger: str) -> dict[str, Any]:
        """Why an act happens, for its event."""
        return {
            "trigger": trigger,
            "phase": Moment(int(seen.moment[row])).name.lower(),
            "tool_distance": round(float(seen.distance[row]), 4),
            "rise": round(float(seen.rise[row]), 4),
        }

    def _state(self, act: Perturbation, row: int, reading: Reading) -> Array:
        """What an act should change."""
        if act.kind == "SET_CMD":
            return reading.arrays["task.command"][row]
        if act.kind == "DISTRACTOR":
            return np.zeros(1)  # it is not observed; a second try where there is one already is refused
        if act.target in self.scene.things:
            poses = [reading.arrays[f"{act.target}.{part}"][row] for part in ("position", "quaternion")]
            return np.concatenate(poses)
        return np.atleast_1d(np.asarray(reading.time)[row])  # pushes and slips show in many ways: taken as done


def allowed(scene: Scene, commands: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the commands that may be given; all of them for ()."""
    for text in commands:
        if text not in scene.commands:
            raise UnknownName("instruction", text, scene.commands)
    return tuple(k for k, text in enumerate(scene.commands) if not commands or text in commands)
