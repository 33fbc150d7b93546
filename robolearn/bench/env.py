"""An `Env` made of real devices: one robot behind the safety gate, its cameras, one task, n = 1.

The same class runs a cobot and its twin. Resetting asks the person to set the scene; outcomes come from the
person too (`mark`), or from the horizon. Nothing here moves the arm except `act`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from robolearn.bench.pace import Pacer
from robolearn.clock import Clock
from robolearn.contracts import Camera
from robolearn.episode import Event, Outcome, Perturbation, Reading
from robolearn.errors import BenchError, StaleReading, UnknownName
from robolearn.safety import SafeRobot
from robolearn.safety.limits import COMMAND, DECISION, OPERATOR, ROBOT
from robolearn.specs import Array, Arrays, Spec
from robolearn.task import Task

__all__ = ["BenchEnv"]

_CYCLE_S = 0.02
"""No robot measures less often than this."""


class BenchEnv:
    """One real (or twin) bench as an environment of one row.

    Args:
        robot: The arm, already inside its gate.
        cameras: Any number, with distinct array names.
        task: What is to be done; its horizon ends an episode as a timeout.
        clock: Seconds of events, readings and deadlines.
        pacer: Writes to the robot at the robot's own rate, interpolating between decisions; somebody else enters it.
            Without one every decision is written as it comes.
        prepare: Called at each reset with the seed; asks the person to set the scene and returns when ready.
        cue: Called when an adversary wants something done; shows the person what.

    Raises:
        BenchError: The robot is not in its gate, or two devices give the same array.
        UnknownName: The gate is to watch a stream that no device gives.
    """

    def __init__(
        self,
        robot: SafeRobot,
        cameras: Sequence[Camera],
        task: Task,
        clock: Clock,
        *,
        pacer: Pacer | None = None,
        prepare: Callable[[int], None] = lambda seed: None,
        cue: Callable[[Perturbation], None] = lambda perturbation: None,
    ):
        if not isinstance(cast("object", robot), SafeRobot):
            raise BenchError(
                f"A bench needs its robot inside the safety gate; found a bare {type(robot).__name__}. Wrap it: "
                "SafeRobot(robot, limits, clock)."
            )
        if pacer is not None and pacer.robot is not robot:
            raise BenchError("The pacer writes to another robot than the bench's; give both the same gate.")
        self._robot, self._cameras, self._task, self._clock = robot, tuple(cameras), task, clock
        self._pacer, self._prepare, self._cue = pacer, prepare, cue
        self._made: float | None = None
        self._seen = -np.inf
        self._outcome = Outcome.RUNNING
        self._steps = 0
        spec = dict(robot.observation_spec)
        for camera in self._cameras:
            if twice := spec.keys() & camera.spec.keys():
                raise BenchError(f"Two devices give {sorted(twice)}; give each camera a name of its own.")
            spec |= camera.spec
        self._observation_spec = spec
        self._watched = set(robot.limits.stale_s) - {COMMAND, DECISION, ROBOT, OPERATOR}
        for name in sorted(self._watched - set(spec)):  # the gate would wait for it for ever
            raise UnknownName("stream in the limit stale_s", name, [COMMAND, DECISION, OPERATOR, ROBOT, *spec])

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
        if self._pacer is not None:
            self._pacer.clear()
        self._robot.stop()
        self._prepare(seed)
        self._robot.begin()
        self._made, self._seen = None, -np.inf
        self._outcome = Outcome.RUNNING
        self._steps = 0

    def observe(self) -> Reading:
        """What the devices say now; a camera that is late is waited for, while the gate holds the arm.

        Raises:
            StaleReading: The robot's state is stale, or a camera's for longer than the limit `lost_s`.
        """
        reading = self._newer()
        arrays = {name: value[None] for name, value in reading.arrays.items()}
        captured: dict[str, float | Array] = {
            name: np.atleast_1d(np.asarray(time)) for name, time in reading.captured.items()
        }
        self._made = float(reading.time)
        for camera in self._cameras:
            frame = self._frame(camera)
            for name, value in frame.arrays.items():
                arrays[name] = value[None]
                captured[name] = np.atleast_1d(np.asarray(frame.captured.get(name, frame.time)))
                if name in self._watched:
                    self._robot.seen(name, float(np.ravel(captured[name])[0]))
        return Reading(np.atleast_1d(np.asarray(reading.time)), arrays, captured)

    def act(self, action: Arrays) -> Arrays:
        """Send the decision; with a pacer, what is returned is where it leads the arm to during this period."""
        target = {name: value[0] for name, value in action.items()}
        if self._pacer is None:
            sent = self._robot.write(target, made=self._made)
        else:
            # A whole period, however late the decision: it then shifts the motion. To squeeze it into what is left of
            # the period would make the arm run and stand in turns, and slower than asked where limits end the run.
            due = self._clock.now() + 1.0 / self._task.rate_hz
            sent = self._pacer.send(target, due=due, made=self._made)
        self._steps += 1
        if self._robot.fault:
            self._outcome = Outcome.ABORTED
        elif self._steps >= self._task.horizon and self._outcome is Outcome.RUNNING:
            self._outcome = Outcome.TIMEOUT
        return {name: value[None] for name, value in sent.items()}

    @property
    def delay_s(self) -> float:
        """How old the last observation is when what is decided now begins to act, s; at most one control period.

        A set point written by a pacer stays for one period of the robot, so on average it is half of that late.
        """
        if self._made is None:
            return 0.0
        writing_s = 0.0 if self._pacer is None else 0.5 / self._pacer.rate_hz
        return min(max(self._clock.now() - self._made + writing_s, 0.0), 1.0 / self._task.rate_hz)

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        self._robot.disturb()
        self._cue(perturbation)
        now = self._clock.now()
        params: dict[str, Any] = dict(perturbation.params)
        if perturbation.instruction:
            params["instruction"] = perturbation.instruction
        return Event(perturbation.kind, now, now, target=perturbation.target, params=params)

    def mark(self, outcome: Outcome) -> None:
        """The person's verdict on the running episode."""
        self._outcome = outcome

    def outcomes(self) -> Array:
        return np.array([self._outcome], np.int8)

    def events(self) -> list[tuple[int, Event]]:
        """What the safety gate did since the last call."""
        return [(0, event) for event in self._robot.events()]

    def close(self) -> None:
        self._robot.stop()

    def _newer(self) -> Reading:
        """The robot's state, measured after the last one that was given: a late loop may come twice within a cycle."""
        until = self._clock.now() + _CYCLE_S
        reading = self._robot.read()
        while float(reading.time) <= self._seen and self._clock.now() < until:
            self._clock.sleep_until(self._clock.now() + 0.001)
            reading = self._robot.read()
        self._seen = float(reading.time)
        return reading

    def _frame(self, camera: Camera) -> Reading:
        """A camera's newest frame; while there is none that is fresh, the arm stands still."""
        began = self._clock.now()
        while True:
            try:
                return camera.read()
            except StaleReading as error:
                lost_s = self._robot.limits.lost_s or 0.0
                if self._clock.now() - began >= lost_s:
                    self._robot.trip(str(error))
                    raise
                if self._pacer is None:
                    self._robot.idle(str(error))
                else:
                    self._pacer.clear()
                self._clock.sleep_until(self._clock.now() + 0.01)
