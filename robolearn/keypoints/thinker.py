"""A learned policy that thinks as a person's wrist, on a robot: think, carry the thought out, think again.

The policy decides how a wrist moves from frame to frame. A robot carries every such thought out before the next is had:
a point of it (the tool, or what it holds) is led to where the thought's hand would be, at the robot's own speed, by
joint targets from minimal-adjust inverse kinematics around the symbolic map of the person's posture. What is thought,
what a motion that needs no thought looks like, and how the person's places become the robot's is the task's doing.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.contracts import Env
from robolearn.keypoints.adjust import AdjustConfig, adjust, nearest_turn
from robolearn.keypoints.arm_maps import ArmMap, arm_directions
from robolearn.specs import Array, Arrays, Spec, select

__all__ = ["Thinker"]

_LATE_M = 0.06
"""A command that runs ahead of a slow arm by more than this would cut corners, so it waits."""
_SWING_RAD_S = 1.0
"""Joints follow the person's posture no faster than this: an elbow that swung faster than the arm can would take the
tool along with it."""


class Thinker(ABC):
    """A `Policy` of n independent rows with joint targets.

    Args:
        env: The rows.
        names: Observations that are needed beside the robot's own.
        chain: The arm, in its base frame.
        arm: Its map, upright.
        arm_fit: (4, 6) elbow and shoulder of the person's wrist (`onions.fit_arm`).
        speed_m_s: Of the led point.
        posture: Weight of the person's posture; a small one is plain inverse kinematics.
    """

    def __init__(
        self,
        env: Env,
        names: Sequence[str],
        chain: Chain,
        arm: ArmMap,
        arm_fit: Array,
        *,
        speed_m_s: float,
        posture: float,
    ):
        n = env.n
        self._n, self._period_s = n, 1.0 / env.task.rate_hz
        self._chain, self._arm, self._fit, self._speed = chain, arm, arm_fit, speed_m_s
        self._observation_spec = select(env.observation_spec, ["arm.q", "tool.position", "gripper.width", *names])
        self._action_spec = dict(env.action_spec)
        self._config = AdjustConfig(posture=posture, smoothing=1.0, leap=False, iterations=25, tolerance=1e-4)
        # Of a distance from the posture, the objective of `adjust` covers this part per step where the tool allows it.
        part = posture**2 / (posture**2 + self._config.smoothing**2)
        self._pull = _SWING_RAD_S * self._period_s / part
        self._phase, self._clock = np.zeros(n, int), np.zeros(n, int)
        self._target, self._command = np.zeros((n, 3)), np.zeros((n, 3))
        self._q, self._closed = np.tile(chain.home, (n, 1)), np.zeros(n, bool)
        self._new = np.ones(n, bool)

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        index = list(rows)
        self._phase[index], self._clock[index], self._closed[index], self._new[index] = 0, 0, False, True
        self._forget(index)

    def act(self, observation: Arrays) -> Arrays:
        if self._new.any():
            self._begin(self._new, observation)
            self._new[:] = False
        self._see(observation)
        self._clock += 1
        self._advance(observation)
        gap = self._target - self._command
        distance = np.linalg.norm(gap, axis=1, keepdims=True)
        late = np.linalg.norm(self._command - self._led(observation), axis=1, keepdims=True) > _LATE_M
        step = np.where(late, 0.2, 1.0) * self._pace() * self._speed * self._period_s
        self._command = self._command + gap * np.minimum(1.0, step / np.maximum(distance, 1e-9))
        self._q = self._reach()
        grip = np.where(self._closed, 1.0, -1.0)[:, None]
        return {"arm.q_target": self._q, "gripper.command": grip, "note.subtask": self._phase.copy()}

    @abstractmethod
    def _forget(self, rows: list[int]) -> None:
        """Rows begin anew: nothing is known of their scenes."""

    @abstractmethod
    def _see(self, observation: Arrays) -> None:
        """Take in where things are, in the person's terms."""

    @abstractmethod
    def _advance(self, observation: Arrays) -> None:
        """Each row's next phase; a row that has carried out its thought thinks again."""

    @abstractmethod
    def _reach(self) -> Array:
        """(n, k) joint targets for the command."""

    def _begin(self, rows: Array, observation: Arrays) -> None:
        """First sight of new scenes."""
        self._command[rows], self._q[rows] = observation["tool.position"][rows], observation["arm.q"][rows]

    def _led(self, observation: Arrays) -> Array:
        """(n, 3) where the led point is."""
        return observation["tool.position"]

    def _pace(self) -> Array:
        """(n, 1) share of the speed at which the point may be led now."""
        return np.ones((self._n, 1))

    def _joints(self, wrist: Array, tool: Array, pointing: Array, across: Array | None = None) -> Array:
        """Joint targets (n, k) for tools (n, 3), near the posture of a person whose wrist is at (n, 3)."""
        guess = (np.column_stack([wrist, np.ones(len(wrist))]) @ self._fit).reshape(-1, 2, 3)
        upper, forearm = arm_directions(guess[:, 1], guess[:, 0], wrist)
        symbolic = self._arm.symbolic(upper, forearm)
        # The hand does what the task wants, which a person's neutral wrist does not: the last joints follow the home.
        symbolic[:, 4:] = self._chain.home[4:]
        pull = np.clip(nearest_turn(self._chain, symbolic, self._q) - self._q, -self._pull, self._pull)
        symbolic = self._q + pull
        symbolic = np.clip(symbolic, self._chain.low, self._chain.high)
        found = adjust(self._chain, symbolic, tool, self._q, pointing=pointing, across=across, config=self._config)
        return found.q

    def _enter(self, rows: Array, phase: IntEnum) -> None:
        self._phase[rows], self._clock[rows] = phase, 0

    def _follow(self, rows: Array, phase: IntEnum, target: Array) -> None:
        self._target[rows] = target[rows]
        self._enter(rows, phase)
