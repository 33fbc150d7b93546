"""Thoughts about a wrist and a bottle, carried out by an arm in physics, in the simulation and behind the gate."""

from pathlib import Path

import numpy as np
import pytest

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock
from robolearn.episode import Outcome, Perturbation
from robolearn.keypoints.landmarks import Landmarks
from robolearn.observers import Memory
from robolearn.rollout import rollout
from robolearn.verbs.deploy import run
from sim.tasks.pour import PourConfig
from sim.tasks.pour_scene import INSTRUCTIONS
from sim.watched import judge_pouring, watched_pourer

ARM_FIT = np.vstack([np.zeros((3, 6)), [0.4, -0.2, 1.17, 0.4, -0.15, 1.45]])
ARM_FIT[:3] = 0.2 * np.hstack([np.eye(3), 0.3 * np.eye(3)])
BENCH = Path(__file__).resolve().parents[2] / "launch" / "benches" / "panda_pour_twin.toml"


def test_landmarks_are_met_and_near_them_displacements_are_kept():
    rng = np.random.default_rng(0)
    here, there = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2))
    turn = np.array([[[0.0, 1.0], [-1.0, 0.0]]] * 3 + [[[0.5, 0.0], [0.0, 0.5]]])
    where = Landmarks(here, there, turn)
    for k in range(4):
        np.testing.assert_allclose(where(here[:, k]), there[:, k], atol=1e-9)
        step = 1e-3 * rng.normal(size=(3, 2))
        np.testing.assert_allclose(where(here[:, k] + step) - there[:, k], step @ turn[k].T, atol=2e-6)


def pour_once(decide, seeds, *, robot="panda", horizon=450, adversary=None):
    """Episodes in the order of their seeds, and the limits of joint targets."""
    env = PourConfig(n=len(seeds), robot=robot, command="joints", horizon=horizon).build()
    memory, spec = Memory(), env.action_spec["arm.q_target"]
    rollout(env, watched_pourer(env, robot, decide, ARM_FIT), seeds=seeds, observers=[memory], adversary=adversary)
    env.close()
    return [memory.episodes[seed] for seed in seeds], spec


@pytest.mark.parametrize(("robot", "seeds"), [("panda", (3, 5)), ("sawyer", (4,))])
def test_a_pourer_that_thinks_as_a_person_pours_in_physics(pour_by_the_book, robot, seeds):
    episodes, spec = pour_once(pour_by_the_book, seeds, robot=robot)
    for episode in episodes:
        found = judge_pouring(episode)
        assert episode.outcome is Outcome.SUCCESS
        assert found["wins"]
        assert found["done"] >= 0.9
        assert found["spilled"] <= 0.05
        sent = episode.actions["arm.q_target"]
        assert np.all((sent >= spec.low) & (sent <= spec.high))
        assert np.abs(np.diff(sent, axis=0)).max() < 0.3, "nothing jumps"


def test_how_far_it_tips_is_the_thoughts_doing(pour_by_the_book):
    """A policy that never tips far enough keeps every bead, for the robot as for the person."""
    (episode,), _ = pour_once(lambda seen: pour_by_the_book(seen, tip_rad=1.2), [3], horizon=150)
    found = judge_pouring(episode)
    assert (found["wins"], found["done"], found["spilled"], found["away"]) == (False, 0.0, 0.0, False)


class OtherBowl:
    """An adversary that asks for the other bowl once the bottle has left the table."""

    def reset(self, seeds, rows):
        self.told = False

    def propose(self, reading):
        if self.told or reading.arrays["bottle.position"][0, 2] < 0.08:
            return []
        self.told = True
        asked = int(np.argmax(reading.arrays["task.command"][0]))
        return [(0, Perturbation("SET_CMD", instruction=INSTRUCTIONS[1 - asked]))]


def test_another_command_is_followed(pour_by_the_book):
    (episode,), _ = pour_once(pour_by_the_book, [3], adversary=OtherBowl())
    asked = episode.observations["task.command"]
    assert np.argmax(asked[0]) != np.argmax(asked[-1])
    assert judge_pouring(episode)["wins"]


def test_it_pours_on_a_bench_behind_the_gate(pour_by_the_book):
    """The same policy through the deployment's own call, on the twin in (faked) real time, with joint targets."""
    clock, memory = FakeClock(50.0), Memory()
    with open_bench(read_bench(BENCH), clock, paced=False) as live:
        policy = watched_pourer(live.env, "panda", pour_by_the_book, ARM_FIT)
        (done,) = run(live, policy, [3], clock, [memory])
        assert not live.gate.fault
    assert done.outcome is Outcome.SUCCESS
    assert judge_pouring(memory.episodes[3])["wins"]
