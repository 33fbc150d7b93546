"""The console beside a policy that moves the arm: pages see who moves it, and may take over, give back, and say stop.

A `View` shows pictures, rates and places; this adds who moves the arm now, and why. Nothing is recorded or reviewed
from here: that is the business of whoever runs the policy.
"""

from __future__ import annotations

from collections.abc import Sequence

from robolearn.contracts import Env, Tick
from robolearn.episode import Actor, Outcome, Reading
from teleop.console.console import Console
from teleop.console.view import View
from teleop.engagement import Engagement

__all__ = ["Onlooker"]


class Onlooker:
    """An `Observer` of a loop in which a person at the console may take over from a policy.

    Args:
        console: Where it is shown.
        engagement: The clutch of the person's page.
        device: Name of the device's plugin, with which the pages know what they can do.
    """

    def __init__(self, console: Console, engagement: Engagement, device: str = "web"):
        self._console, self._engagement, self._device = console, engagement, device
        self._view: View | None = None
        self._episodes = 0

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        task = env.task
        if self._view is None:
            self._view = View(self._console, env, ())
            self._console.introduce(
                task=task.name,
                robot=task.robot,
                instruction=task.instruction,
                rate_hz=task.rate_hz,
                cameras=[name for name, spec in env.observation_spec.items() if spec.is_image],
                operator=self._device,
                longest_s=task.horizon / task.rate_hz,
            )
        self._episodes += 1
        self._view.begin(env, rows, seeds)

    def step(self, tick: Tick) -> None:
        assert self._view is not None
        taken = int(tick.notes["actor"][0]) == Actor.INTERVENTION
        mode = ("HUMAN" if self._engagement.engaged else "HOLD") if taken else "POLICY"
        if halted := self._console.desk.halted:
            mode = "STOPPED"
        reason = halted or self._engagement.reason
        self._view.facts |= {"phase": "policy", "mode": mode, "reason": reason, "gate": halted, "kept": self._episodes}
        self._view.step(tick)

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        assert self._view is not None
        self._view.end(rows, outcomes, reading)
