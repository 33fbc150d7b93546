"""One contract for who finds points; lifting to metres; the worker's protocol with a made-up worker."""

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn.errors import BenchError, SpecError
from robolearn.keypoints import blazepose_worker
from robolearn.keypoints.blazepose import BlazePose, BlazePoseConfig, installed
from robolearn.keypoints.detectors import Detection, KnownPoints, Recorded, face_camera, project
from robolearn.keypoints.lift import INSIDE_M, lift_with_depth, lift_with_plane
from robolearn.keypoints.quality import Flag, examine
from robolearn.keypoints.tracks import BOTH_ARMS

K = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
POSE = np.array([[0.0, 0.0, -1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.2], [0.0, 0.0, 0.0, 1.0]])
"""A camera at x = 2 that looks back along -x: its picture's right is the world's y."""
STANDING = np.array(
    [[0.4, 0.2, 1.4], [0.45, 0.3, 1.15], [0.6, 0.25, 1.0], [0.4, -0.2, 1.4], [0.45, -0.3, 1.15], [0.6, -0.2, 1.0]]
)
POINTS = STANDING + np.linspace(0.0, 0.05, 8)[:, None, None]
PICTURES = np.zeros((8, 480, 640, 3), np.uint8)


def flat_depth(pixels: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Depth pictures with a patch of the right depth at every point, on a far wall."""
    depth = np.full((len(pixels), 480, 640), 4.0, np.float32)
    for f, p in np.ndindex(*z.shape):
        x, y = np.round(pixels[f, p]).astype(int)
        depth[f, y - 3 : y + 4, x - 3 : x + 4] = z[f, p]
    return depth


FAKE = """
import json, socket, sys
sys.path.insert(0, {folder!r})
from blazepose_worker import receive, send
import struct
with socket.socket(fileno=int(sys.argv[1])) as link:
    send(link, {{"mediapipe": "fake", "weights": "0"}})
    n = 0
    while len(head := receive(link, 4)) == 4:
        asked = json.loads(receive(link, struct.unpack(">I", head)[0]))
        if "reset" in asked:
            send(link, {{"reset": True}})
            continue
        data = receive(link, asked["height"] * asked["width"] * 3)
        n += 1
        if {dies} and n == 2:
            break
        seen = data[0]
        send(link, {{"people": seen, "points": [[k, 2 * k, 0.9] for k in range(33)] if seen else []}})
"""


def worker(tmp_path: Path, *, dies: bool = False) -> BlazePose:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(folder=str(Path(blazepose_worker.__file__).parent), dies=dies))
    return BlazePose(BlazePoseConfig(timeout_s=10.0), [sys.executable, str(script)])


def conforms(detector, pictures: np.ndarray) -> None:
    """What every detector promises."""
    found = detector.detect(pictures)
    assert found.names == tuple(detector.names)
    assert found.pixels.shape == (len(pictures), len(detector.names), 2)
    assert np.all((found.confidence >= 0) & (found.confidence <= 1))
    assert np.all(np.isnan(found.pixels).any(axis=-1) <= (found.confidence == 0))
    again = detector.detect(pictures)
    np.testing.assert_array_equal(found.pixels, again.pixels)
    assert len(detector.version) >= 8
    detector.close()
    detector.close()


def test_detectors_conform(tmp_path, hand_video):
    known = KnownPoints(BOTH_ARMS, POINTS, K, POSE)
    conforms(known, PICTURES)
    conforms(Recorded(known.detect(PICTURES)), PICTURES)
    conforms(worker(tmp_path), PICTURES + 1)
    joints = np.load(hand_video / "joints.npz")["joints"]  # metres in the hand's frame; projected as a film would be
    pixels = project(joints, K, np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -0.6], [0, 0, 0, 1.0]]))
    names = tuple(f"hand_{k}" for k in range(21))
    recorded = Recorded(Detection(names, pixels, np.ones((621, 21)), np.ones(621, int)))
    conforms(recorded, np.broadcast_to(np.zeros((1, 2, 2, 3), np.uint8), (621, 2, 2, 3)))


def test_a_version_changes_with_what_it_depends_on():
    known = KnownPoints(BOTH_ARMS, POINTS, K, POSE)
    assert known.version != KnownPoints(BOTH_ARMS, POINTS, K, POSE, error_px=1.0).version
    assert known.version == KnownPoints(BOTH_ARMS, POINTS.copy(), K, POSE).version


def test_nobody_in_view_and_two_people_are_told(tmp_path):
    pictures = PICTURES[:3].copy()
    pictures[1], pictures[2] = 1, 2
    with worker(tmp_path) as detector:
        found = detector.detect(pictures)
    assert found.people.tolist() == [0, 1, 2]
    assert np.isnan(found.pixels[0]).all()
    assert found.pixels[1, BOTH_ARMS.index("right_wrist")].tolist() == [16.0, 32.0]
    depth = np.full((3, 480, 640), 1.5, np.float32)
    flags = examine(lift_with_depth(found, depth, K, POSE, rate_hz=30.0, source="t"))
    assert (flags[0] & (Flag.NOBODY | Flag.MISSING)).all()
    assert not (flags[1] & (Flag.NOBODY | Flag.CROWD)).any()
    assert (flags[2] & Flag.CROWD).all()


def test_a_worker_that_dies_is_an_error_with_a_cure(tmp_path):
    with worker(tmp_path, dies=True) as detector, pytest.raises(BenchError, match="robolearn keypoints install"):
        detector.detect(PICTURES)
    with pytest.raises(BenchError, match="ended before it answered"):
        BlazePose(BlazePoseConfig(), [sys.executable, "-c", "pass"])


def test_wrong_pictures_are_refused(tmp_path):
    with worker(tmp_path) as detector, pytest.raises(SpecError, match="uint8"):
        detector.detect(PICTURES.astype(float))
    with pytest.raises(SpecError, match="Expected 8 pictures"):
        KnownPoints(BOTH_ARMS, POINTS, K, POSE).detect(PICTURES[:2])
    with pytest.raises(SpecError, match="one name per point"):
        Detection(("a",), np.zeros((2, 3, 2)), np.zeros((2, 3)), np.zeros(2, int))


def test_depth_gives_the_points_back():
    known = KnownPoints(BOTH_ARMS, POINTS, K, POSE).detect(PICTURES)
    z = (POINTS - POSE[:3, 3]) @ POSE[:3, 2]
    skin = z - [INSIDE_M[name.split("_")[1]] for name in BOTH_ARMS]
    tracks = lift_with_depth(known, flat_depth(known.pixels, skin), K, POSE, rate_hz=30.0, source="t")
    np.testing.assert_allclose(tracks.points, POINTS, atol=1e-4)


def test_missing_depth_is_flagged_and_not_invented():
    known = KnownPoints(BOTH_ARMS, POINTS, K, POSE).detect(PICTURES)
    depth = flat_depth(known.pixels, (POINTS - POSE[:3, 3]) @ POSE[:3, 2])
    x, y = np.round(known.pixels[3, 2]).astype(int)
    depth[3, y - 4 : y + 5, x - 4 : x + 5] = 0.0
    tracks = lift_with_depth(known, depth, K, POSE, rate_hz=30.0, source="t")
    assert np.isnan(tracks.points[3, 2]).all()
    flags = examine(tracks)
    assert flags[3, 2] & Flag.NO_DEPTH
    assert not (np.delete(flags.ravel(), 3 * 6 + 2) & Flag.NO_DEPTH).any()


def test_a_plane_gives_points_on_it_back():
    flat = POINTS.copy()
    flat[..., 0] = 0.4
    tracks = lift_with_plane(
        KnownPoints(BOTH_ARMS, flat, K, POSE).detect(PICTURES), K, POSE, (1.0, 0.0, 0.0, 0.4), rate_hz=30.0, source="t"
    )
    np.testing.assert_allclose(tracks.points, flat, atol=1e-9)


def test_sides_are_put_right_when_the_person_faces_the_camera():
    right = KnownPoints(BOTH_ARMS, POINTS, K, POSE).detect(PICTURES)
    pixels = right.pixels.copy()
    wrong = np.array([0, 1, 1, 1, 1, 1, 1, 0], bool)  # most frames: nothing in time would tell
    pixels[wrong] = pixels[wrong][:, [3, 4, 5, 0, 1, 2]]
    fixed, turned = face_camera(Detection(BOTH_ARMS, pixels, right.confidence, right.people))
    np.testing.assert_array_equal(turned, wrong)
    np.testing.assert_array_equal(fixed.pixels, right.pixels)


def test_not_installed_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path))
    assert not installed()
    with pytest.raises(BenchError, match="robolearn keypoints install"):
        BlazePoseConfig().build()


def test_the_messages_are_plain():
    """Length, JSON, bytes; nothing that runs code when it is read."""
    source = Path(blazepose_worker.__file__).read_text()
    assert "pickle" not in source
    assert json.loads(json.dumps({"people": 1}))


def test_a_default_timeout_of_all_sockets_does_not_end_the_worker(tmp_path):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(1.0)  # as xarm-python-sdk does when it is used
    try:
        with worker(tmp_path) as detector:
            assert len(detector.detect(PICTURES).pixels) == len(PICTURES)
    finally:
        socket.setdefaulttimeout(before)


@pytest.mark.skipif(not installed(), reason="mediapipe is not installed; run robolearn keypoints install")
def test_blazepose_finds_the_simulated_person():
    pytest.importorskip("dm_control")
    from sim.human.body import build_person
    from sim.human.film import film
    from sim.human.script import perform

    person = build_person(face=True)
    performance = perform(person, 0, onions=1)
    pictures = film(person, performance, every=12)
    truth = performance.points[pictures.frames]
    with BlazePoseConfig().build() as detector:
        found, turned = face_camera(detector.detect(pictures.rgb))
    assert (found.people == 1).mean() > 0.9
    seen = found.people == 1
    error = np.linalg.norm(found.pixels - project(truth, pictures.intrinsics, pictures.T_world_camera), axis=-1)[seen]
    assert np.median(error[:, [0, 1, 3]]) < 12.0
    assert turned.mean() < 0.5
