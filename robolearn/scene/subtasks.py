"""The phases of bringing things to places, told from arrays alone, and what was put where.

Where the operator (a script, a person's key) has noted its phase, the note counts; what is left is told from the
positions of tool, thing and place. Two phases exist only in time: "recover" is the way back after a grasp was lost, and
"abort" is holding a thing that is no longer wanted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from robolearn.scene.view import LIFTED_M, Scene, view
from robolearn.specs import Array, Arrays

__all__ = ["Placement", "Subtask", "placements", "subtasks"]

IN_HAND_M = 0.05
"""Distance from the tool at which a lifted thing is in the hand."""
GRASP_M = 0.04
"""Distance at which a grasp is being made."""
OVER_M, IN_M, DEEP_M = 0.08, 0.06, 0.055
"""Aside and upward distances from the middle of a place: above it, in it."""
CARRY_M = 0.13
"""Height above the table from which a thing is carried and no longer lifted."""


class Subtask(IntEnum):
    """What an operator is doing."""

    APPROACH = 0
    GRASP = 1
    LIFT = 2
    TRANSPORT = 3
    PLACE = 4
    RELEASE = 5
    RECOVER = 6
    ABORT = 7


class Placement(NamedTuple):
    """A thing that came to rest in a place, with the tool away.

    Attributes:
        frame: The first frame of it.
        time: Its time, s.
        thing: Number of the thing in `Scene.things`.
        place: Number of the place.
    """

    frame: int
    time: float
    thing: int
    place: int


def placements(scene: Scene, arrays: Arrays, times: Array) -> tuple[Placement, ...]:
    """Everything that was brought to an end, in order of time.

    Args:
        scene: The names.
        arrays: Observations (T, ...).
        times: (T,) s.
    """
    things = sorted({int(thing) for thing, place in scene.goals if place >= 0})
    places = sorted({int(place) for _, place in scene.goals if place >= 0})
    found: list[Placement] = []
    for thing in things:
        position = arrays[f"{scene.things[thing]}.position"]
        away = np.linalg.norm(position - arrays["tool.position"], axis=1) > IN_HAND_M + 0.02
        for place in places:
            within = inside(position, arrays[f"{scene.things[place]}.position"])
            run = np.cumsum(within & ~np.concatenate([[False], within[:-1]]))  # numbers the stays
            for stay in range(1, int(run[-1]) + 1):
                # One end per stay, also when the tool comes near again; none for what lay there from the start.
                rests = np.flatnonzero(within & away & (run == stay))
                if len(rests) and not (within[0] and stay == 1):
                    found.append(Placement(int(rests[0]), float(times[rests[0]]), thing, place))
    return tuple(sorted(found))


def inside(thing: Array, place: Array) -> Array:
    """(...) whether things lie in places, given their positions (..., 3)."""
    gap = thing - place
    return (np.hypot(gap[..., 0], gap[..., 1]) < IN_M) & (np.abs(gap[..., 2]) < DEEP_M)


def subtasks(scene: Scene, arrays: Arrays, command: Array, noted: Array | None = None) -> Array:
    """(T,) int8 `Subtask` codes.

    Args:
        scene: The names.
        arrays: Observations (T, ...).
        command: (T,) the command that the motion serves.
        noted: (T,) codes noted by the operator, -1 where it noted none of ours.
    """
    seen = view(scene, arrays, command)
    table = arrays["table.place"][:, 0] if scene.table else np.zeros(len(command))
    aside = np.linalg.norm((seen.thing - seen.place)[:, :2], axis=1)
    held = (seen.rise > LIFTED_M) & (seen.distance < IN_HAND_M)
    code = np.where(seen.distance < GRASP_M, Subtask.GRASP, Subtask.APPROACH)
    code = np.where(inside(seen.thing, seen.place), Subtask.RELEASE, code)
    code = np.where(held, np.where(seen.rise < CARRY_M, Subtask.LIFT, Subtask.TRANSPORT), code)
    # Nothing can lie so near to the middle of a place without lying in it, so it is in the hand at any height.
    over = (aside < OVER_M) & (seen.distance < IN_HAND_M) & ~inside(seen.thing, seen.place)
    code = np.where(over, Subtask.PLACE, code)
    for number, name in enumerate(scene.things):
        position = arrays[f"{name}.position"]
        in_hand = (position[:, 2] - table > LIFTED_M) & (
            np.linalg.norm(position - arrays["tool.position"], axis=1) < IN_HAND_M
        )
        code = np.where(in_hand & (scene.goals[command, 0] != number), Subtask.ABORT, code)
    carried = np.isin(code, (Subtask.LIFT, Subtask.TRANSPORT, Subtask.PLACE))
    # After something was in the hand and is neither there nor in its place any more, one has to start over.
    lost = False
    for k in range(1, len(code)):
        if code[k] in (Subtask.RELEASE, Subtask.GRASP) or carried[k] or command[k] != command[k - 1]:
            lost = False
        elif carried[k - 1]:
            lost = True
        if lost and code[k] == Subtask.APPROACH:
            code[k] = Subtask.RECOVER
    if noted is not None:
        code = np.where(noted >= 0, noted, code)
    return code.astype(np.int8)
