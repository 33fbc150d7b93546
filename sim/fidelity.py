"""How well the twin repeats what an arm did: recorded commands in, simulated joints against measured ones out.

The twin starts from the recorded posture, gets the recorded commands (what was really sent) at their times, moved
linearly in between as a pacer moves them, and is read at the times of the recorded measurements. A controller lags
behind its commands by a fixed time that a twin's servos do not know; `lag_s` delays the commands by it, and `best_lag`
finds it on one part of a recording so that another part can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from robolearn.clock import FakeClock
from robolearn.episode import Episode
from robolearn.errors import BadEpisode
from robolearn.specs import Array
from sim.devices import TwinRobotConfig
from sim.twin_world import TwinWorldConfig

__all__ = ["Fidelity", "best_lag", "compare"]

WRITE_S = 0.008
"""Period of the commands to the twin."""


class Fidelity(NamedTuple):
    """Joint error of a replay, rad.

    Attributes:
        rms: Root mean square over joints and time.
        worst: Largest absolute error.
        joints: (k,) root mean square per joint.
        lag_s: The delay of commands that was used.
        steps: How many measurements were compared.
    """

    rms: float
    worst: float
    joints: Array
    lag_s: float
    steps: int


def compare(
    episode: Episode, robot: str, *, lag_s: float = 0.0, part: tuple[float, float] = (0.0, 1.0), task: str = "reach"
) -> Fidelity:
    """Replay the "arm.q_target" of an episode in the twin of `robot` and compare "arm.q".

    Args:
        episode: What was recorded, with these two arrays.
        robot: Which robot of the simulation stands for the arm.
        lag_s: By how much the real controller's motion comes later than its commands.
        part: Fractions of the episode between which errors count; it is always played from its beginning.
        task: Whose scene it stands in.

    Raises:
        BadEpisode: The arrays are missing or of another number of joints than the robot's.
    """
    for name, spec in (("arm.q", episode.observation_spec), ("arm.q_target", episode.action_spec)):
        if name not in spec:
            raise BadEpisode(f"A comparison with the twin needs {name!r}; the episode has {sorted(spec)}.")
    clock = FakeClock(float(episode.times[0]))
    world = TwinWorldConfig(task=task, robot=robot, step_s=0.002, exact=True).build(clock)
    twin = TwinRobotConfig(timeout_s=float("inf")).build(world=world)
    measured, targets = episode.observations["arm.q"], episode.actions["arm.q_target"]
    joints = twin.action_spec["arm.q_target"].shape[0]
    if measured.shape[1] != joints:
        raise BadEpisode(f"The twin {robot!r} has {joints} joints, the episode {measured.shape[1]}. Choose another.")
    world.home(measured[0])
    # A command counts until the next one; with a pacer it is where the arm is led to by then.
    goals = np.concatenate([measured[:1], targets])
    idle = np.zeros(twin.action_spec["gripper.command"].shape)
    errors = np.zeros_like(measured)
    for step, time in enumerate(episode.times):
        while clock.now() < time - 1e-9:
            clock.sleep_until(min(clock.now() + WRITE_S, float(time)))
            now = clock.now() - lag_s
            goal = np.array([np.interp(now, episode.times, goals[:, k]) for k in range(joints)])
            twin.write({"arm.q_target": goal, "gripper.command": idle})
        errors[step] = twin.read().arrays["arm.q"] - measured[step]
    rows = slice(int(part[0] * len(errors)), max(int(part[0] * len(errors)) + 1, int(part[1] * len(errors))))
    kept = errors[rows]
    per_joint = np.sqrt((kept**2).mean(axis=0))
    return Fidelity(float(np.sqrt((kept**2).mean())), float(np.abs(kept).max()), per_joint, lag_s, len(kept))


def best_lag(episode: Episode, robot: str, lags_s: Sequence[float], part: tuple[float, float]) -> float:
    """The delay of these with the least error on a part of the episode."""
    return min(lags_s, key=lambda lag: compare(episode, robot, lag_s=lag, part=part).rms)
