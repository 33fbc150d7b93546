"""Depth and segmentation as observations, against rays that MuJoCo casts, in a batch and on the real-time twin."""

import numpy as np
import pytest

from robolearn.clock import FakeClock
from robolearn.data.store import Store
from robolearn.episode import Perturbation
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from robolearn.specs import check
from sim.devices import TwinCameraConfig
from sim.engine import mujoco
from sim.pointcloud import deproject, project, transform
from sim.render import segment_names
from sim.tasks.lift import LiftConfig, LiftExpertConfig
from sim.tasks.pick_place import PickPlaceConfig
from sim.twin_world import TwinWorldConfig

WIDTH, HEIGHT = 96, 72
CAMERAS = (("agent", WIDTH, HEIGHT), ("wrist", WIDTH, HEIGHT))
VISIBLE = np.array([1, 1, 1, 0, 0, 0], np.uint8)


@pytest.fixture(scope="module")
def env():
    """Lift in three rows: as usual, with a raised table, and with a camera that was shifted."""
    env = LiftConfig(n=3, cameras=CAMERAS, depth=True, segmentation=True).build()
    env.reset([3, 4, 5], range(3))
    assert env.apply(1, Perturbation("HEIGHT", "", {"z": 0.10})).accepted
    assert env.apply(2, Perturbation("CAMERA", "agent", {"dx": 0.08, "ry": 0.1})).accepted
    yield env
    env.close()


def cast(env, row, start, towards):
    """What MuJoCo's own ray meets on its way from a point in the base's frame: distance and body, as numbered in
    `segment_names`; the renderer has no part in it."""
    model = env.world.own_model(row)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, env.world.seen[row], mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
    mujoco.mj_forward(model, data)
    base = data.body("robot").xpos - env.model.body("robot").pos
    hits = []
    for direction in towards:
        geom = np.full((1, 1), -1, np.int32)
        distance = mujoco.mj_ray(model, data, start + base, direction, VISIBLE, 1, -1, geom)
        hits.append((distance, model.geom_bodyid[geom[0, 0]] + 1 if distance >= 0 else 0))
    return np.array([h[0] for h in hits]), np.array([h[1] for h in hits])


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("camera", ["agent", "wrist"])
def test_depth_and_segmentation_are_what_a_ray_through_the_pixel_meets(env, camera, row):
    arrays = env.observe().arrays
    check(arrays, env.observation_spec, lead=(3,))
    depth = arrays[f"{camera}.depth"][row].astype(float) / 1000.0
    bodies = arrays[f"{camera}.segmentation"][row]
    K, T = env.renderer.intrinsics(camera, WIDTH, HEIGHT), env.camera_pose(camera)[row]
    rows, columns = (grid.ravel() for grid in np.mgrid[1:HEIGHT:5, 1:WIDTH:5])
    # Rays of length one along the optical axis, so that the ray's distance is the depth.
    rays = deproject(np.ones((HEIGHT, WIDTH)), K)[rows, columns] @ T[:3, :3].T
    distance, body = cast(env, row, T[:3, 3], rays)
    same = bodies[rows, columns] == body
    # At an edge, where a pixel shows two things, the drawn one may be the other.
    assert same.mean() > 0.98
    assert len(np.unique(body)) >= 3
    met = same & (distance >= 0) & (distance < 3.0)
    assert met.mean() > 0.5
    # Flat things to the millimetre; round links are drawn as polygons, a few millimetres inside of what a ray meets.
    names = np.array(segment_names(env.model))[body]
    largest = np.where(np.isin(names, ("world", "cube")), 0.002, 0.01)
    assert np.mean(np.abs(depth[rows, columns] - distance)[met] < largest[met]) > 0.995
    nothing = same & ((body == 0) | (distance > 10.1))
    assert np.all(depth[rows, columns][nothing] == 0.0), "the sky is not measured"


