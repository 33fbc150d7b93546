import numpy as np
import pytest

from robolearn.episode import Outcome
from sim.tasks.push_t import PushTConfig, PushTExpertConfig
from sim.tasks.push_t_expert import ARM_M, BAR_M, BAR_Y_M, STEM_M, outline, pose_error


def run(env, seeds):
    teacher = PushTExpertConfig().build(env)
    env.reset(seeds, range(env.n))
    teacher.reset(seeds, range(env.n))
    goals = []
    while np.any(env.outcomes() == Outcome.RUNNING):
        seen = env.observe().arrays
        goals.append(seen["goal.place"])
        decision = teacher.act(seen)
        env.act({name: decision[name] for name in env.action_spec})
    return np.array(goals)


def test_the_origin_is_the_centre_of_mass():
    env = PushTConfig().build()
    body = env.model.body("tee")
    np.testing.assert_allclose(body.ipos[:2], 0.0, atol=1e-9)
    assert body.mass[0] == pytest.approx(0.29, abs=0.02)


def test_a_moving_place_swings_slowly_and_is_caught():
    env = PushTConfig(n=6, moving=True).build()
    goals = run(env, range(6))
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    speed = np.linalg.norm(np.diff(goals[..., :2], axis=0), axis=-1) / 0.05
    assert 0.002 < speed.max() < 0.03
    still = run(PushTConfig(n=2).build(), range(2))
    assert np.ptp(still, axis=0).max() < 1e-6


def test_pushes_move_the_t_as_the_model_says():
    """Each place of the outline turns the T to the side that its lever says, and along its normal."""
    places, normals = outline()
    lever = np.cross(places, normals) / ARM_M
    n = len(places)
    env = PushTConfig(n=n).build()
    teacher = PushTExpertConfig(taste=0.0).build(env)
    rows = range(n)
    env.reset([3] * n, rows)
    teacher.reset([3] * n, rows)
    start = env.observe().arrays
    teacher._choose = lambda benefit, gap, ready: np.arange(n)  # every row pushes at its own place
    # A place far away along every row's normal, so that pushing there keeps helping.
    angle = 2 * np.arctan2(start["tee.quaternion"][0, 3], start["tee.quaternion"][0, 0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for _ in range(60):
        seen = dict(env.observe().arrays)
        goal = np.column_stack([seen["tee.position"][:, :2] + 0.05 * normals @ turn.T, np.full(n, angle)])
        decision = teacher.act(seen | {"goal.place": goal})
        env.act({name: decision[name] for name in env.action_spec})
    end = dict(env.observe().arrays)
    shift = (end["tee.position"] - start["tee.position"])[:, :2] @ turn
    along = (shift * normals).sum(axis=1)
    _, turned = pose_error(end | {"goal.place": np.column_stack([np.zeros((n, 2)), np.full(n, angle)])})
    pushed = along > 0.004
    assert pushed.mean() > 0.8
    strong = pushed & (np.abs(lever) > 0.3)
    assert np.all(np.sign(-turned[strong]) == np.sign(lever[strong]))


def test_the_teacher_decides_by_what_it_sees_alone():
    """What a policy shall copy must not depend on what it cannot see: a teacher that has just come decides the same."""
    env = PushTConfig(n=4).build()
    teacher = PushTExpertConfig(taste=0.0).build(env)
    env.reset(range(4), range(4))
    teacher.reset(range(4), range(4))
    for step in range(80):
        seen = env.observe().arrays
        decision = teacher.act(seen)
        if step % 20 == 10:
            other = PushTExpertConfig(taste=0.0).build(env)
            other.reset(range(4), range(4))
            found = other.act(seen)
            np.testing.assert_array_equal(found["arm.delta"], decision["arm.delta"])
        env.act({name: decision[name] for name in env.action_spec})


def test_success_needs_place_and_heading():
    env = PushTConfig().build()
    seen = dict(env.observe().arrays)
    task = env._sim_task
    seen["tee.position"] = np.array([[0.5, 0.1, 0.0]])
    seen["tee.quaternion"] = np.array([[np.cos(0.5), 0.0, 0.0, np.sin(0.5)]])
    for place, good in (((0.5, 0.1, 1.0), True), ((0.52, 0.1, 1.0), False), ((0.5, 0.1, 1.2), False)):
        seen["goal.place"] = np.array([place])
        assert task.success(seen)[0] == good
        assert (task.reward(seen)[0] > 0.999) == good
    assert BAR_M[1] / 2 + STEM_M[1] > BAR_Y_M
