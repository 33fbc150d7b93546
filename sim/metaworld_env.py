"""Meta-World's fifty tasks and their scripted experts as an `Env` and a `Policy` of the house.

Meta-World (Yu et al. 2020, arXiv 1910.10897; version 3.1.1) steps one environment in Python, so rows are a plain
loop. Its `reset(seed=...)` ignores the seed, and without more ado every reset draws from numpy's global generator;
here each start comes from its seed alone. Its 39 numbers are taken apart: the tool, the gripper, two objects and the
goal; the copy of the previous step is left out, a history being the policy's business.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Actor, Event, Outcome, Perturbation, Reading
from robolearn.errors import MissingDependency, SimulationFault, UnknownName
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check, select
from robolearn.task import Task
from sim.flaws import Flawed, TeacherConfig

__all__ = ["MetaworldConfig", "MetaworldEnv", "MetaworldExpert", "MetaworldExpertConfig"]

STEP_M = 0.01
"""What an action of one moves Meta-World's mocap target."""
ACTIONS: Spec = {
    "arm.delta": ArraySpec((3,), low=-STEP_M, high=STEP_M, unit="m", frame="world", names=("x", "y", "z")),
    "gripper.command": ArraySpec((1,), low=-1.0, high=1.0, names=("close",)),
}
OBSERVATIONS: Spec = {
    "tool.position": ArraySpec((3,), unit="m", frame="world", names=("x", "y", "z")),
    "gripper.opening": ArraySpec((1,)),
    "objects.state": ArraySpec((14,)),
    "goal.position": ArraySpec((3,), unit="m", frame="world", names=("x", "y", "z")),
    "task.reward": ArraySpec((1,)),
}
PARTS = {"tool.position": slice(0, 3), "gripper.opening": slice(3, 4), "objects.state": slice(4, 18)}
PARTS["goal.position"] = slice(36, 39)
"""Where Meta-World keeps them; the objects are two positions with quaternions (x, y, z, w), zeros without an object."""


@dataclass(frozen=True, slots=True)
class MetaworldConfig:
    """A task of Meta-World."""

    task: str = "reach-v3"
    """Meta-World's name of the task."""
    n: int = 1
    """Rows."""
    horizon: int = 500
    """Most control steps of an episode."""
    hold_s: float = 0.1
    """How long success must hold."""

    def build(self) -> MetaworldEnv:
        """The environment.

        Raises:
            MissingDependency: Meta-World is not installed.
            UnknownName: It has no such task.
        """
        return MetaworldEnv(self)


