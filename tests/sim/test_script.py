import numpy as np

from sim.tasks.reach import ReachConfig, ReachExpertConfig
from sim.tasks.script import Attention, toward, upright, wrap


def test_a_change_is_noticed_late_and_then_followed():
    attention = Attention(2, 1, tolerance=0.1)
    for row, delay in enumerate((2, 0)):
        attention.reset(row, delay)
    truth = [0.0, 0.05, 1.0, 2.0, 3.0, 4.0, 4.0]
    belief = np.array([attention.see(np.full((2, 1), x))[:, 0] for x in truth])
    assert belief[:, 0].tolist() == [0.0, 0.05, 0.05, 0.05, 3.0, 4.0, 4.0]
    assert belief[:, 1].tolist() == truth


def test_toward_keeps_the_direction_and_the_speed():
    gap = np.array([[0.3, 0.0, 0.4], [0.001, 0.0, 0.0]])
    step = toward(gap, np.array([0.2, 0.2]), 0.05)
    np.testing.assert_allclose(step[0], [0.012, 0.0, 0.016], atol=1e-12)
    np.testing.assert_allclose(step[1], [0.0008, 0.0, 0.0], atol=1e-12)


def test_upright_is_still_for_a_hand_that_points_down():
    heading = np.array([0.0, 1.0, -2.0])
    down = np.stack([0 * heading, np.cos(heading / 2), np.sin(heading / 2), 0 * heading], axis=1)
    np.testing.assert_allclose(upright(down, heading), 0.0, atol=1e-12)
    np.testing.assert_allclose(upright(down, heading + 0.1)[:, 2], 0.07, atol=1e-9)
    assert wrap(np.array([4.0]))[0] < 0


def test_rows_reach_in_their_own_style():
    env = ReachConfig(n=6).build()
    teacher = ReachExpertConfig().build(env)
    env.reset([1] * 6, range(6))
    teacher.reset(range(6), range(6))
    seen = env.observe().arrays
    speed = np.linalg.norm(teacher.act(seen)["arm.delta"][:, :3], axis=1)
    assert len(np.unique(speed.round(5))) == 6
    assert np.all((speed >= 0.02 - 1e-9) & (speed <= 0.04 + 1e-9))
