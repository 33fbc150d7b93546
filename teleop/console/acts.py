"""What can be done to a scene, as the pages show it and as the border checks it.

A simulation knows its own kinds of acts, with targets, ranges and budgets. On a real bench a person does them by hand,
and the page logs them, so there the kinds have no numbers and anything can be a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robolearn.contracts import Env
from robolearn.episode import Perturbation

__all__ = ["ActKind", "as_json", "budgets", "catalogue", "commands_of", "refusal", "wait_s"]

PHYSICAL = ("MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT", "DISTRACTOR", "LIGHT", "PUSH_ROBOT")
"""What people do at a real bench."""
Range = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ActKind:
    """One kind of act.

    Attributes:
        targets: What it can be done to, () for anything.
        params: Numbers, with smallest, largest and default value.
        budget: Heading under which it counts, "" when it is free.
        at_start: Whether it is possible only before the first action.
        physical: Whether a person does it by hand.
    """

    targets: tuple[str, ...] = ()
    params: Mapping[str, Range] | None = None
    budget: str = ""
    at_start: bool = False
    physical: bool = False


def catalogue(env: Env) -> dict[str, ActKind]:
    """Every kind of act that an environment can be disturbed with."""
    table: Any = getattr(env, "perturbations", None)
    if table is None:
        return {kind: ActKind(physical=True) for kind in PHYSICAL} | {"SET_CMD": ActKind(budget="language")}
    return {
        kind: ActKind(tuple(act.targets), dict(act.params), act.budget, act.at_start)
        for kind, act in table.kinds.items()
    }


def commands_of(env: Env) -> tuple[str, ...]:
    """Every command that the environment understands, () when it takes any text or none."""
    spec = env.observation_spec.get("task.command")
    return () if spec is None else spec.names


def refusal(acts: Mapping[str, ActKind], commands: Sequence[str], wish: Perturbation) -> str:
    """Why an act cannot be handed to the environment, or ""."""
    if wish.kind not in acts:
        return f"there is no act {wish.kind!r}; possible: {', '.join(acts)}"
    act = acts[wish.kind]
    if act.targets and wish.target and wish.target not in act.targets:
        return f"{wish.kind} has no target {wish.target!r}; possible: {', '.join(act.targets)}"
    if act.params is not None and (extra := wish.params.keys() - act.params.keys()):
        return f"{wish.kind} has no number {sorted(extra)[0]!r}; possible: {', '.join(act.params) or 'none'}"
    if wish.kind == "SET_CMD" and not wish.instruction:
        return "a new command needs its words"
    if wish.kind == "SET_CMD" and commands and wish.instruction not in commands:
        return f"this scene understands only: {' '.join(commands)}"
    return ""


def budgets(env: Env) -> dict[str, list[int]]:
    """Spent and allowed, by heading of the budget; empty where nothing is counted."""
    table: Any = getattr(env, "perturbations", None)
    return {} if table is None else {name: list(pair) for name, pair in table.spent(0).items()}


def wait_s(env: Env, now: float) -> float:
    """Seconds until the next act that counts may begin."""
    table: Any = getattr(env, "perturbations", None)
    return 0.0 if table is None else float(table.wait_s(0, now))


def as_json(acts: Mapping[str, ActKind]) -> dict[str, Any]:
    """For the pages."""
    return {kind: asdict(act) for kind, act in acts.items()}
