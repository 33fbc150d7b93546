"""What scripted teachers share: rows with styles drawn from their seeds, phases, smooth motion, late attention.

A teacher sees only observations. The servo covers about half of a commanded displacement in one period
(`sim.robots`), so a gain of 0.8 closes a distance within a few steps without overshoot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Actor
from robolearn.geometry import quaternion_conjugate, quaternion_multiply, rotation_vector
from robolearn.specs import Array, Arrays, Spec, select
from sim.flaws import Flawed, TeacherConfig

__all__ = ["Attention", "Script", "toward", "upright", "wrap"]

GAIN = 0.8
LARGEST_STEP_M, LARGEST_TURN_RAD = 0.05, 0.25


def toward(gap: Array, speed: Array, period_s: float) -> Array:
    """Displacements (n, 3) along gaps (n, 3), slower near the end and never above speeds (n,) in m/s."""
    step = GAIN * gap
    length = np.sqrt((step * step).sum(axis=1, keepdims=True))
    largest = np.minimum(2.0 * speed * period_s, LARGEST_STEP_M)[:, None]
    return step * np.minimum(1.0, largest / np.maximum(length, 1e-9))


def upright(tool: Array, heading: Array) -> Array:
    """Rotation vectors (n, 3) of one period that turn tools (n, 4) to point straight down at headings (n,) in rad.

    A heading is the direction of the tool's x axis seen from above.
    """
    zero = np.zeros_like(heading)
    goal = np.stack([zero, np.cos(heading / 2), np.sin(heading / 2), zero], axis=1)
    turn = rotation_vector(quaternion_multiply(goal, quaternion_conjugate(tool)))
    return np.clip(0.7 * turn, -LARGEST_TURN_RAD, LARGEST_TURN_RAD)


def wrap(angle: Array) -> Array:
    """Angles in (-pi, pi]."""
    return np.arctan2(np.sin(angle), np.cos(angle))


class Attention:
    """What a person believes about something that may change: the truth, noticed a moment late.

    Args:
        n: Rows.
        size: Numbers to attend to.
        tolerance: A change below this, in any of them, is no surprise and is followed at once.
    """

    def __init__(self, n: int, size: int, tolerance: float):
        self._tolerance = tolerance
        self._delay, self._late = np.zeros(n, int), np.zeros(n, int)
        self._belief = np.full((n, size), np.nan)

    def reset(self, row: int, delay: int) -> None:
        """Forget a row, which will notice changes `delay` steps late."""
        self._delay[row], self._late[row], self._belief[row] = delay, 0, np.nan

    def see(self, truth: Array) -> Array:
        """The belief (n, size) after one more look at the truth (n, size)."""
        surprised = np.abs(truth - self._belief).max(axis=1) > self._tolerance  # False for a first look, which is NaN
        self._late = np.where(surprised, self._late + 1, 0)
        told = ~surprised | (self._late > self._delay)
        self._belief = np.where(told[:, None], truth, self._belief)
        # Somebody who follows a moving thing keeps following it.
        self._late[told & surprised] = self._delay[told & surprised]
        return self._belief.copy()


class Script(ABC):
    """A `Policy` of n independent rows that each go through phases.

    Args:
        config: The quality of its demonstrations.
        env: What it is for; only its specs and rate are kept.
        names: The observations it looks at.
        rest: A position among them and its height above the table at rest, m, by which the teacher sees how high the
            table is when an episode begins; from then on it thinks in the table's frame.
    """

    def __init__(self, config: TeacherConfig, env: Env, names: Sequence[str], rest: tuple[str, float] | None = None):
        self.observation_spec: Spec = select(env.observation_spec, names)
        self.action_spec: Spec = env.action_spec
        self._n, self._period_s = env.n, 1.0 / env.task.rate_hz
        self._phase, self._clock = np.zeros(env.n, int), np.zeros(env.n, int)
        self._flawed = Flawed(config, env.n, self._period_s)
        self._rest, self._looks, self._height = rest, np.zeros(env.n, int), np.zeros(env.n)

    def act(self, observation: Arrays) -> Arrays:
        return self._act(self._lowered(observation))

    @abstractmethod
    def _act(self, observation: Arrays) -> Arrays:
        """The decision, from an observation in the table's frame."""

    @abstractmethod
    def _draw(self, row: int, generator: np.random.Generator) -> None:
        """Draw the style of a row."""

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for seed, row in zip(seeds, rows, strict=True):
            self._phase[row] = self._clock[row] = 0
            # A stream of its own: the environment draws the start from the plain seed.
            self._draw(row, np.random.default_rng([seed, 1]))
            self._flawed.reset(row, seed)
            self._looks[row] = 0

    def _lowered(self, observation: Arrays) -> Arrays:
        """The observation in the frame of the table."""
        if self._rest is None:
            return observation
        name, at_rest = self._rest
        # Twice: a table that is raised before the first action is seen only after it. To the millimetre.
        fresh = self._looks < 2
        if fresh.any():
            seen = np.round(observation[name][:, 2] - at_rest, 3)
            self._height = np.where(fresh, seen, self._height)
            self._looks += 1
        if not self._height.any():
            return observation
        low = dict(observation)
        for key, value in observation.items():
            if key.endswith(".position"):
                low[key] = value.copy()
                low[key][..., 2] -= self._height.reshape(-1, *(1,) * (value.ndim - 2))
        return low

    def _enter(self, rows: Array, phase: int) -> None:
        """Put rows (n,) bool into a phase whose clock starts now."""
        self._phase[rows], self._clock[rows] = phase, 0

    def _decision(self, move: Array, turn: Array, closed: Array) -> Arrays:
        """The action of displacements (n, 3), rotation vectors (n, 3) and grips (n,) in [-1, 1], with notes."""
        move, turn, closed = self._flawed.spoil(move, turn, np.asarray(closed, float))
        notes = {} if self._flawed.perfect else {"note.quality": self._flawed.quality.copy()}
        return {
            "arm.delta": np.concatenate([move, turn], axis=1),
            "gripper.command": closed[:, None],
            "note.actor": np.full(self._n, Actor.SCRIPT, np.int8),
            "note.subtask": self._phase.astype(np.int8),
            **notes,
        }
