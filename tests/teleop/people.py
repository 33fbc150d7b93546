"""People at a console on a fake clock: they act between the ticks of the loop, as scripts of moments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from robolearn import plugins
from robolearn.clock import FakeClock
from teleop.console.console import ConsoleConfig
from teleop.console.desk import Hand
from teleop.console.live import Live, LiveOptions
from teleop.web import WebConfig

PUSH = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])


class ScriptedClock(FakeClock):
    """A fake clock on which things happen: `at(time, work)`, and `every(period, work)` until work returns False."""

    def __init__(self, start=100.0):
        super().__init__(start)
        self._todo = []
        self._number = 0

    def at(self, time, work):
        self._number += 1
        self._todo.append((time, self._number, work))
        self._todo.sort(key=lambda item: item[:2])

    def after(self, seconds, work):
        self.at(self.now() + seconds, work)

    def every(self, period, work):
        def again():
            if work() is not False:
                self.after(period, again)

        self.after(period, again)

    def sleep_until(self, deadline):
        while self._todo and self._todo[0][0] <= deadline:
            time, _, work = self._todo.pop(0)
            super().sleep_until(time)
            work()
        super().sleep_until(deadline)


class Page:
    """A tele-operator's page: beats at 50 Hz while it lives, with a clock of its own."""

    alive: Any

    def __init__(self, clock, desk, role="operator", offset=-5000.0):
        self.clock, self.desk, self.offset = clock, desk, offset
        self.person = desk.join(role)
        self.twist, self.enable, self.sequence = np.zeros(6), False, 0
        self.alive = True  # or "queued" or "late" in the network; or False
        self.held, self.late = [], 0.0
        clock.every(0.02, self.beat)

    def beat(self):
        self.sequence += 1
        hand = Hand(
            self.sequence,
            self.clock.now() + self.offset,
            self.twist,
            np.zeros(3),
            np.array([1.0, 0, 0, 0]),
            -1.0,
            self.enable,
        )
        if self.alive is True:
            self.desk.hand(self.person, hand)
        elif self.alive == "queued":
            self.held.append(hand)
        elif self.alive == "late":  # the network becomes slower and slower: everything arrives, up to a second old
            self.late = min(self.late + 0.01, 1.0)
            self.clock.after(self.late, lambda: self.desk.hand(self.person, hand))
        return self.alive is not False


def done(episode):
    """What people did to the scene: the events of an episode without those of the gate, which has its own tests."""
    return [event for event in episode.events if event.source != "gate"]


def bench(clock, **settings: Any):
    """The twin of pick-and-place without cameras, unless some are named."""
    from sim.bench import TwinBench

    task = plugins.load("env", "pick_place")().sim_task()
    return TwinBench(task, clock, **(dict[str, Any](cameras=()) | settings))


def session(clock, store, env=None, adversary=None, operator=None, **options):
    """A console that serves nobody, with a live session at a bench."""
    console = ConsoleConfig().build(clock)
    env = env or bench(clock)
    operator = operator or WebConfig().operator(env, clock, console=console)
    if adversary == "web":
        adversary = plugins.load("adversary", "web")().build(env, console=console)
    live = Live(console, env, operator, store, clock, adversary, replace(LiveOptions(episodes=1), **options))
    return console, env, live
