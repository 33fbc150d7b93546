"""The scene of a task as a single MuJoCo model that follows a `Clock`.

Physics catches up with the clock whenever somebody reads or writes, substep by substep, so with a `FakeClock` every
number is repeatable. The devices that look at it and act in it are in `sim.devices`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robolearn import plugins
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Event, Perturbation
from robolearn.errors import SimulationFault, UnknownName
from robolearn.specs import Array, zeros
from sim.acts.act import Scene
from sim.acts.bodies import CHANGED, set_constants
from sim.config import SimConfig
from sim.engine import mujoco
from sim.perturbations import Budget, Perturbations
from sim.robots import Level
from sim.task import Driven, Informed, SimTask, draw_start, measure, robot_spec
from sim.world import sensor_layout

__all__ = ["TwinWorld", "TwinWorldConfig"]

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
        self.starts = 0
        """How often the scene has been set."""
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
        self._driven = task if isinstance(task, Driven) else None
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
            start = draw_start(self.model, self.task, seed)
            self.data.qpos[:], self.data.ctrl[:] = start.qpos, start.ctrl
            mujoco.mj_forward(self.model, self.data)
            for name, fact in start.facts.items():
                self.facts[name][0] = fact
            self.perturbations.reset([0], [seed])
            for name, rest in self._rest.items():
                self._inputs[name][:] = rest
            self.begun = False
            self.starts += 1
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
                    if self._driven is not None:
                        self._driven.drive(self.model, seen, self._inputs)
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
        set_constants(self.model, self.data, self._plain)
