"""Tasks in batches: the `Env` of the house on a `World` of n rows.

A task brings a model, sensors and pure functions over arrays (`sim.task`); everything that has to do with stepping,
control, time limits, cameras and disturbances is here, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np

from robolearn.arm.task_space import TaskSpaceConfig, interpolate
from robolearn.episode import Event, Outcome, Perturbation, Reading
from robolearn.errors import UnknownName
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds, check, zeros
from robolearn.task import Task
from sim.acts.act import Act, Scene
from sim.acts.look import LookRanges
from sim.perturbations import Budget, Perturbations
from sim.render import Renderer, picture_spec
from sim.robots import Level
from sim.task import (
    DISPLACEMENT_SPEC,
    Driven,
    Informed,
    SimTask,
    draw_start,
    joint_command_spec,
    measure,
    robot_spec,
)
from sim.world import World

__all__ = ["BatchEnv", "CameraSize", "Command"]

CameraSize = tuple[str, int, int]
"""Name of a camera, width and height in pixels."""
Command = Literal["displacement", "joints"]
"""What the arm's part of an action is: "arm.delta" or "arm.q_target"."""


class BatchEnv:
    """An `Env` of n simulated rows. Finished rows keep moving harmlessly until they are reset.

    Args:
        task: What to do.
        n: Rows.
        threads: Native threads; any number gives the same bits.
        level: How the robot looks to the cameras.
        cameras: Cameras to draw in every observation: (name, width, height), names "agent" and "wrist".
        depth: Also draw how far away everything is, as a depth camera measures it.
        segmentation: Also draw which body each pixel shows.
        hold_s: How long success must hold.
        command: What an action is: a "displacement" of the tool, or "joints" targets.
        control: Gains of the task-space step.
        budget: How much an episode may be disturbed.
        looks: Draw lights, table and cameras anew for every start.
        astray: Share of starts in which the arm begins elsewhere.
    """

    def __init__(
        self,
        task: SimTask,
        n: int = 1,
        *,
        threads: int = 1,
        level: Level = "light",
        cameras: Sequence[CameraSize] = (),
        depth: bool = False,
        segmentation: bool = False,
        hold_s: float = 0.25,
        command: Command = "displacement",
        control: TaskSpaceConfig | None = None,
        budget: Budget | None = None,
        looks: LookRanges | None = None,
        astray: float = 0.0,
    ):
        self._sim_task, self._robot, self.model = task, task.robot, task.model(level)
        self._n, self._period_s, self._astray = n, 1.0 / task.task.rate_hz, astray
        substeps = round(self._period_s / self.model.opt.timestep)
        if not math.isclose(substeps * self.model.opt.timestep, self._period_s):
            raise ValueError(
                f"The control period {self._period_s} s must be a multiple of the timestep {self.model.opt.timestep} s."
            )
        self.world = World(self.model, n, substeps=substeps, threads=threads)
        self._cameras, self._kinds = tuple(cameras), {"depth": depth, "segmentation": segmentation}
        valid = [self.model.camera(i).name for i in range(self.model.ncam)]
        for name, _, _ in self._cameras:
            if name not in valid:
                raise UnknownName("camera", name, valid)
        self._renderer: Renderer | None = None
        self._observation_spec: dict[str, ArraySpec] = {
            **robot_spec(self._robot),
            **task.observation_spec,
            "task.reward": ArraySpec((1,)),
        }
        for camera, width, height in self._cameras:
            self._observation_spec |= picture_spec(camera, width, height, **self._kinds)
        k = len(self._robot.joints)
        joints = joint_command_spec(self._robot, self.model)
        low, high = bounds(joints["arm.q_target"])
        home, speeds = np.array(self._robot.home), np.array(self._robot.velocity_limits)
        self._control = (control or TaskSpaceConfig()).build(home, low, high, speeds, self._period_s)
        self._action_spec: Spec = DISPLACEMENT_SPEC if command == "displacement" else joints
        self._arm, self._fingers = slice(0, k), slice(k, k + len(self._robot.fingers))
        self._open = np.array(self._robot.finger_open)
        self._limits = {name: bounds(spec) for name, spec in self._action_spec.items()}
        self._targets, self._reached = np.zeros((n, self.model.nu)), np.zeros((n, self.model.nu))
        # Once: asking whether something satisfies a protocol takes longer than a substep.
        self._informed = task if isinstance(task, Informed) else None
        self._driven = task if isinstance(task, Driven) else None
        self._facts = zeros(task.facts, (n,)) if isinstance(task, Informed) else {}
        self._held, self._steps = np.zeros(n, int), np.zeros(n, int)
        self._hold = max(1, round(hold_s / self._period_s))
        self._outcomes = np.zeros(n, np.int8)
        scene = Scene(
            task,
            self.model,
            n,
            self._period_s,
            substeps,
            self._facts,
            self.world.own_model,
            positions=lambda row: self.world.state[row, 1 : 1 + self.model.nq].copy(),
            restart=self._restart,
        )
        self.perturbations = Perturbations(scene, budget, looks)
        self._seen: dict[str, Array] = {}
        self._images: dict[str, Array] = {}
        # Every row is a valid scene from the start, also one that no episode ever uses.
        self.reset(range(n), range(n))

    @property
    def n(self) -> int:
        return self._n

    @property
    def task(self) -> Task:
        return self._sim_task.task

    @property
    def renderer(self) -> Renderer:
        """Draws rows of this environment's model; made when it is first needed."""
        if self._renderer is None:
            self._renderer = Renderer(self.model)
        return self._renderer

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        index = list(rows)
        if not index:
            return
        starts = [draw_start(self.model, self._sim_task, seed, self._astray) for seed in seeds]
        qpos, ctrl = np.stack([start.qpos for start in starts]), np.stack([start.ctrl for start in starts])
        self.world.share_model(index)
        self.world.restart(index, qpos, ctrl)
        for row, start in zip(index, starts, strict=True):
            for name, fact in start.facts.items():
                self._facts[name][row] = fact
        self.perturbations.reset(index, seeds)
        self._targets[index] = self._reached[index] = ctrl
        self._held[index] = self._steps[index] = 0
        self._outcomes[index] = Outcome.RUNNING
        self._look()

    def observe(self) -> Reading:
        measured = self.perturbations.measured(self._seen)
        arrays = {name: measured[name].copy() for name in self._observation_spec if name in measured}
        if self._cameras and not self._images:
            for camera, width, height in self._cameras:
                self._images |= self.renderer.pictures(
                    self.world.seen, camera, width, height, **self._kinds, dress=self.perturbations.dress
                )
        arrays |= {name: image.copy() for name, image in self._images.items()}
        return Reading(self.world.time, arrays)

    def act(self, action: Arrays) -> Arrays:
        check(action, self._action_spec, lead=(self._n,), where="action")
        sent = {name: np.clip(action[name], *self._limits[name]) for name in self._action_spec}
        targets = np.empty_like(self._targets)
        targets[:, self._arm] = self._arm_targets(sent)
        targets[:, self._fingers] = 0.5 * (1.0 - sent["gripper.command"]) * self._open
        reached = self.perturbations.arrived(self._reached, targets)
        interpolate(self._reached, reached, self.world.inputs["ctrl"])
        self.perturbations.advance(self._seen, self.world.inputs)
        if self._driven is not None:
            self._driven.drive(self.model, self._seen, self.world.inputs)
        self.world.step()
        self._targets, self._reached = targets, reached
        self._look()
        self._judge()
        return sent

    def apply(self, row: int, perturbation: Perturbation) -> Event:
        now, left = float(self.world.seen[row, 0]), self.task.horizon - int(self._steps[row])
        if self._outcomes[row] != Outcome.RUNNING:
            reason = "the episode in this row is over"
            return Event(perturbation.kind, now, now, target=perturbation.target, accepted=False, reason=reason)
        seen = {name: value[row] for name, value in self._seen.items()}
        fresh = bool(self._steps[row] == 0)
        self._images = {}
        return self.perturbations.apply(row, perturbation, seen, now=now, left_s=left * self._period_s, fresh=fresh)

    @property
    def acts(self) -> Mapping[str, Act]:
        """Every kind of disturbance; with `limits` and `gap_s` what `robolearn.contracts.Disturbable` asks for."""
        return self.perturbations.kinds

    @property
    def limits(self) -> Mapping[str, int]:
        budget = asdict(self.perturbations.budget)
        return {name: limit for name, limit in budget.items() if name != "gap_s"}

    @property
    def gap_s(self) -> float:
        return self.perturbations.budget.gap_s

    def picture(self, camera: str, width: int, height: int) -> Array:
        """Pictures (n, height, width, 3) uint8 of the observed moment, for people."""
        return self.renderer.rgb(self.world.seen, camera, width, height, dress=self.perturbations.dress)

    def camera_pose(self, camera: str) -> Array:
        """Poses T_base_camera (n, 4, 4) of the observed moment, m; the camera's z axis is its view, y is down."""
        return self.renderer.pose(self.world.seen, camera, dress=self.perturbations.dress)

    def outcomes(self) -> Array:
        return self._outcomes.copy()

    def close(self) -> None:
        self.world.close()
        if self._renderer is not None:
            self._renderer.close()

    def _restart(self, row: int, positions: Array) -> None:
        self.world.restart([row], positions[None], self._targets[[row]])
        self._look()

    def _arm_targets(self, sent: Arrays) -> Array:
        previous = self._targets[:, self._arm]
        if "arm.q_target" in sent:
            return self._control.follow(previous, sent["arm.q_target"])
        return self._control.displace(
            previous,
            self._seen["arm.q"],
            self._sensor("joint.anchor").reshape(self._n, -1, 3),
            self._sensor("joint.axis").reshape(self._n, -1, 3),
            self._seen["tool.position"],
            sent["arm.delta"],
        )

    def _sensor(self, name: str) -> Array:
        return self.world.sensors[:, self.world.layout[name]]

    def _look(self) -> None:
        """Read the sensors into new arrays; pictures are drawn only when somebody looks."""
        seen = measure(self.world.sensors, self.world.layout, self._sim_task)
        if self._informed is not None:
            seen |= self._informed.derive(seen, self._facts)
        seen["task.reward"] = self._sim_task.reward(seen)[:, None]
        self._seen, self._images = seen, {}

    def _judge(self) -> None:
        self._held = np.where(self._sim_task.success(self._seen), self._held + 1, 0)
        self._steps += 1
        over: Mapping[Outcome, Array] = {
            Outcome.SUCCESS: self._held >= self._hold,
            Outcome.FAILURE: self._sim_task.failure(self._seen),
            Outcome.TIMEOUT: self._steps >= self.task.horizon,
        }
        for outcome, rows in over.items():
            self._outcomes[rows & (self._outcomes == Outcome.RUNNING)] = outcome
