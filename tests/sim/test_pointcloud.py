import importlib
import importlib.util

import numpy as np
import pytest

from robolearn.errors import SpecError
from robolearn.geometry import quaternion_to_matrix
from sim import pointcloud
from sim.pointcloud import crop, deproject, farthest, fixed_size, project, scene_cloud, transform, voxel
from sim.render import Renderer
from sim.tasks.lift import LiftConfig

OPEN3D = importlib.util.find_spec("open3d") is not None
needs_open3d = pytest.mark.skipif(
    not OPEN3D, reason="open3d, the reference for point clouds, is not installed: pip install '.[perception]'"
)


@pytest.fixture(scope="module")
def scene():
    """One start of Lift, seen by both cameras: depth, colours, matrix, pose, bodies and the cube's true pose."""
    env = LiftConfig(n=2).build()
    env.reset([3, 4], [0, 1])
    views = {}
    with Renderer(env.model) as renderer:
        for camera in ("agent", "wrist"):
            size = (camera, 160, 120)
            views[camera] = (
                renderer.depth(env.world.seen, *size),
                renderer.rgb(env.world.seen, *size),
                renderer.intrinsics(*size),
                renderer.pose(env.world.seen, camera),
                renderer.segmentation(env.world.seen, *size),
            )
    yield env, views
    env.close()


def test_projecting_undoes_deprojecting():
    generator = np.random.default_rng(0)
    K = np.array([[90.0, 0, 31.5], [0, 80.0, 23.5], [0, 0, 1]])
    depth = generator.uniform(0.3, 2.0, (2, 48, 64))
    pixels, back = project(deproject(depth, K), K)
    rows, columns = np.mgrid[:48, :64]
    np.testing.assert_allclose(pixels, np.broadcast_to(np.stack([columns, rows], -1), pixels.shape), atol=1e-9)
    np.testing.assert_array_equal(back, depth)


@pytest.mark.parametrize("camera", ["agent", "wrist"])
def test_the_cloud_lies_where_the_things_are(scene, camera):
    env, views = scene
    depth, _, K, T, bodies = views[camera]
    cube = env.model.body("cube").id
    for row in range(2):
        points = transform(T[row], deproject(depth[row], K))
        truth = env.observe().arrays["cube.position"][row]
        seen = points[bodies[row] == cube]
        if camera == "agent":
            assert len(seen) > 20
        if len(seen):
            # Every visible point lies on the surface: in the cube's frame the largest coordinate is half an edge.
            quaternion = env.observe().arrays["cube.quaternion"][row]
            local = (seen - truth) @ quaternion_to_matrix(quaternion)
            np.testing.assert_allclose(np.abs(local).max(axis=1), 0.02, atol=1.5e-3)
        # The table's top is z = 0.
        table = (bodies[row] == 0) & (points[..., 2] > -0.1) & (np.abs(points[..., 1]) < 0.4)
        assert np.abs(points[table][:, 2]).max() < 2e-3


def test_extrinsics_project_known_points_onto_their_pixels(scene):
    env, views = scene
    _, _, K, T, bodies = views["agent"]
    truth = env.observe().arrays["cube.position"]
    for row in range(2):
        inverse = np.linalg.inv(T[row])
        pixel, _ = project(transform(inverse, truth[row]), K)
        rows, columns = np.nonzero(bodies[row] == env.model.body("cube").id)
        middle = np.array([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2])
        assert np.abs(pixel - middle).max() < 1.0


def test_segmentation_knows_the_sky_and_every_row(scene):
    env, views = scene
    bodies = views["agent"][4]
    assert bodies.dtype == np.int32
    assert not np.array_equal(bodies[0], bodies[1])
    assert {0, env.model.body("cube").id} <= set(np.unique(bodies[0]))
    assert bodies.min() >= -1


def test_crop_keeps_what_is_inside():
    points = np.array([[0.0, 0, 0], [1, 1, 1], [1.1, 0, 0], [0, -0.1, 0]])
    assert crop(points, np.zeros(3), np.ones(3)).tolist() == [True, True, False, False]


