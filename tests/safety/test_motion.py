"""Set points keep every limit whatever is asked for, reach what can be reached, and follow exactly when they can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.safety.motion import Caps, SetPoint, brake, braking_path, follow

ONES = np.ones(2)


def caps(jerk=200.0, acceleration=6.0, speed=1.2, low=-1.0, high=1.0):
    return Caps(low * ONES, high * ONES, speed * ONES, acceleration * ONES, jerk * ONES)


def rest(q=0.0):
    return SetPoint(q * ONES, 0 * ONES, 0 * ONES)


def test_braking_path_ends_where_braking_ends():
    now, limit = SetPoint(np.zeros(2), np.array([1.0, -0.37]), np.zeros(2)), caps()
    end = braking_path(now, limit, 0.008, 3)
    while not now.at_rest:
        now = brake(now, limit, 0.008)
    np.testing.assert_allclose(end[-1], now.q, atol=1e-12)
    assert np.all(np.diff(np.abs(end), axis=0) >= 0)
    assert braking_path(rest(), caps(acceleration=np.inf), 0.01, 2).tolist() == [[0, 0], [0, 0]]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    targets=st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    jerk=st.sampled_from([60.0, 400.0, np.inf]),
    dt=st.sampled_from([0.002, 0.008, 0.02]),
    hold=st.integers(1, 40),
)
def test_every_limit_holds_for_any_targets(targets, jerk, dt, hold):
    limit, now, last = caps(jerk), rest(), np.zeros(2)
    for target in targets:
        for _ in range(hold):
            goal = np.array([target, -0.5 * target])
            before, now = now, follow(now, goal, (goal - last) / dt, limit, dt)
            last = goal
            assert np.all(np.abs(now.q) <= 1 + 1e-6)
            assert np.all(np.abs(now.v) <= 1.2 + 1e-5)
            assert np.all(np.abs(now.v - before.v) <= 6.0 * dt + 1e-6)
            assert np.all(np.abs(braking_path(now, limit, dt, 1)) <= 1 + 1e-6), "it can still stop inside"
    assert np.all(np.isfinite(now.q))


@pytest.mark.parametrize("jerk", [60.0, 400.0, np.inf])
@pytest.mark.parametrize("target", [0.003, 0.4, -0.97, 5.0])
def test_a_resting_target_is_reached_without_overshoot_and_with_limited_jerk(jerk, target):
    limit, now, dt = caps(jerk), rest(), 0.008
    goal = np.clip(target, -1 + 6 * dt**2, 1 - 6 * dt**2)
    jerks, reached = [], None
    for k in range(500):
        before, now = now, follow(now, target * ONES, 0 * ONES, limit, dt)
        jerks.append(np.abs(now.a - before.a).max() / dt)
        assert np.all((now.q - goal) * np.sign(goal) <= 2e-3), "no overshoot"
        if reached is None and np.all(np.abs(now.q - goal) < 1e-6) and now.at_rest:
            reached = k * dt
    assert reached is not None
    assert reached < abs(goal) / 1.2 + 1.2 / 6.0 + 6.0 / jerk * 2 + 0.45
    assert max(jerks) <= jerk * (1 + 1e-6)


def test_what_lies_within_the_limits_is_followed_exactly():
    limit, dt = caps(), 0.008
    t = dt * np.arange(1, 400)
    wave = 0.45 * (1 - np.cos(1.5 * t))[:, None] * ONES
    now, last, errors = rest(), np.zeros(2), []
    for goal in wave:
        now = follow(now, goal, (goal - last) / dt, limit, dt)
        errors.append(np.abs(now.q - goal).max())
        last = goal
    assert max(errors[10:]) < 1e-9, "the first periods may lag: the wave starts with a step of acceleration"


def test_a_moving_target_is_caught_up_with():
    limit, dt, now = caps(), 0.008, rest(-0.5)
    last = -0.3 * ONES
    for k in range(1, 150):
        goal = (-0.3 + 0.8 * dt * k) * ONES
        now, last = follow(now, goal, (goal - last) / dt, limit, dt), goal
    np.testing.assert_allclose(now.q, goal, atol=1e-9)


def test_a_lowered_speed_limit_brings_the_speed_down():
    now, dt = SetPoint(-0.5 * ONES, 1.2 * ONES, 0 * ONES), 0.008
    for _ in range(40):
        now = follow(now, 3.0 * ONES, 0 * ONES, caps(speed=0.3), dt)
    assert np.all(now.v <= 0.3 + 1e-6)
