"""A bench with people at it: what a console asks beside the contract of an `Env`.

Why the arm holds, acknowledging it, and on a simulated bench what people would do by hand: its world executes what an
adversary proposes and can say whether the goal holds. On a real bench nobody but people can do either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from robolearn.bench.file import BenchFile
from robolearn.compose import Wrapped
from robolearn.contracts import Env, Eventful
from robolearn.episode import Event, Perturbation
from robolearn.errors import SpecError, UnknownName
from robolearn.safety import SafeRobot

__all__ = ["StaffedBench", "for_people"]


def for_people(file: BenchFile, longest_s: float) -> BenchFile:
    """The bench of a file as people use it, who end episodes themselves and begin them where they have led the arm.

    The start pose of a file is for those who play policies: people could never lead the arm back to it.

    Args:
        file: The bench.
        longest_s: An episode that lasts longer ends as a timeout.
    """
    task = replace(file.task, horizon=max(1, round(longest_s * file.task.rate_hz)))
    return replace(file, task=task, limits=replace(file.limits, start={}, start_tolerance=None))


class StaffedBench(Wrapped):
    """An `Env` of one row around an open bench.

    Args:
        env: The bench.
        gate: What stands before its robot.
        world: The scene that simulated devices share, None on a real bench.

    Attributes:
        gate: The robot's gate.
        perturbations: What the world itself can disturb the scene with, and how much of it is left; None on a real
            bench.
        success: Whether the goal holds right now; None where only people can say.
    """

    def __init__(self, env: Env, gate: SafeRobot, world: Any = None):
        super().__init__(env)
        self._world, self.gate = world, gate
        self.perturbations: Any = getattr(world, "perturbations", None)
        self.success: Callable[[], bool] | None = None if world is None else world.success

    @property
    def fault(self) -> str:
        """Why the gate has latched, "" when it has not."""
        return self.gate.fault

    def clear(self) -> None:
        """A person acknowledges the gate's fault."""
        self.gate.stop()
        self.gate.clear()

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        if self.perturbations is None:
            return super().apply(row, perturbation)
        self.gate.disturb()
        try:
            return self._world.apply(perturbation)
        except (UnknownName, SpecError) as error:  # it comes from people, who mistype
            now = self._world.clock.now()
            params = dict(perturbation.params) | {"instruction": perturbation.instruction}
            return Event(
                perturbation.kind, now, now, "", perturbation.target, params, accepted=False, reason=str(error)
            )

    def events(self) -> Sequence[tuple[int, Event]]:
        """What the safety gate did since the last call."""
        return self.inner.events() if isinstance(self.inner, Eventful) else []
