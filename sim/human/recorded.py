"""A film of the simulated person as a job: into a store, keypoints beside it, and errors against the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.store import Store
from robolearn.keypoints.detectors import Detector, KnownPoints
from robolearn.keypoints.film_error import FilmError, film_error
from robolearn.keypoints.films import detect_episode, film_episode
from robolearn.keypoints.tracks import BOTH_ARMS
from sim.human.body import build_person
from sim.human.film import film
from sim.human.pouring import perform_pouring
from sim.human.script import perform

__all__ = ["film_store"]

TRUTH_PX = 4.0
"""Error of the detector that knows the truth."""


def film_store(
    out: Path, config: Mapping[str, Any], seed: int, detectors: Mapping[str, Callable[[], Detector]]
) -> dict[str, Any]:
    """One film in a store below `out`, and what detectors see in it; beside it each stage's errors (`FilmError`).

    Args:
        out: Folder; "store" and "<detector>_<stage>.npz" are written.
        config: "face", "onions", "every" and perhaps "pouring".
        seed: Of layout and style.
        detectors: By name, how to start them; the truth with an error of four pixels is always there.

    Returns:
        "seen": pairs of detector and stage; "streams": names of derived streams; "episode".
    """
    pours = bool(config.get("pouring"))
    person = build_person(face=config["face"], table="pouring" if pours else "onions")
    performance = perform_pouring(person, seed) if pours else perform(person, seed, onions=config["onions"])
    seen = film(person, performance, every=config["every"])
    camera, truth = (seen.intrinsics, seen.T_world_camera), performance.points[seen.frames]
    shutil.rmtree(out / "store", ignore_errors=True)  # of a run that was stopped here
    names: list[tuple[str, str]] = []
    streams: dict[str, str] = {}
    with Store.create(out / "store") as store:
        task, told = ("pour", "Pour the beads.") if pours else ("sort_onions", "Sort the onions.")
        episode = film_episode(
            seen.rgb,
            seen.depth,
            *camera,
            truth,
            rate_hz=performance.rate_hz / config["every"],
            task=task,
            instruction=told,
            operator=f"simulated person, style {seed}",
            seed=seed,
            things={f"{name}.pose": poses[seen.frames] for name, poses in performance.props.items()},
        )
        id = store.append(episode)
        known = KnownPoints(BOTH_ARMS, truth, *camera, error_px=TRUTH_PX, seed=seed)
        starts: dict[str, Callable[[], Detector]] = {"truth_4px": lambda: known, **detectors}
        for name, start in starts.items():
            detector = start()
            try:
                raw, fixed, written = detect_episode(store, id, detector, name)
            finally:
                detector.close()
            for stage, points, stream in (("raw", raw, written[0]), ("fixed", fixed, written[1])):
                error = film_error(points, truth, *camera)
                np.savez(out / f"{name}_{stage}.npz", **{k: getattr(error, k) for k in FilmError.__slots__})
                names.append((name, stage))
                streams[f"{name}_{stage}"] = stream
    return {"seen": names, "streams": streams, "episode": id}
