"""Learning from watching: from video of a person to a reward, and from the reward to a cobot; one report.

robolearn run launch/visual_irl.py [--quick] [--out runs/visual_irl] [--recordings ../shared/data/onion_human]

A stopped study goes on where it was: every film, robot and seed is a job of its own, and done jobs are only read.
Needs the extra `human` for the film and `robolearn keypoints install` for BlazePose; what is missing is left out of the
report, which says so.
"""

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from robolearn.data.store import Store
from robolearn.errors import DataFileError
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.blazepose import BlazePoseConfig, installed
from robolearn.keypoints.film_error import FilmError, row
from robolearn.keypoints.judging import policy_of
from robolearn.keypoints.onions import fit_arm
from robolearn.keypoints.postures import imitate, people_points
from robolearn.keypoints.watching import pouring_episode
from robolearn.report import Section, paragraph, provenance, table, write_page
from robolearn.runs import write_json
from robolearn.stages.reward import EVALUATION_SEED, load_actor
from robolearn.stages.watching_claims import decide
from robolearn.stages.watching_films import draw_films, film_errors
from robolearn.stages.watching_report import (
    detection_section,
    execution_section,
    posture_section,
    pouring_section,
    reward_section,
)
from robolearn.stages.watching_robots import merged, on_robot
from robolearn.stages.watching_study import LearningJob, LearningStudy, kept, seconds
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.pour import PourConfig
from sim.tasks.sort_onions import SortOnionsConfig
from sim.watched import judge_pouring, judge_sorting, watched_pourer, watched_sorter

LOOKS = {"face": "with a face", "plain": "without a face", "pouring": "with a face, pours"}
"""Who is filmed, by the name of the film."""
ARMS = ("sawyer", "iiwa", "panda", "xarm7", "ur5e")

ROBOT_SEED = 20261126
"""Of layouts in physics."""
HORIZONS = {"robots": (2400, 300), "pours": (1000, 200)}
"""Most control steps of an episode on a robot: sorting and pouring, in full and quick."""
STAGES = {"robots": "sort_on_robot", "pours": "pour_on_robot"}


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
    """Who sorts."""
    pourers: tuple[str, ...] = ("panda", "sawyer")
    """Who pours."""
    sessions: int = 10
    """Recordings of the simulated person who pours, three bottles each."""
    report: bool = False
    """Only write the report, of the rewards that are there."""
    quick: bool = False
    """A small version that checks the machinery."""


def small(study: Study) -> Study:
    """The study as a check of the machinery."""
    return dataclasses.replace(
        study, seeds=1, counts=(10,), methods=("airl_state", "gail"), films=1, starts=1,
        robots=study.robots[:1], pourers=study.pourers[:1], sessions=1,
    )  # fmt: skip


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
            for (detector, stage), one in film_errors(folder, found["seen"]).items():
                errors.setdefault((detector, person, stage), []).append(one)
    return [{"detector": d, "person": p, "stage": s} | row(e) for (d, p, s), e in errors.items()]


def film_folder(study: Study, look: str, seed: int) -> Path:
    """Of one film; with and without BlazePose are different jobs."""
    return study.out / "films" / f"{look}_{seed}{'_blazepose' if installed() else ''}"


def film_config(study: Study, look: str) -> dict[str, Any]:
    """What a film depends on, beside its seed."""
    config: dict[str, Any] = {"face": look != "plain", "onions": 1 if study.quick else 3}
    return config | {"every": 10 if study.quick else 3} | ({"pouring": True} if look == "pouring" else {})


def drawn_films(study: Study) -> str:
    """Detections over frames, and the person beside robots, as HTML."""
    from sim.human.beside import retargeted

    films = {look: film_folder(study, look, 0) for look in LOOKS}
    return draw_films(study.out, films, LOOKS, "blazepose" if installed() else "truth_4px", retargeted)


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


def record_pourers(study: Study) -> Path | None:
    """The store of recordings of the simulated person who pours; None without the person."""
    if importlib.util.find_spec("dm_control") is None:
        return None
    from sim.human.body import build_person
    from sim.human.sessions import pouring_session

    store = study.out / "pourers" / "store"

    def work(_: Path) -> dict[str, Any]:
        shutil.rmtree(store, ignore_errors=True)  # of a run that was stopped here
        person = build_person(table="pouring")
        with Store.create(store) as made:
            for seed in range(study.sessions):
                made.append(pouring_episode(pouring_session(person, seed), operator="simulated person"))
            return {"frames": sum(made.info(id).steps for id in made.ids())}

    kept(study.out / "pourers", "record_pouring", {"sessions": study.sessions, "bottles": 3}, 0, work)
    return store


Work = Callable[[LearningJob, str], dict[str, Any]]


