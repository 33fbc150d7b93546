"""A bench made of its file: devices connected, the robot inside its gate, an `Env` of n = 1.

    with open_bench(read_bench(path), clock) as bench:
        rollout(bench.env, policy, seeds=[0], rate_hz=bench.file.task.rate_hz, clock=clock)

Leaving it, for whatever reason, stops the arm first and says goodbye to devices afterwards. In shadow mode another
bench moves (the twin that the file names) while this one's robot is only read: it never gets to know a command.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.arm.task_space import TaskSpaceConfig
from robolearn.bench.displacement import DisplacementEnv
from robolearn.bench.env import BenchEnv
from robolearn.bench.file import BenchFile, read_bench
from robolearn.bench.mounted import Mounted
from robolearn.bench.pace import Pacer
from robolearn.clock import Clock
from robolearn.contracts import Camera, Env, Robot
from robolearn.episode import Perturbation, Reading
from robolearn.errors import BenchError
from robolearn.safety import SafeRobot
from robolearn.specs import Array, Spec, bounds

__all__ = ["REAL", "LiveBench", "Placeable", "Reporting", "Scene", "open_bench", "require_tool"]

REAL = "real."
"""In shadow mode, what the real arm measures stands under its names with this in front."""
_NEAR_M = 0.005


@runtime_checkable
class Scene(Protocol):
    """A world that simulated devices share."""

    def reset(self, seed: int) -> None:
        """Set the scene for the start of this seed."""
        ...

    def success(self) -> bool:
        """Whether the task's goal holds right now."""
        ...


@runtime_checkable
class Placeable(Protocol):
    """A twin's robot, which can be put somewhere."""

    def place(self, q: Array) -> None:
        """Put the arm's joints (k,) there at rest, at once."""
        ...


class Reporting:
    """A robot of which only the measurements exist: it has the contract of a `Camera`, and nothing to write to."""

    def __init__(self, robot: Robot):
        self._read = robot.read
        self.spec: Spec = {REAL + name: spec for name, spec in robot.observation_spec.items()}

    def read(self) -> Reading:
        reading = self._read()
        captured = {REAL + name: time for name, time in reading.captured.items()}
        return Reading(reading.time, {REAL + name: value for name, value in reading.arrays.items()}, captured)


@dataclass(frozen=True, slots=True)
class LiveBench:
    """A connected bench.

    Attributes:
        file: Its facts; in shadow mode those of the bench that moves.
        env: What a policy acts in.
        bench: The same without the step from displacements to joints, for verdicts (`mark`).
        gate: The robot's gate; `gate.fault` says why it holds.
        world: The scene of a simulated bench, None on a real one.
        facts: What belongs into every episode's `EpisodeMeta.extra`.
    """

    file: BenchFile
    env: Env
    bench: BenchEnv
    gate: SafeRobot
    world: Scene | None
    facts: dict[str, Any]

    def stop(self) -> None:
        """Hold where the arm is; from any thread, any number of times."""
        self.gate.stop()


@contextlib.contextmanager
def open_bench(
    file: BenchFile,
    clock: Clock,
    *,
    shadow: bool = False,
    paced: bool = True,
    prepare: Callable[[int], None] = lambda seed: None,
    cue: Callable[[Perturbation], None] = lambda perturbation: None,
) -> Generator[LiveBench]:
    """Connect what a bench file names.

    Args:
        file: The bench.
        clock: The one clock of all devices.
        shadow: Move the file's shadow bench; this one's robot only reports.
        paced: Send set points between decisions at the file's robot_hz, from a thread; False for a clock of a test.
        prepare: Asks the person to set the scene of a start; not called where a simulated world sets it.
        cue: Shows the person what an adversary wants done.

    Raises:
        BenchError: Shadow mode without a shadow bench; a device does not answer; the arm's geometry contradicts what
            it measures.
        SafetyFault: The limits do not fit the robot.
    """
    with contextlib.ExitStack() as stack:
        if not shadow:
            yield _open(stack, file, clock, paced, prepare, cue, None)
            return
        if file.shadow is None:
            raise BenchError(f"{file.path} names no shadow bench. Give bench.shadow, a bench file beside it.")
        world = file.world.build(clock) if file.world is not None else None
        real = _robot(file, _reporting(file.robot), clock, world)
        _enter(stack, real)
        live = _open(stack, read_bench(file.shadow), clock, paced, prepare, cue, real)
        live.facts["shadow_of"] = file.facts()
        yield live


