"""Learning from watching: from video of a person to a reward, and from the reward to a cobot; one report.

robolearn run launch/visual_irl.py [--quick] [--out runs/visual_irl] [--recordings ../shared/data/onion_human]

A stopped study goes on where it was: every film, robot and seed is a job of its own, and done jobs are only read.
Needs the extra `human` for the film and `robolearn keypoints install` for BlazePose; what is missing is left out of the
report, which says so.
"""

import dataclasses
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import DataFileError
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.blazepose import BlazePoseConfig, installed
from robolearn.keypoints.detectors import project
from robolearn.keypoints.execution import Places, WatchedSorter
from robolearn.keypoints.film_error import FilmError, row
from robolearn.keypoints.films import calibration_of
from robolearn.keypoints.judging import policy_of
from robolearn.keypoints.onions import fit_arm
from robolearn.keypoints.postures import imitate, people_points
from robolearn.keypoints.streams import Keypoints, read_keypoints
from robolearn.observers import Memory
from robolearn.report import Section, paragraph, provenance, table, write_page
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import write_json
from robolearn.stages.reward import EVALUATION_SEED, load_actor
from robolearn.stages.watching_claims import decide
from robolearn.stages.watching_pictures import draw_detections, draw_side_by_side, embedded
from robolearn.stages.watching_report import detection_section, execution_section, posture_section, reward_section
from robolearn.stages.watching_study import LearningJob, LearningStudy, kept, seconds
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.sort_onions import HIGH_M, LOW_M, SortOnionsConfig
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, on_place, slots

LOOKS = {"face": "with a face", "plain": "without a face", "pouring": "with a face, pours"}
"""Who is filmed, by the name of the film."""
ARMS = ("sawyer", "iiwa", "panda", "xarm7", "ur5e")

ROBOT_SEED = 20261126
"""Of layouts in physics."""


@dataclass(frozen=True)
class Study:
    """From video to robot, with every claim of the specification measured."""

    out: Path = Path("runs/visual_irl")
    """Folder of runs and the report."""
    recordings: Path = Path("../shared/data/onion_human")
    """Recordings of people (`robolearn.keypoints.tracks.read_onions`)."""
    seeds: int = 5
    """Learning seeds, from 0."""
    counts: tuple[int, ...] = (10, 5, 2)
    """How many recordings to learn from, the most first."""
    methods: tuple[str, ...] = ("airl_state", "gail", "airl_state_action")
    """The main one first; the others learn from the most recordings only."""
    films: int = 3
    """Films of a person with a face and of one without, each."""
    starts: int = 4
    """Layouts that each robot sorts in physics with the policy of each seed."""
    robots: tuple[str, ...] = ("sawyer", "iiwa")
    """Who executes."""
    report: bool = False
    """Only write the report, of the rewards that are there."""
    quick: bool = False
    """A small version that checks the machinery."""


def small(study: Study) -> Study:
    """The study as a check of the machinery."""
    return dataclasses.replace(
        study, seeds=1, counts=(10,), methods=("airl_state", "gail"), films=1, starts=1, robots=study.robots[:1]
    )


def watch(study: Study) -> list[dict[str, Any]]:
    """Film simulated people into stores, let detectors watch, and compare with the truth; [] without the person."""
    if importlib.util.find_spec("dm_control") is None:
        return []
    from sim.human.recorded import film_store

    detectors = {"blazepose": BlazePoseConfig().build} if installed() else {}
    errors: dict[tuple[str, str, str], list[FilmError]] = {}
    for look, person in LOOKS.items():
        for seed in range(study.films):
            folder = film_folder(study, look, seed)
            config = film_config(study, look)
            found = kept(folder, "film", config, seed, lambda out, c=config, s=seed: film_store(out, c, s, detectors))
            for detector, stage in found["seen"]:
                with np.load(folder / f"{detector}_{stage}.npz") as arrays:
                    one = FilmError(**{name: arrays[name] for name in arrays})
                errors.setdefault((detector, person, stage), []).append(one)
    return [{"detector": d, "person": p, "stage": s} | row(e) for (d, p, s), e in errors.items()]


def film_folder(study: Study, look: str, seed: int) -> Path:
    """Of one film; with and without BlazePose are different jobs."""
    return study.out / "films" / f"{look}_{seed}{'_blazepose' if installed() else ''}"


