"""Who finds a person's points in pictures: one contract, and the detectors that need no network.

A detector answers in pixels, with a confidence per point and the number of people it saw; `lift` makes metres of it.
Two fakes are products: `KnownPoints` projects the truth of a simulated person (with any error), `Recorded` gives back
what was written down. Both let everything behind a detector run where mediapipe is not installed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["Detection", "Detector", "KnownPoints", "Recorded", "face_camera", "project"]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """Points in F pictures.

    Attributes:
        names: Of the P points.
        pixels: (F, P, 2) x right, y down; NaN where nobody was found.
        confidence: (F, P) between 0 and 1; 0 where nobody was found.
        people: (F,) how many people were seen.
    """

    names: tuple[str, ...]
    pixels: Array
    confidence: Array
    people: Array

    def __post_init__(self) -> None:
        shape = self.pixels.shape[:2]
        if self.pixels.shape != (*shape, 2) or self.confidence.shape != shape or self.people.shape != shape[:1]:
            raise SpecError(
                f"A detection needs pixels (F, P, 2), confidence (F, P) and people (F,); found {self.pixels.shape}, "
                f"{self.confidence.shape}, {self.people.shape}."
            )
        if len(self.names) != shape[1]:
            raise SpecError(f"Expected one name per point, {shape[1]}; found {len(self.names)}.")


class Detector(Protocol):
    """Finds points of one person in pictures."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the points, such as "right_wrist"."""
        ...

    @property
    def version(self) -> str:
        """Hash of everything its answers depend on: model files, settings, code."""
        ...

    def detect(self, pictures: Array) -> Detection:
        """Points in pictures (F, height, width, 3) uint8 of one film, in order; frames may depend on earlier ones."""
        ...

    def close(self) -> None:
        """Give back what it holds; safe to call twice."""
        ...


def project(points: Array, intrinsics: Array, T_world_camera: Array) -> Array:
    """Pixels (..., 2) of points (..., 3) in the world; NaN behind the camera."""
    local = (points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
    image = local @ intrinsics.T
    pixels = image[..., :2] / image[..., 2:]
    return np.where(local[..., 2:] > 0, pixels, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class KnownPoints:
    """The truth of a simulated person, as a detector would see it.

    Attributes:
        names: Of the points.
        points: (F, P, 3) in the world, m.
        intrinsics: (3, 3).
        T_world_camera: (4, 4).
        error_px: Standard deviation of the pixels.
        seed: Of the error.
    """

    names: tuple[str, ...]
    points: Array
    intrinsics: Array
    T_world_camera: Array
    error_px: float = 0.0
    seed: int = 0

    @property
    def version(self) -> str:
        return _hash(self.points, self.intrinsics, self.T_world_camera, np.array([self.error_px, self.seed]))

    def detect(self, pictures: Array) -> Detection:
        if len(pictures) != len(self.points):
            raise SpecError(f"Expected {len(self.points)} pictures, whose truth is known; found {len(pictures)}.")
        pixels = project(self.points, self.intrinsics, self.T_world_camera)
        pixels = pixels + np.random.default_rng(self.seed).normal(0.0, self.error_px, pixels.shape)
        height, width = pictures.shape[1:3]
        inside = np.all((pixels >= 0) & (pixels < [width, height]), axis=-1)
        return Detection(self.names, pixels, inside.astype(float), np.ones(len(pictures), int))

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What somebody's detector said, from a file.

    Attributes:
        detection: Of every frame of the film.
    """

    detection: Detection

    @property
    def names(self) -> tuple[str, ...]:
        return self.detection.names

    @property
    def version(self) -> str:
        return _hash(self.detection.pixels, self.detection.confidence)

    def detect(self, pictures: Array) -> Detection:
        if len(pictures) != len(self.detection.pixels):
            raise SpecError(
                f"Expected the {len(self.detection.pixels)} pictures of the recording; found {len(pictures)}."
            )
        return self.detection

    def close(self) -> None: ...


def face_camera(detection: Detection) -> tuple[Detection, Array]:
    """Exchange sides where they contradict that the person faces the camera: then the left shoulder is on the right.

    Detectors confuse the sides of people whose face they cannot see. Knowing where the person stands is stronger than
    anything in one picture; a person who really turns round must not be watched with this rule.

    Returns:
        The detection, and (F,) bool where sides were exchanged.
    """
    names = detection.names
    left, right = names.index("left_shoulder"), names.index("right_shoulder")
    turned = detection.pixels[:, left, 0] < detection.pixels[:, right, 0]
    swap = {"left": "right", "right": "left"}
    partners = ["_".join([swap.get(side, side), *rest]) for side, *rest in (name.split("_") for name in names)]
    order = [names.index(p) if p in names else k for k, p in enumerate(partners)]
    pixels, confidence = detection.pixels.copy(), detection.confidence.copy()
    pixels[turned], confidence[turned] = pixels[turned][:, order], confidence[turned][:, order]
    return Detection(names, pixels, confidence, detection.people), turned


def _hash(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
