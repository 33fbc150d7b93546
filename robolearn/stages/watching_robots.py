"""Robots in the study of learning from watching: a person's postures on their arms, and learned policies in physics.

Every robot and seed is a job that is done once (`kept`). Which simulation, robot and policy, and how an episode is
judged, is the caller's doing; every start is an episode of `rollout`.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.arm.kinematics import Chain
from robolearn.contracts import Env, Policy
from robolearn.episode import Episode
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.postures import imitate, people_points
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds, rollout
from robolearn.stages.watching_study import LearningJob, LearningStudy, kept

__all__ = ["ROBOT_SEED", "RobotJobs", "judged", "posture_rows", "robot_starts"]

ROBOT_SEED = 20261126
"""Of layouts in physics; tuning used seeds below 1000."""


def posture_rows(out: Path, recordings: Path, chains: Mapping[str, Chain], quick: bool) -> list[dict[str, Any]]:
    """Claims I4 to I6: every method on every arm; its place is fitted to the first half of the recordings.

    Args:
        out: Folder of the jobs.
        recordings: Of people (`read_onions`).
        chains: Arms in their base frames, by the names of their maps.
        quick: Two recordings only.
    """

    def imitated(robot: str) -> dict[str, Any]:
        points = people_points(recordings)[0][: 2 if quick else 10]
        found = imitate(find_arm_map(robot), chains[robot], points, len(points) // 2)
        return {"methods": {method: m.row() for method, m in found.items()}}

    rows: list[dict[str, Any]] = []
    for name in chains:
        found = kept(out / name, "posture", {"robot": name, "quick": quick}, 0, lambda _, n=name: imitated(n))
        rows += [{"robot": name, "method": method} | numbers for method, numbers in found["methods"].items()]
    return rows


@dataclass(frozen=True, slots=True)
class RobotJobs:
    """Claims I7 and I8: one task on several robots, with the policy of each finished seed.

    Attributes:
        out: Folder of the jobs.
        stage: Name of this kind of job.
        robots: Who works.
        starts: Episodes of each robot and seed.
        horizon: Most control steps of an episode.
    """

    out: Path
    stage: str
    robots: tuple[str, ...]
    starts: int
    horizon: int

    def run(
        self, learning: LearningStudy, work: Callable[[RobotJobs, LearningJob, str], Mapping[str, Any]]
    ) -> dict[str, dict[str, list[Any]]]:
        """Do what is not done; per robot the judgements over all seeds, named without "each_"."""
        results: dict[str, dict[str, list[Any]]] = {}
        for robot in self.robots:
            merged = results.setdefault(robot, {})
            for job in learning.best:
                config = {"robot": robot, "job": str(job), "starts": self.starts, "horizon": self.horizon}
                folder, seed = self.out / f"{robot}_{job.seed}", ROBOT_SEED + job.seed
                found = kept(folder, self.stage, config, seed, lambda _, j=job, r=robot: work(self, j, r))
                for name, values in found.items():
                    if name.startswith("each_"):
                        merged.setdefault(name.removeprefix("each_"), []).extend(values)
        return results


def judged(
    env: Env, policy: Policy, starts: Sequence[int], judge: Callable[[Episode], Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """Run episodes, judge each once it is over, and close the environment.

    Args:
        env: Rows of a task.
        policy: Who works.
        starts: Seeds of the episodes.
        judge: From an episode to plain numbers by name.

    Returns:
        Per number a list "each_<name>" in the order of the starts, and "each_seconds".
    """
    memory = Memory()
    try:
        rollout(env, policy, seeds=starts, observers=[memory])
    finally:
        env.close()
    found: dict[str, list[Any]] = {"each_seconds": []}
    for start in starts:
        episode = memory.episodes[start]
        found["each_seconds"].append(episode.steps / env.task.rate_hz)
        for name, value in judge(episode).items():
            found.setdefault(f"each_{name}", []).append(value)
    return found


def robot_starts(job: LearningJob, starts: int) -> list[int]:
    """Seeds of the episodes on robots with the policy of one learning seed."""
    return episode_seeds(starts, ROBOT_SEED + job.seed)
