"""The simulated person pours: physics of the script, styles, and the film in the store with its truth."""

import numpy as np
import pytest

from robolearn.data.store import Store
from robolearn.keypoints.detectors import KnownPoints
from robolearn.keypoints.films import detect_episode, film_episode
from robolearn.keypoints.streams import read_keypoints
from robolearn.keypoints.tracks import BOTH_ARMS

pytest.importorskip("dm_control", reason="the person's body is in dm_control: pip install -e .[human]")

from sim.human.body import POINTS, build_person
from sim.human.film import film
from sim.human.pouring import HOLD_M, PourStyle, perform_pouring
from sim.human.tables import BEADS, BOTTLE_M, BOWL_M, BOWLS, TABLE_M


@pytest.fixture(scope="module")
def person():
    return build_person(face=True, table="pouring")


@pytest.fixture(scope="module")
def several(person):
    return [perform_pouring(person, seed, rate_hz=8.0) for seed in range(3)]


@pytest.fixture(scope="module")
def pouring(several):
    return several[0]


def test_the_asked_bowl_is_filled_and_the_bottle_put_away(several):
    assert {p.command for p in several} == {0, 1}
    for p in several:
        assert p.success
        assert p.poured[-1, p.command] == BEADS
        assert p.poured[-1, 1 - p.command] == 0


def test_a_seed_repeats_styles_differ_and_the_command_decides(person, several):
    again = perform_pouring(person, 1, rate_hz=8.0)
    np.testing.assert_array_equal(again.qpos, several[1].qpos)
    np.testing.assert_array_equal(again.beads, several[1].beads)
    assert len({len(p.qpos) for p in several}) > 1
    other = perform_pouring(person, 1, rate_hz=8.0, command=1 - several[1].command)
    assert other.poured[-1].argmax() == 1 - several[1].command


def test_the_bottle_is_rigid_in_the_hand_and_still_without_it(pouring):
    wrist = pouring.points[:, list(POINTS).index("right_wrist")]
    axis = np.stack([np.zeros_like(pouring.tip), np.sin(pouring.tip), np.cos(pouring.tip)], axis=1)
    grip = pouring.bottle[:, :3] + 0.09 * axis - wrist - HOLD_M
    held = grip[pouring.held]
    assert np.ptp(held, axis=0).max() < 1e-9
    assert np.linalg.norm(held[0]) < 0.05, "it is gripped where it stands"
    still = ~pouring.held[1:] & ~pouring.held[:-1]
    assert np.abs(np.diff(pouring.bottle, axis=0)[still]).max() == 0.0
    step = np.linalg.norm(np.diff(pouring.bottle[:, :3], axis=0), axis=1)
    assert step.max() < 0.35, "nothing jumps"


def test_the_mouth_is_over_the_bowl_while_beads_flow(pouring):
    flowing = pouring.tip > 1.6
    axis = np.stack([np.zeros_like(pouring.tip), np.sin(pouring.tip), np.cos(pouring.tip)], axis=1)
    mouth = pouring.bottle[:, :3] + BOTTLE_M[1] * axis
    gap = np.linalg.norm((mouth - pouring.bowls[pouring.command])[flowing, :2], axis=1)
    assert np.median(gap) < BOWL_M[0] / 2
    assert (mouth[flowing, 2] > TABLE_M + BOWL_M[1]).all()


def test_no_bead_is_lost_or_counted_twice(pouring):
    assert (np.diff(pouring.poured.sum(axis=1)) >= 0).all()
    assert pouring.poured.sum(axis=1).max() <= BEADS
    assert pouring.poured[0].sum() == 0
    assert np.isfinite(pouring.beads).all()
    assert pouring.beads[..., 2].min() > TABLE_M


def test_a_careless_hand_spills(person):
    careless = [perform_pouring(person, k, rate_hz=8.0, style=PourStyle(care_m=0.15)) for k in range(2)]
    assert any(p.spilled for p in careless)
    assert not all(p.success for p in careless)
    hardly = perform_pouring(person, 1, rate_hz=8.0, style=PourStyle(tip_rad=1.4))
    assert hardly.poured[-1].sum() == 0
    assert not hardly.success


def test_a_film_of_it_is_an_episode_with_depth_truth_and_keypoints(person, pouring, tmp_path):
    seen = film(person, pouring, every=16, width=320, height=240)
    things = {"bottle.pose": pouring.bottle[seen.frames], "beads.position": pouring.beads[seen.frames]}
    truth = pouring.points[seen.frames]
    episode = film_episode(
        seen.rgb, seen.depth, seen.intrinsics, seen.T_world_camera, truth, rate_hz=0.5, task="pour",
        instruction=f"Pour into the {BOWLS[pouring.command]}.", operator="simulated person", seed=0, things=things,
    )  # fmt: skip
    assert np.abs(np.diff(seen.rgb.astype(int), axis=0)).max() > 50, "something moves"
    with Store.create(tmp_path / "films", durable=False) as store:
        id = store.append(episode)
        back = store[id]
        np.testing.assert_array_equal(back.observations["bottle.pose"], things["bottle.pose"])
        known = KnownPoints(BOTH_ARMS, truth, seen.intrinsics, seen.T_world_camera)
        _, _, (name, _) = detect_episode(store, id, known, "known")
        points = read_keypoints(store, id, name).points
    error = np.linalg.norm(points - truth, axis=-1)
    assert np.nanmedian(error) < 0.08, "the rendered depth is that of the rendered person"
