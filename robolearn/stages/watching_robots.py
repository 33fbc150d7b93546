"""Learned policies on robots in physics, through `rollout`: every start an episode, judged once it is over.

Which simulation, robot and policy, and how an episode is judged, is the caller's doing.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robolearn.contracts import Env, Policy
from robolearn.episode import Episode
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds, rollout

__all__ = ["merged", "on_robot"]


def on_robot(
    env: Env, policy: Policy, *, starts: int, seed: int, judge: Callable[[Episode], Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """Run episodes and judge them.

    Args:
        env: Rows of a task.
        policy: Who works.
        starts: How many episodes.
        seed: Of their starts (`episode_seeds`).
        judge: From an episode to plain numbers by name.

    Returns:
        Per number a list "each_<name>" over episodes in the order of their seeds, and "each_seconds".
    """
    memory, seeds = Memory(), episode_seeds(starts, seed)
    rollout(env, policy, seeds=seeds, observers=[memory])
    found: dict[str, list[Any]] = {"each_seconds": []}
    for start in seeds:
        episode = memory.episodes[start]
        found["each_seconds"].append(episode.steps / env.task.rate_hz)
        for name, value in judge(episode).items():
            found.setdefault(f"each_{name}", []).append(value)
    return found


def merged(jobs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Results of several jobs of one robot as one, named without "each_"."""
    names = {name for job in jobs for name in job if name.startswith("each_")}
    return {name.removeprefix("each_"): [v for job in jobs for v in job[name]] for name in sorted(names)}
