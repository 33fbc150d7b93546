"""PUSH_ROBOT, SLIP and LATENCY: what happens to the arm itself.

A push is a force on one body with the shape of half a sine wave, sin(pi t / T), as a hand gives it. A slip opens the
fingers for a moment, whatever they were told. Late commands reach the servos some control periods after they were
sent, as over a slow network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robolearn.specs import Array
from sim.acts.act import Act, Answer, Request, Scene, lasting

__all__ = ["Arm"]

LARGEST_N = 60.0
"""Strongest push: what a person leans on a table with; a cobot's servos give way by a few centimetres."""
LONGEST_S = 0.5
"""Longest delay of a command."""


class Arm:
    """What disturbs each row's arm."""

    def __init__(self, scene: Scene):
        self._scene, n = scene, scene.n
        robot, model = scene.task.robot, scene.model
        joints = [model.body(int(model.joint(name).bodyid[0])).name for name in robot.joints]
        self._bodies = (robot.tool_body, *(name for name in reversed(joints) if name != robot.tool_body))
        self._force, self._body = np.zeros((n, 3)), np.zeros(n, int)
        self._pushed, self._push_steps = np.zeros(n, int), np.zeros(n, int)
        self._slip = np.zeros(n, int)
        self.slipping = np.zeros(n, bool)
        """Whose fingers open by themselves in the period that `advance` was last called for."""
        self._delay, self._late_left, self._begun = np.zeros(n, int), np.zeros(n, int), np.zeros(n, bool)
        # The targets sent in the last periods, newest last.
        self._sent = np.zeros((n, round(LONGEST_S / scene.period_s) + 1, scene.model.nu))
        self._forced = False  # whether forces were written that have to be taken back

    def acts(self) -> Mapping[str, Act]:
        force = (-LARGEST_N, LARGEST_N, 0.0)
        return {
            "PUSH_ROBOT": Act(
                self._push, self._bodies, {"fx": force, "fy": force, "fz": force, "for_s": (0.05, 0.5, 0.1)}, "push"
            ),
            "SLIP": Act(self._let_slip, params={"for_s": (0.0, 0.5, 0.0)}, budget="slip"),
            "LATENCY": Act(self._delay_commands, params={"delay_s": (0.0, LONGEST_S, 0.1), "for_s": (0.0, 1e6, 0.0)}),
        }

    def clear(self, rows: Sequence[int]) -> None:
        """Nothing disturbs these rows' arms."""
        self._pushed[rows] = self._push_steps[rows] = self._slip[rows] = self._delay[rows] = 0
        self._begun[rows] = False

    @property
    def idle(self) -> bool:
        """Whether `advance` has nothing to do, not even to take something back."""
        moving = self._forced or self.slipping.any() or self._slip.any() or self._delay.any()
        return not (moving or (self._pushed < self._push_steps).any())

    def delay_s(self, row: int) -> float:
        """How late the commands of a row arrive."""
        return float(self._delay[row] * self._scene.period_s)

    def advance(self, inputs: Mapping[str, Array]) -> None:
        """Write the forces of the coming control period and count down."""
        active = self._pushed < self._push_steps
        if self._forced:
            inputs["xfrc_applied"][:] = 0.0
        ramp = (np.arange(self._scene.substeps) + 0.5) / self._scene.substeps
        for row in np.flatnonzero(active):
            shape = np.sin(np.pi * (self._pushed[row] + ramp) / self._push_steps[row])
            start = 6 * self._body[row]
            inputs["xfrc_applied"][row, :, start : start + 3] = shape[:, None] * self._force[row]
        self._forced = bool(active.any())
        self._pushed[active] += 1
        self.slipping = self._slip > 0
        self._slip = np.maximum(self._slip - 1, 0)
        self._late_left = np.maximum(self._late_left - 1, 0)
        # When the delay is over, the servos catch up at twice the speed instead of jumping.
        self._delay[(self._delay > 0) & (self._late_left == 0)] -= 1

    def late(self, previous: Array, targets: Array) -> Array:
        """The targets (n, nu) that reach the servos now, when `targets` are sent now and `previous` were reached."""
        late = self._delay > 0
        if not late.any():
            return targets
        self._sent[self._begun] = previous[self._begun, None]
        self._begun[:] = False
        self._sent = np.concatenate([self._sent[:, 1:], targets[:, None]], axis=1)
        arrived = self._sent[np.arange(len(targets)), -1 - self._delay]
        return np.where(late[:, None], arrived, targets)

    def _push(self, request: Request) -> Answer:
        force = np.array([request.params[name] for name in ("fx", "fy", "fz")])
        if self._pushed[request.row] < self._push_steps[request.row]:
            return Answer(reason="the robot is already being pushed")
        if np.linalg.norm(force) > LARGEST_N:
            return Answer(reason=f"a push of {np.linalg.norm(force):.0f} N is more than {LARGEST_N:.0f} N")
        self._force[request.row] = force
        self._body[request.row] = self._scene.model.body(request.target).id
        self._pushed[request.row] = 0
        self._push_steps[request.row] = self._steps(request.params["for_s"])
        return Answer(self._push_steps[request.row] * self._scene.period_s)

    def _let_slip(self, request: Request) -> Answer:
        if request.seen["gripper.width"][0] > 0.95 * self._scene.task.robot.width:
            return Answer(reason="the gripper is open and holds nothing")
        self._slip[request.row] = self._steps(request.params["for_s"])
        return Answer(self._slip[request.row] * self._scene.period_s)

    def _delay_commands(self, request: Request) -> Answer:
        duration_s = lasting(request)
        self._delay[request.row] = round(request.params["delay_s"] / self._scene.period_s)
        self._late_left[request.row] = self._steps(duration_s)
        # Until the first late command arrives, the servos keep what they were last told.
        self._begun[request.row] = True
        return Answer(duration_s)

    def _steps(self, seconds: float) -> int:
        return max(1, round(seconds / self._scene.period_s))
