"""`robolearn record` with people: one bench, one console, one loop, in real time.

`robolearn record --task pick_place --operator web --adversary web` starts it at the task's twin, and
`robolearn record --bench launch/benches/ur5e_twin.toml --operator web` at the bench of a file; any operator but the
scripted expert in batches, and the adversary at a page, come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.bench.staffed import StaffedBench, for_people
from robolearn.cli import parse, say
from robolearn.clock import Clock, MonotonicClock
from robolearn.contracts import Adversary, Env
from robolearn.data.store import Store
from robolearn.episode import Perturbation
from robolearn.errors import BenchError, UnknownName

__all__ = ["Arguments", "is_live", "main"]

NOBODY = "none"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record episodes with people, who decide about each of them. Ctrl-C keeps everything recorded so far.

    The two pages are served on this machine only, unless --address names another interface, with --tokens and a
    certificate.
    """

    store: Path = Path("data/live")
    """Folder of the store; made when it is not there."""
    task: str = "pick_place"
    """Which environment plugin, whose twin is the bench; its fields follow as --task.<field>."""
    bench: Path | None = None
    """A bench file in place of the twin, such as launch/benches/ur5e_twin.toml; it says what the task is."""
    operator: str = "web"
    """Which teleop plugin demonstrates; its fields follow as --operator.<field>."""
    adversary: str = NOBODY
    """Which adversary plugin disturbs, or "none"; its fields follow as --adversary.<field>."""
    episodes: int = 10
    """How many episodes to keep."""
    seed: int = 0
    """Seed of the starts."""
    longest_s: float = 120.0
    """An episode that lasts longer ends by itself."""
    port: int = 8770
    """Port of the console; 0 takes a free one."""
    address: str = "127.0.0.1"
    """Interface of the console."""
    hosts: tuple[str, ...] = ()
    """Names under which other machines reach this one."""
    tokens: Path | None = None
    """File of tokens, one per role; made when it is not there."""
    certificate: Path | None = None
    """TLS certificate (PEM)."""
    key: Path | None = None
    """Its private key (PEM)."""


def is_live(arguments: Sequence[str]) -> bool:
    """Whether a command line of `robolearn record` is about people in real time."""
    values = {"operator": "expert", "adversary": NOBODY}
    for k, argument in enumerate(arguments):
        flag, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and flag in values:
            values[flag] = value if equals else arguments[k + 1] if k + 1 < len(arguments) else ""
    return values["operator"] != "expert" or values["adversary"] == "web" or _names(arguments, "bench")


def main(arguments: Sequence[str], clock: Clock | None = None) -> int:
    """Run the session."""
    parts = {"operator": "teleop"} | ({} if _names(arguments, "bench") else {"task": "env"})
    if not any(a == "--adversary=none" for a in arguments) and "--adversary" in " ".join(arguments):
        at = [k for k, a in enumerate(arguments) if a == "--adversary"]
        if not at or at[0] + 1 >= len(arguments) or arguments[at[0] + 1] != NOBODY:
            parts["adversary"] = "adversary"
    chosen: Any = parse(Arguments, arguments, prog="robolearn record", parts=parts)
    if chosen.bench is not None and _names(arguments, "task"):
        raise BenchError(f"{chosen.bench} says what the task is; found --task beside it. Leave --task out.")
    clock = clock or MonotonicClock()
    serving = replace(
        plugins.load("teleop", "web")().serving,
        **{name: getattr(chosen, name) for name in ("port", "address", "hosts", "tokens", "certificate", "key")},
    )
    with ExitStack() as stack:
        store = stack.enter_context(Store.open_or_create(chosen.store))
        console: Any = serving.build(clock)
        env, told = _file(chosen, clock, console, stack) if chosen.bench else _twin(chosen, clock, stack)
        webby = {"console": console} if hasattr(chosen.operator_config, "serving") else {}
        operator = chosen.operator_config.operator(env, clock, **webby)
        stack.callback(getattr(operator, "close", lambda: None))
        adversary: Adversary | None = None
        if "adversary" in parts:
            config = chosen.adversary_config
            adversary = config.build(env, **({"console": console} if hasattr(config, "serving") else {}))
        stack.enter_context(console)
        say(
            f"Tele-operator:  {console.url}operator",
            f"Adversary:      {console.url}adversary" if adversary is not None else "Adversary:      nobody",
            *([f"Tokens:         {chosen.tokens}"] if chosen.tokens else []),
            "Software limits only: keep the emergency stop in reach on a real bench. Ctrl-C ends the session.",
        )
        kept = console.session(
            env,
            operator,
            store,
            adversary=adversary,
            episodes=chosen.episodes,
            seed=chosen.seed,
            longest_s=chosen.longest_s,
            operator_name=chosen.operator,
            adversary_name="" if adversary is None else chosen.adversary,
            **told,
        )
        say(f"{len(kept)} episodes recorded; {store.path} now holds {len(store)}.")
    return 0


def _twin(chosen: Any, clock: Clock, stack: ExitStack) -> tuple[Env, dict[str, Any]]:
    """The task's own twin."""
    build = getattr(chosen.task_config, "bench", None)
    if build is None:
        raise UnknownName("task with a bench in real time", chosen.task, _benches())
    env: Env = build(clock, longest_s=chosen.longest_s)
    stack.callback(env.close)
    return env, {}


def _file(chosen: Any, clock: Clock, console: Any, stack: ExitStack) -> tuple[Env, dict[str, Any]]:
    """The bench of a file, and what its episodes are told of it."""
    file = for_people(read_bench(chosen.bench), chosen.longest_s)
    asked: set[int] = set()

    def prepare(seed: int) -> None:
        if seed not in asked:
            asked.add(seed)
            console.desk.tell("Set the scene for the next episode, then stand clear of the arm.")

    def cue(act: Perturbation) -> None:
        words = (act.kind, act.target, *(f"{name} {value:g}" for name, value in act.params.items()), act.instruction)
        console.desk.tell(f"Please: {' '.join(word for word in words if word)}", "act")

    live = stack.enter_context(open_bench(file, clock, prepare=prepare, cue=cue))
    console.desk.on_halt = live.gate.emergency_stop  # STOP of whatever page, without waiting for the loop
    return StaffedBench(live.env, live.gate, live.world), {"bench": file.name, "facts": live.facts}


def _names(arguments: Sequence[str], flag: str) -> bool:
    return any(a == f"--{flag}" or a.startswith((f"--{flag}=", f"--{flag}.")) for a in arguments)


def _benches() -> list[str]:
    found: list[str] = []
    for name in plugins.names("env"):
        if hasattr(plugins.load("env", name), "bench"):
            found.append(name)
    return found
