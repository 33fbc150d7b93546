"""Pouring in points: its rules, its features, and the simulated person's sessions replayed in it."""

import dataclasses

import numpy as np
import pytest

from robolearn.errors import BadEpisode
from robolearn.keypoints.deeds import pour, poured_well
from robolearn.keypoints.domains import POURING
from robolearn.keypoints.pouring import (
    BOTTLE_HEIGHT_M,
    BOWL_M,
    DECISION,
    FEATURES,
    GRIP_M,
    HOLD_M,
    TABLE_M,
    UNIT_M,
    Pour,
    PourTable,
    axis_of,
    features,
    mouth_of,
    seen_states,
    start_pour,
    step_pour,
)
from robolearn.keypoints.tracks import read_onions
from robolearn.keypoints.watching import demonstrations, pouring_episode, recording_episode

STILL = np.zeros((1, 4))


def table(*, mouth=None, bottom=None, tip: float = 0.0, left: float = 1.0, command: int = 0) -> Pour:
    """One row; the bottle is held with its mouth or its bottom at a place, or stands."""
    fresh = start_pour(1, np.random.default_rng(3))
    held = mouth is not None or bottom is not None
    axis = axis_of(np.array([tip]))
    bottle = fresh.bottle
    if mouth is not None:
        bottle = np.array([mouth]) - BOTTLE_HEIGHT_M * axis
    elif bottom is not None:
        bottle = np.array([bottom], float)
    wrist = bottle + GRIP_M * axis - HOLD_M if held else fresh.wrist
    rows = {name: getattr(fresh, name) for name in Pour.__slots__}
    rows |= {"bottle": bottle, "wrist": wrist, "tip": np.array([tip]), "held": np.array([held])}
    return Pour(**(rows | {"left": np.array([left]), "command": np.array([command]), "flow": np.array([0.25])}))


def over(bowl: int) -> np.ndarray:
    return table().bowls[0, bowl] + [0.0, 0.0, BOWL_M[1] + 0.05]


@pytest.mark.parametrize(
    ("asked", "above", "falls"),
    [(0, 0, (0.25, 0, 0)), (1, 1, (0.25, 0, 0)), (0, 1, (0, 0.25, 0)), (1, None, (0, 0, 0.25))],
)
def test_beads_fall_where_the_mouth_is_seen(asked, above, falls):
    place = [0.45, 0.0, 1.0] if above is None else over(above)
    after, reward, fell = step_pour(table(mouth=place, tip=1.9, command=asked), np.array([[0.2, 0.2, 0.1, -1.0]]))
    np.testing.assert_allclose(fell[0], falls)
    assert reward[0] == pytest.approx((0.25 if falls[0] else -0.25) - 0.001)
    assert after.left[0] == pytest.approx(0.75)


def test_a_bottle_that_is_hardly_tipped_or_empty_loses_nothing():
    for state in (table(mouth=over(0), tip=1.5), table(mouth=over(0), tip=1.9, left=0.0)):
        _, reward, fell = step_pour(state, STILL)
        assert fell.sum() == 0.0
        assert reward[0] == pytest.approx(-0.001)
    assert step_pour(table(mouth=over(0), tip=1.9, left=0.1), STILL)[0].left[0] == 0.0


@pytest.mark.parametrize(("left", "reward"), [(0.0, 0.999), (0.05, 0.999), (0.5, -1.001)])
def test_only_an_empty_bottle_belongs_into_the_crate(left, reward):
    state = table(bottom=table().crate[0] + [0.02, -0.03, 0.015], left=left)
    after, got, _ = step_pour(state, STILL)
    assert got[0] == pytest.approx(reward)
    assert after.gone[0]
    assert not after.held[0]
    renewed, _, _ = step_pour(state, STILL, np.random.default_rng(0))
    assert not renewed.gone[0]
    assert renewed.left[0] == 1.0
    assert renewed.bottle[0, 1] < 0.0, "a new bottle stands to the right"
    high, _, _ = step_pour(table(bottom=table().crate[0] + [0.0, 0.0, 0.2], left=left), STILL)
    assert high.held[0]


def test_a_hand_seen_at_the_bottle_leaves_with_it_rigid():
    state = table()
    at, _, _ = step_pour(
        state, np.column_stack([state.bottle - state.wrist - HOLD_M + np.array([0, 0, GRIP_M]), [0.0]])
    )
    assert not at.held[0]
    after, _, _ = step_pour(at, np.array([[0.0, 0.1, 0.2, 0.7]]))
    assert after.held[0]
    np.testing.assert_allclose(after.wrist + HOLD_M - GRIP_M * axis_of(after.tip), after.bottle)
    np.testing.assert_allclose(np.linalg.norm(mouth_of(after) - after.bottle, axis=1), BOTTLE_HEIGHT_M)
    low, _, _ = step_pour(after, np.array([[0.0, 0.0, -0.4, -1.2]]))
    assert low.bottle[0, 2] >= TABLE_M - 1e-12, "nothing goes through the table"


def test_features_tell_a_free_hand_of_the_bottle_and_a_holding_one_of_bowl_and_crate():
    free, holding = features(table())[0], features(table(mouth=over(1), tip=1.0, command=1))[0]
    assert np.abs(free[:3]).max() > 0.1
    assert not free[3:9].any()
    assert not holding[:3].any()
    np.testing.assert_allclose(holding[3:6] * UNIT_M, [0.0, 0.0, -0.05], atol=1e-12)
    assert dict(zip(FEATURES, holding, strict=True))["tip"] == 1.0
    other = features(table(mouth=over(1), tip=1.0, command=0))[0]
    assert np.abs(other[3:6]).max() > 0.5, "gaps are those to the bowl that was asked for"


