"""robosuite tasks as an `Env`: one worker process per row, our names, units and frames.

robosuite (Zhu et al. 2020, arXiv 2009.12293) steps one environment in Python, so rows run in processes. An action
means the same as in the native tasks (`sim.task.DISPLACEMENT_SPEC`), here carried out with torques by an
operational-space controller. Positions are given in the base frame of the robot, which is the world's moved by the
base's position, and the tool's axes are those of the body "right_hand", as in recordings made with robosuite 1.0 to
1.5 (robomimic).

Workers are spawned, so a script that builds this needs the usual `if __name__ == "__main__":` guard.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from robolearn.episode import Event, Outcome, Perturbation, Reading
from robolearn.errors import BenchError, SimulationFault, UnknownName
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check
from robolearn.task import Task
from sim.env import CameraSize
from sim.robosuite_worker import CAMERAS, serve
from sim.task import DISPLACEMENT_SPEC

__all__ = ["RobosuiteConfig", "RobosuiteEnv"]

_UNITS = {"position": "m", "q": "rad", "dq": "rad/s"}
_ANSWER_S = 120.0


@dataclass(frozen=True, slots=True)
class RobosuiteConfig:
    """A task of robosuite 1.5 in worker processes."""

    task: str = "Lift"
    """Name of the robosuite environment."""
    robot: str = "Panda"
    """Name of the robosuite robot; one arm."""
    n: int = 1
    """Rows, each in a process of its own."""
    cameras: tuple[CameraSize, ...] = ()
    """Cameras in every observation: (name, width, height), names "agent" and "wrist"."""
    horizon: int = 400
    """Most control steps of an episode."""
    rate_hz: float = 20.0
    """Control steps per second."""
    hold_s: float = 0.25
    """How long success must hold."""
    instruction: str = ""
    """What a person would be told; the task's name when empty."""
    build_seed: int = 0
    """Seed of what is drawn once, when the model is built, such as the exact size of the cube."""

    def build(self) -> RobosuiteEnv:
        """Start the workers and wait until they are ready.

        Raises:
            BenchError: A worker did not start.
            UnknownName: There is no such camera.
        """
        return RobosuiteEnv(self)


