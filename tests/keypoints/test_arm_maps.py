"""The robot's arm points where the person's does, and its tool reaches the target with as little change as possible."""

import numpy as np
import pytest

from robolearn.arm.kinematics import Chain
from robolearn.errors import UnknownName
from robolearn.geometry import quaternion_to_matrix
from robolearn.keypoints.adjust import LIVE, AdjustConfig, adjust, follow, nearest_turn
from robolearn.keypoints.arm_maps import ARM_MAPS, SIDEWAYS, arm_directions, find_arm_map
from robolearn.keypoints.quality import examine, repair
from robolearn.keypoints.recordings import SLOW, finer, placed_chain, together
from robolearn.keypoints.tracks import read_onions
from sim.engine import mujoco
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.scene import table_scene


def units(rng: np.random.Generator, n: int) -> np.ndarray:
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_chain_is_where_mujoco_says(name: str):
    chain, model = robot_chain(ROBOTS[name]), table_scene(ROBOTS[name]).compile()
    data = mujoco.MjData(model)
    q = np.random.default_rng(1).uniform(chain.low, chain.high, (6, len(chain.low)))
    posture = chain.posture(q)
    joints = [model.joint(joint).id for joint in chain.joints]
    for row, position in enumerate(q):
        data.qpos[model.jnt_qposadr[joints]] = position
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(posture.tool[row], data.sensor("tool.position/0").data, atol=1e-9)
        hand = quaternion_to_matrix(data.sensor("tool.quaternion/0").data)
        np.testing.assert_allclose(posture.hand[row], hand, atol=1e-9)
        np.testing.assert_allclose(posture.axes[row], data.xaxis[joints], atol=1e-9)


def test_the_jacobian_is_the_derivative():
    chain = robot_chain(ROBOTS["sawyer"])
    q = np.random.default_rng(2).uniform(chain.low, chain.high, (1, 7))
    step = 1e-6
    measured = [
        (chain.posture(q + step * e).tool - chain.posture(q - step * e).tool)[0] / (2 * step) for e in np.eye(7)
    ]
    np.testing.assert_allclose(chain.posture(q).jacobian()[0, :3], np.array(measured).T, atol=1e-7)


@pytest.mark.parametrize("name", ARM_MAPS)
def test_links_point_where_the_human_arm_points(name: str):
    """The specification's unit check: cos of both angles, over 200 random arms, also for the mounted robots."""
    rng = np.random.default_rng(0)
    u, f = units(rng, 200), units(rng, 200)
    arm = find_arm_map(name)
    chain = arm.mounted(robot_chain(ROBOTS[name]), np.array([0.4, -0.2, 1.4]))
    upper, forearm = arm.directions(chain.posture(arm.symbolic(u, f)))
    assert (upper * u).sum(axis=1).min() > 0.9999
    if arm.exact:
        assert (forearm * f).sum(axis=1).min() > 0.9999
    else:  # six axes: the angle between the two segments is kept
        np.testing.assert_allclose((upper * forearm).sum(axis=1), (u * f).sum(axis=1), atol=1e-6)


def test_an_unknown_robot_names_the_known_ones():
    with pytest.raises(UnknownName, match="sawyer"):
        find_arm_map("sawer")


def test_a_sideways_iiwa_reaches_hanging_arms_that_an_upright_one_cannot():
    rng = np.random.default_rng(3)
    u = units(rng, 4000)
    u = u[(u[:, 2] < -0.85) & (u[:, 0] > 0)]  # hanging, a little ahead
    f = np.broadcast_to([0.9, 0.1, 0.4], u.shape) / np.linalg.norm([0.9, 0.1, 0.4])
    arm, chain = find_arm_map("iiwa"), robot_chain(ROBOTS["iiwa"])
    inside = [
        np.all((q > chain.low) & (q < chain.high), axis=1).mean()
        for q in (arm.symbolic(u, f), arm.upright().symbolic(u, f))
    ]
    assert inside[0] > 0.98
    assert inside[1] < 0.3
    assert np.linalg.det(SIDEWAYS) == pytest.approx(1.0)


def test_angles_take_the_turn_nearest_to_the_last_posture():
    chain = robot_chain(ROBOTS["ur5e"])
    q = np.full((1, 6), 3.0)
    near = nearest_turn(chain, q, np.full((1, 6), -3.1))
    assert near[0, 0] == pytest.approx(3.0 - 2 * np.pi)
    assert near[0, 2] == 3.0  # the elbow's limits forbid the other turn
    assert np.array_equal(q, np.full((1, 6), 3.0))


