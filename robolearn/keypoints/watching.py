"""Recordings of people as episodes of the store, and episodes as what a reward learns from.

An observation is what a camera tracked (points of the right arm, the onions) and the features made from it; an action
is the wrist's displacement to the next frame. Where the frame rate is unknown, frames count as one second apart, and
the episode says so.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import BadEpisode
from robolearn.keypoints.adversarial import Demonstrations
from robolearn.keypoints.onions import ACTION_M, FEATURES, features, replay
from robolearn.keypoints.quality import Flag, Rules, examine, repair
from robolearn.keypoints.tracks import ARM, Tracks
from robolearn.specs import ArraySpec

__all__ = ["ACTION_SPEC", "LEARNING", "OBSERVATION_SPEC", "demonstrations", "recording_episode"]

OBSERVATION_SPEC = {
    "person.points": ArraySpec((3, 3), unit="m", frame="table"),
    "onions.state": ArraySpec((5, 4), unit="m", frame="table"),
    "line.features": ArraySpec((len(FEATURES),), names=FEATURES),
}
ACTION_SPEC = {"wrist.delta": ArraySpec((3,), unit="m", frame="table", names=("x", "y", "z"))}
LEARNING = Rules(jump_m=1.0, flicker_m=float("inf"), median=False)
"""For learning from slow recordings: a running median of three frames would take away the reach into the bin."""


def recording_episode(tracks: Tracks, *, rules: Rules = LEARNING, keep: Sequence[Flag] = (Flag.LIMB,)) -> Episode:
    """A recording of onion sorting as an episode, up to its last sorted onion.

    The wrist is what is learned from, so bones of doubtful length are reported and kept (`keep`); they matter to the
    posture. The quality of every frame is in the note "quality", as `Flag` codes.

    Raises:
        BadEpisode: Frames had to be rejected, or nothing was sorted.
    """
    flags = examine(tracks, rules)
    fixed, quality = repair(tracks, flags, rules, keep=keep)
    if quality.rejected.any():
        raise BadEpisode(
            f"{tracks.source}: {int(quality.rejected.sum())} of {len(tracks)} frames must not be used "
            f"({', '.join(f'{n} {c}' for n, c, _ in quality.table() if c)}). Cut them off, or record again."
        )
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


def demonstrations(episodes: Sequence[Episode]) -> Demonstrations:
    """Transitions of episodes, in order; displacements beyond `ACTION_M` are cut as the domain cuts them."""
    return Demonstrations(
        np.concatenate([e.observations["line.features"][:-1] for e in episodes]),
        np.concatenate([np.clip(e.actions["wrist.delta"], -ACTION_M, ACTION_M) for e in episodes]),
        np.concatenate([e.observations["line.features"][1:] for e in episodes]),
        np.concatenate([np.full(e.steps, k) for k, e in enumerate(episodes)]),
    )
