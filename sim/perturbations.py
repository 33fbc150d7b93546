"""All disturbances of all rows: one table from kind to act, budgets, and the order in which things happen.

The same object serves a batch (`sim.env`) and a real-time twin (`sim.twin_world`, one row). Per control period the host
asks for the targets that arrive (`arrived`), lets everything move on (`advance`), and shows what is measured
(`measured`) and what cameras see (`dress`). An undisturbed simulation skips all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.episode import Event, Perturbation
from robolearn.errors import SpecError, UnknownName
from robolearn.specs import Array, Arrays
from sim.acts.act import Act, Request, Scene
from sim.acts.arm import Arm
from sim.acts.bodies import Bodies, raised
from sim.acts.clutter import Clutter
from sim.acts.language import Language
from sim.acts.look import LookRanges, Looks
from sim.acts.objects import Objects
from sim.acts.sensing import Sensing
from sim.render import Dress

__all__ = ["Budget", "Perturbations"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How often a person would disturb one episode; what is asked for beyond is refused."""

    object: int = 3
    """MOVE_OBJ and ROTATE_OBJ together."""
    container: int = 2
    """MOVE_CONT."""
    language: int = 2
    """SET_CMD."""
    push: int = 1
    """PUSH_ROBOT."""
    slip: int = 2
    """SLIP."""
    distractor: int = 4
    """DISTRACTOR, put down or taken away."""
    gap_s: float = 1.0
    """Between the starts of two acts that count, once the episode has begun to move."""


class Perturbations:
    """Executes acts in n rows.

    Args:
        scene: The rows.
        budget: How much is allowed in one episode.
        looks: Draw lights, table and cameras anew for every start.
    """

    def __init__(self, scene: Scene, budget: Budget | None = None, looks: LookRanges | None = None):
        self._scene, self._budget = scene, budget or Budget()
        self.objects, self.arm, self.clutter = Objects(scene), Arm(scene), Clutter(scene)
        self.sensing, self.looks, self.bodies = Sensing(scene), Looks(scene, looks), Bodies(scene)
        families = (self.objects, Language(scene), self.arm, self.looks, self.clutter, self.bodies, self.sensing)
        self._acts: dict[str, Act] = {}
        for family in families:
            self._acts |= family.acts()
        self._spent = [dict[str, int]() for _ in range(scene.n)]
        self._last = np.full(scene.n, -np.inf)

    @property
    def budget(self) -> Budget:
        """How much is allowed in one episode."""
        return self._budget

    @property
    def kinds(self) -> Mapping[str, Act]:
        """Every kind that this task and robot can be disturbed with."""
        return self._acts

    def spent(self, row: int) -> dict[str, tuple[int, int]]:
        """How often each heading of the budget was used in a row's episode, and how often it may be."""
        kinds = {act.budget for act in self._acts.values() if act.budget}
        return {kind: (self._spent[row].get(kind, 0), int(getattr(self._budget, kind))) for kind in sorted(kinds)}

    def wait_s(self, row: int, now: float) -> float:
        """Seconds until the next act that counts may begin in a row."""
        return float(max(0.0, self._last[row] + self._budget.gap_s - now))

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in these rows."""
        for family in (self.objects, self.arm, self.clutter, self.bodies):
            family.clear(rows)
        self.sensing.clear(rows, seeds)
        self.looks.clear(rows, seeds)
        self._last[rows] = -np.inf
        for row in rows:
            self._spent[row] = {}

    def apply(
        self, row: int, perturbation: Perturbation, seen: Arrays, *, now: float, left_s: float, fresh: bool
    ) -> Event:
        """Begin an act in a row, or refuse it.

        Args:
            row: Which row.
            perturbation: What is asked for.
            seen: The row's true observation, without leading axis.
            now: Time of the event, s.
            left_s: Time until the episode's horizon.
            fresh: Whether the episode has not begun to move yet.

        Raises:
            UnknownName: There is no such kind, target, number or instruction; the message lists the valid ones.
            SpecError: A number is not finite.
        """
        kind, params = perturbation.kind, dict(perturbation.params)
        if kind not in self._acts:
            hint = f"The task {self._scene.task.task.name!r} can be disturbed in no other way."
            raise UnknownName("perturbation", kind, self._acts, hint=hint)
        act = self._acts[kind]
        target = perturbation.target or next(iter(act.targets), "")
        if act.targets and target not in act.targets:
            raise UnknownName(f"target of {kind}", target, act.targets)
        for name in params:
            if name not in act.params:
                raise UnknownName(f"parameter of {kind}", name, act.params)
        if not np.all(np.isfinite(list(params.values()))):
            raise SpecError(f"{kind}: {', '.join(act.params)} must be finite; found {params}.")
        full = {name: params.get(name, default) for name, (_, _, default) in act.params.items()}
        request = Request(row, target, full, perturbation.instruction, seen, left_s, fresh)
        reason, end = self._refuse(act, request, now), now
        if not reason:
            answer = act.begin(request)
            reason, end = answer.reason, now + answer.duration_s
        if not reason and act.budget:
            self._spent[row][act.budget] = self._spent[row].get(act.budget, 0) + 1
            self._last[row] = now
        said = {"instruction": perturbation.instruction} if perturbation.instruction else {}
        return Event(kind, now, end, target=target, params=params | said, accepted=not reason, reason=reason)

    def arrived(self, previous: Array, targets: Array) -> Array:
        """The joint targets (n, nu) that the servos get in the coming period; see `sim.acts.arm.Arm.late`."""
        return self.arm.late(previous, targets)

    def advance(self, seen: Arrays, inputs: Mapping[str, Array]) -> None:
        """Write what happens in the coming period into a world's inputs, after its controls were written."""
        self.objects.advance(seen, inputs)
        if not self.arm.idle:
            self.arm.advance(inputs)
            robot = self._scene.task.robot
            for row in np.flatnonzero(self.arm.slipping):
                inputs["ctrl"][row, :, len(robot.joints) : len(robot.joints) + len(robot.fingers)] = robot.finger_open
        if not self.clutter.idle:
            self.clutter.advance(inputs)
        self.looks.advance()
        self.sensing.advance()

    def measured(self, seen: Arrays) -> Arrays:
        """What sensors say of the truth, in the frame of the base; see `sim.acts.sensing` and `sim.acts.bodies`."""
        spec = self._scene.task.observation_spec if self.bodies.heights.any() else {}
        return self.sensing.measured(raised(seen, spec, self.bodies.heights))

    @property
    def dress(self) -> Dress | None:
        """What a renderer does to its model and data before it draws a row; None when all rows look plain."""
        if self.looks.plain and self.clutter.empty and not self.bodies.heights.any():
            return None
        return self._dress

    def _dress(self, model: Any, data: Any, row: int) -> None:
        self.looks.dress(model, row)
        self.clutter.dress(data.mocap_pos, row)
        self.bodies.dress(model, row)

    def _refuse(self, act: Act, request: Request, now: float) -> str:
        for name, value in request.params.items():
            low, high, _ = act.params[name]
            if not low <= value <= high:
                return f"{name} must lie within [{low:g}, {high:g}]; found {value:g}"
        if act.at_start and not request.fresh:
            return "it is possible only before the first action of an episode"
        if act.budget:
            limit = getattr(self._budget, act.budget)
            if self._spent[request.row].get(act.budget, 0) >= limit:
                return f"the episode's budget of {limit} for this kind is spent"
            if not request.fresh and now - self._last[request.row] < self._budget.gap_s - 1e-9:
                return f"the last disturbance began less than {self._budget.gap_s:g} s ago"
        return ""
