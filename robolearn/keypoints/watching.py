"""Recordings of people as episodes of the store, and episodes as what a reward learns from.

An observation is what a camera tracked (points of the right arm; the onions, or bottle, bowls and crate) and the
features made from it; an action is what changed to the next frame. Where the frame rate is unknown, frames count as
one second apart, and the episode says so.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import BadEpisode
from robolearn.keypoints.adversarial import Demonstrations
from robolearn.keypoints.domains import domain_of
from robolearn.keypoints.onions import FEATURES, features, replay
from robolearn.keypoints.pouring import FEATURES as POUR_FEATURES
from robolearn.keypoints.pouring import PourTracks, in_crate, seen_states
from robolearn.keypoints.pouring import features as pour_features
from robolearn.keypoints.quality import Flag, Rules, examine, repair
from robolearn.keypoints.tracks import ARM, Tracks
from robolearn.specs import Array, ArraySpec

__all__ = [
    "ACTION_SPEC",
    "LEARNING",
    "OBSERVATION_SPEC",
    "POUR_ACTION_SPEC",
    "POUR_OBSERVATION_SPEC",
    "demonstrations",
    "pouring_episode",
    "recording_episode",
]

OBSERVATION_SPEC = {
    "person.points": ArraySpec((3, 3), unit="m", frame="table"),
    "onions.state": ArraySpec((5, 4), unit="m", frame="table"),
    "line.features": ArraySpec((len(FEATURES),), names=FEATURES),
}
ACTION_SPEC = {"wrist.delta": ArraySpec((3,), unit="m", frame="table", names=("x", "y", "z"))}
POUR_OBSERVATION_SPEC = {
    "person.points": ArraySpec((3, 3), unit="m", frame="table"),
    "bottle.position": ArraySpec((3,), unit="m", frame="table"),
    "bottle.tip": ArraySpec((1,), unit="rad"),
    "bottle.left": ArraySpec((1,), low=0.0, high=1.0),
    "bowls.position": ArraySpec((2, 3), unit="m", frame="table"),
    "crate.position": ArraySpec((3,), unit="m", frame="table"),
    "task.bowl": ArraySpec((1,), low=0.0, high=1.0),
    "pour.features": ArraySpec((len(POUR_FEATURES),), names=POUR_FEATURES),
}
POUR_ACTION_SPEC = {**ACTION_SPEC, "tip.delta": ArraySpec((1,), unit="rad")}
LEARNING = Rules(jump_m=1.0, flicker_m=float("inf"), median=False)
"""For learning from slow recordings: a running median of three frames would take away the reach into the bin."""


def recording_episode(tracks: Tracks, *, rules: Rules = LEARNING, keep: Sequence[Flag] = (Flag.LIMB,)) -> Episode:
    """A recording of onion sorting as an episode, up to its last sorted onion.

    The wrist is what is learned from, so bones of doubtful length are reported and kept (`keep`); they matter to the
    posture. The quality of every frame is in the note "quality", as `Flag` codes.

    Raises:
        BadEpisode: Frames had to be rejected, or nothing was sorted.
    """
    fixed, flags = _sound(tracks, rules, keep)
    lines, actions, deeds = replay(fixed)
    if not deeds.any():
        raise BadEpisode(f"{tracks.source}: no onion was sorted in it.")
    frames = len(lines)
    assert tracks.onions is not None  # or `replay` would have refused it
    features_T = np.concatenate([features(line) for line in lines])
    action = {"wrist.delta": actions}
    rate = tracks.rate_hz or 1.0
    extra = {"frame_rate": "not recorded; frames count as 1 s apart"} if not tracks.rate_hz else {}
    return Episode(
        OBSERVATION_SPEC,
        ACTION_SPEC,
        {
            "person.points": fixed.points[:frames, [tracks.names.index(name) for name in ARM]],
            "onions.state": tracks.onions[:frames],
            "line.features": features_T,
        },
        action,
        action,
        np.full(frames - 1, Actor.OPERATOR, np.int8),
        np.arange(frames) / rate,
        Outcome.SUCCESS,
        EpisodeMeta(
            "sort_onions", "Sort the onions.", rate, operator="person", source=f"recording:{tracks.source}", extra=extra
        ),
        {"deed": deeds, "quality": flags[: frames - 1].max(axis=1)},
    )


def pouring_episode(
    tracks: PourTracks, *, operator: str, rules: Rules = LEARNING, keep: Sequence[Flag] = (Flag.LIMB,)
) -> Episode:
    """A recording of pouring as an episode, one or several bottles up to the last that was put away.

    Args:
        tracks: What was tracked.
        operator: Who pours.
        rules: What is doubted.
        keep: Flags that are reported and no reason to reject a frame, as in `recording_episode`.

    Raises:
        BadEpisode: Frames had to be rejected, or no bottle was put away.
    """
    arm = Tracks(ARM, tracks.points, tracks.rate_hz, tracks.source)
    fixed, flags = _sound(arm, rules, keep)
    states = seen_states(replace(tracks, points=fixed.points))
    put = np.flatnonzero(states.held & in_crate(states))
    if not len(put):
        raise BadEpisode(f"{tracks.source}: no bottle was put away in it.")
    frames = min(int(put[-1]) + 2, len(fixed.points))
    action = {
        "wrist.delta": np.diff(states.wrist[:frames], axis=0),
        "tip.delta": np.diff(states.tip[:frames])[:, None],
    }
    return Episode(
        POUR_OBSERVATION_SPEC,
        POUR_ACTION_SPEC,
        {
            "person.points": fixed.points[:frames],
            "bottle.position": tracks.bottle[:frames],
            "bottle.tip": tracks.tip[:frames, None],
            "bottle.left": tracks.left[:frames, None],
            "bowls.position": tracks.bowls[:frames],
            "crate.position": tracks.crate[:frames],
            "task.bowl": tracks.command[:frames, None].astype(float),
            "pour.features": pour_features(states)[:frames],
        },
        action,
        action,
        np.full(frames - 1, Actor.OPERATOR, np.int8),
        np.arange(frames) / tracks.rate_hz,
        Outcome.SUCCESS,
        EpisodeMeta(
            "pour",
            "Pour the beads into the bowl that is asked for and put the bottle into the crate.",
            tracks.rate_hz,
            operator=operator,
            source=f"recording:{tracks.source}",
        ),
        {"quality": flags[: frames - 1].max(axis=1)},
    )


def _sound(tracks: Tracks, rules: Rules, keep: Sequence[Flag]) -> tuple[Tracks, Array]:
    """Repaired tracks, and what was doubted before.

    Raises:
        BadEpisode: Frames had to be rejected.
    """
    flags = examine(tracks, rules)
    fixed, quality = repair(tracks, flags, rules, keep=keep)
    if quality.rejected.any():
        raise BadEpisode(
            f"{tracks.source}: {int(quality.rejected.sum())} of {len(tracks)} frames must not be used "
            f"({', '.join(f'{n} {c}' for n, c, _ in quality.table() if c)}). Cut them off, or record again."
        )
    return fixed, flags


def demonstrations(episodes: Sequence[Episode]) -> Demonstrations:
    """Transitions of episodes of one domain, in order; decisions are cut as the domain cuts them.

    Raises:
        BadEpisode: The episodes are of more than one domain.
        SpecError: An episode is of none.
    """
    domain = domain_of(episodes[0])
    if others := sorted({domain_of(e).name for e in episodes} - {domain.name}):
        raise BadEpisode(f"Expected recordings of one domain; found {domain.name} and {', '.join(others)}.")
    acted = [np.concatenate([e.actions[name] for name in domain.acted], axis=1) for e in episodes]
    return Demonstrations(
        domain,
        np.concatenate([e.observations[domain.seen][:-1] for e in episodes]),
        np.concatenate([np.clip(a, -domain.limits, domain.limits) for a in acted]),
        np.concatenate([e.observations[domain.seen][1:] for e in episodes]),
        np.concatenate([np.full(e.steps, k) for k, e in enumerate(episodes)]),
    )
