"""What every frame of an episode is about: which command, which sub-task, disturbed or not.

Source: Huang et al. 2025 (arXiv 2503.11646) label sub-tasks and align language with vision, but say nothing about the
time between a new command and the first motion that serves it. Here three labels stand side by side and none is ever
written over another or over the recording:

    commanded[t] = new from t_cmd on, the moment the command was given
    aligned[t]   = new from t_react on, the first frame whose motion serves the new goal; the default for training
    transition[t]: t_cmd <= t < t_react, frames that a training may leave out

t_react is the first frame, not before the operator has seen the command, at which the operator's note "goal" is the
new command (scripts, or a person's key); without such a note, the first of three frames in which the tool heads within
60 degrees of the new goal; and if that never happens, 0.7 s after the command was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.episode import Episode, Event
from robolearn.errors import SpecError
from robolearn.scene.subtasks import Placement, Subtask, placements, subtasks
from robolearn.scene.view import COMMAND, Scene, read_scene, view
from robolearn.specs import Array

__all__ = ["MODES", "Labels", "Source", "Switch", "act_rates", "label_episode"]

MODES = ("commanded", "aligned", "hindsight")
"""Labels that a training can ask for; "drop" is "aligned" without the frames of transition."""
HEADING_RAD, HEADING_FRAMES, LATEST_S = np.deg2rad(60.0), 3, 0.7
MOVING_M_S = 0.02
"""Below this speed a tool heads nowhere."""


class Source(IntEnum):
    """Where the hindsight label of a frame comes from."""

    COMMANDED = 0
    ALIGNED = 1
    HINDSIGHT = 2


@dataclass(frozen=True, slots=True)
class Switch:
    """One change of the command.

    Attributes:
        old: Number of the command before.
        new: Number of the command after.
        commanded_s: When it was given.
        seen_s: When the operator could know of it.
        react_s: When the motion began to serve it.
        evidence: How that is known: "note", "heading" or "timeout".
    """

    old: int
    new: int
    commanded_s: float
    seen_s: float
    react_s: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of an episode of T actions, numbers of `commands`.

    Attributes:
        commands: Every command.
        commanded: (T,) int64, what had been told.
        aligned: (T,) int64, what the motion served.
        transition: (T,) bool, told already and not served yet.
        hindsight: (T,) int64, what the motion turned out to achieve.
        source: (T,) int8, `Source` codes of `hindsight`.
        subtask: (T,) int8, `robolearn.scene.subtasks.Subtask` codes.
        disturbed: (T,) bool, while an accepted act went on.
        event: (T,) int64 number of that act in the episode's events, -1 for none.
        switches: The changes of the command.
        placements: What was put where.
    """

    commands: tuple[str, ...]
    commanded: Array
    aligned: Array
    transition: Array
    hindsight: Array
    source: Array
    subtask: Array
    disturbed: Array
    event: Array
    switches: tuple[Switch, ...]
    placements: tuple[Placement, ...]

    def of(self, mode: str) -> Array:
        """(T,) the label of a mode of `MODES`.

        Raises:
            SpecError: Another mode.
        """
        if mode not in MODES:
            raise SpecError(f"A label is one of {', '.join(MODES)}; found {mode!r}.")
        return {"commanded": self.commanded, "aligned": self.aligned, "hindsight": self.hindsight}[mode]


def label_episode(episode: Episode) -> Labels:
    """Label all frames of an episode from its events, notes and arrays.

    Raises:
        SpecError: It holds no scene (see `robolearn.scene.view.read_scene`), or a command that is none of the scene's.
    """
    scene = read_scene(episode.observation_spec)
    steps, times = episode.steps, episode.times[:-1]
    start = int(np.argmax(episode.observations[COMMAND][0])) if scene.commands else 0
    commanded, aligned = np.full(steps, start), np.full(steps, start)
    told, switches = start, list[Switch]()
    for event in episode.events:
        if event.kind == "SET_CMD" and event.accepted:
            switches.append(_switch(episode, scene, event, told))
            told = switches[-1].new
    for k, switch in enumerate(switches):
        commanded[times >= switch.commanded_s - 1e-9] = switch.new
        # A command that was replaced before anybody reacted to it was never served.
        later = switches[k + 1].commanded_s if k + 1 < len(switches) else np.inf
        if switch.react_s <= later:
            aligned[times >= switch.react_s - 1e-9] = switch.new
    arrays = {name: value[:-1] for name, value in episode.observations.items()}
    done = placements(scene, arrays, times)
    hindsight, source = _hindsight(scene, commanded, aligned, done)
    active = np.full(steps, -1)
    for number, event in enumerate(episode.events):
        if event.accepted and event.kind in DISTURBING:
            during = (times >= event.time - 1e-9) & (times <= max(event.end, event.time) + 1e-9)
            active[during] = number
    return Labels(
        scene.commands or (episode.meta.instruction,),
        commanded,
        aligned,
        commanded != aligned,
        hindsight,
        source,
        subtasks(scene, arrays, aligned, _noted(episode)),
        active >= 0,
        active,
        tuple(switches),
        done,
    )


