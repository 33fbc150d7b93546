"""A simulated bench in real time: a robot and cameras that are views of one world.

`TwinWorld` is the scene of a task as a single MuJoCo model that follows a `Clock`; `TwinRobot` and `TwinCamera`
satisfy the contracts of real devices, so deployment code runs unchanged. Physics catches up with the clock whenever
somebody reads or writes, substep by substep, so with a `FakeClock` every number is repeatable. Like a real
controller the robot limits joint speed and holds when commands stop coming.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robolearn import plugins
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Event, Perturbation, Reading
from robolearn.errors import BenchError, SimulationFault, StaleReading, UnknownName
from robolearn.kinematics import Chain
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check, zeros
from sim.acts.act import Scene
from sim.acts.bodies import CHANGED
from sim.config import SimConfig
from sim.engine import mujoco
from sim.perturbations import Budget, Perturbations
from sim.render import Renderer
from sim.robots import Level
from sim.robots.chain import robot_chain
from sim.task import Driven, Informed, SimTask, draw_facts, joint_command_spec, measure, robot_spec, start_positions
from sim.tool_contact import WRENCH_SPEC, ToolContact
from sim.world import sensor_layout

__all__ = ["TwinCamera", "TwinCameraConfig", "TwinRobot", "TwinRobotConfig", "TwinWorld", "TwinWorldConfig"]

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value


@dataclass(frozen=True, slots=True)
class TwinWorldConfig:
    """The scene that the devices of one simulated bench share."""

    task: str = "lift"
    """Whose scene."""
    robot: str = "panda"
    """Which robot stands in it."""
    seed: int = 0
    """Seed of the start."""
    level: Level = "light"
    """How the robot looks to the cameras."""
    step_s: float = 0.0
    """Step of the physics in s; 0 takes the task's."""
    exact: bool = False
    """Start with the arm exactly at its home posture instead of the seed's small deviation."""

    def build(self, clock: Clock | None = None) -> TwinWorld:
        """The world, starting now on `clock` (the machine's monotonic clock by default)."""
        config = plugins.load("env", self.task)
        if not issubclass(config, SimConfig):
            ours = [name for name in plugins.names("env") if issubclass(plugins.load("env", name), SimConfig)]
            raise UnknownName("task of our own simulation", self.task, ours)
        world = TwinWorld(
            config(robot=self.robot).sim_task(), clock or MonotonicClock(), self.seed, self.level, step_s=self.step_s
        )
        if self.exact:
            world.home()
        return world