def require_tool(robot: Robot) -> None:
    """Compare the arm's geometry with the tool position it measures, before the first motion.

    Raises:
        BenchError: They differ by more than 5 mm beside what a tool of fixed length explains.
    """
    chain = getattr(robot, "chain", None)
    if not isinstance(chain, Chain) or "tool.position" not in robot.observation_spec:
        return
    seen = robot.read().arrays
    posed = chain.posture(seen["arm.q"][None])
    offset = posed.hand[0].T @ (seen["tool.position"] - posed.tool[0])
    # A tool sits near the flange's axis, whatever its length; a wrong arm or a wrong base moves it off.
    if not (abs(offset[2]) <= 0.4 and np.hypot(offset[0], offset[1]) <= 0.1):
        raise BenchError(
            f"The arm measures its tool at {np.round(seen['tool.position'], 3)} m; with these joints its "
            f"flange is at {np.round(posed.tool[0], 3)} m, and no tool explains the difference. Check the "
            "model of the arm, the tool centre point and the base frame in the controller."
        )


def _open(
    stack: contextlib.ExitStack,
    file: BenchFile,
    clock: Clock,
    paced: bool,
    prepare: Callable[[int], None],
    cue: Callable[[Perturbation], None],
    real: Robot | None,
) -> LiveBench:
    world: Any = file.world.build(clock) if file.world is not None else None
    robot = _robot(file, file.robot, clock, world)
    gate = SafeRobot(
        robot, file.limits, clock, body=file.body.build()
    )  # refuses limits that do not fit before anything is connected
    cameras: list[Camera] = [_part(facts.config, clock, world) for facts in file.cameras.values()]
    for device in (robot, *cameras):
        _enter(stack, device)
    stack.callback(gate.stop)  # last in, first out: the arm stops before anybody says goodbye
    require_tool(robot)
    watched = [*cameras, Reporting(real)] if real is not None else cameras

    def begin(seed: int) -> None:
        if world is None:
            prepare(seed)
        else:
            world.reset(seed)
            if real is not None and isinstance(robot, Placeable):
                robot.place(real.read().arrays["arm.q"])
            gate.stop()  # the next command starts from where the arm is now

    pacer = stack.enter_context(Pacer(gate, file.robot_hz, clock)) if file.robot_hz and paced else None
    bench = BenchEnv(gate, watched, file.task, clock, pacer=pacer, prepare=begin, cue=cue)
    env: Env = bench
    if file.control is not None:
        chain = getattr(robot, "chain", None)
        if not isinstance(chain, Chain):
            raise BenchError(f"[control] needs a robot that knows its chain; {type(robot).__name__} does not.")
        control = TaskSpaceConfig(file.control.damping, file.control.posture)
        low, high = bounds(gate.action_spec["arm.q_target"])
        speeds = np.broadcast_to(np.asarray(file.limits.rate["arm.q_target"], float), low.shape)
        home = np.array(file.control.home)
        if home.shape != low.shape:
            raise BenchError(f"control.home must give {len(low)} joints; found {len(home)}.")
        env = DisplacementEnv(bench, chain, control.build(home, low, high, speeds, 1.0 / file.task.rate_hz))
    return LiveBench(file, env, bench, gate, world, file.facts())


def _robot(file: BenchFile, config: Any, clock: Clock, world: Any) -> Any:
    """The driver, in the bench's frames."""
    driver = _part(config, clock, world)
    if file.mount is None:
        return driver
    base, tool = np.array(file.mount.T_base_robot), np.array(file.mount.T_reported_tool)
    return Mounted(driver, base, tool, np.array(file.mount.tool_reference))


def _part(config: Any, clock: Clock, world: Any) -> Any:
    """Build a device, handing it what it shares with the bench and asks for by name."""
    wanted = inspect.signature(config.build).parameters
    shared = {"clock": clock} | ({"world": world} if world is not None else {})
    return config.build(**{name: value for name, value in shared.items() if name in wanted})


def _enter(stack: contextlib.ExitStack, device: Any) -> None:
    if hasattr(device, "__exit__"):
        stack.enter_context(device)


def _reporting(config: Any) -> Any:
    """The config of a robot that is only read: its driver must be able to connect without taking control."""
    if not any(f.name == "report_only" for f in dataclasses.fields(config)):
        raise BenchError(
            f"{type(config).__name__} has no field report_only: this driver cannot read an arm without taking control "
            "of it, so the arm cannot be shadowed."
        )
    return dataclasses.replace(config, report_only=True)
