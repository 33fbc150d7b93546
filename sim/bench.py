"""A simulated bench with people at it: the twin of a task behind the gate, as an environment of one row in real time.

The devices are those of `sim.devices`; around them stand the same `SafeRobot` and `BenchEnv` that a real bench has.
What a real bench leaves to people the world does by itself: it sets the scene at a reset, executes what an adversary
proposes, and can say whether the goal holds. Objects are measured as by a perfect tracker, so scripted experts and
state policies run here unchanged.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robolearn.arm.task_space import TaskSpaceConfig
from robolearn.bench.env import BenchEnv
from robolearn.bench.staffed import StaffedBench
from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import RobolearnError, StaleReading
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import Array, Arrays, Spec, bounds, check
from sim.devices import TwinCamera, TwinCameraConfig, TwinRobot
from sim.env import CameraSize, Command
from sim.perturbations import Budget
from sim.robots import Level
from sim.task import DISPLACEMENT_SPEC, SimTask, robot_spec
from sim.twin_world import TwinWorld

__all__ = ["CAMERAS", "TwinArm", "TwinBench"]

CAMERAS: tuple[CameraSize, ...] = (("agent", 320, 240), ("wrist", 240, 180))
"""What people look at when a task's config names no cameras."""
RATES = {"arm.delta": 0.4, "arm.q_target": 3.0, "gripper.command": 10.0}
"""Largest change per second of each command; for displacements at 20 Hz a tool acceleration of 8 m/s^2 or rad/s^2."""


class LookingCamera:
    """A `Camera` that looks by itself, in a thread of its own, as real ones do: reading it costs the loop nothing."""

    def __init__(self, camera: TwinCamera, clock: Clock, rate_hz: float, stale_s: float):
        self._camera, self._clock, self._period_s = camera, clock, 1.0 / rate_hz
        self._stale_s = stale_s
        self._over, self._first = threading.Event(), threading.Event()
        self._newest: Reading | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._look, name=f"camera {next(iter(camera.spec))}", daemon=True)
        self._thread.start()

    @property
    def spec(self) -> Spec:
        return self._camera.spec

    def read(self) -> Reading:
        self._first.wait(timeout=10.0)  # its first picture takes a second: a renderer is made
        if self._error is not None:
            raise self._error
        newest, now = self._newest, self._clock.now()
        if newest is None or now - float(newest.time) > self._stale_s:
            raise StaleReading(f"The camera {next(iter(self.spec))} has had no new frame for {self._stale_s} s.")
        return newest

    def close(self) -> None:
        """End the thread; safe to call twice."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            while not self._over.is_set():
                started = self._clock.now()
                with contextlib.suppress(StaleReading):  # `read` says so, with the age that it has by then
                    self._newest = self._camera.read()
                self._first.set()
                self._over.wait(max(0.002, started + self._period_s - self._clock.now()))
        except RobolearnError as error:
            self._error = error
            self._first.set()
        finally:
            self._camera.close()


class TwinArm:
    """A `Robot` that is a view of a world: all its arrays, commanded by displacements of the tool or by joints.

    A displacement of exactly zero holds: the joint targets stay where they are, so that nothing creeps.
    """

    def __init__(self, world: TwinWorld, command: Command = "displacement"):
        self.world, self._command = world, command
        self._robot = TwinRobot(world)
        robot = world.task.robot
        low, high = bounds(self._robot.action_spec["arm.q_target"])
        period_s = 1.0 / world.task.task.rate_hz
        self._control = TaskSpaceConfig().build(
            np.array(robot.home), low, high, np.array(robot.velocity_limits), period_s
        )
        self._joints = len(robot.joints)
        self._target: Array | None = None
        self._action_spec: Spec = DISPLACEMENT_SPEC if command == "displacement" else self._robot.action_spec
        self._limits = {name: bounds(spec) for name, spec in self._action_spec.items()}

    @property
    def observation_spec(self) -> Spec:
        return robot_spec(self.world.task.robot) | dict(self.world.task.observation_spec)

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    def read(self) -> Reading:
        time, seen = self.world.measure()
        return Reading(time, seen)

    def write(self, action: Arrays) -> Arrays:
        if self._command == "joints":
            return self._robot.write(action)
        check(action, self._action_spec, where="action")
        sent = {name: np.clip(action[name], *self._limits[name]) for name in self._action_spec}
        with self.world.lock:
            _, seen = self.world.measure()
            previous = seen["arm.q"] if self._target is None else self._target
            if self._target is None or np.any(sent["arm.delta"]):
                self._target = self._displaced(previous, seen, sent["arm.delta"])
            self._robot.write({"arm.q_target": self._target, "gripper.command": sent["gripper.command"]})
        return sent

    def stop(self) -> None:
        self._robot.stop()
        self._target = None

    def _displaced(self, previous: Array, seen: Arrays, delta: Array) -> Array:
        data, layout = self.world.data.sensordata, self.world.layout
        return self._control.displace(
            previous[None],
            seen["arm.q"][None],
            data[layout["joint.anchor"]].reshape(1, -1, 3),
            data[layout["joint.axis"]].reshape(1, -1, 3),
            seen["tool.position"][None],
            delta[None],
        )[0]


class TwinBench(StaffedBench):
    """An `Env` of one row that lives on a clock.

    Args:
        task: Whose scene.
        clock: Time to follow.
        command: What an action is.
        cameras: (name, width, height) each.
        depth: Cameras also measure distance.
        segmentation: Cameras also say which body each pixel shows.
        longest_s: An episode that lasts longer ends as a timeout.
        level: How the robot looks.
        budget: How much an episode may be disturbed.
        pictures_hz: New frames per second and camera.
        stale_s: A camera whose newest frame is older than this cannot be read.
        threads: Let cameras look in threads of their own, for a clock that runs by itself.
    """

    def __init__(
        self,
        task: SimTask,
        clock: Clock,
        *,
        command: Command = "displacement",
        cameras: Sequence[CameraSize] = CAMERAS,
        depth: bool = False,
        segmentation: bool = False,
        longest_s: float = 120.0,
        level: Level = "light",
        budget: Budget | None = None,
        pictures_hz: float = 12.0,
        stale_s: float = 1.0,
        threads: bool = False,
    ):
        self.world = TwinWorld(task, clock, level=level, budget=budget)
        self.arm = TwinArm(self.world, command)
        kinds = TwinCameraConfig(rate_hz=pictures_hz, stale_s=stale_s, depth=depth, segmentation=segmentation)
        self.cameras = [
            TwinCamera(replace(kinds, name=name, width=width, height=height), self.world)
            for name, width, height in cameras
        ]
        self._looking = (
            [LookingCamera(camera, clock, pictures_hz, stale_s) for camera in self.cameras] if threads else []
        )
        limits = Limits({name: RATES[name] for name in self.arm.action_spec}, _measured(self.arm.action_spec))
        gate = SafeRobot(self.arm, limits, clock)
        facts = replace(task.task, horizon=max(1, round(longest_s * task.task.rate_hz)))
        bench = BenchEnv(gate, self._looking or self.cameras, facts, clock, prepare=self._prepare)
        super().__init__(bench, gate, self.world)

    def close(self) -> None:
        super().close()
        for camera in self._looking or self.cameras:
            camera.close()

    def _prepare(self, seed: int) -> None:
        self.world.reset(seed)
        self.arm.stop()
        if not self.gate.fault:
            self.gate.clear()  # the next command starts from rest


def _measured(spec: Spec) -> dict[str, str]:
    return {"arm.q_target": "arm.q"} if "arm.q_target" in spec else {}
