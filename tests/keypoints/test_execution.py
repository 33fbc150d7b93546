"""Thoughts about a wrist, carried out by an arm in physics."""

from pathlib import Path

import numpy as np

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock
from robolearn.episode import Outcome
from robolearn.keypoints.adjust import AdjustConfig, adjust
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.execution import Places, WatchedSorter, Workspace
from robolearn.keypoints.onions import EYE_M, HAND_M
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds, rollout
from robolearn.verbs.deploy import run
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.sort_onions import HIGH_M, LOW_M, SortOnionsConfig
from sim.tasks.sort_onions_places import BIN, CONVEYOR, ONIONS, slots
from sim.tasks.sort_onions_places import EYE_M as ROBOT_EYE_M
from sim.watched import judge_sorting, watched_sorter

BENCH = Path(__file__).resolve().parents[2] / "launch" / "benches" / "sawyer_sort_twin.toml"
ARM_FIT = np.vstack([np.zeros((3, 6)), [0.4, -0.2, 1.17, 0.4, -0.15, 1.45]])
ARM_FIT[:3] = 0.2 * np.hstack([np.eye(3), 0.3 * np.eye(3)])


def places() -> Places:
    return Places(
        LOW_M,
        HIGH_M,
        ROBOT_EYE_M,
        np.column_stack([slots(BIN), np.full(5, 0.085)]),
        np.column_stack([slots(CONVEYOR), np.full(5, 0.065)]),
    )


def by_the_book(seen: np.ndarray) -> np.ndarray:
    """Straight to the onion, to the eye, to where it belongs."""
    hand = seen[:, :3] * 0.3 + [0.6, 0.0, 0.95]
    held, label, looked = seen[:, 6] > 0.5, seen[:, 7], seen[:, 8]
    put = np.where(label[:, None] > 0, [0.60, -0.36, 0.93], [0.45, 0.36, 1.1])
    goal = np.where((looked > 0)[:, None], put, EYE_M) + HAND_M - hand
    return np.where(held[:, None], goal, seen[:, 3:6] * 0.3)


def test_the_workspace_map_meets_every_place():
    rng = np.random.default_rng(0)
    person, robot = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    np.testing.assert_allclose(Workspace(person, robot)(person), robot, atol=1e-8)
    turned = person @ np.diag([2.0, 1.0, -1.0]) + 0.3
    other = rng.normal(size=(20, 3))
    np.testing.assert_allclose(Workspace(person, turned)(other), other @ np.diag([2.0, 1.0, -1.0]) + 0.3, atol=1e-8)


def test_a_sorter_that_thinks_as_a_wrist_sorts_in_physics():
    """Five onions, seen one by one at the eye, on Sawyer with joint targets."""
    env = SortOnionsConfig(n=2, robot="sawyer", command="joints", horizon=1400).build()
    arm = find_arm_map("sawyer").upright()
    policy = WatchedSorter(env, by_the_book, robot_chain(ROBOTS["sawyer"]), arm, ARM_FIT, places(), ONIONS)
    memory = Memory()
    done = rollout(env, policy, seeds=episode_seeds(2, 7), observers=[memory])
    assert [d.outcome for d in done] == [Outcome.SUCCESS] * 2
    episode = next(iter(memory.episodes.values()))
    assert (np.abs(episode.observations["onions.label"]).sum(axis=0) > 0).all(), "every onion was looked at"
    low, high = robot_chain(ROBOTS["sawyer"]).low, robot_chain(ROBOTS["sawyer"]).high
    sent = episode.actions["arm.q_target"]
    assert np.all((sent >= low) & (sent <= high))
    env.close()


def test_the_elbow_swings_no_faster_than_the_arm_can():
    """From an arm whose elbow is elsewhere to the person's posture, the tool stays where it is."""
    env = SortOnionsConfig(n=1, robot="sawyer", command="joints").build()
    chain = robot_chain(ROBOTS["sawyer"])
    policy = watched_sorter(env, "sawyer", by_the_book, ARM_FIT)
    tool, wrist, down = np.array([[0.45, 0.31, 0.175]]), np.array([[0.34, 0.23, 1.05]]), np.array([[0.0, 0.0, -1.0]])
    elsewhere = np.array([[-0.51, -0.34, 2.07, 2.05, -1.02, 1.81, -1.8]])
    policy._q = adjust(chain, elsewhere, tool, pointing=down, config=AdjustConfig(posture=0.01)).q
    far = policy._q.copy()
    for _ in range(120):
        before, policy._q = policy._q, policy._joints(wrist, tool, down)
        assert np.abs(policy._q - before).max() < 0.075
        assert np.linalg.norm(chain.posture(policy._q).tool - tool) < 0.003
    assert np.abs(policy._q - far).max() > 1.0, "it does come"
    env.close()


def test_it_sorts_on_a_bench_behind_the_gate():
    """The same policy through the deployment's own call, on Sawyer's twin in (faked) real time, with joint targets."""
    clock, memory = FakeClock(50.0), Memory()
    with open_bench(read_bench(BENCH), clock, paced=False) as live:
        policy = watched_sorter(live.env, "sawyer", by_the_book, ARM_FIT)
        (done,) = run(live, policy, [3], clock, [memory])
        assert not live.gate.fault
    assert done.outcome is Outcome.SUCCESS
    assert judge_sorting(memory.episodes[3]) == {"wins": True, "done": 1.0}