class TwinWorld:
    """One scene that lives on a clock. All methods may be called from any thread.

    Args:
        task: Whose scene.
        clock: Time to follow.
        seed: Seed of the start.
        level: How the robot looks.
        budget: How much an episode may be disturbed.
        step_s: Step of the physics, s; 0 takes the task's.
    """

    def __init__(
        self,
        task: SimTask,
        clock: Clock,
        seed: int = 0,
        level: Level = "light",
        budget: Budget | None = None,
        step_s: float = 0.0,
    ):
        self.task, self.clock, self.model = task, clock, task.model(level)
        if step_s:
            self.model.opt.timestep = step_s
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.layout = sensor_layout(self.model)
        self.lock = threading.RLock()
        self.drive: Callable[[float], None] = lambda time: None
        """Called with the clock's time before every substep; the robot sets `data.ctrl` here."""
        self.data = mujoco.MjData(self.model)
        self.begun = False
        """Whether somebody has commanded the robot since the start."""
        self._plain = copy.copy(self.model)
        self._substeps = round(1.0 / (task.task.rate_hz * self.model.opt.timestep))
        self._inputs = {
            name: np.repeat(getattr(self.data, name).reshape(1, 1, -1), self._substeps, axis=1).astype(float)
            for name in ("ctrl", "xfrc_applied", "eq_active", "mocap_pos", "mocap_quat")
        }
        self._rest = {name: value.copy() for name, value in self._inputs.items()}
        self._shown = (*robot_spec(task.robot), *task.observation_spec)
        self._informed = task if isinstance(task, Informed) else None
        self.facts = zeros(task.facts, (1,)) if isinstance(task, Informed) else {}
        scene = Scene(
            task,
            self._plain,
            1,
            1.0 / task.task.rate_hz,
            self._substeps,
            self.facts,
            own_model=lambda row: self.model,
            positions=lambda row: self.data.qpos.copy(),
            restart=self._place,
        )
        self.perturbations = Perturbations(scene, budget)
        self.reset(seed)

    @property
    def time(self) -> float:
        """The physics state's time on the clock."""
        return self._start + self._steps * self.model.opt.timestep

    def reset(self, seed: int) -> None:
        """Put the scene into the start of this seed, now."""
        with self.lock:
            self._undo_model()
            mujoco.mj_resetData(self.model, self.data)
            self.data.qpos[:], self.data.ctrl[:] = start_positions(self.model, self.task, seed)
            mujoco.mj_forward(self.model, self.data)
            for name, fact in draw_facts(self.task, seed).items():
                self.facts[name][0] = fact
            self.perturbations.reset([0], [seed])
            for name, rest in self._rest.items():
                self._inputs[name][:] = rest
            self.begun = False
            self._start, self._steps = self.clock.now(), 0
            self._seen_time = self._start

    def home(self, q: Array | None = None) -> None:
        """Put the arm at rest at joint positions (k,) in rad, by default exactly at its home posture."""
        with self.lock:
            robot = self.task.robot
            for k, (joint, value) in enumerate(zip(robot.joints, robot.home if q is None else q, strict=True)):
                self.data.qpos[self.model.joint(joint).qposadr[0]] = self.data.ctrl[k] = value
            self.data.qvel[:] = 0.0
            mujoco.mj_forward(self.model, self.data)
            self.begun = False

    def advance(self) -> None:
        """Let physics catch up with the clock.

        Raises:
            SimulationFault: MuJoCo reported a bad state or control.
        """
        with self.lock:
            # The small addend keeps a clock that stands exactly on a substep from losing it to rounding.
            due = int((self.clock.now() - self._start) / self.model.opt.timestep + 1e-6)
            while self._steps < due:
                phase = self._steps % self._substeps
                if phase == 0:
                    seen = self._measured()
                    self.perturbations.advance(seen, self._inputs)
                    if isinstance(self.task, Driven):
                        self.task.drive(self.model, seen, self._inputs)
                self.drive(self.time)
                for name in ("xfrc_applied", "eq_active", "mocap_pos", "mocap_quat"):
                    values = getattr(self.data, name)
                    values[:] = self._inputs[name][0, phase].reshape(values.shape)
                self._seen_time = self.time
                mujoco.mj_step(self.model, self.data)
                self._steps += 1
                if np.any(self.data.warning.number) or not np.all(np.isfinite(self.data.qvel)):
                    names = [str(mujoco.mjtWarning(i).name) for i, w in enumerate(self.data.warning) if w.number]
                    raise SimulationFault(f"The twin's physics went bad ({names or 'not finite'}); reset the world.")

    def measure(self) -> tuple[float, dict[str, Array]]:
        """Time of the newest sensor values and the arrays of robot and objects, without leading axis.

        MuJoCo evaluates sensors at the start of a substep, so they may be one substep older than the state.
        """
        with self.lock:
            self.advance()
            seen = self.perturbations.measured(self._measured())
            return self._seen_time, {name: seen[name][0] for name in self._shown}

    def apply(self, perturbation: Perturbation) -> Event:
        """Disturb the scene now; the event says on the clock's time whether and how long."""
        with self.lock:
            self.advance()
            task, now = self.task.task, self.clock.now()
            left_s = max(task.horizon / task.rate_hz - (now - self._start), 0.0)
            seen = {name: value[0] for name, value in self._measured().items()}
            return self.perturbations.apply(0, perturbation, seen, now=now, left_s=left_s, fresh=not self.begun)

    def state(self) -> Array:
        """(nstate,) the physics state after catching up."""
        with self.lock:
            self.advance()
            out = np.empty(mujoco.mj_stateSize(self.model, _STATE))
            mujoco.mj_getState(self.model, self.data, out, _STATE)
            return out

    def success(self) -> bool:
        """Whether the task's goal holds right now: what a person beside a real bench would say."""
        with self.lock:
            self.advance()
            return bool(self.task.success(self._measured())[0])

    def _measured(self) -> dict[str, Array]:
        """The truth as arrays (1, ...), as of the newest sensor values."""
        seen = measure(self.data.sensordata[None], self.layout, self.task)
        return seen | dict(self._informed.derive(seen, self.facts)) if self._informed is not None else seen

    def _place(self, row: int, positions: Array) -> None:
        self.data.qpos[:], self.data.qvel[:] = positions, 0.0
        mujoco.mj_forward(self.model, self.data)

    def _undo_model(self) -> None:
        """Take changed masses and frictions back."""
        for name in CHANGED:
            getattr(self.model, name)[:] = getattr(self._plain, name)
        mean = self._plain.stat.meaninertia
        mujoco.mj_setConst(self.model, self.data)
        self.model.stat.meaninertia = mean


@dataclass(frozen=True, slots=True)
class TwinRobotConfig:
    """The arm and gripper of a simulated bench, commanded by joint positions."""

    world: TwinWorldConfig = TwinWorldConfig()
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

    world: TwinWorldConfig = TwinWorldConfig()
    """The scene, when no world is handed to `build`."""
    name: str = "agent"
    """Which camera of the scene: "agent" or "wrist"."""
    width: int = 84
    """Pixels."""
    height: int = 84
    """Pixels."""
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
        self._array = f"{config.name}.rgb"
        self._spec = {self._array: ArraySpec((config.height, config.width, 3), "uint8", frame=config.name)}
        self._renderer: Renderer | None = None
        self._frame, self._time = np.zeros(0, np.uint8), -np.inf

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        now, config = self.world.clock.now(), self._config
        if not self.frozen and now - self._time >= 1.0 / config.rate_hz - 1e-9:
            if self._renderer is None:
                # OpenGL belongs to a thread: the one that reads.
                self._renderer = Renderer(self.world.model)
            with self.world.lock:
                state, time = self.world.state(), self.world.time
                dress = self.world.perturbations.dress
            self._frame = self._renderer.rgb(state[None], config.name, config.width, config.height, dress=dress)[0]
            self._time = time
        if not now - self._time <= config.stale_s:
            raise StaleReading(
                f"The camera {config.name!r} has had no new frame for {now - self._time:.2f} s; at most "
                f"{config.stale_s} s is allowed. Check that it is connected and not frozen."
            )
        return Reading(self._time, {self._array: self._frame.copy()})

    def close(self) -> None:
        """Give the OpenGL context back; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> TwinCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
