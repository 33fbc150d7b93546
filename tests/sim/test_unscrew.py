import math

import numpy as np
import pytest

from robolearn.episode import Outcome
from sim.tasks.unscrew import PITCH_M, STARTED_RAD, UnscrewConfig, UnscrewExpertConfig
from sim.tasks.unscrew_expert import FREE_RAD, SEAT_M, Subtask


@pytest.fixture(scope="module")
def episode():
    env = UnscrewConfig(n=4).build()
    teacher = UnscrewExpertConfig().build(env)
    env.reset(range(4), range(4))
    teacher.reset(range(4), range(4))
    seen, subtasks = [env.observe().arrays], []
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act(seen[-1])
        subtasks.append(decision["note.subtask"])
        env.act({name: decision[name] for name in env.action_spec})
        seen.append(env.observe().arrays)
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    return {name: np.array([s[name] for s in seen]) for name in seen[0]}, np.array(subtasks)


def test_it_takes_several_strokes_with_regrasps(episode):
    _, subtasks = episode
    for row in range(4):
        grasps = np.sum((np.diff(subtasks[:, row]) != 0) & (subtasks[1:, row] == Subtask.GRASP))
        assert grasps >= 4


def test_the_cap_follows_the_thread_until_it_is_free(episode):
    seen, _ = episode
    turn, height = seen["screw.turn"][..., 0], seen["cap.position"][..., 2]
    held = turn < FREE_RAD
    rise = PITCH_M * turn / (2 * math.pi)
    np.testing.assert_allclose(height[held], (SEAT_M + rise)[held], atol=0.002)
    assert np.all(turn[0] <= STARTED_RAD)
    assert np.all(turn.max(axis=0) > FREE_RAD)


@pytest.mark.parametrize("twist", [0.0, 0.4, -0.4])
def test_a_cap_on_its_thread_cannot_be_pulled_off(twist):
    env = UnscrewConfig(n=1).build()
    teacher = UnscrewExpertConfig().build(env)
    env.reset([0], [0])
    teacher.reset([0], [0])
    subtask = Subtask.APPROACH
    while subtask != Subtask.TURN:
        decision = teacher.act(env.observe().arrays)
        subtask = decision["note.subtask"][0]
        env.act({name: decision[name] for name in env.action_spec})
    pull = {"arm.delta": np.array([[0.0, 0.0, 0.05, 0.0, 0.0, twist]]), "gripper.command": np.ones((1, 1))}
    for _ in range(40):
        env.act(pull)
        seen = env.observe().arrays
        rise = PITCH_M * seen["screw.turn"][0, 0] / (2 * math.pi)
        assert seen["cap.position"][0, 2] < SEAT_M + rise + 0.002, "a soft thread teaches policies to tear"
    assert env.outcomes()[0] != Outcome.SUCCESS


def test_only_a_cap_that_was_unscrewed_counts():
    task = UnscrewConfig(n=1).sim_task()
    high = np.array([[0.5, 0.0, SEAT_M + 0.1]] * 2)
    turns = np.array([[FREE_RAD - 0.1], [FREE_RAD + 0.1]])
    assert task.success({"cap.position": high, "screw.turn": turns}).tolist() == [False, True]


def test_a_teacher_copes_with_a_hand_that_somebody_else_has_moved():
    """A second one who watched takes over a hand that grips, and a hand that has let go, at every row's own moment."""
    env = UnscrewConfig(n=4).build()
    first, second = (UnscrewExpertConfig().build(env) for _ in range(2))
    for one in (env, first, second):
        one.reset(range(4), range(4))
    found = np.full(4, -1)
    while np.any(found < 0):
        seen = env.observe().arrays
        decision, other = first.act(seen), second.act(seen)
        env.act({name: decision[name] for name in env.action_spec})
        turning = decision["note.subtask"] == Subtask.TURN
        found = np.where((found < 0) & turning & (other["note.subtask"] != Subtask.GRASP), other["note.subtask"], found)
    assert np.all(found == Subtask.TURN), "it lets go of a cap that is gripped"

    opened = {"arm.delta": np.zeros((4, 6)), "gripper.command": -np.ones((4, 1))}
    for _ in range(25):
        subtask = second.act(env.observe().arrays)["note.subtask"]
        env.act(opened)
    assert not np.any(subtask == Subtask.TURN), "it turns with an open hand"


def test_caps_can_lie_loose_at_the_start_and_are_taken_by_a_hand_that_begins_anywhere():
    env = UnscrewConfig(n=12, started_rad=20.0, astray=0.5).build()
    teacher = UnscrewExpertConfig().build(env)
    env.reset(range(12), range(12))
    teacher.reset(range(12), range(12))
    loose = env.observe().arrays["screw.turn"][:, 0] > FREE_RAD
    assert 1 <= loose.sum() <= 6
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act(env.observe().arrays)
        env.act({name: decision[name] for name in env.action_spec})
    assert np.all(env.outcomes() == Outcome.SUCCESS)