def film_config(study: Study, look: str) -> dict[str, Any]:
    """What a film depends on, beside its seed."""
    config: dict[str, Any] = {"face": look != "plain", "onions": 1 if study.quick else 3}
    return config | {"every": 10 if study.quick else 3} | ({"pouring": True} if look == "pouring" else {})


def draw_films(study: Study) -> str:
    """Detections over frames, and the person beside robots, as HTML; reads films and streams back from their stores."""
    from sim.human.beside import retargeted

    name = "blazepose" if installed() else "truth_4px"
    figures: list[str] = []
    for look in LOOKS:
        pictures, stages, truth, camera = read_film(study, look, name)
        usable = np.isfinite(stages["fixed"].points[:, 3:]).all(axis=(1, 2))
        # A film may be rejected as a whole; then its frames are shown with that mark.
        chosen = np.flatnonzero(usable) if usable.any() else np.arange(len(usable))
        chosen = chosen[np.linspace(0, len(chosen) - 1, 4).round().astype(int)]
        rows = [(f"{name}, {stage}", seen.pixels[chosen], ~usable[chosen]) for stage, seen in stages.items()]
        told = f"A person {LOOKS[look]}: as detected, and after the declared repairs."
        told += " Blue: left arm; red: right arm; white crosses: truth."
        path = study.out / f"detections_{look}.png"
        figures.append(
            embedded(draw_detections(path, list(pictures[chosen]), rows, project(truth, *camera)[chosen]), told)
        )
        if look == "face" and usable.any():
            arms, at = stages["fixed"].points[usable][:, 3:], np.searchsorted(np.flatnonzero(usable), chosen)
            beside = [("person", pictures[chosen], project(arms[at], *camera))]
            beside += [retargeted(robot, arms, at, camera) for robot in ("sawyer", "iiwa")]
            path = draw_side_by_side(study.out / "side_by_side.png", beside)
            told = f"The same four moments: the person with the points of {name}, Sawyer, and iiwa on its side."
            figures.append(embedded(path, told))
    return "".join(figures)


def read_film(study: Study, look: str, detector: str) -> tuple[np.ndarray, dict[str, Keypoints], np.ndarray, Any]:
    """Pictures, both stages of keypoints, the truth and the camera of a film's first take, from its store."""
    folder = film_folder(study, look, 0)
    found = json.loads((folder / "result.json").read_text())
    with Store.open(folder / "store") as store:
        episode, id = store[found["episode"]], found["episode"]
        stages = {s: read_keypoints(store, id, found["streams"][f"{detector}_{s}"]) for s in ("raw", "fixed")}
    return episode.observations["front.rgb"], stages, episode.observations["person.truth"], calibration_of(episode)


def postures_of(study: Study) -> list[dict[str, Any]]:
    """Claims I4 to I6 on the recordings of people, and the same for every other arm."""
    rows: list[dict[str, Any]] = []
    for name in ARMS[:1] if study.quick else ARMS:
        found = kept(
            study.out / "postures" / name,
            "posture",
            {"robot": name, "quick": study.quick},
            0,
            lambda _, n=name: imitated(study, n),
        )
        rows += [{"robot": name, "method": method} | numbers for method, numbers in found["methods"].items()]
    return rows


