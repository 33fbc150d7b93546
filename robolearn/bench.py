"""An `Env` made of real devices: one robot behind the safety gate, its cameras, one task, n = 1.

The same class runs a cobot and its twin. Resetting asks the person to set the scene; outcomes come from the
person too (`mark`), or from the horizon. Nothing here moves the arm except `act`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Camera
from robolearn.episode import Event, Outcome, Perturbation, Reading
from robolearn.errors import BenchError
from robolearn.safety import SafeRobot
from robolearn.specs import Array, Arrays, Spec
from robolearn.task import Task

__all__ = ["BenchEnv"]


class BenchEnv:
    """One real (or twin) bench as an environment of one row.

    Args:
        robot: The arm, already inside its gate.
        cameras: Any number, with distinct array names.
        task: What is to be done; its horizon ends an episode as a timeout.
        clock: Seconds of events.
        prepare: Called at each reset with the seed; asks the person to set the scene and returns when ready.
        cue: Called when an adversary wants something done; shows the person what.
    """

    def __init__(
        self,
        robot: SafeRobot,
        cameras: Sequence[Camera],
        task: Task,
        clock: Clock,
        *,
        prepare: Callable[[int], None] = lambda seed: None,
        cue: Callable[[Perturbation], None] = lambda perturbation: None,
    ):
        self._robot, self._cameras, self._task, self._clock = robot, tuple(cameras), task, clock
        self._prepare, self._cue = prepare, cue
        self._outcome = Outcome.RUNNING
        self._steps = 0
        spec = dict(robot.observation_spec)
        for camera in self._cameras:
            if twice := spec.keys() & camera.spec.keys():
                raise BenchError(f"Two devices give {sorted(twice)}; give each camera a name of its own.")
            spec |= camera.spec
        self._observation_spec = spec

    @property
    def n(self) -> int:
        return 1

    @property
    def task(self) -> Task:
        return self._task

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._robot.action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        (seed,) = seeds
        self._robot.stop()
        self._prepare(seed)
        self._outcome = Outcome.RUNNING
        self._steps = 0

    def observe(self) -> Reading:
        reading = self._robot.read()
        arrays = {name: value[None] for name, value in reading.arrays.items()}
        captured: dict[str, float | Array] = {}
        for camera in self._cameras:
            frame = camera.read()
            for name, value in frame.arrays.items():
                arrays[name] = value[None]
                captured[name] = np.atleast_1d(np.asarray(frame.time))
        return Reading(np.atleast_1d(np.asarray(reading.time)), arrays, captured)

    def act(self, action: Arrays) -> Arrays:
        sent = self._robot.write({name: value[0] for name, value in action.items()})
        self._steps += 1
        if self._robot.fault:
            self._outcome = Outcome.ABORTED
        elif self._steps >= self._task.horizon and self._outcome is Outcome.RUNNING:
            self._outcome = Outcome.TIMEOUT
        return {name: value[None] for name, value in sent.items()}

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        self._cue(perturbation)
        now = self._clock.now()
        return Event(perturbation.kind, now, now, target=perturbation.target, params=dict(perturbation.params))

    def mark(self, outcome: Outcome) -> None:
        """The person's verdict on the running episode."""
        self._outcome = outcome

    def outcomes(self) -> Array:
        return np.array([self._outcome], np.int8)

    def close(self) -> None:
        self._robot.stop()