class RobosuiteEnv:
    """An `Env` of n robosuite environments. Build it with `RobosuiteConfig`."""

    def __init__(self, config: RobosuiteConfig):
        for name, _, _ in config.cameras:
            if name not in CAMERAS:
                raise UnknownName("camera", name, CAMERAS)
        self._config, self._n = config, config.n
        instruction = config.instruction or ("Pick up the red cube." if config.task == "Lift" else config.task)
        self._task = Task(config.task.lower(), instruction, config.rate_hz, config.horizon, config.robot.lower())
        settings = {
            "task": config.task,
            "robot": config.robot,
            "rate_hz": config.rate_hz,
            "cameras": config.cameras,
            "build_seed": config.build_seed,
        }
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers: list[Any] = []
        self._rows: list[Mapping[str, Any]] = []
        try:
            for row in range(config.n):
                ours, theirs = context.Pipe()
                # A daemon is ended with its parent; if the parent is killed, the closed pipe ends it.
                worker = context.Process(target=serve, args=(theirs, settings), name=f"robosuite-{row}", daemon=True)
                worker.start()
                theirs.close()
                self._pipes.append(ours)
                self._workers.append(worker)
            shapes, *_ = [self._receive(row) for row in range(config.n)]
        except BaseException:
            self.close()
            raise
        self._observation_spec = {name: _spec(name, *shape) for name, shape in shapes.items()}
        self._limits = {name: bounds(spec) for name, spec in DISPLACEMENT_SPEC.items()}
        self._hold = max(1, round(config.hold_s * config.rate_hz))
        self._held, self._steps = np.zeros(config.n, int), np.zeros(config.n, int)
        self._outcomes = np.zeros(config.n, np.int8)
        self._rows = [{}] * config.n
        self.reset(range(config.n), range(config.n))

    @property
    def n(self) -> int:
        return self._n

    @property
    def task(self) -> Task:
        return self._task

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return DISPLACEMENT_SPEC

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._begin("reset", rows, [int(seed) for seed in seeds])

    def restore(self, states: Array, rows: Sequence[int]) -> None:
        """Start episodes from recorded states.

        Args:
            states: (rows, 1 + nq + nv) time, qpos and qvel, as robomimic's "states"; 32 numbers for Lift with a Panda.
            rows: Which rows.
        """
        self._begin("restore", rows, list(np.asarray(states, np.float64)))

    def states(self) -> Array:
        """(n, 1 + nq + nv) what `restore` takes."""
        return np.stack(self._ask("state", range(self._n), [None] * self._n))

    def observe(self) -> Reading:
        arrays = {name: np.stack([row["arrays"][name] for row in self._rows]) for name in self._observation_spec}
        return Reading(np.array([row["time"] for row in self._rows]), arrays)

    def act(self, action: Arrays) -> Arrays:
        check(action, DISPLACEMENT_SPEC, lead=(self._n,), where="action")
        sent = {name: np.clip(action[name], *self._limits[name]) for name in DISPLACEMENT_SPEC}
        flat = np.concatenate([sent["arm.delta"], sent["gripper.command"]], axis=1)
        before = [row["time"] for row in self._rows]
        self._rows = self._ask("act", range(self._n), list(flat))
        bad = [
            i
            for i, (row, time) in enumerate(zip(self._rows, before, strict=True))
            if row["warnings"] or not 0 < row["time"] - time < 2 / self._config.rate_hz
        ]
        if bad:
            raise SimulationFault(f"MuJoCo reported warnings or time went wrong in rows {bad}. Reset these rows.")
        self._held = np.where([row["success"] for row in self._rows], self._held + 1, 0)
        self._steps += 1
        running = self._outcomes == Outcome.RUNNING
        self._outcomes[running & (self._steps >= self._task.horizon)] = Outcome.TIMEOUT
        self._outcomes[running & (self._held >= self._hold)] = Outcome.SUCCESS
        return sent

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        raise UnknownName("perturbation", perturbation.kind, (), hint="robosuite tasks cannot be disturbed here.")

    def outcomes(self) -> Array:
        return self._outcomes.copy()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for worker in self._workers:
            worker.join(timeout=5)
            if worker.is_alive():
                worker.terminate()
                worker.join()
        self._pipes, self._workers = [], []

    def _begin(self, verb: str, rows: Sequence[int], values: Sequence[Any]) -> None:
        index = list(rows)
        for row, answer in zip(index, self._ask(verb, index, values), strict=True):
            self._rows[row] = answer
        self._held[index] = self._steps[index] = 0
        self._outcomes[index] = Outcome.RUNNING

    def _ask(self, verb: str, rows: Sequence[int], values: Sequence[Any]) -> list[Any]:
        """Send to all before receiving from any, so that the workers run side by side."""
        if not self._workers:
            raise BenchError("This robosuite environment is closed; build a new one.")
        for row, value in zip(rows, values, strict=True):
            try:
                self._pipes[row].send((verb, value))
            except (BrokenPipeError, ConnectionResetError):
                self._receive(row)
        return [self._receive(row) for row in rows]

    def _receive(self, row: int) -> Any:
        try:
            if not self._pipes[row].poll(_ANSWER_S):
                raise BenchError(
                    f"The robosuite worker of row {row} did not answer for {_ANSWER_S:g} s; close and rebuild."
                )
            kind, value = self._pipes[row].recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._workers[row].join(timeout=5)
            raise BenchError(
                f"The robosuite worker of row {row} died (exit code {self._workers[row].exitcode}). Close this "
                "environment and build a new one; a negative exit code is the signal that killed it."
            ) from error
        if kind == "error":
            raise BenchError(f"The robosuite worker of row {row} stopped: {value}")
        return value


def _spec(name: str, shape: tuple[int, ...], dtype: str) -> ArraySpec:
    device, kind = name.split(".", 1)
    if kind == "rgb":
        return ArraySpec(shape, dtype, frame=device)
    unit = "m" if name == "gripper.q" else _UNITS.get(kind, "")
    return ArraySpec(shape, dtype, unit=unit, frame="base" if kind in ("position", "quaternion") else "")