def on_robots(study: Study, learning: LearningStudy, robots: Sequence[str], task: str, work: Work) -> dict[str, Any]:
    """Claims I7 and I8: the learned policies on robots in physics, through `rollout`."""
    results: dict[str, dict[str, list[Any]]] = {}
    horizon = HORIZONS[task][int(study.quick)]
    for robot in robots:
        found: list[dict[str, Any]] = []
        for job in learning.best:
            config = {"robot": robot, "job": str(job), "starts": study.starts, "horizon": horizon}
            folder, seed = study.out / task / f"{robot}_{job.seed}", ROBOT_SEED + job.seed
            found.append(kept(folder, STAGES[task], config, seed, lambda _, j=job, r=robot: work(j, r)))
            print(task, robot, job, f"{sum(found[-1]['each_wins'])} of {study.starts}", flush=True)
        results[robot] = merged(found)
    return results


def sort_on_robot(study: Study, learning: LearningStudy, job: LearningJob, robot: str) -> dict[str, Any]:
    """One robot sorts with the policy of one seed."""
    fit = fit_arm(people_points(study.recordings, factor=1)[0])
    horizon = HORIZONS["robots"][int(study.quick)]
    env = SortOnionsConfig(n=study.starts, robot=robot, command="joints", horizon=horizon).build()
    policy = watched_sorter(env, robot, policy_of(load_actor(learning.folder(job)), job.seed), fit)
    found = on_robot(env, policy, starts=study.starts, seed=ROBOT_SEED + job.seed, judge=judge_sorting)
    env.close()
    return found


def pour_on_robot(study: Study, learning: LearningStudy, job: LearningJob, robot: str) -> dict[str, Any]:
    """One robot pours with the policy of one seed."""
    with Store.open(learning.people) as store:
        fit = fit_arm([store[id].observations["person.points"] for id in store.ids()])
    horizon = HORIZONS["pours"][int(study.quick)]
    env = PourConfig(n=study.starts, robot=robot, command="joints", horizon=horizon).build()
    policy = watched_pourer(env, robot, policy_of(load_actor(learning.folder(job)), job.seed), fit)
    found = on_robot(env, policy, starts=study.starts, seed=ROBOT_SEED + job.seed, judge=judge_pouring)
    env.close()
    return found


def learn(learning: LearningStudy, job: LearningJob) -> None:
    """One reward, and a line of progress."""
    learning.learn(job)
    print(f"{job}: done", flush=True)


def learn_pouring(study: Study, seeds: tuple[int, ...]) -> LearningStudy | None:
    """Rewards from the simulated person who pours, by the same trainer; None without the person."""
    store = record_pourers(study)
    if store is None:
        return None
    learning = LearningStudy(
        study.out / "pouring", study.recordings, seeds, (study.sessions,), study.methods[:1], study.quick, store
    )
    for job in () if study.report else learning.jobs:
        learn(learning, job)
    return learning


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
    uses = [learning.use(job) for job in learning.best]
    sorted_ = on_robots(study, learning, study.robots, "robots", partial(sort_on_robot, study, learning))
    pouring = learn_pouring(study, seeds)
    poured: dict[str, Any] = {}
    if pouring is not None:
        poured = on_robots(study, pouring, study.pourers, "pours", partial(pour_on_robot, study, pouring))
    for job in todo[first:]:
        learn(learning, job)
    rewards = [found for job in learning.best if (found := learning.result(job)) is not None]
    wins = ({robot: found["wins"] for robot, found in done.items()} for done in (sorted_, poured))
    claims = [c.row for c in decide(rewards, uses, postures, *wins)]
    write_json(study.out / "claims.json", {"claims": claims, "films": seen, "postures": postures})
    for one in claims:
        print(" | ".join(one), flush=True)
    note = paragraph("A quick run: its numbers mean nothing.", note=True) if study.quick else ""
    if len(rewards) < study.seeds:
        note += paragraph(f"{len(rewards)} of {study.seeds} seeds are finished.", note=True)
    _, names, quality = people_points(study.recordings)
    parts = ("films", "postures", "rewards", "uses", "robots", "pourers", "pouring", "pours", "assumptions")
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
        detection_section(seen, drawn_films(study)) if seen else Section("Watching a person", nobody),
        posture_section(postures, quality, names, ""),
        reward_section(learning, uses, study.out),
        pouring_section(pouring) if pouring is not None else Section("Rewards from a person who pours", nobody),
        execution_section(sorted_, poured),
        Section("How this was made", table(("part", "wall time of its jobs"), walls) + provenance(facts)),
    ]
    lead = "Rewards learned from watching people sort onions and pour, and robots that work by them."
    print("Report:", write_page(study.out / "report.html", "Learning from watching", lead, sections))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
