"""Films of the study of learning from watching: read back from their stores, and drawn for the report."""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robolearn.data.store import Store
from robolearn.keypoints.detectors import project
from robolearn.keypoints.film_error import FilmError
from robolearn.keypoints.films import calibration_of
from robolearn.keypoints.streams import Keypoints, read_keypoints
from robolearn.specs import Array
from robolearn.stages.watching_pictures import draw_detections, draw_side_by_side, embedded

__all__ = ["SeenFilm", "draw_films", "film_errors", "read_film"]

Retarget = Callable[[str, Array, Array, tuple[Array, Array]], tuple[str, Array, Array]]
"""A robot in the postures of a watched arm at some moments (`sim.human.beside.retargeted`)."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFilm:
    """A film's first take.

    Attributes:
        pictures: (F, height, width, 3) uint8.
        stages: Keypoints "raw" and "fixed" of one detector.
        truth: (F, 6, 3) m.
        camera: Intrinsics (3, 3) and T_world_camera (4, 4).
    """

    pictures: Array
    stages: Mapping[str, Keypoints]
    truth: Array
    camera: tuple[Array, Array]


def read_film(folder: Path, detector: str) -> SeenFilm:
    """Pictures, both stages of keypoints, the truth and the camera of a film, from its job's folder."""
    found = json.loads((folder / "result.json").read_text())
    with Store.open(folder / "store") as store:
        episode, id = store[found["episode"]], found["episode"]
        stages = {s: read_keypoints(store, id, found["streams"][f"{detector}_{s}"]) for s in ("raw", "fixed")}
    observed = episode.observations
    return SeenFilm(observed["front.rgb"], stages, observed["person.truth"], calibration_of(episode))


def film_errors(folder: Path, seen: Sequence[Sequence[str]]) -> dict[tuple[str, str], FilmError]:
    """Errors of every detector and stage that watched a film."""
    errors: dict[tuple[str, str], FilmError] = {}
    for detector, stage in seen:
        with np.load(folder / f"{detector}_{stage}.npz") as arrays:
            errors[detector, stage] = FilmError(**{name: arrays[name] for name in arrays})
    return errors


def draw_films(
    out: Path, films: Mapping[str, Path], looks: Mapping[str, str], detector: str, retargeted: Retarget
) -> str:
    """Detections over frames, and the person beside robots, as HTML.

    Args:
        out: Folder of the pictures.
        films: Per look the folder of a film; the first one is shown beside robots.
        looks: Per look who is filmed, in words.
        detector: Whose keypoints are drawn.
        retargeted: Draws a robot in a watched arm's postures.
    """
    figures: list[str] = []
    for number, (look, folder) in enumerate(films.items()):
        film = read_film(folder, detector)
        usable = np.isfinite(film.stages["fixed"].points[:, 3:]).all(axis=(1, 2))
        # A film may be rejected as a whole; then its frames are shown with that mark.
        chosen = np.flatnonzero(usable) if usable.any() else np.arange(len(usable))
        chosen = chosen[np.linspace(0, len(chosen) - 1, 4).round().astype(int)]
        rows = [(f"{detector}, {stage}", seen.pixels[chosen], ~usable[chosen]) for stage, seen in film.stages.items()]
        told = f"A person {looks[look]}: as detected, and after the declared repairs."
        told += " Blue: left arm; red: right arm; white crosses: truth."
        path, truth = out / f"detections_{look}.png", project(film.truth, *film.camera)[chosen]
        figures.append(embedded(draw_detections(path, list(film.pictures[chosen]), rows, truth), told))
        if number == 0 and usable.any():
            arms, at = film.stages["fixed"].points[usable][:, 3:], np.searchsorted(np.flatnonzero(usable), chosen)
            beside = [("person", film.pictures[chosen], project(arms[at], *film.camera))]
            beside += [retargeted(robot, arms, at, film.camera) for robot in ("sawyer", "iiwa")]
            path = draw_side_by_side(out / "side_by_side.png", beside)
            told = f"The same four moments: the person with the points of {detector}, Sawyer, and iiwa on its side."
            figures.append(embedded(path, told))
    return "".join(figures)
