"""Which frames of a tracker to doubt, and what may be done about them: by a declared rule, never silently.

`examine` flags every point of every frame; `repair` exchanges swapped sides, fills short gaps by a straight line
between trusted neighbours and rejects what remains. What it did is in its result, point by point, and in
`Quality.table` for the report. Rules and their numbers follow the measurements on public recordings of people (upper
arm more than a quarter off its median, forearm outside 0.10 to 0.36 m, jumps of half a metre).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntFlag

import numpy as np

from robolearn.keypoints.tracks import Tracks
from robolearn.specs import Array

__all__ = ["Flag", "Quality", "Rules", "examine", "repair"]


class Flag(IntFlag):
    """What is wrong with a point of a frame."""

    MISSING = 1
    """The tracker gave no position."""
    JUMP = 2
    """It is farther from where it was than a person moves between two frames."""
    FLICKER = 4
    """It left and came back within one frame."""
    LIMB = 8
    """The bone that ends in it has an impossible length."""
    SWAPPED = 16
    """Left and right were exchanged."""
    UNSURE = 32
    """The detector itself does not believe it."""
    CROWD = 64
    """More than one person was in view, and which one was tracked is not known."""
    NOBODY = 128
    """Nobody was in view."""
    NO_DEPTH = 256
    """The depth camera saw nothing there, so that only two of three coordinates are known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits beyond which a frame is doubted, and what repair may do."""

    jump_m: float = 0.5
    """Farthest that a point moves between two frames."""
    flicker_m: float = 0.12
    """Farthest that a point may be away from two neighbours that agree."""
    upper_share: float = 0.25
    """Largest deviation of the upper arm from its median, as a share."""
    forearm_m: tuple[float, float] = (0.10, 0.36)
    """Shortest and longest forearm."""
    confidence: float = 0.3
    """Smallest confidence of the detector."""
    gap: int = 5
    """Longest run of doubted frames that is filled; frames of longer ones are rejected."""
    median: bool = True
    """Smooth by a running median of three after filling."""


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What was found and done, T frames and P points.

    Attributes:
        names: Of the points.
        flags: (T, P) `Flag` codes.
        filled: (T, P) bool, points that repair replaced by a straight line between neighbours.
        exchanged: (T,) bool, frames whose sides repair exchanged.
        rejected: (T,) bool, frames that must not be used.
    """

    names: tuple[str, ...]
    flags: Array
    filled: Array
    exchanged: Array
    rejected: Array

    @property
    def doubted(self) -> Array:
        """(T,) frames with any flag."""
        return self.flags.any(axis=1)

    def table(self) -> list[tuple[str, int, str]]:
        """Rows for a report: what, how many frames, which share."""
        total = len(self.flags)
        counts = [(flag.name or "", int(((self.flags & flag) != 0).any(axis=1).sum())) for flag in Flag]
        counts += [
            ("doubted frames", int(self.doubted.sum())),
            ("frames with a filled point", int(self.filled.any(axis=1).sum())),
            ("frames with exchanged sides", int(self.exchanged.sum())),
            ("rejected frames", int(self.rejected.sum())),
        ]
        return [(name.lower().replace("_", " "), count, f"{count / total:.1%}") for name, count in counts]