def test_voxels_are_means_and_forget_order():
    generator = np.random.default_rng(1)
    points, colours = generator.uniform(0, 0.2, (500, 3)), generator.uniform(0, 1, (500, 3))
    thin, shades = voxel(points, 0.05, colours)
    order = generator.permutation(500)
    again, _ = voxel(points[order], 0.05)
    np.testing.assert_allclose(thin, again, atol=1e-12)
    assert shades is not None
    assert shades.shape == thin.shape
    assert 4**3 <= len(thin) <= 6**3
    everything, _ = voxel(points, 10.0)
    np.testing.assert_allclose(everything, points.mean(axis=0, keepdims=True))
    assert voxel(np.zeros((0, 3)), 0.1)[0].shape == (0, 3)


def test_farthest_points_are_far_and_numba_equals_numpy():
    generator = np.random.default_rng(2)
    points = generator.standard_normal((400, 3))
    chosen = farthest(points, 40, start=7)
    assert chosen[0] == 7
    assert len(set(chosen.tolist())) == 40
    assert np.array_equal(chosen, pointcloud._choose_slowly(points, 40, 7))
    # Greedy: each point is the farthest from those before it.
    for k in range(1, 40):
        gaps = np.linalg.norm(points[:, None] - points[chosen[:k]], axis=-1).min(axis=1)
        assert gaps[chosen[k]] == pytest.approx(gaps.max())
    with pytest.raises(SpecError, match="Expected 1 <= count <= 400 points"):
        farthest(points, 401)


@pytest.mark.parametrize("found", [0, 3, 64, 200])
def test_fixed_size_always_is(found):
    points = np.random.default_rng(0).standard_normal((found, 3))
    chosen, colours = fixed_size(points, 64, np.ones((found, 3)))
    assert colours is not None
    assert chosen.shape == colours.shape == (64, 3)
    assert {tuple(p) for p in chosen} <= {tuple(p) for p in points} | {(0.0, 0.0, 0.0)}


def test_scene_cloud_shows_the_red_cube(scene):
    env, views = scene
    depth, rgb, K, T, _ = views["agent"]
    truth = env.observe().arrays["cube.position"][0]
    low, high = np.array([0.3, -0.3, 0.005]), np.array([0.7, 0.3, 0.1])
    cloud = scene_cloud(depth[0], rgb[0], K, T[0], low, high, count=128)
    assert cloud.shape == (128, 6)
    assert cloud.dtype == np.float32
    red = (cloud[:, 3] > 0.4) & (cloud[:, 4] < 0.25)
    assert red.sum() >= 10
    assert np.linalg.norm(cloud[red, :2].mean(axis=0) - truth[:2]) < 0.02


@needs_open3d
def test_open3d_gives_the_same_points_and_voxels(scene):
    open3d = importlib.import_module("open3d")
    _, views = scene
    depth, _, K, T, _ = views["agent"]
    camera = open3d.camera.PinholeCameraIntrinsic(160, 120, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    image = open3d.geometry.Image(np.ascontiguousarray(depth[0]))
    theirs = open3d.geometry.PointCloud.create_from_depth_image(
        image, camera, extrinsic=np.linalg.inv(T[0]), depth_scale=1.0, depth_trunc=100.0
    )
    ours = transform(T[0], deproject(depth[0], K)).reshape(-1, 3)
    np.testing.assert_allclose(np.asarray(theirs.points), ours, atol=1e-5)
    near = crop(ours, np.array([0.2, -0.4, -0.01]), np.array([0.8, 0.4, 0.3]))
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(ours[near].astype(float)))
    thin = np.asarray(cloud.voxel_down_sample(0.02).points)
    mine, _ = voxel(ours[near].astype(float), 0.02)
    assert len(mine) == len(thin)
    order, other = np.lexsort(mine.T), np.lexsort(thin.T)
    np.testing.assert_allclose(mine[order], thin[other], atol=1e-9)


@needs_open3d
def test_open3d_chooses_the_same_farthest_points():
    open3d = importlib.import_module("open3d")
    points = np.random.default_rng(3).standard_normal((500, 3))
    theirs = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points)).farthest_point_down_sample(50)
    # open3d keeps the order of the cloud.
    assert np.array_equal(np.asarray(theirs.points), points[np.sort(farthest(points, 50))])
