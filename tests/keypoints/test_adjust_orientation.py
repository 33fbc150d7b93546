"""A tool's whole orientation in the inverse kinematics: its slope by finite differences, and what it reaches."""

import numpy as np
import pytest

from robolearn.keypoints.adjust import AdjustConfig, _Problem, adjust, follow
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.pour import HOMES


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


@pytest.mark.parametrize("robot", ["panda", "sawyer", "iiwa"])
def test_the_gradient_is_that_of_finite_differences(robot):
    """With the tool's z axis, with its y axis too, and with neither."""
    chain, rng = robot_chain(ROBOTS[robot]), np.random.default_rng(4)
    n, k = 5, len(chain.joints)
    q, symbolic, before = (rng.uniform(chain.low, chain.high, (n, k)) for _ in range(3))
    target = chain.posture(rng.uniform(chain.low, chain.high, (n, k))).tool
    z, y = (unit(rng.normal(size=(n, 3))) for _ in range(2))
    for axes in ([], [(2, z)], [(2, z), (1, y)]):
        problem = _Problem(chain, symbolic, target, before, 0.7, axes, AdjustConfig(posture=0.3))

        def cost(q, problem=problem):
            return problem._cost(q, chain.posture(q))

        _, half = problem._model(q, chain.posture(q))
        for joint in range(k):
            h = 1e-6 * np.eye(k)[joint]
            slope = (cost(q + h) - cost(q - h)) / 2e-6
            np.testing.assert_allclose(2.0 * half[:, joint], slope, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("robot", ["panda", "sawyer"])
def test_a_hand_rolls_about_its_own_axis_and_stays_where_it_is(robot):
    """Half a turn and more of roll with a level hand, from the posture in which the task of pouring begins."""
    chain = robot_chain(ROBOTS[robot])
    home = np.array(HOMES[robot][0])[None]
    start = chain.posture(home)
    z, y = start.hand[:, :, 2], start.hand[:, :, 1]
    rolls = np.linspace(0.0, 2.0, 41)
    across = np.stack([np.cos(r) * y - np.sin(r) * np.cross(z, y) for r in rolls], axis=1)
    still, pointing = (np.repeat(v[:, None], len(rolls), axis=1) for v in (start.tool, z))
    wished = np.repeat(home[:, None], len(rolls), axis=1)
    config = AdjustConfig(posture=0.1, smoothing=1.0, iterations=25, tolerance=1e-4)
    found = follow(chain, wished, still, start=home, pointing=pointing, across=across, config=config)
    posture = chain.posture(found.q[0])
    assert found.error_m.max() < 2e-3
    for axis, wanted in ((2, pointing[0]), (1, across[0])):
        assert np.degrees(np.arccos(np.clip((posture.hand[:, :, axis] * wanted).sum(axis=1), -1, 1))).max() < 1.0
    assert np.abs(np.diff(found.q[0], axis=0)).max() < 0.35, "nothing jumps"


def test_what_is_not_asked_for_changes_nothing():
    chain, rng = robot_chain(ROBOTS["sawyer"]), np.random.default_rng(1)
    symbolic = rng.uniform(-0.5, 0.5, (3, 7)) + chain.home
    target = chain.posture(symbolic + 0.2).tool
    down = np.broadcast_to([0.0, 0.0, -1.0], target.shape)
    plain, pointing = (
        adjust(chain, symbolic, target, chain.home[None] + np.zeros((3, 7))),
        adjust(chain, symbolic, target, chain.home[None] + np.zeros((3, 7)), pointing=down),
    )
    assert np.abs(plain.q - pointing.q).max() > 1e-3
    again = adjust(chain, symbolic, target, chain.home[None] + np.zeros((3, 7)), pointing=down, across=None)
    np.testing.assert_array_equal(pointing.q, again.q)
