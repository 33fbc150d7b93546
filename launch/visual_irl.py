"""Learning from watching: from video of a person to a reward, and from the reward to a cobot; one report.

robolearn run launch/visual_irl.py [--quick] [--out runs/visual_irl] [--recordings ../shared/data/onion_human]

A stopped study goes on where it was: every film, robot and seed is a job of its own, and done jobs are only read.
Needs the extra `human` for the film and `robolearn keypoints install` for BlazePose; what is missing is left out of the
report, which says so.
"""

import dataclasses
import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from robolearn.data.store import Store
from robolearn.errors import DataFileError
from robolearn.keypoints.blazepose import BlazePoseConfig, installed
from robolearn.keypoints.judging import policy_of
from robolearn.keypoints.onions import fit_arm
from robolearn.keypoints.postures import people_points
from robolearn.keypoints.watching import pouring_episode
from robolearn.report import Section, paragraph, provenance, table, write_page
from robolearn.runs import write_json
from robolearn.stages.reward import EVALUATION_SEED, load_actor
from robolearn.stages.watching_claims import decide
from robolearn.stages.watching_films import Filming
from robolearn.stages.watching_report import (
    detection_section,
    execution_section,
    posture_section,
    pouring_section,
    reward_section,
)
from robolearn.stages.watching_robots import ROBOT_SEED, RobotJobs, judged, posture_rows, robot_starts
from robolearn.stages.watching_study import POURING, LearningJob, LearningStudy, kept, seconds
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.pour import PourConfig
from sim.tasks.sort_onions import SortOnionsConfig
from sim.watched import judge_pouring, judge_sorting, watched_pourer, watched_sorter

ARMS = ("sawyer", "iiwa", "panda", "xarm7", "ur5e")
NOBODY = paragraph("dm_control is not installed (extra `human`); nobody was filmed, and nobody poured.")


@dataclass(frozen=True)
class Study:
    """From video to robot, with every claim of the specification measured."""

    tasks: tuple[Literal["onions", "pouring"], ...] = ("onions", "pouring")
    """What is studied; films and postures belong to onions."""
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
    pour_starts: int = 10
    """Tables from which each robot pours in physics with the policy of each seed."""
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
        robots=study.robots[:1], pourers=study.pourers[:1], sessions=1, pour_starts=1,
    )  # fmt: skip


def human() -> bool:
    """Whether the simulated person is there."""
    return importlib.util.find_spec("dm_control") is not None


def watch(study: Study) -> Section:
    """Film simulated people into stores, let detectors watch, and compare with the truth."""
    if not human():
        return Section("Watching a person", NOBODY)
    from sim.human.beside import retargeted
    from sim.human.recorded import film_store

    detectors = {"blazepose": BlazePoseConfig().build} if installed() else {}
    filming = Filming(study.out / "films", study.films, study.quick, installed())
    rows = filming.rows(partial(film_store, detectors=detectors))
    write_json(study.out / "films.json", rows)
    return detection_section(rows, filming.drawn(study.out, retargeted))


def record_pourers(study: Study) -> Path:
    """The store of recordings of the simulated person who pours."""
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


def sort_on_robot(study: Study, learning: LearningStudy, jobs: RobotJobs, job: LearningJob, robot: str) -> Any:
    """One robot sorts with the policy of one seed."""
    fit = fit_arm(people_points(study.recordings, factor=1)[0])
    env = SortOnionsConfig(n=jobs.starts, robot=robot, command="joints", horizon=jobs.horizon).build()
    policy = watched_sorter(env, robot, policy_of(load_actor(learning.folder(job)), job.seed), fit)
    return say(jobs, job, robot, judged(env, policy, robot_starts(job, jobs.starts), judge_sorting))


def pour_on_robot(learning: LearningStudy, jobs: RobotJobs, job: LearningJob, robot: str) -> Any:
    """One robot pours with the policy of one seed."""
    with Store.open(learning.people) as store:
        fit = fit_arm([store[id].observations["person.points"] for id in store.ids()])
    env = PourConfig(n=jobs.starts, robot=robot, command="joints", horizon=jobs.horizon).build()
    policy = watched_pourer(env, robot, policy_of(load_actor(learning.folder(job)), job.seed), fit)
    return say(jobs, job, robot, judged(env, policy, robot_starts(job, jobs.starts), judge_pouring))


