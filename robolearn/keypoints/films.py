"""Films in the store: a recorded episode with pictures, depth and a calibrated camera, and what a detector sees in it.

The calibration travels in the episode's facts, `meta.extra["cameras"]`: per camera "intrinsics" (3 x 3, pixels) and
"T_world_camera" (4 x 4). `detect_episode` looks at the stored pictures - not at better ones from before they were
compressed -, lifts by the stored depth, flags, repairs, and keeps both stages as derived streams.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robolearn.data.store import Store
from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import DataFileError
from robolearn.keypoints.detectors import Detector
from robolearn.keypoints.film_error import FILM_RULES, Seen, look
from robolearn.keypoints.streams import Origin, write_keypoints
from robolearn.specs import Array, ArraySpec

__all__ = ["calibration_of", "detect_episode", "film_episode"]


def film_episode(
    rgb: Array,
    depth: Array,
    intrinsics: Array,
    T_world_camera: Array,
    truth: Array,
    *,
    rate_hz: float,
    task: str,
    instruction: str,
    operator: str,
    seed: int | None = None,
    camera: str = "front",
    things: Mapping[str, Array] | None = None,
) -> Episode:
    """A film as an episode; its action is the displacement of the true right wrist.

    Args:
        rgb: (F, height, width, 3) uint8.
        depth: (F, height, width) m along the optical axis; stored in whole millimetres, 0 where there is none.
        intrinsics: (3, 3) pixels.
        T_world_camera: (4, 4).
        truth: (F, P, 3) m, the right wrist last; what only a simulated person has.
        rate_hz: Pictures per second.
        task: Name of the task.
        instruction: What the person was asked to do.
        operator: Who is in the film.
        seed: Of the performance.
        camera: Name of the camera.
        things: What else is known of every picture, by name, (F, ...), m: where a bottle is, say.
    """
    frames, height, width = depth.shape
    observation = {
        f"{camera}.rgb": ArraySpec((height, width, 3), "uint8"),
        f"{camera}.depth": ArraySpec((height, width), "uint16", unit="mm"),
        "person.truth": ArraySpec(truth.shape[1:], unit="m", frame="world"),
    }
    things = things or {}
    observation |= {name: ArraySpec(value.shape[1:], unit="m", frame="world") for name, value in things.items()}
    action_spec = {"wrist.delta": ArraySpec((3,), unit="m", frame="world", names=("x", "y", "z"))}
    action = {"wrist.delta": np.diff(truth[:, -1], axis=0)}
    known = np.isfinite(depth) & (depth > 0.0) & (depth < 65.0)
    cameras = {camera: {"intrinsics": intrinsics.tolist(), "T_world_camera": T_world_camera.tolist()}}
    return Episode(
        observation,
        action_spec,
        {
            f"{camera}.rgb": rgb,
            f"{camera}.depth": np.where(known, np.round(1000.0 * np.where(known, depth, 0.0)), 0.0).astype(np.uint16),
            "person.truth": truth,
            **things,
        },
        action,
        action,
        np.full(frames - 1, Actor.OPERATOR, np.int8),
        np.arange(frames) / rate_hz,
        Outcome.SUCCESS,
        EpisodeMeta(task, instruction, rate_hz, seed=seed, operator=operator, extra={"cameras": cameras}),
    )


def calibration_of(episode: Episode, camera: str = "front") -> tuple[Array, Array]:
    """Intrinsics (3, 3) and T_world_camera (4, 4) of a camera of an episode.

    Raises:
        DataFileError: The episode does not have them, so that pixels cannot become metres.
    """
    cameras: Any = episode.meta.extra.get("cameras", {})
    if camera not in cameras:
        raise DataFileError(
            f"The episode holds no calibration of the camera {camera!r}; it has {sorted(cameras)}. Write "
            "meta.extra['cameras'][name] with 'intrinsics' and 'T_world_camera' when recording."
        )
    found = cameras[camera]
    return np.array(found["intrinsics"], float), np.array(found["T_world_camera"], float)


def detect_episode(
    store: Store, id: str, detector: Detector, name: str, *, camera: str = "front"
) -> tuple[Seen, Seen, tuple[str, str]]:
    """Let a detector watch a stored film and keep what it saw; returns raw, fixed, and the names of both streams.

    Raises:
        DataFileError: No calibration, or no pictures or depth of this camera.
    """
    episode = store[id]
    intrinsics, pose = calibration_of(episode, camera)
    for what in (f"{camera}.rgb", f"{camera}.depth"):
        if what not in episode.observations:
            raise DataFileError(f"Episode {id} has no {what!r}; it has {sorted(episode.observations)}.")
    depth = episode.observations[f"{camera}.depth"].astype(np.float32) / 1000.0
    detection = detector.detect(episode.observations[f"{camera}.rgb"])
    raw, fixed = look(detection, depth, intrinsics, pose, rate_hz=episode.meta.rate_hz, source=f"film {id}")
    names: list[str] = []
    for stage, repaired in ((raw, False), (fixed, True)):
        origin = Origin(name, detector.version, intrinsics, pose, "depth", FILM_RULES, repaired)
        names.append(write_keypoints(store, id, origin, stage.detection, stage.tracks, stage.quality.flags))
    return raw, fixed, (names[0], names[1])
