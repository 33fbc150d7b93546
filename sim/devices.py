"""A simulated bench in real time: a robot and cameras that are views of one `TwinWorld`.

`TwinRobot` and `TwinCamera` satisfy the contracts of real devices, so deployment code runs unchanged. Like a real
controller the robot limits joint speed and holds when commands stop coming.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.bench.calibration import Intrinsics
from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import BenchError, StaleReading, UnknownName
from robolearn.specs import Array, Arrays, Spec, bounds, check
from sim.engine import mujoco
from sim.render import Renderer, camera_matrix, picture_spec
from sim.robots.chain import robot_chain
from sim.task import joint_command_spec, robot_spec
from sim.tool_contact import WRENCH_SPEC, ToolContact
from sim.twin_world import TwinWorld, TwinWorldConfig

__all__ = ["TwinCamera", "TwinCameraConfig", "TwinRobot", "TwinRobotConfig"]


@dataclass(frozen=True, slots=True)
class TwinRobotConfig:
    """The arm and gripper of a simulated bench, commanded by joint positions."""

    world: TwinWorldConfig = field(default_factory=TwinWorldConfig)
    """The scene, when no world is handed to `build`."""
    timeout_s: float = 0.25
    """Without a command for this long the arm brakes and holds."""
    deceleration: float = 15.0
    """How fast a stop brakes, rad/s^2."""
    wrench: bool = False
    """Also measure what the surroundings do to the tool, as an arm with a force-torque sensor."""
    report_only: bool = False
    """Measure only; `write` is refused."""

    def build(self, clock: Clock | None = None, world: TwinWorld | None = None) -> TwinRobot:
        """The robot; devices of one bench are given the same `world`."""
        world = world or self.world.build(clock)
        contact = ToolContact(world.model, world.task.robot) if self.wrench else None
        return TwinRobot(world, self.timeout_s, self.deceleration, contact, self.report_only)


class TwinRobot:
    """A `Robot` that is a view of a `TwinWorld`. Build it with `TwinRobotConfig`."""

    def __init__(
        self,
        world: TwinWorld,
        timeout_s: float = 0.25,
        deceleration: float = 15.0,
        contact: ToolContact | None = None,
        report_only: bool = False,
    ):
        self.world, self._timeout_s, self._deceleration, self._contact = world, timeout_s, deceleration, contact
        self._report_only = report_only
        robot, model = world.task.robot, world.model
        self._k = len(robot.joints)
        self._addresses = [model.joint(name).qposadr[0] for name in robot.joints]
        self._speeds = [model.joint(name).dofadr[0] for name in robot.joints]
        self._open = np.array(robot.finger_open)
        self._largest_step = np.array(robot.velocity_limits) * model.opt.timestep
        self._observation_spec = robot_spec(robot) | (dict(WRENCH_SPEC) if contact else {})
        self._action_spec = joint_command_spec(robot, model)
        self._limits = {name: bounds(spec) for name, spec in self._action_spec.items()}
        self._late: deque[tuple[float, Array]] = deque()
        with world.lock:
            self._goal, self._commanded = world.data.ctrl.copy(), world.clock.now()
            self._braking = np.zeros(self._k)  # speed of the set point while it comes to rest
            world.drive = self._drive

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    @property
    def chain(self) -> Chain:
        """The arm and its tool point as the model has them."""
        return robot_chain(self.world.task.robot)

    def read(self) -> Reading:
        with self.world.lock:
            time, seen = self.world.measure()
            if self._contact is not None:
                seen["tool.wrench"] = self._contact.wrench(self.world.data)
        return Reading(time, {name: seen[name] for name in self._observation_spec})

    def write(self, action: Arrays) -> Arrays:
        check(action, self._action_spec, where="action")
        if self._report_only:
            raise BenchError("This arm only reports (report_only); it takes no commands.")
        sent = {name: np.clip(action[name], *self._limits[name]) for name in self._action_spec}
        with self.world.lock:
            # What happened until now happened under the old command.
            self.world.advance()
            self._goal = np.concatenate([sent["arm.q_target"], 0.5 * (1.0 - sent["gripper.command"]) * self._open])
            self._commanded, self.world.begun = self.world.clock.now(), True
            self._braking[:] = 0.0
        return sent

    def stop(self) -> None:
        with self.world.lock:
            self.world.advance()
            self._hold()

    def place(self, q: Array) -> None:
        """Put the arm's joints (k,) there at rest, at once, with the gripper as it is; what only a twin can."""
        with self.world.lock:
            self.world.advance()
            data = self.world.data
            data.qpos[self._addresses], data.qvel[:] = q, 0.0
            mujoco.mj_forward(self.world.model, data)
            data.ctrl[: self._k] = self._goal[: self._k] = q
            self._braking[:], self._commanded = 0.0, np.inf

    def __enter__(self) -> TwinRobot:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _hold(self) -> None:
        # The gripper keeps its command: a held object is not dropped. An arm that brakes already goes on braking.
        if np.isfinite(self._commanded):
            self._braking[:] = self.world.data.qvel[self._speeds]
        self._goal[: self._k] = self.world.data.ctrl[: self._k]
        self._commanded = np.inf

    def _drive(self, time: float) -> None:
        if not self.world.begun:  # set anew: what was wanted of the last scene, its gripper's too, counts no more
            self._goal = self.world.data.ctrl.copy()
        if time - self._commanded > self._timeout_s:
            self._hold()
        if np.any(self._braking):
            dt = self.world.model.opt.timestep
            left = np.maximum(np.abs(self._braking) - self._deceleration * dt, 0.0)
            self._braking = np.sign(self._braking) * left
            self._goal[: self._k] = np.clip(self._goal[: self._k] + self._braking * dt, *self._limits["arm.q_target"])
        goal = self._arrived(time)
        ctrl = self.world.data.ctrl
        step = goal[: self._k] - ctrl[: self._k]
        ctrl[: self._k] += np.clip(step, -self._largest_step, self._largest_step)
        ctrl[self._k :] = self._open if self.world.perturbations.arm.slipping[0] else goal[self._k :]

    def _arrived(self, time: float) -> Array:
        """The goal that has reached the servos; a perturbation may let goals come late."""
        delay_s = self.world.perturbations.arm.delay_s(0)
        if not delay_s and not self._late:
            return self._goal
        if not self._late:
            self._late.append((-np.inf, self.world.data.ctrl.copy()))
        self._late.append((time, self._goal.copy()))
        while len(self._late) > 1 and self._late[1][0] <= time - delay_s + 1e-9:
            self._late.popleft()
        goal = self._late[0][1]
        if not delay_s:
            self._late.clear()
        return goal


