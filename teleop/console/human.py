"""A person at the adversary's page, as an `Adversary`: what they ask for is proposed, and the environment disposes.

Nothing of theirs goes near the arm: an act becomes a `Perturbation`, which the environment may refuse, and every
command of the arm still passes the gate. Acts arrive at any time and are proposed at the next tick, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from robolearn.clock import MonotonicClock
from robolearn.contracts import Env
from robolearn.episode import Perturbation, Reading
from teleop.console.acts import catalogue, commands_of, refusal
from teleop.console.console import Console, ConsoleConfig
from teleop.console.desk import Act

__all__ = ["HumanAdversary", "WebAdversaryConfig"]


@dataclass(frozen=True, slots=True)
class WebAdversaryConfig:
    """A second person, at the console's adversary page."""

    serving: ConsoleConfig = field(default_factory=ConsoleConfig)
    """Where the page is served, when no console is handed to `build`."""

    def build(self, env: Env, console: Console | None = None) -> HumanAdversary:
        """The adversary; without a console it starts one."""
        if console is None:
            console = self.serving.build(MonotonicClock())
            console.start()
        return HumanAdversary(env, console)


class HumanAdversary:
    """Build it with `WebAdversaryConfig`."""

    def __init__(self, env: Env, console: Console):
        self._console = console
        self._acts, self._commands = catalogue(env), commands_of(env)
        self.proposed: deque[Act] = deque()
        """What was proposed and whose event has not been seen yet, in order; the observer takes them out."""

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._console.desk.take_acts()
        self.proposed.clear()

    def propose(self, reading: Reading) -> Sequence[tuple[int, Perturbation]]:
        wishes: list[tuple[int, Perturbation]] = []
        for act in self._console.desk.take_acts():
            if reason := refusal(self._acts, self._commands, act.perturbation):
                self._console.answer(act.person, {"number": act.number, "accepted": False, "reason": reason})
                continue
            self.proposed.append(act)
            wishes.append((0, act.perturbation))
        return wishes
