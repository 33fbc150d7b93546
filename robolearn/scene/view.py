"""What an observation says about a scene of things and commands, whatever the task.

Adversaries, labels and density all ask the same questions: where is the thing that was told, how far is the tool from
it, is it in the hand? The answers come from names alone: "kiwi.position" is a thing, and the element names of
"task.command" are the commands, in which the thing that is mentioned first is to be brought to the one mentioned last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from robolearn.errors import SpecError
from robolearn.geometry import yaw
from robolearn.specs import Array, Arrays, Spec

__all__ = [
    "COMMAND",
    "Moment",
    "Scene",
    "SceneView",
    "has_scene",
    "heading",
    "read_scene",
    "token_bag",
    "view",
    "words",
]

COMMAND = "task.command"
"""The observation that says one-hot which command a row was told."""
NEAR_M = 0.15
"""Distance of the tool from a thing at which a grasp attempt has begun (Huang et al. 2025: 15 cm)."""
LIFTED_M = 0.08
"""Height of a thing's middle above the table at which it hangs in the hand: 5 cm above lying there."""


class Moment(IntEnum):
    """How far a pick has come, as the tables of adversarial collection divide it."""

    BEFORE = 0
    DURING = 1
    AFTER = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """The names of a task's things and commands.

    Attributes:
        things: Every thing with a pose, without the tool.
        commands: The commands; () for a task that is told nothing.
        goals: (max(1, commands), 2) numbers of the thing to take and of the thing to bring it to, -1 for none.
        heading: Whether the tool's orientation is observed.
        table: Whether the height of the table is observed.
    """

    things: tuple[str, ...]
    commands: tuple[str, ...]
    goals: Array
    heading: bool
    table: bool


class SceneView(NamedTuple):
    """What is to be seen of the thing and the place that were told; L stands for any leading axes.

    Attributes:
        command: (L) which command.
        tool: (L, 3) the tool's position, m.
        thing: (L, 3) the thing's.
        place: (L, 3) where it is to be brought; NaN when there is no such thing.
        distance: (L) from the tool to the thing, m.
        rise: (L) height of the thing's middle above the table, m.
        width: (L) opening of the gripper, m.
        moment: (L) `Moment` codes.
    """

    command: Array
    tool: Array
    thing: Array
    place: Array
    distance: Array
    rise: Array
    width: Array
    moment: Array


def has_scene(spec: Spec) -> bool:
    """Whether observations hold a scene: a tool, and at least one other thing with a position."""
    return "tool.position" in spec and any(n.endswith(".position") and n != "tool.position" for n in spec)


def read_scene(spec: Spec) -> Scene:
    """The scene that a task's observations describe.

    Raises:
        SpecError: There is no tool, or nothing else with a position.
    """
    things = tuple(n.removesuffix(".position") for n in spec if n.endswith(".position") and n != "tool.position")
    if "tool.position" not in spec or not things:
        raise SpecError(
            'A scene needs "tool.position" and the position of at least one thing ("<name>.position"); found '
            f"{', '.join(spec) or 'nothing'}. Record the poses, or track them."
        )
    commands = spec[COMMAND].names if COMMAND in spec else ()
    goals = np.array([_goal(text, things) for text in commands] or [(0, -1)])
    return Scene(things, commands, goals, "tool.quaternion" in spec, "table.place" in spec)


def view(scene: Scene, arrays: Arrays, command: Array | None = None) -> SceneView:
    """Look at arrays with any leading axes.

    Args:
        scene: The names.
        arrays: At least the positions of tool and things.
        command: (L) the command to look at instead of the one that is observed.
    """
    tool = arrays["tool.position"]
    lead = tool.shape[:-1]
    if command is None:
        command = np.asarray(np.argmax(arrays[COMMAND], axis=-1) if scene.commands else np.zeros(lead, int))
    poses = np.stack([arrays[f"{name}.position"] for name in scene.things], axis=-2)
    goal = scene.goals[command]
    thing = np.take_along_axis(poses, goal[..., :1, None], axis=-2)[..., 0, :]
    place = np.take_along_axis(poses, np.maximum(goal[..., 1:, None], 0), axis=-2)[..., 0, :]
    place = np.where(goal[..., 1:] >= 0, place, np.nan)
    rise = thing[..., 2] - (arrays["table.place"][..., 0] if scene.table else 0.0)
    distance = np.linalg.norm(thing - tool, axis=-1)
    lifted = (rise > LIFTED_M) & (distance < NEAR_M)
    moment = np.where(lifted, Moment.AFTER, np.where(distance < NEAR_M, Moment.DURING, Moment.BEFORE))
    width = arrays["gripper.width"][..., 0] if "gripper.width" in arrays else np.zeros(lead)
    return SceneView(command, tool, thing, place, distance, rise, width, moment)


def heading(scene: Scene, arrays: Arrays) -> Array:
    """(L) the tool's heading in rad, zero where its orientation is not observed."""
    if not scene.heading:
        return np.zeros(arrays["tool.position"].shape[:-1])
    return yaw(arrays["tool.quaternion"])


def words(commands: Sequence[str]) -> tuple[str, ...]:
    """The words that tell commands apart, in order of appearance; words of every command say nothing."""
    bags = [_bag(text) for text in commands]
    found = dict.fromkeys(word for bag in bags for word in bag)
    return tuple(word for word in found if not all(word in bag for bag in bags)) if len(bags) > 1 else tuple(found)


def token_bag(text: str, vocabulary: Sequence[str]) -> Array:
    """(vocabulary,) float64, 1 for each word of the vocabulary that a text has."""
    bag = set(_bag(text))
    return np.array([float(word in bag) for word in vocabulary])


def _bag(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _goal(text: str, things: Sequence[str]) -> tuple[int, int]:
    told = [word for word in _bag(text) if word in things]
    if not told:
        raise SpecError(f"The command {text!r} names none of the things {', '.join(things)}.")
    return things.index(told[0]), things.index(told[-1]) if len(told) > 1 else -1