@pytest.mark.parametrize("row", range(3))
def test_a_known_point_is_found_at_its_pixel(env, row):
    arrays = env.observe().arrays
    K, T = env.renderer.intrinsics("agent", WIDTH, HEIGHT), env.camera_pose("agent")[row]
    point = arrays["cube.position"][row]
    pixel, _ = project(transform(np.linalg.inv(T), point), K)
    column, line = np.rint(pixel).astype(int)
    number = arrays["agent.segmentation"][row, line, column]
    assert segment_names(env.model)[number] == "cube"
    # The ray to the cube's middle meets its surface; in the camera's frame that is where the pixel's depth lies.
    ray = deproject(np.ones((HEIGHT, WIDTH)), K)[line, column] @ T[:3, :3].T
    (distance,), (body,) = cast(env, row, T[:3, 3], [ray])
    assert body == number
    assert arrays["agent.depth"][row, line, column] / 1000.0 == pytest.approx(distance, abs=0.002)
    # And from the picture back to the thing: the pixels of the cube lie around its middle.
    mask = arrays["agent.segmentation"][row] == number
    cloud = transform(T, deproject(arrays["agent.depth"][row] / 1000.0, K))[mask]
    assert np.linalg.norm(cloud.mean(axis=0) - point) < 0.025


def test_a_camera_on_the_hand_moves_with_the_tool_also_when_the_table_is_raised(env):
    """In the base's frame a raised table changes nothing about the arm, so the hand's camera is where it always is."""
    plain = LiftConfig(n=1).build()
    plain.reset([4], [0])
    np.testing.assert_allclose(env.camera_pose("wrist")[1], plain.camera_pose("wrist")[0], atol=1e-3)
    shift = env.camera_pose("agent")[1] - plain.camera_pose("agent")[0]
    np.testing.assert_allclose(shift[:3, 3], [0.0, 0.0, 0.10], atol=1e-9)
    plain.close()


def test_a_table_that_is_a_fixture_is_projected_as_it_is_drawn():
    env = PickPlaceConfig(n=1, cameras=CAMERAS[:1], depth=True, segmentation=True, heights_m=(0.0,)).build()
    assert env.apply(0, Perturbation("HEIGHT", "", {"z": 0.12})).accepted
    arrays = env.observe().arrays
    K, T = env.renderer.intrinsics("agent", WIDTH, HEIGHT), env.camera_pose("agent")[0]
    names = segment_names(env.model)
    for name in ("kiwi", "plate"):
        mask = arrays["agent.segmentation"][0] == names.index(name)
        cloud = transform(T, deproject(arrays["agent.depth"][0] / 1000.0, K))[mask]
        assert len(cloud)
        assert np.linalg.norm((cloud.mean(axis=0) - arrays[f"{name}.position"][0])[:2]) < 0.03, name
    env.close()


def test_the_twin_sees_what_the_batch_sees():
    batch = LiftConfig(n=1, cameras=CAMERAS[:1], depth=True, segmentation=True).build()
    batch.reset([3], [0])
    expected = batch.observe().arrays
    world = TwinWorldConfig(seed=3).build(FakeClock())
    config = TwinCameraConfig(width=WIDTH, height=HEIGHT, depth=True, segmentation=True)
    with config.build(world=world) as camera:
        assert list(camera.spec) == ["agent.rgb", "agent.depth", "agent.segmentation"]
        seen = camera.read().arrays
        check(seen, camera.spec)
        for name, picture in seen.items():
            assert np.array_equal(picture, expected[name][0]), name
            assert not np.shares_memory(picture, camera.read().arrays[name])
        assert np.array_equal(camera.intrinsics.matrix, batch.renderer.intrinsics("agent", WIDTH, HEIGHT))
        np.testing.assert_allclose(camera.T_base_camera, batch.camera_pose("agent")[0], atol=1e-9)
    batch.close()


def test_a_bench_in_real_time_measures_depth_too():
    bench = LiftConfig(cameras=(("agent", 32, 24),), depth=True).bench(FakeClock(), longest_s=5.0)
    bench.reset([3], [0])
    arrays = bench.observe().arrays
    assert arrays["agent.depth"].shape == (1, 24, 32)
    assert 500 < arrays["agent.depth"].max() < 10001
    bench.close()


def test_depth_and_segmentation_are_recorded_without_loss(tmp_path):
    env = LiftConfig(n=1, cameras=(("agent", 32, 24),), depth=True, segmentation=True).build()
    with Store.open_or_create(tmp_path / "store") as store:
        with Recorder(store, operator="expert", bench="simulation") as recorder:
            rollout(env, LiftExpertConfig().build(env), seeds=[7], observers=[recorder])
        episode = store[recorder.kept[0]]
    env.reset([7], [0])
    first = env.observe().arrays
    for name in ("agent.depth", "agent.segmentation"):
        assert np.array_equal(episode.observations[name][0], first[name][0]), name
    env.close()