def examine(tracks: Tracks, rules: Rules | None = None, *, lengths: Mapping[str, float] | None = None) -> Array:
    """Flags (T, P) of every point.

    Args:
        tracks: As the tracker gave them.
        rules: The limits.
        lengths: Known lengths of upper arms by side, "right" and "left", m, such as from a calibration pose; else the
            median of the recording.
    """
    rules = rules or Rules()
    points = tracks.points
    flags = np.zeros(points.shape[:2], np.int32)
    flags[np.isnan(points).any(axis=-1)] |= Flag.MISSING
    flags[(np.isfinite(points[..., :2]).all(axis=-1)) & np.isnan(points[..., 2])] |= Flag.NO_DEPTH
    flags[tracks.confidence < rules.confidence] |= Flag.UNSURE
    flags[tracks.people > 1] |= Flag.CROWD
    flags[tracks.people < 1] |= Flag.NOBODY
    for k in range(points.shape[1]):
        flags[_jumps(points[:, k], rules), k] |= Flag.JUMP
        flags[_flickers(points[:, k], rules.flicker_m), k] |= Flag.FLICKER
    for side in ("right", "left"):
        if {f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"} <= set(tracks.names):
            s, e, w = (tracks.names.index(f"{side}_{part}") for part in ("shoulder", "elbow", "wrist"))
            upper, forearm = _length(points, s, e), _length(points, e, w)
            known = (lengths or {}).get(side, float(np.nanmedian(upper)) if np.isfinite(upper).any() else np.nan)
            flags[np.abs(upper / known - 1.0) > rules.upper_share, e] |= Flag.LIMB
            flags[(forearm < rules.forearm_m[0]) | (forearm > rules.forearm_m[1]), w] |= Flag.LIMB
    flags[_swapped(tracks)] |= Flag.SWAPPED
    return flags


def repair(
    tracks: Tracks, flags: Array, rules: Rules | None = None, *, keep: Sequence[Flag] = ()
) -> tuple[Tracks, Quality]:
    """Exchange swapped sides, fill short gaps, smooth, and say which frames must not be used.

    Args:
        tracks: As the tracker gave them.
        flags: From `examine`.
        rules: What may be done.
        keep: Flags that are reported and not acted on.

    Returns:
        The repaired tracks, with NaN in rejected frames' bad points, and what was done.
    """
    rules = rules or Rules()
    points = tracks.points.copy()
    exchanged = ((flags & Flag.SWAPPED) != 0).any(axis=1)
    points[exchanged] = points[exchanged][:, _mirror(tracks.names)]
    ignored = int(Flag.SWAPPED)
    for flag in keep:
        ignored |= int(flag)
    bad = (flags & ~ignored) != 0
    filled = np.zeros_like(bad)
    for k in range(points.shape[1]):
        for start, stop in _runs(bad[:, k]):
            if start == 0 or stop == len(points) or stop - start > rules.gap:
                points[start:stop, k] = np.nan
                continue
            ramp = np.linspace(0.0, 1.0, stop - start + 2)[1:-1, None]
            points[start:stop, k] = (1.0 - ramp) * points[start - 1, k] + ramp * points[stop, k]
            filled[start:stop, k] = True
    rejected = np.isnan(points).any(axis=(1, 2))
    if rules.median and len(points) > 2:
        points[1:-1] = np.median(np.stack([points[:-2], points[1:-1], points[2:]]), axis=0)
    points[rejected] = np.where(bad[rejected][..., None], np.nan, tracks.points[rejected])
    quality = Quality(tracks.names, flags, filled, exchanged, rejected | np.isnan(points).any(axis=(1, 2)))
    return replace(tracks, points=points), quality


def _length(points: Array, a: int, b: int) -> Array:
    return np.linalg.norm(points[:, b] - points[:, a], axis=-1)


def _jumps(track: Array, rules: Rules) -> Array:
    """(T,) frames too far from the last trusted one; who stays away longer than a gap is believed again."""
    wrong = np.zeros(len(track), bool)
    last = -1
    for t in range(len(track)):
        if np.isnan(track[t]).any():
            continue
        far = last >= 0 and np.linalg.norm(track[t] - track[last]) > rules.jump_m
        if far and t - last <= rules.gap:
            wrong[t] = True
        else:
            last = t
    return wrong


def _flickers(track: Array, limit_m: float) -> Array:
    wrong = np.zeros(len(track), bool)
    if len(track) > 2:
        before, here, after = track[:-2], track[1:-1], track[2:]
        away = np.minimum(np.linalg.norm(here - before, axis=1), np.linalg.norm(here - after, axis=1))
        wrong[1:-1] = (away > limit_m) & (np.linalg.norm(after - before, axis=1) < 0.5 * away)
    return wrong


def _mirror(names: Sequence[str]) -> list[int]:
    """For each point, where its partner on the other side is."""
    swap = {"left": "right", "right": "left"}
    partner = ["_".join([swap.get(side, side), *rest]) for side, *rest in (name.split("_") for name in names)]
    return [names.index(other) if other in names else k for k, other in enumerate(partner)]


def _swapped(tracks: Tracks) -> Array:
    """(T,) frames whose two sides fit the trusted frame before better when they are exchanged."""
    mirror = _mirror(tracks.names)
    pairs = [k for k, other in enumerate(mirror) if other != k]
    wrong = np.zeros(len(tracks), bool)
    if not pairs:
        return wrong
    last: Array | None = None
    for t, frame in enumerate(tracks.points):
        if np.isnan(frame[pairs]).any():
            continue
        if last is not None:
            straight = np.linalg.norm(frame[pairs] - last[pairs], axis=-1).sum()
            crossed = np.linalg.norm(frame[mirror][pairs] - last[pairs], axis=-1).sum()
            wrong[t] = crossed < 0.5 * straight
        last = frame[mirror] if wrong[t] else frame
    return wrong


def _runs(flags: Array) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
