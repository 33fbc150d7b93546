"""`robolearn replay`: recorded actions, open loop, compared with what was recorded.

It answers two questions: does the environment still do what it did when this was recorded, and do the stored actions
contain the demonstration? An episode starts from its recorded simulator state where it has one (the note "sim_state"),
else from its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robolearn.cli import parse, say
from robolearn.compose import Replay
from robolearn.contracts import Env, Restorable
from robolearn.data.store import Store
from robolearn.episode import Episode, Outcome
from robolearn.errors import DataFileError, EmptyStore
from robolearn.observers import Memory
from robolearn.rollout import rollout


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Play recorded actions open loop and compare. The exit code is 1 when an outcome changed."""

    store: Path
    """Folder of the store."""
    task: str = "lift"
    """Which environment plugin; its fields follow as --task.<field>."""
    episodes: int = 0
    """Only the first so many; 0 for all."""
    split: str = ""
    """Only episodes of this split."""
    action: Literal["sent", "requested"] = "sent"
    """Which of the recorded actions."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One episode, then and now.

    Attributes:
        id: Which episode.
        recorded: How it ended then.
        outcome: How it ended now.
        deviation: Largest difference of the joint angles in rad, NaN when they are not recorded.
    """

    id: str
    recorded: Outcome
    outcome: Outcome
    deviation: float


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Arguments, arguments, prog="robolearn replay", parts={"task": "env"})
    store = Store.open(chosen.store)
    ids = store.ids(split=chosen.split or None)[: chosen.episodes or None]
    if not ids:
        raise EmptyStore(f"Expected episodes to replay in {chosen.store}; found none. See robolearn data info.")
    env: Env = chosen.task_config.build()
    try:
        results = [replay(env, id, store[id], requested=chosen.action == "requested") for id in ids]
    finally:
        env.close()
    for one in results:
        say(f"{one.id}  {one.recorded.name.lower():>8} -> {one.outcome.name.lower():<8}  {one.deviation:.4f} rad")
    same = sum(one.outcome is one.recorded for one in results)
    worst = np.nanmax([one.deviation for one in results])
    say(f"{same} of {len(results)} ended as recorded; largest joint deviation {worst:.4f} rad.")
    return 0 if same == len(results) else 1


def replay(env: Env, id: str, episode: Episode, *, requested: bool = False) -> Replayed:
    """Play one episode in the first row of an environment."""
    memory = Memory()
    seed = episode.meta.seed
    stage: Any = env
    if "sim_state" in episode.notes:
        if not isinstance(env, Restorable):
            raise DataFileError(
                f"Episode {id} starts from a recorded simulator state, which the environment {env.task.name!r} cannot "
                "restore. Choose the environment it was recorded in (--task robosuite, say)."
            )
        stage, seed = _Restoring(env, episode), 0
    elif seed is None:
        raise DataFileError(f"Episode {id} has neither a seed nor a recorded state, so its start cannot be repeated.")
    policy = Replay([episode] * env.n, requested=requested)
    (summary,) = rollout(stage, policy, seeds=[seed], observers=[memory])
    again = memory.episodes[seed].observations
    steps = min(summary.steps, episode.steps) + 1
    deviation = float("nan")
    if "arm.q" in again and "arm.q" in episode.observations:
        deviation = float(np.abs(again["arm.q"][:steps] - episode.observations["arm.q"][:steps]).max())
    return Replayed(id, episode.outcome, summary.outcome, deviation)


class _Restoring:
    """An environment whose episodes all start where a recorded one did."""

    def __init__(self, env: Any, episode: Episode):
        self._env, self._state = env, episode.notes["sim_state"][0]

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._env.restore(np.stack([self._state] * len(rows)), rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)