def test_rows_do_not_influence_each_other_and_seeds_repeat():
    one, two = (POURING.start(4, np.random.default_rng(7), 80) for _ in range(2))
    for a in np.random.default_rng(8).normal(0, 0.3, (60, 4, 4)):
        np.testing.assert_array_equal(one.step(a), two.step(a))
    np.testing.assert_array_equal(one.observe(), two.observe())
    many, single = start_pour(3, np.random.default_rng(1)), start_pour(3, np.random.default_rng(1))
    action = np.random.default_rng(2).normal(0, 0.3, (3, 4))
    swapped = Pour(**{name: getattr(single, name)[::-1].copy() for name in Pour.__slots__})
    after, back = step_pour(many, action)[0], step_pour(swapped, action[::-1])[0]
    np.testing.assert_array_equal(after.bottle, back.bottle[::-1])


def test_tracker_noise_moves_what_is_seen_only():
    clean, noisy = PourTable(3, np.random.default_rng(1)), PourTable(3, np.random.default_rng(1), noise_m=0.05)
    assert np.abs(clean.observe() - noisy.observe()).max() > 0.01
    np.testing.assert_array_equal(clean.pour.wrist, noisy.pour.wrist)


def test_by_the_book_it_can_be_done_and_by_chance_it_is_not(pour_by_the_book):
    done = pour(pour_by_the_book, layouts=200, seed=5)
    assert done.success.value == 1.0
    assert done.true_return > 1.9
    generator = np.random.default_rng(0)
    chance = pour(lambda seen: generator.normal(0.0, 0.3, (len(seen), 4)) * DECISION, layouts=200, seed=5)
    assert chance.well == 0
    half = pour(lambda seen: pour_by_the_book(seen, tip_rad=1.5), layouts=20, seed=5)
    assert half.well == 0
    assert half.away == 0
    assert half.right == 0.0


def test_the_mark_of_a_pouring():
    right, elsewhere = np.array([0.8, 0.79, 0.95, 1.0]), np.array([0.05, 0.0, 0.06, 0.0])
    np.testing.assert_array_equal(poured_well(right, elsewhere, np.full(4, True)), [True, False, False, True])
    assert not poured_well(right, elsewhere, np.zeros(4, bool)).any()


@pytest.fixture(scope="module")
def session():
    pytest.importorskip("dm_control", reason="the person's body is in dm_control: pip install -e .[human]")
    from sim.human.body import build_person
    from sim.human.sessions import pouring_session

    return pouring_session(build_person(table="pouring"), 1, bottles=2)


def test_a_session_is_an_episode_that_learning_can_start_from(session):
    episode = pouring_episode(session, operator="simulated person")
    data = demonstrations([episode])
    assert data.domain is POURING
    assert episode.meta.task == "pour"
    assert episode.meta.rate_hz == 3.0
    assert len(data.before) == episode.steps > 40
    held, tip, left = data.before[:, FEATURES.index("held") :].T
    starts = np.flatnonzero(np.diff(held) > 0)
    assert len(starts) == 2, "two bottles were taken"
    assert 1.7 < tip.max() < 2.2
    flowing = np.flatnonzero(np.diff(left) < 0)
    mouth = UNIT_M * data.before[flowing, 3:6]
    assert np.hypot(mouth[:, 0], mouth[:, 1]).max() < BOWL_M[0], "beads leave over the bowl that was asked for"
    assert np.abs(data.action).max(axis=0).max() <= DECISION.max()
    assert (np.abs(data.action) < DECISION).all(), "nothing of what people do is cut"


def test_what_people_do_is_rewarded_in_the_rules_of_the_domain(session):
    """Every recorded frame as a row: all beads fall right, and both bottles are put away empty."""
    states = seen_states(session)
    rewards = step_pour(dataclasses.replace(states, flow=np.zeros(len(states.tip))), np.zeros((len(states.tip), 4)))[1]
    assert (rewards > 0.9).sum() == 2
    assert (rewards < -0.1).sum() == 0
    fell = step_pour(dataclasses.replace(states, flow=np.full(len(states.tip), 0.1)), np.zeros((len(states.tip), 4)))[2]
    assert fell[:, 0].sum() > 0.3
    assert fell[:, 1:].sum() == 0.0


def test_a_trackers_noise_is_in_points_and_things_and_seeds_repeat():
    pytest.importorskip("dm_control", reason="the person's body is in dm_control: pip install -e .[human]")
    from sim.human.body import build_person
    from sim.human.sessions import pouring_session

    person = build_person(table="pouring")
    clean, noisy, again = (pouring_session(person, 2, bottles=1, noise_m=noise) for noise in (0.0, 0.02, 0.02))
    error = noisy.points - clean.points
    assert 0.015 < error.std() < 0.025
    np.testing.assert_array_equal(noisy.bottle, again.bottle)
    np.testing.assert_array_equal(noisy.tip, clean.tip)
    assert pouring_episode(noisy, operator="simulated person").steps > 15


def test_recordings_of_two_domains_do_not_mix(session, onion_human):
    onions = recording_episode(read_onions(onion_human)[0])
    with pytest.raises(BadEpisode, match="one domain; found pouring and onions"):
        demonstrations([pouring_episode(session, operator="x"), onions])


def test_a_recording_in_which_no_bottle_is_put_away_is_refused(session):
    cut = {f.name: getattr(session, f.name) for f in dataclasses.fields(session)}
    cut |= {name: cut[name][:10] for name in ("points", "bottle", "tip", "left", "bowls", "crate", "command")}
    with pytest.raises(BadEpisode, match="no bottle was put away"):
        pouring_episode(type(session)(**cut), operator="x")
