"""What every simulated task can be told, once: rows, robot, cameras, rate and time limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robolearn.clock import Clock, MonotonicClock
from robolearn.errors import UnknownName
from sim.acts.look import LookRanges
from sim.env import BatchEnv, CameraSize, Command
from sim.robots import ROBOTS, Level, RobotModel
from sim.task import SimTask

if TYPE_CHECKING:
    from sim.bench import TwinBench

__all__ = ["SimConfig"]


@dataclass(frozen=True, slots=True)
class SimConfig(ABC):
    """A task in simulation; a task's own config adds its numbers and says how to make the task."""

    robots: ClassVar[tuple[str, ...]] = tuple(ROBOTS)
    """Robots that can do it, and for which its scripted expert is tested."""

    n: int = 1
    """Rows stepped together."""
    threads: int = 1
    """Native threads; results do not depend on it."""
    robot: str = "panda"
    """Which robot."""
    cameras: tuple[CameraSize, ...] = ()
    """Cameras in every observation: (name, width, height), names "agent" and "wrist"."""
    depth: bool = False
    """Cameras also measure distance: "<camera>.depth" in mm along the optical axis, 0 where there is nothing."""
    segmentation: bool = False
    """Cameras also say what each pixel shows: "<camera>.segmentation", numbers of `sim.render.segment_names`."""
    level: Level = "light"
    """How the robot looks: "light" primitives, fast to draw, or the vendor's "full" meshes."""
    horizon: int = 100
    """Most control steps of an episode."""
    rate_hz: float = 20.0
    """Control steps per second."""
    hold_s: float = 0.25
    """How long success must hold."""
    command: Command = "displacement"
    """What an action is: "arm.delta" (displacement) or "arm.q_target" (joints); the teacher speaks the first."""
    looks: LookRanges | None = None
    """Draw lights, table and cameras anew for every start, within these ranges."""
    astray: float = 0.0
    """Share of starts in which the arm begins anywhere above the table instead of near home: to learn to come back."""

    @abstractmethod
    def sim_task(self) -> SimTask:
        """The task itself, for a world that is not a batch (`sim.twin_world`)."""

    def build(self) -> BatchEnv:
        """The environment."""
        return BatchEnv(
            self.sim_task(),
            self.n,
            threads=self.threads,
            level=self.level,
            cameras=self.cameras,
            depth=self.depth,
            segmentation=self.segmentation,
            hold_s=self.hold_s,
            command=self.command,
            looks=self.looks,
            astray=self.astray,
        )

    def bench(self, clock: Clock, *, longest_s: float) -> TwinBench:
        """The task as a bench in real time, for people.

        Args:
            clock: Time to follow.
            longest_s: An episode that lasts longer ends as a timeout.
        """
        from sim.bench import CAMERAS, TwinBench

        cameras = self.cameras or CAMERAS
        return TwinBench(
            self.sim_task(),
            clock,
            command=self.command,
            cameras=cameras,
            depth=self.depth,
            segmentation=self.segmentation,
            longest_s=longest_s,
            level=self.level,
            threads=isinstance(clock, MonotonicClock),
        )

    def robot_model(self) -> RobotModel:
        """The chosen robot.

        Raises:
            UnknownName: It is not among the task's robots.
        """
        if self.robot not in self.robots:
            raise UnknownName("robot", self.robot, self.robots, hint="Other robots cannot do this task.")
        return ROBOTS[self.robot]
