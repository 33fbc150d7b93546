"""Films of the study of learning from watching: jobs, read back from their stores, and drawn for the report."""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.store import Store
from robolearn.keypoints.detectors import project
from robolearn.keypoints.film_error import FilmError, row
from robolearn.keypoints.films import calibration_of
from robolearn.keypoints.streams import Keypoints, read_keypoints
from robolearn.specs import Array
from robolearn.stages.watching_pictures import draw_detections, draw_side_by_side, embedded
from robolearn.stages.watching_study import kept

__all__ = ["LOOKS", "Filming", "SeenFilm", "read_film"]

LOOKS = {"face": "with a face", "plain": "without a face", "pouring": "with a face, pours"}
"""Who is filmed, by the name of the film."""

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


@dataclass(frozen=True, slots=True)
class Filming:
    """Films of the simulated person as jobs.

    Attributes:
        out: Folder of the jobs.
        films: Of each look.
        quick: Short films of few frames.
        blazepose: Whether BlazePose watches too, which makes it another job.
    """

    out: Path
    films: int
    quick: bool
    blazepose: bool

    def folder(self, look: str, seed: int) -> Path:
        """Of one film."""
        return self.out / f"{look}_{seed}{'_blazepose' if self.blazepose else ''}"

    def config(self, look: str) -> dict[str, Any]:
        """What a film depends on, beside its seed."""
        config: dict[str, Any] = {"face": look != "plain", "onions": 1 if self.quick else 3}
        return config | {"every": 10 if self.quick else 3} | ({"pouring": True} if look == "pouring" else {})

    def rows(self, film_store: Callable[[Path, Mapping[str, Any], int], Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Film what is not filmed; a row of errors per detector, person and stage.

        Args:
            film_store: Films one seed into a store in a folder (`sim.human.recorded.film_store`).
        """
        errors: dict[tuple[str, str, str], list[FilmError]] = {}
        for look, person in LOOKS.items():
            for seed in range(self.films):
                folder, config = self.folder(look, seed), self.config(look)
                found = kept(folder, "film", config, seed, lambda out, c=config, s=seed: film_store(out, c, s))
                for detector, stage in found["seen"]:
                    with np.load(folder / f"{detector}_{stage}.npz") as arrays:
                        one = FilmError(**{name: arrays[name] for name in arrays})
                    errors.setdefault((detector, person, stage), []).append(one)
        return [{"detector": d, "person": p, "stage": s} | row(e) for (d, p, s), e in errors.items()]

    def drawn(self, out: Path, retargeted: Retarget) -> str:
        """Detections over frames, and the person beside robots, as HTML.

        Args:
            out: Folder of the pictures.
            retargeted: Draws a robot in a watched arm's postures.
        """
        name = "blazepose" if self.blazepose else "truth_4px"
        return "".join(_figures(look, read_film(self.folder(look, 0), name), name, out, retargeted) for look in LOOKS)


def _figures(look: str, film: SeenFilm, detector: str, out: Path, retargeted: Retarget) -> str:
    usable = np.isfinite(film.stages["fixed"].points[:, 3:]).all(axis=(1, 2))
    # A film may be rejected as a whole; then its frames are shown with that mark.
    chosen = np.flatnonzero(usable) if usable.any() else np.arange(len(usable))
    chosen = chosen[np.linspace(0, len(chosen) - 1, 4).round().astype(int)]
    rows = [(f"{detector}, {stage}", seen.pixels[chosen], ~usable[chosen]) for stage, seen in film.stages.items()]
    told = f"A person {LOOKS[look]}: as detected, and after the declared repairs."
    told += " Blue: left arm; red: right arm; white crosses: truth."
    path, truth = out / f"detections_{look}.png", project(film.truth, *film.camera)[chosen]
    shown = embedded(draw_detections(path, list(film.pictures[chosen]), rows, truth), told)
    if look == "face" and usable.any():
        arms, at = film.stages["fixed"].points[usable][:, 3:], np.searchsorted(np.flatnonzero(usable), chosen)
        beside = [("person", film.pictures[chosen], project(arms[at], *film.camera))]
        beside += [retargeted(robot, arms, at, film.camera) for robot in ("sawyer", "iiwa")]
        told = f"The same four moments: the person with the points of {detector}, Sawyer, and iiwa on its side."
        shown += embedded(draw_side_by_side(out / "side_by_side.png", beside), told)
    return shown