def say(jobs: RobotJobs, job: LearningJob, robot: str, found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A line of progress."""
    print(jobs.stage, robot, job, f"{sum(found['each_wins'])} of {jobs.starts}", flush=True)
    return found


def learn(learning: LearningStudy, job: LearningJob) -> None:
    """One reward, and a line of progress."""
    learning.learn(job)
    print(f"{job}: done", flush=True)


def pour(study: Study, seeds: tuple[int, ...]) -> tuple[Section, dict[str, dict[str, list[Any]]]]:
    """Rewards from the simulated person who pours, by the same trainer, and robots that pour by them."""
    title = "Rewards from a person who pours"
    if "pouring" not in study.tasks or not human():
        return Section(title, NOBODY if not human() else paragraph("Not asked for.")), {}
    learning = LearningStudy(
        study.out / "pouring", study.recordings, seeds, (study.sessions,), study.methods[:1], study.quick,
        record_pourers(study), *POURING,
    )  # fmt: skip
    for job in () if study.report else learning.jobs:
        learn(learning, job)
    horizon = 200 if study.quick else 1000
    jobs = RobotJobs(study.out / "pours", "pour_on_robot", study.pourers, study.pour_starts, horizon)
    return pouring_section(title, learning), jobs.run(learning, partial(pour_on_robot, learning))


def main(asked: Study) -> None:
    """Run everything that is not done, then write the report."""
    if not asked.recordings.exists():
        raise DataFileError(
            f"Expected recordings of people in {asked.recordings}; give their folder with --recordings."
        )
    torch.set_num_threads(1)
    study = small(asked) if asked.quick else asked
    study.out.mkdir(parents=True, exist_ok=True)
    seeds, sorts = tuple(range(study.seeds)), "onions" in study.tasks
    learning = LearningStudy(
        study.out, study.recordings, seeds if sorts else (), study.counts, study.methods, study.quick
    )
    chains = {robot: robot_chain(ROBOTS[robot]) for robot in (ARMS[:1] if study.quick else ARMS) if sorts}
    films = watch(study) if sorts else Section("Watching a person", paragraph("Not asked for."))
    postures = posture_rows(study.out / "postures", study.recordings, chains, study.quick)
    first = len(seeds)  # the main method's rewards, which the claims are about; then what is compared with them
    todo = [] if study.report else learning.jobs
    for job in todo[:first]:
        learn(learning, job)
    uses = [learning.use(job) for job in learning.best]
    horizon = 300 if study.quick else 2400
    jobs = RobotJobs(study.out / "robots", "sort_on_robot", study.robots, study.starts, horizon)
    sorted_ = jobs.run(learning, partial(sort_on_robot, study, learning))
    pouring, poured = pour(study, seeds)
    for job in todo[first:]:
        learn(learning, job)
    report(study, learning, [films, pouring], uses, postures, sorted_, poured)


def report(
    study: Study,
    learning: LearningStudy,
    sections: list[Section],
    uses: list[dict[str, Any]],
    postures: list[dict[str, Any]],
    sorted_: Mapping[str, Mapping[str, list[Any]]],
    poured: Mapping[str, Mapping[str, list[Any]]],
) -> None:
    """Decide the claims and write one page."""
    rewards = [found for job in learning.best if (found := learning.result(job)) is not None]
    wins = [{robot: found["wins"] for robot, found in done.items() if found} for done in (sorted_, poured)]
    claims = [c.row for c in decide(rewards, uses, postures, *wins)]
    write_json(study.out / "claims.json", {"claims": claims, "postures": postures})
    for one in claims:
        print(" | ".join(one), flush=True)
    note = paragraph("A quick run: its numbers mean nothing.", note=True) if study.quick else ""
    if len(rewards) < len(learning.seeds):
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
    films, pouring = sections
    shown = [
        Section("Claims", note + table(("claim", "measured", "pass mark", "verdict"), claims)),
        films,
        posture_section(postures, quality, names, ""),
        *([reward_section(learning, uses, study.out)] if learning.seeds else []),
        pouring,
        execution_section(sorted_, poured),
        Section("How this was made", table(("part", "wall time of its jobs"), walls) + provenance(facts)),
    ]
    lead = "Rewards learned from watching people sort onions and pour, and robots that work by them."
    print("Report:", write_page(study.out / "report.html", "Learning from watching", lead, shown))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
