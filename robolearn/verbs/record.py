"""`robolearn record`: episodes of a task into a store, through the one loop and the one recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from robolearn import cli, plugins
from robolearn.cli import parse, say
from robolearn.contracts import Adversary, Env, Policy
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.observers import Progress
from robolearn.recorder import Recorder
from robolearn.rollout import EpisodeSummary, episode_seeds, rollout
from robolearn.verbs import record_live


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record episodes of a task into a store. Ctrl-C keeps everything recorded so far."""

    store: Path
    """Folder of the store; made when it is not there."""
    task: str = "lift"
    """Which environment plugin; its fields follow as --task.<field>."""
    operator: Literal["expert"] = "expert"
    """Who demonstrates: the task's scripted expert; its styles and quality follow as --operator.<field>."""
    episodes: int = 10
    """How many episodes to keep."""
    seed: int = 0
    """Seed of the starts."""
    keep: Literal["successes", "all"] = "successes"
    """Whether failed episodes are kept too."""
    adversary: str = ""
    """Which adversary plugin disturbs (rule, random, learned), its fields as --adversary.<field>; "" for none."""
    rows: int = 0
    """Episodes at a time; 0 chooses for speed."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb; with people it is another one (`record_live`)."""
    if record_live.is_live(arguments):
        return record_live.main(arguments)
    parts = {"task": "env"} | ({"adversary": "adversary"} if _asks_for(arguments, "--adversary") else {})
    task_name = cli.chosen(Arguments, arguments, "task")
    plugins.load("env", task_name)  # whoever mistypes the task should read of tasks, not of experts
    teacher = plugins.load("expert", task_name)
    chosen: Any = parse(Arguments, arguments, prog="robolearn record", parts=parts, configs={"operator": teacher})
    expert = chosen.operator_config
    told = {} if expert == teacher() else {"operator_config": asdict(expert)}
    task = chosen.task_config
    rows = chosen.rows or max(task.n, min(chosen.episodes, 4 if getattr(task, "cameras", ()) else 32))
    everything = chosen.keep == "all"
    with Store.open_or_create(chosen.store) as store:
        env: Env = replace(task, n=rows).build()
        try:
            kept = record(
                store,
                env,
                expert.build(env),
                chosen.episodes,
                chosen.seed,
                operator="expert",
                everything=everything,
                adversary=chosen.adversary_config.build(env) if chosen.adversary else None,
                who=chosen.adversary,
                extra=told,
            )
        finally:
            env.close()
        say(f"{len(kept)} episodes recorded; {store.path} now holds {len(store)}.")
    return 0


def _asks_for(arguments: Sequence[str], flag: str) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)


def record(
    store: Store,
    env: Env,
    policy: Policy,
    episodes: int,
    seed: int,
    *,
    operator: str,
    everything: bool = False,
    adversary: Adversary | None = None,
    who: str = "",
    extra: Mapping[str, Any] | None = None,
) -> list[str]:
    """Record until so many episodes are kept, in the order of their seeds; returns their ids.

    An adversary disturbs; `who` it is stands in the facts of the episodes, and so does `extra`. Failed episodes are
    dropped unless `everything` is asked for; then further seeds are tried, up to twice as many.
    """
    kept: list[str] = []
    phases: list[str] = list(getattr(policy, "subtasks", ()))  # what the codes of the note "subtask" mean
    seeds = iter(episode_seeds(2 * episodes, seed))
    tried: list[EpisodeSummary] = []
    while len(kept) < episodes and len(tried) < 2 * episodes:
        wanted = min(episodes - len(kept), 2 * episodes - len(tried))
        recorder = Recorder(
            store,
            keep=lambda outcome: everything or outcome is Outcome.SUCCESS,
            operator=operator,
            adversary=who,
            bench="simulation",
            extra=({"subtasks": phases} if phases else {}) | dict(extra or {}),
        )
        progress = Progress(f"record {env.task.name}", wanted)
        with recorder:
            batch = [next(seeds) for _ in range(wanted)]
            tried += rollout(env, policy, seeds=batch, adversary=adversary, observers=[recorder, progress])
        kept += recorder.kept
    return kept
