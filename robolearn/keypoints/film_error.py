"""How far a detector is from the truth of a filmed person, raw and after the declared repairs, in pixels and metres.

Only a simulated person has a truth. Raw is what the detector and the depth picture say; fixed has sides exchanged by
the prior that the person faces the camera (`face_camera`), and gaps filled or frames rejected by `repair`.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.keypoints.detectors import Detection, face_camera, project
from robolearn.keypoints.lift import lift_with_depth
from robolearn.keypoints.quality import Quality, Rules, examine, repair
from robolearn.keypoints.tracks import ARM, Tracks
from robolearn.specs import Array

__all__ = ["FILM_RULES", "FilmError", "Seen", "film_error", "look", "row"]

FILM_RULES = Rules(jump_m=0.6, flicker_m=0.3, median=False)
"""For films of about five pictures per second, in which a quick hand moves half a metre between two."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One stage of one film.

    Attributes:
        detection: In pixels.
        tracks: In metres.
        quality: What was found, and (fixed stage) done.
        turned: (F,) whose sides the prior exchanged.
    """

    detection: Detection
    tracks: Tracks
    quality: Quality
    turned: Array


@dataclass(frozen=True, slots=True, eq=False)
class FilmError:
    """Errors of the right arm over F frames.

    Attributes:
        pixels: (F, 3) shoulder, elbow, wrist; NaN where nothing was found.
        metres: (F, 3) likewise.
        found: (F,) somebody was seen.
        turned: (F,) sides were exchanged.
        rejected: (F,) must not be used.
    """

    pixels: Array
    metres: Array
    found: Array
    turned: Array
    rejected: Array


def look(
    detection: Detection, depth: Array, intrinsics: Array, T_world_camera: Array, *, rate_hz: float, source: str
) -> tuple[Seen, Seen]:
    """Raw and fixed points of a film, from pixels (F, P, 2) and depth (F, height, width) m."""
    camera = (intrinsics, T_world_camera)
    faced, turned = face_camera(detection)
    raw_tracks = lift_with_depth(detection, depth, *camera, rate_hz=rate_hz, source=source)
    none = np.zeros_like(turned)
    raw_flags = examine(raw_tracks, FILM_RULES)
    empty = np.zeros(raw_flags.shape, bool)
    raw = Seen(detection, raw_tracks, Quality(raw_tracks.names, raw_flags, empty, none, none), none)
    tracks = lift_with_depth(faced, depth, *camera, rate_hz=rate_hz, source=source)
    fixed, quality = repair(tracks, examine(tracks, FILM_RULES), FILM_RULES)
    return raw, Seen(faced, fixed, quality, turned)


def film_error(seen: Seen, truth: Array, intrinsics: Array, T_world_camera: Array) -> FilmError:
    """Against the truth (F, P, 3), m, of the same points."""
    right = [seen.detection.names.index(name) for name in ARM]
    flat = np.linalg.norm(seen.detection.pixels - project(truth, intrinsics, T_world_camera), axis=-1)[:, right]
    solid = np.linalg.norm(seen.tracks.points - truth, axis=-1)[:, right]
    return FilmError(flat, solid, seen.detection.people > 0, seen.turned, seen.quality.rejected)


def row(errors: Sequence[FilmError]) -> dict[str, float | None]:
    """Numbers over films: shares, and medians and 90th percentiles of the right arm's points (None: never found)."""
    pixels, metres = (np.concatenate([getattr(e, k) for e in errors]) for k in ("pixels", "metres"))
    found, turned, rejected = (np.concatenate([getattr(e, k) for e in errors]) for k in ("found", "turned", "rejected"))
    numbers: dict[str, float | None] = {
        "frames": float(len(found)),
        "found": float(found.mean()),
        "turned": float(turned.mean()),
        "rejected": float(rejected.mean()),
    }
    for k, name in enumerate(ARM):
        part = name.removeprefix("right_")
        for unit, values in (("px", pixels), ("m", metres)):
            known = values[:, k][np.isfinite(values[:, k])]
            for label, share in (("median", 50), ("p90", 90)):
                numbers[f"{part} {unit} {label}"] = float(np.percentile(known, share)) if len(known) else None
    return numbers