@pytest.mark.parametrize("name", ["sawyer", "iiwa"])
def test_recorded_people_are_followed_within_millimetres(name: str, onion_human):
    """Claims I4 and I5 on the first recording: within 5 mm, inside the limits, and posture is kept."""
    tracks = read_onions(onion_human)
    fixed, quality = repair(tracks[0], examine(tracks[0], SLOW), SLOW)
    points = fixed.points[~quality.rejected]
    arm = find_arm_map(name)
    upper, forearm = arm_directions(points[:, 0], points[:, 1], points[:, 2])
    symbolic = arm.symbolic(upper, forearm)
    chain = placed_chain(arm, robot_chain(ROBOTS[name]), points[:, 0], symbolic, points[:, 2])
    found = follow(chain, symbolic[None], points[None, :, 2])
    assert np.percentile(found.error_m, 95) < 0.005
    assert np.median(found.error_m) < 0.001
    assert np.all((found.q >= chain.low) & (found.q <= chain.high))
    plain = follow(
        chain,
        np.broadcast_to(chain.home, (1, *symbolic.shape)),
        points[None, :, 2],
        config=AdjustConfig(posture=0.01, smoothing=1.0),
    )

    def off(q) -> float:
        a, b = arm.directions(chain.posture(q))
        return float(np.degrees(np.arccos(np.clip(np.stack([(a * upper).sum(1), (b * forearm).sum(1)]), -1, 1))).mean())

    assert off(found.q[0]) < 35.0 < off(plain.q[0])


def test_the_solution_is_a_minimum_within_the_limits():
    """No joint, moved alone within its limits, lowers the objective."""
    rng = np.random.default_rng(4)
    chain = robot_chain(ROBOTS["panda"])
    symbolic = rng.uniform(chain.low, chain.high, (20, 7))
    target = chain.posture(rng.uniform(chain.low, chain.high, (20, 7))).tool
    down = np.broadcast_to([0.0, 0.0, -1.0], (20, 3))
    config = AdjustConfig(iterations=200, tolerance=1e-9)
    found = adjust(chain, symbolic, target, pointing=down, config=config)

    def cost(q):
        p = chain.posture(q)
        return (
            config.position**2 * ((p.tool - target) ** 2).sum(1)
            + config.pointing**2 * ((p.hand[:, :, 2] - down) ** 2).sum(1)
            + ((q - symbolic) ** 2).sum(1)
        )

    np.testing.assert_allclose(cost(found.q), found.cost, rtol=1e-9)
    for step in np.concatenate([1e-3 * np.eye(7), -1e-3 * np.eye(7)]):
        moved = np.clip(found.q + step, chain.low, chain.high)
        assert np.all(cost(moved) >= found.cost - 1e-4)


def test_a_batch_gives_what_single_rows_give():
    rng = np.random.default_rng(5)
    chain = robot_chain(ROBOTS["xarm7"])
    symbolic = rng.uniform(chain.low, chain.high, (5, 7))
    target = chain.posture(rng.uniform(-1, 1, (5, 7)).clip(chain.low, chain.high)).tool
    many = adjust(chain, symbolic, target, symbolic).q
    ones = np.concatenate(
        [adjust(chain, symbolic[i : i + 1], target[i : i + 1], symbolic[i : i + 1]).q for i in range(5)]
    )
    np.testing.assert_allclose(many, ones, atol=1e-4)


def test_smoothing_lowers_travel(onion_human):
    tracks = [repair(t, examine(t, SLOW), SLOW)[0] for t in read_onions(onion_human)[3:5]]
    points, _ = together([t.points for t in tracks])
    arm = find_arm_map("sawyer")
    upper, forearm = arm_directions(points[..., 0, :], points[..., 1, :], points[..., 2, :])
    symbolic = arm.symbolic(upper.reshape(-1, 3), forearm.reshape(-1, 3)).reshape(*points.shape[:2], 7)
    chain = arm.mounted(robot_chain(ROBOTS["sawyer"]), points[0, :, 0].mean(axis=0))
    rough, smooth = (follow(chain, symbolic, points[..., 2, :], config=AdjustConfig(smoothing=w)).q for w in (0.0, 2.0))
    assert np.abs(np.diff(smooth, axis=1)).sum() < 0.7 * np.abs(np.diff(rough, axis=1)).sum()


def test_the_live_mirror_reaches_as_exactly_as_the_patient_one(onion_human):
    """A frame of it may take a third of the steps, since it starts near the one before."""
    tracks = read_onions(onion_human)[0]
    points = finer(repair(tracks, examine(tracks, SLOW), SLOW)[0].points[:12], 8)
    arm = find_arm_map("sawyer")
    symbolic = arm.symbolic(*arm_directions(points[:, 0], points[:, 1], points[:, 2]))
    chain = placed_chain(arm, robot_chain(ROBOTS["sawyer"]), points[:, 0], symbolic, points[:, 2])
    found = follow(chain, symbolic[None], points[None, :, 2], config=LIVE)
    assert LIVE.iterations <= 20
    assert found.error_m.max() < 1e-3
    hasty = follow(chain, symbolic[None], points[None, :, 2], config=AdjustConfig(iterations=2))
    assert hasty.error_m.max() > 1e-2, "two steps are too few at the start"


def test_a_chain_with_a_lame_axis_is_refused():
    chain = robot_chain(ROBOTS["panda"])
    with pytest.raises(ValueError, match="unit length"):
        Chain(
            chain.name,
            chain.joints,
            chain.anchors,
            2 * chain.axes,
            chain.low,
            chain.high,
            chain.home,
            chain.tool,
            chain.hand,
        )
