"""What a detector saw in a recorded film, kept beside the recording: a derived, versioned stream of the store.

    keypoints.<detector>@<version>    (F, P, 7): pixel x, pixel y, confidence, x, y, z in metres, flag code

The version is a hash of everything the values depend on: the detector's own hash (network, settings, code), the
camera's calibration, how points were lifted, and the rules by which they are flagged. A better detector or another
calibration therefore makes another stream, and nothing is overwritten.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.data.derived import read_derived, version_of, write_derived
from robolearn.data.store import Store
from robolearn.errors import SpecError
from robolearn.keypoints.detectors import Detection
from robolearn.keypoints.lift import calibration_hash
from robolearn.keypoints.quality import Rules
from robolearn.keypoints.tracks import Tracks
from robolearn.specs import Array

__all__ = ["COLUMNS", "Keypoints", "Origin", "read_keypoints", "write_keypoints"]

COLUMNS = ("pixel_x", "pixel_y", "confidence", "x", "y", "z", "flag")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a stream of points was made with.

    Attributes:
        detector: Short name, such as "blazepose".
        detector_hash: `Detector.version`.
        intrinsics: (3, 3) of the camera.
        T_world_camera: (4, 4) of the camera.
        lift: How pixels became metres: "depth" or "plane".
        rules: By which points were flagged.
        repaired: Whether sides were exchanged and gaps filled.
    """

    detector: str
    detector_hash: str
    intrinsics: Array
    T_world_camera: Array
    lift: str
    rules: Rules
    repaired: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON values that the version is a hash of."""
        rules = dataclasses.asdict(self.rules)
        return {
            "detector": self.detector,
            "detector_hash": self.detector_hash,
            "calibration_hash": calibration_hash(self.intrinsics, self.T_world_camera),
            "lift": self.lift,
            # JSON knows no infinity: a rule that never applies has no limit.
            "rules": {k: None if v == float("inf") else v for k, v in rules.items()},
            "repaired": self.repaired,
            "columns": list(COLUMNS),
        }

    @property
    def name(self) -> str:
        """Of the stream."""
        return f"keypoints.{self.detector}@{version_of(self.facts)}"


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """A stream that was read back, F frames and P points.

    Attributes:
        names: Of the points.
        pixels: (F, P, 2), NaN where nothing was found.
        confidence: (F, P).
        points: (F, P, 3) m, NaN where nothing was found or lifted.
        flags: (F, P) `Flag` codes.
        facts: What it was made with.
    """

    names: tuple[str, ...]
    pixels: Array
    confidence: Array
    points: Array
    flags: Array
    facts: Mapping[str, Any]


def write_keypoints(store: Store, id: str, origin: Origin, detection: Detection, tracks: Tracks, flags: Array) -> str:
    """Keep a detection beside its episode; returns the stream's name.

    Args:
        store: Where the episode is.
        id: Of the episode with one observation per picture.
        origin: What it was made with.
        detection: In pixels.
        tracks: In metres, of the same points.
        flags: (F, P) from `examine`.

    Raises:
        SpecError: Detection, tracks and flags are not of the same points and frames.
    """
    shape = detection.pixels.shape[:2]
    if detection.names != tracks.names or tracks.points.shape[:2] != shape or flags.shape != shape:
        raise SpecError(
            f"Pixels, points and flags must be of the same {shape[1]} points in {shape[0]} frames; found points "
            f"{tracks.points.shape[:2]} ({', '.join(tracks.names)}) and flags {flags.shape}."
        )
    values = np.concatenate(
        [detection.pixels, detection.confidence[..., None], tracks.points, flags[..., None].astype(float)], axis=-1
    )
    write_derived(store, id, origin.name, values, origin.facts | {"points": list(detection.names)})
    return origin.name


def read_keypoints(store: Store, id: str, name: str) -> Keypoints:
    """A stream of points.

    Raises:
        UnknownName: The episode has no such stream.
        SpecError: The stream is of something else.
    """
    found = read_derived(store, id, name)
    if found.facts.get("columns") != list(COLUMNS) or found.values.ndim != 3:
        raise SpecError(f"{name} holds no points; its columns are {found.facts.get('columns')}, not {list(COLUMNS)}.")
    v = found.values
    return Keypoints(
        tuple(found.facts["points"]), v[..., :2], v[..., 2], v[..., 3:6], v[..., 6].astype(np.int32), found.facts
    )