class MetaworldEnv:
    """An `Env` of n Meta-World environments. Build it with `MetaworldConfig`."""

    def __init__(self, config: MetaworldConfig):
        classes = _load("metaworld.env_dict").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        names = [name.removesuffix("-goal-observable") for name in classes]
        if config.task not in names:
            raise UnknownName("Meta-World task", config.task, names)
        self._rows: list[Any] = [classes[f"{config.task}-goal-observable"](seed=0) for _ in range(config.n)]
        self._n, rate_hz = config.n, round(1.0 / float(self._rows[0].dt), 6)
        instruction = config.task.removesuffix("-v3").replace("-", " ").capitalize() + "."
        self._task = Task(config.task, instruction, rate_hz, config.horizon, "sawyer")
        self._limits = {name: bounds(spec) for name, spec in ACTIONS.items()}
        self._hold = max(1, round(config.hold_s * rate_hz))
        self._held, self._steps = np.zeros(config.n, int), np.zeros(config.n, int)
        self._outcomes = np.zeros(config.n, np.int8)
        self._states, self._rewards = np.zeros((config.n, 39)), np.zeros(config.n)
        self.reset(range(config.n), range(config.n))

    @property
    def n(self) -> int:
        return self._n

    @property
    def task(self) -> Task:
        return self._task

    @property
    def observation_spec(self) -> Spec:
        return OBSERVATIONS

    @property
    def action_spec(self) -> Spec:
        return ACTIONS

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            env = self._rows[row]
            # Draw the start from the environment's own generator, and that from our seed.
            env._freeze_rand_vec, env.seeded_rand_vec = False, True
            env.seed(int(seed))
            self._states[row], _ = env.reset()
            self._rewards[row] = env.evaluate_state(self._states[row], np.zeros(4, np.float32))[0]
            self._held[row] = self._steps[row] = 0
            self._outcomes[row] = Outcome.RUNNING

    def observe(self) -> Reading:
        arrays = {name: self._states[:, part].copy() for name, part in PARTS.items()}
        arrays["task.reward"] = self._rewards[:, None].copy()
        return Reading(np.array([float(env.data.time) for env in self._rows]), arrays)

    def act(self, action: Arrays) -> Arrays:
        check(action, ACTIONS, lead=(self._n,), where="action")
        sent = {name: np.clip(action[name], *self._limits[name]) for name in ACTIONS}
        flat = np.concatenate([sent["arm.delta"] / STEP_M, sent["gripper.command"]], axis=1).astype(np.float32)
        success = np.zeros(self._n, bool)
        for row, env in enumerate(self._rows):
            env.curr_path_length = 0  # its own limit of 500 steps raises; ours is the task's horizon
            self._states[row], self._rewards[row], _, _, facts = env.step(flat[row])
            success[row] = facts["success"] > 0
        bad = [row for row, env in enumerate(self._rows) if env._did_see_sim_exception or _warned(env)]
        if bad:
            raise SimulationFault(f"MuJoCo reported warnings in rows {bad}. Reset these rows.")
        self._held = np.where(success, self._held + 1, 0)
        self._steps += 1
        running = self._outcomes == Outcome.RUNNING
        self._outcomes[running & (self._steps >= self._task.horizon)] = Outcome.TIMEOUT
        self._outcomes[running & (self._held >= self._hold)] = Outcome.SUCCESS
        return sent

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        raise UnknownName("perturbation", perturbation.kind, (), hint="Meta-World tasks cannot be disturbed here.")

    def outcomes(self) -> Array:
        return self._outcomes.copy()

    def close(self) -> None:
        for env in self._rows:
            env.close()
        self._rows = []


@dataclass(frozen=True, slots=True)
class MetaworldExpertConfig(TeacherConfig):
    """Meta-World's scripted expert of a task."""

    def build(self, env: Env) -> MetaworldExpert:
        """The expert of the environment's task."""
        return MetaworldExpert(self, env)


class MetaworldExpert:
    """A `Policy`: one of Meta-World's own scripts for every row. Scripts are memoryless; only flaws tell rows apart."""

    def __init__(self, config: MetaworldExpertConfig, env: Env):
        scripts = _load("metaworld.policies").ENV_POLICY_MAP
        if env.task.name not in scripts:
            raise UnknownName("Meta-World expert", env.task.name, scripts)
        self._script: Any = scripts[env.task.name]()
        self.observation_spec: Spec = select(env.observation_spec, PARTS)
        self.action_spec: Spec = env.action_spec
        self._flawed = Flawed(config, env.n, 1.0 / env.task.rate_hz, STEP_M)
        self.reset(range(env.n), range(env.n))

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            self._flawed.reset(row, seed)

    def act(self, observation: Arrays) -> Arrays:
        n = len(observation["tool.position"])
        states = np.zeros((n, 39))
        for name, part in PARTS.items():
            states[:, part] = observation[name]
        actions = np.clip(np.stack([self._script.get_action(state) for state in states]), -1.0, 1.0).astype(np.float64)
        move, _, grip = self._flawed.spoil(STEP_M * actions[:, :3], np.zeros((n, 3)), actions[:, 3])
        notes = {} if self._flawed.perfect else {"note.quality": self._flawed.quality.copy()}
        return {
            "arm.delta": move,
            "gripper.command": grip[:, None],
            "note.actor": np.full(n, Actor.SCRIPT, np.int8),
            **notes,
        }


def _warned(env: Any) -> bool:
    return any(warning.number for warning in env.data.warning)


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "metaworld":
            raise
        raise MissingDependency("metaworld", "sim", "A Meta-World task") from error