def imitated(study: Study, robot: str) -> dict[str, Any]:
    """Every method on one robot; its place is fitted to the first half of the recordings."""
    points = people_points(study.recordings)[0][: 2 if study.quick else 10]
    found = imitate(find_arm_map(robot), robot_chain(ROBOTS[robot]), points, len(points) // 2)
    return {"methods": {method: m.row() for method, m in found.items()}}


def on_robots(study: Study, learning: LearningStudy) -> dict[str, dict[str, list[Any]]]:
    """Claim I7: the learned sorters on robots in physics, in `sort_onions`, through `rollout`."""
    results: dict[str, dict[str, list[Any]]] = {}
    for robot in study.robots:
        merged = results.setdefault(robot, {"wins": [], "done": [], "seconds": []})
        for job in learning.best:
            config = {"robot": robot, "job": str(job), "starts": study.starts, "horizon": 300 if study.quick else 2400}
            folder = study.out / "robots" / f"{robot}_{job.seed}"
            found = kept(
                folder,
                "sort_on_robot",
                config,
                ROBOT_SEED + job.seed,
                lambda _, r=robot, j=job, h=config["horizon"]: sort_on_robot(study, learning, r, j, h),
            )
            for name in merged:
                merged[name] += found[f"each_{name}"]
            print(robot, job, f"{sum(found['each_wins'])} of {study.starts}", flush=True)
    return results


def sort_on_robot(study: Study, learning: LearningStudy, robot: str, job: LearningJob, horizon: int) -> dict[str, Any]:
    """One robot with the policy of one seed."""
    fit = fit_arm(people_points(study.recordings, factor=1)[0])
    places = Places(
        LOW_M,
        HIGH_M,
        EYE_M,
        np.column_stack([slots(BIN), np.full(5, 0.085)]),
        np.column_stack([slots(CONVEYOR), np.full(5, 0.065)]),
    )
    env = SortOnionsConfig(n=study.starts, robot=robot, command="joints", horizon=horizon).build()
    actor, arm = load_actor(learning.folder(job)), find_arm_map(robot).upright()
    policy = WatchedSorter(env, policy_of(actor, job.seed), robot_chain(ROBOTS[robot]), arm, fit, places, ONIONS)
    memory = Memory()
    rollout(env, policy, seeds=episode_seeds(study.starts, ROBOT_SEED + job.seed), observers=[memory])
    rate_hz = env.task.rate_hz
    env.close()
    lasts = [np.stack([e.observations[f"{o}.position"][-1] for o in ONIONS]) for e in memory.episodes.values()]
    return {
        "each_wins": [e.outcome is Outcome.SUCCESS for e in memory.episodes.values()],
        "each_done": [float((on_place(last, BIN) | on_place(last, CONVEYOR)).mean()) for last in lasts],
        "each_seconds": [e.steps / rate_hz for e in memory.episodes.values()],
    }


def learn(learning: LearningStudy, job: LearningJob) -> None:
    """One reward, and a line of progress."""
    learning.learn(job)
    print(f"{job}: done", flush=True)


def main(asked: Study) -> None:
    """Run everything that is not done, then write the report."""
    if not asked.recordings.exists():
        raise DataFileError(
            f"Expected recordings of people in {asked.recordings}; give their folder with --recordings."
        )
    torch.set_num_threads(1)
    study = small(asked) if asked.quick else asked
    study.out.mkdir(parents=True, exist_ok=True)
    seeds = tuple(range(study.seeds))
    learning = LearningStudy(study.out, study.recordings, seeds, study.counts, study.methods, study.quick)
    seen, postures = watch(study), postures_of(study)
    first = len(seeds)  # the main method's rewards, which the claims are about; then what is compared with them
    todo = [] if study.report else learning.jobs
    for job in todo[:first]:
        learn(learning, job)
    uses, sorted_ = [learning.use(job) for job in learning.best], on_robots(study, learning)
    for job in todo[first:]:
        learn(learning, job)
    rewards = [found for job in learning.best if (found := learning.result(job)) is not None]
    claims = [c.row for c in decide(rewards, uses, postures, {k: v["wins"] for k, v in sorted_.items()}, {})]
    write_json(study.out / "claims.json", {"claims": claims, "films": seen, "postures": postures})
    for one in claims:
        print(" | ".join(one), flush=True)
    note = paragraph("A quick run: its numbers mean nothing.", note=True) if study.quick else ""
    if len(rewards) < study.seeds:
        note += paragraph(f"{len(rewards)} of {study.seeds} seeds are finished.", note=True)
    _, names, quality = people_points(study.recordings)
    parts = ("films", "postures", "rewards", "uses", "robots", "assumptions")
    walls = [(part, f"{seconds(study.out / part):.0f} s") for part in parts]
    facts = {
        "recordings": study.recordings,
        "evaluation seed": EVALUATION_SEED,
        "robots' seed": ROBOT_SEED,
        "learning seeds": f"0 to {study.seeds - 1}",
    }
    nobody = paragraph("dm_control is not installed (extra `human`); nobody was filmed.")
    sections = [
        Section("Claims", note + table(("claim", "measured", "pass mark", "verdict"), claims)),
        detection_section(seen, draw_films(study)) if seen else Section("Watching a person", nobody),
        posture_section(postures, quality, names, ""),
        reward_section(learning, uses, study.out),
        execution_section(sorted_, {}),
        Section("How this was made", table(("part", "wall time of its jobs"), walls) + provenance(facts)),
    ]
    lead = "A reward learned from watching people sort onions, and a robot that works by it."
    print("Report:", write_page(study.out / "report.html", "Learning from watching", lead, sections))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
