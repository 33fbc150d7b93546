"""What every family of acts shares: the scene it plays in and the form of its answers.

An act is asked for one row and answers how long it will take, or why not. From then on its family advances it with
the control periods, for all rows at once; when no row is disturbed, a family costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from robolearn.specs import Array, Arrays
from sim.engine import MjModel
from sim.task import SimTask

__all__ = ["Act", "Answer", "Limits", "Request", "Scene", "lasting"]

Limits = tuple[float, float, float]
"""Smallest, largest and default value of a number of an act."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The facts of the rows that are disturbed.

    Attributes:
        task: Their task.
        model: Their common model; never changed.
        n: How many.
        period_s: Control period.
        substeps: Physics steps per period.
        facts: What starts drew beside poses, (n, ...) each; an act may change them.
        own_model: The model of one row alone, which may be changed until the row's next start.
        positions: A copy of one row's positions (nq,).
        restart: Starts one row again from positions (nq,).
    """

    task: SimTask
    model: MjModel
    n: int
    period_s: float
    substeps: int
    facts: Arrays
    own_model: Callable[[int], MjModel]
    positions: Callable[[int], Array]
    restart: Callable[[int, Array], None]


class Request(NamedTuple):
    """One act that is asked for, already checked against its kind.

    Attributes:
        row: Which row.
        target: What it is done to.
        params: All numbers of the kind, defaults filled in.
        instruction: The new command of a "SET_CMD".
        seen: The row's observation, without leading axis.
        left_s: Time that is left until the episode's horizon.
        fresh: Whether the episode has not begun to move yet.
    """

    row: int
    target: str
    params: Mapping[str, float]
    instruction: str
    seen: Arrays
    left_s: float
    fresh: bool


class Answer(NamedTuple):
    """How long an act will take, or, when `reason` is given, why it is refused."""

    duration_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """One kind.

    Attributes:
        begin: Starts it, or refuses.
        targets: What it can be done to; an empty target means the first.
        params: Its numbers.
        budget: Under which heading it counts, "" when it is free.
        at_start: Whether it is possible only before the first action.
    """

    begin: Callable[[Request], Answer]
    targets: tuple[str, ...] = ()
    params: Mapping[str, Limits] = field(default_factory=lambda: {})
    budget: str = ""
    at_start: bool = False


def lasting(request: Request) -> float:
    """How long an act with the number "for_s" lasts; zero means until the episode's horizon."""
    return min(request.params["for_s"] or request.left_s, request.left_s)
