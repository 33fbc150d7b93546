"""A MuJoCo model of an arm as the physics behind its protocol twin, found through the robot plugin "mujoco".

The model's time is the twin controller's: it moves only when the controller has finished a cycle, so a machine that
holds the twin up makes it slow, never wrong. Where a vendor's base frame is turned against the model's (a UR's by half
a turn about the vertical), `turned` says so, for what is measured in that frame.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np

from hardware.kinematic_arm import RobotPhysics
from robolearn import plugins
from robolearn.clock import FakeClock
from robolearn.errors import UnknownName
from robolearn.specs import Array

__all__ = ["MODELLED", "SimulatedArm", "has_model", "simulated_arm"]

MODELLED: Mapping[str, str] = {"ur5e": "ur5e", "xarm7": "xarm7"}
"""Arms of the vendors and the simulation's robot that is the same."""
PHYSICS_STEP_S = 0.002
"""Step of the physics: a cycle of an e-Series controller."""


def has_model(name: str) -> bool:
    """Whether this arm can have MuJoCo behind its protocol here."""
    return name in MODELLED and importlib.util.find_spec("mujoco") is not None


def simulated_arm(name: str, joints: int, *, turned: bool = False) -> SimulatedArm:
    """The model of an arm, at its home posture, with nothing but a table before it.

    Raises:
        UnknownName: There is no model of this arm.
        MissingDependency: mujoco is not installed.
    """
    if name not in MODELLED:
        raise UnknownName("arm with a MuJoCo model", name, MODELLED, hint="Other arms are kinematic.")
    config: Any = plugins.load("robot", "mujoco")()
    world = dataclasses.replace(config.world, task="reach", robot=MODELLED[name], step_s=PHYSICS_STEP_S, exact=True)
    # A controller has a watchdog of its own; the model must not have an opinion about silence.
    config = dataclasses.replace(config, world=world, wrench=True, timeout_s=float("inf"))
    clock = FakeClock()
    return SimulatedArm(config.build(clock), joints, clock, turned)


class SimulatedArm(RobotPhysics):
    """See `simulated_arm`."""

    def __init__(self, robot: Any, joints: int, clock: FakeClock, turned: bool):
        super().__init__(robot, joints)
        self.robot, self._clock = robot, clock
        self._start, self._force = clock.now(), np.zeros(6)
        self._signs = np.array([-1.0, -1.0, 1.0] * 2) if turned else np.ones(6)

    def step_to(self, time: float) -> None:
        self._clock.sleep_until(self._start + time)

    def state(self) -> tuple[Array, Array]:
        arrays = self.robot.read().arrays
        self._force = arrays["tool.wrench"]
        return arrays["arm.q"], arrays["arm.dq"]

    def wrench(self) -> Array:
        """What the surroundings did to the tool when the state was last read, (6,) N and N m, vendor's base frame."""
        return self._force * self._signs