DISTURBING = ("MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT", "SET_CMD", "PUSH_ROBOT", "SLIP", "DISTRACTOR", "HUMAN")
"""Kinds of events that change what the operator has to do; "HUMAN" is a hand at a real bench."""


def act_rates(episodes: Sequence[Episode]) -> dict[str, float]:
    """Accepted acts per second, by kind, over all episodes: what a random adversary has to match."""
    seconds = sum(float(e.times[-1] - e.times[0]) for e in episodes)
    counts: dict[str, int] = {}
    for episode in episodes:
        for event in episode.events:
            if event.accepted and event.kind in DISTURBING:
                counts[event.kind] = counts.get(event.kind, 0) + 1
    return {kind: count / seconds for kind, count in counts.items()}


def _noted(episode: Episode) -> Array | None:
    """(T,) `Subtask` codes of the operator's note, when its names were recorded; -1 where a name is not ours."""
    names = episode.meta.extra.get("subtasks", ())
    if "subtask" not in episode.notes or not names:
        return None
    codes = np.array([Subtask[str(name)] if str(name) in Subtask.__members__ else -1 for name in names])
    return codes[episode.notes["subtask"].astype(int)]


def _switch(episode: Episode, scene: Scene, event: Event, old: int) -> Switch:
    text = str(event.params.get("instruction", ""))
    if text not in scene.commands:
        raise SpecError(
            f"The episode was told {text!r}; expected one of: {', '.join(scene.commands) or 'no command at all'}."
        )
    seen = event.params.get("t_seen")  # None when nobody has acknowledged it: it may have been seen at once
    new, seen_s = scene.commands.index(text), event.time if seen is None else float(seen)
    times = episode.times[:-1]
    after = times >= seen_s - 1e-9
    if "goal" in episode.notes:
        served = np.flatnonzero(after & (episode.notes["goal"] == new))
        if len(served):
            return Switch(old, new, event.time, seen_s, float(times[served[0]]), "note")
    served = np.flatnonzero(_heads_for(episode, scene, new) & after)
    if len(served) and times[served[0]] <= seen_s + LATEST_S:
        return Switch(old, new, event.time, seen_s, float(times[served[0]]), "heading")
    return Switch(old, new, event.time, seen_s, seen_s + LATEST_S, "timeout")


def _heads_for(episode: Episode, scene: Scene, command: int) -> Array:
    """(T,) whether the tool moves within 60 degrees of the goal of a command in this and the next two frames."""
    seen = view(scene, episode.observations, np.full(episode.steps + 1, command))
    held = (seen.rise > 0.0) & (seen.distance < 0.05) & ~np.isnan(seen.place[:, 0])
    goal = np.where(held[:, None], seen.place, seen.thing)
    velocity = np.diff(seen.tool, axis=0) / np.diff(episode.times)[:, None]
    gap = (goal - seen.tool)[:-1]
    speed, length = np.linalg.norm(velocity, axis=1), np.linalg.norm(gap, axis=1)
    cosine = (velocity * gap).sum(axis=1) / np.maximum(speed * length, 1e-9)
    good = (cosine > np.cos(HEADING_RAD)) & (speed > MOVING_M_S)
    ahead = np.ones(len(good), bool)
    for k in range(HEADING_FRAMES):
        ahead[: len(good) - k] &= good[k:]
        ahead[len(good) - k :] = False
    return ahead


def _hindsight(scene: Scene, commanded: Array, aligned: Array, done: Sequence[Placement]) -> tuple[Array, Array]:
    """The aligned label, and where something else was brought to an end than was commanded, that."""
    label = aligned.copy()
    source = np.where(aligned == commanded, Source.COMMANDED, Source.ALIGNED).astype(np.int8)
    begin = 0
    for placement in done:
        end = placement.frame + 1
        achieved = [k for k, goal in enumerate(scene.goals) if tuple(goal) == (placement.thing, placement.place)]
        if achieved and aligned[placement.frame] != achieved[0]:
            source[begin:end][aligned[begin:end] != achieved[0]] = Source.HINDSIGHT
            label[begin:end] = achieved[0]
        begin = end
    return label, source