@dataclass(frozen=True, slots=True)
class TwinCameraConfig:
    """A camera of a simulated bench."""

    world: TwinWorldConfig = field(default_factory=TwinWorldConfig)
    """The scene, when no world is handed to `build`."""
    name: str = "agent"
    """Which camera of the scene: "agent" or "wrist"."""
    width: int = 84
    """Pixels."""
    height: int = 84
    """Pixels."""
    depth: bool = False
    """Also deliver "<name>.depth" in mm along the optical axis, in the pixels of the colour picture."""
    segmentation: bool = False
    """Also deliver "<name>.segmentation", numbers of `sim.render.segment_names`."""
    rate_hz: float = 30.0
    """New frames per second."""
    stale_s: float = 0.5
    """A frame older than this is refused."""

    def build(self, clock: Clock | None = None, world: TwinWorld | None = None) -> TwinCamera:
        """The camera; devices of one bench are given the same `world`."""
        return TwinCamera(self, world or self.world.build(clock))


class TwinCamera:
    """A `Camera` that is a view of a `TwinWorld`. Build it with `TwinCameraConfig`; read it from one thread."""

    def __init__(self, config: TwinCameraConfig, world: TwinWorld):
        valid = [world.model.camera(i).name for i in range(world.model.ncam)]
        if config.name not in valid:
            raise UnknownName("camera", config.name, valid)
        self.world, self._config = world, config
        self.frozen = False
        """Set it to play a camera that hangs: no new frames come."""
        self._kinds = {"depth": config.depth, "segmentation": config.segmentation}
        self._spec = picture_spec(config.name, config.width, config.height, **self._kinds)
        self._renderer: Renderer | None = None
        self._frame: dict[str, Array] = {}
        self._time = -np.inf
        self.T_base_camera = np.eye(4)
        """(4, 4) where the camera was when it took its newest frame, m; z is its view, y is down."""

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def intrinsics(self) -> Intrinsics:
        """How it projects: exactly, and of depth too."""
        config = self._config
        K = camera_matrix(self.world.model, config.name, config.width, config.height)
        return Intrinsics(config.width, config.height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])

    def read(self) -> Reading:
        now, config = self.world.clock.now(), self._config
        if not self.frozen and now - self._time >= 1.0 / config.rate_hz - 1e-9:
            if self._renderer is None:
                # OpenGL belongs to a thread: the one that reads.
                self._renderer = Renderer(self.world.model)
            with self.world.lock:
                state, time = self.world.state(), self.world.time
                dress = self.world.perturbations.dress
            frame = self._renderer.pictures(
                state[None], config.name, config.width, config.height, **self._kinds, dress=dress
            )
            self._frame = {name: picture[0] for name, picture in frame.items()}
            self.T_base_camera = self._renderer.pose(state[None], config.name, dress=dress)[0]
            self._time = time
        if not now - self._time <= config.stale_s:
            raise StaleReading(
                f"The camera {config.name!r} has had no new frame for {now - self._time:.2f} s; at most "
                f"{config.stale_s} s is allowed. Check that it is connected and not frozen."
            )
        return Reading(self._time, {name: picture.copy() for name, picture in self._frame.items()})

    def close(self) -> None:
        """Give the OpenGL context back; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> TwinCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
