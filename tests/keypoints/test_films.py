"""From a film in the store to keypoints beside it: versioned, read back, and refused where something is missing."""

import dataclasses
import json

import numpy as np
import pytest

from robolearn.data.derived import derived_names, write_derived
from robolearn.data.store import Store
from robolearn.errors import DataFileError, SpecError, UnknownName
from robolearn.keypoints.detectors import KnownPoints, Recorded, face_camera, project
from robolearn.keypoints.film_error import FILM_RULES, film_error, look, row
from robolearn.keypoints.films import calibration_of, detect_episode, film_episode
from robolearn.keypoints.quality import Flag
from robolearn.keypoints.streams import COLUMNS, Origin, read_keypoints, write_keypoints
from robolearn.keypoints.tracks import ARM, BOTH_ARMS

SIZE = (48, 64)
K = np.array([[50.0, 0.0, 31.5], [0.0, 50.0, 23.5], [0.0, 0.0, 1.0]])
POSE = np.array([[0.0, 0.0, -1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.2], [0.0, 0.0, 0.0, 1.0]])
STANDING = np.array(
    [[0.4, 0.2, 1.4], [0.4, 0.25, 1.12], [0.4, 0.2, 0.95], [0.4, -0.2, 1.4], [0.4, -0.25, 1.12], [0.4, -0.2, 0.95]]
)
TRUTH = STANDING + np.linspace(0.0, 0.05, 9)[:, None, None] * [0.0, 1.0, 1.0]


def film(truth: np.ndarray = TRUTH):
    """Grey pictures of somebody in a plane 1.6 m before the camera."""
    depth = np.full((len(truth), *SIZE), 1.6, np.float32)
    depth[:, 0] = np.nan  # the sensor saw nothing there
    depth[:, 1] = 80.0  # farther than sixteen bits of millimetres
    rgb = np.full((len(truth), *SIZE, 3), 90, np.uint8)
    return film_episode(rgb, depth, K, POSE, truth, rate_hz=5.0, task="t", instruction="Do.", operator="nobody", seed=3)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "films", durable=False) as made:
        made.append(film())
        yield made


def known(error_px: float = 0.0) -> KnownPoints:
    return KnownPoints(BOTH_ARMS, TRUTH, K, POSE, error_px=error_px)


def test_a_film_keeps_its_camera_and_its_depth_in_millimetres(store):
    episode = store[store.ids()[0]]
    intrinsics, pose = calibration_of(episode)
    np.testing.assert_array_equal(intrinsics, K)
    np.testing.assert_array_equal(pose, POSE)
    depth = episode.observations["front.depth"]
    assert depth.dtype == np.uint16
    assert (depth[:, 2:] == 1600).all()
    assert (depth[:, :2] == 0).all(), "no measurement is no depth, never a made-up one"
    with pytest.raises(DataFileError, match=r"no calibration of the camera 'side'; it has \['front'\]"):
        calibration_of(episode, "side")


def test_keypoints_are_read_back_from_the_store_as_they_were_seen(store, tmp_path):
    id = store.ids()[0]
    raw, fixed, names = detect_episode(store, id, known(), "known")
    assert sorted(names) == derived_names(store, id)
    again = Store.open(tmp_path / "films")  # another process
    for seen, name in zip((raw, fixed), names, strict=True):
        found = read_keypoints(again, id, name)
        assert found.names == BOTH_ARMS
        np.testing.assert_array_equal(found.pixels, seen.detection.pixels)
        np.testing.assert_array_equal(found.confidence, seen.detection.confidence)
        np.testing.assert_array_equal(found.points, seen.tracks.points)
        np.testing.assert_array_equal(found.flags, seen.quality.flags)
        assert found.facts["detector_hash"] == known().version
        assert len(found.facts["calibration_hash"]) == 16
        assert found.facts["columns"] == list(COLUMNS)
        assert found.facts["content"] == again.info(id).content
    away = np.abs(read_keypoints(again, id, names[0]).points - TRUTH)
    assert away.max() < 0.065, "no farther than half a shoulder, which is added to the skin's depth"
    detect_episode(store, id, known(), "known")  # the same again is the same stream
    assert sorted(names) == derived_names(store, id)


def test_a_version_follows_detector_calibration_rules_and_stage():
    one = Origin("d", known().version, K, POSE, "depth", FILM_RULES)
    others = [
        dataclasses.replace(one, detector_hash=known(1.0).version),
        dataclasses.replace(one, intrinsics=K * 1.001),
        dataclasses.replace(one, T_world_camera=POSE + 1e-6),
        dataclasses.replace(one, lift="plane"),
        dataclasses.replace(one, rules=dataclasses.replace(FILM_RULES, gap=4)),
        dataclasses.replace(one, repaired=True),
    ]
    assert len({one.name, *(o.name for o in others)}) == 7
    assert one.name == dataclasses.replace(one).name
    json.dumps(dataclasses.replace(one, rules=dataclasses.replace(FILM_RULES, flicker_m=float("inf"))).facts)


def test_what_is_no_stream_of_points_is_refused(store):
    id = store.ids()[0]
    raw, _, _ = detect_episode(store, id, known(), "known")
    origin = Origin("d", "x", K, POSE, "depth", FILM_RULES)
    with pytest.raises(SpecError, match="same 6 points in 9 frames; found points"):
        write_keypoints(store, id, origin, raw.detection, raw.tracks, raw.quality.flags[:, :3])
    with pytest.raises(UnknownName, match="derived stream"):
        read_keypoints(store, id, "keypoints.other@abcd1234")
    write_derived(store, id, "reward.x@abcd1234", np.zeros((8, 2)), {})
    with pytest.raises(SpecError, match="holds no points"):
        read_keypoints(store, id, "reward.x@abcd1234")


def test_a_film_without_depth_or_camera_is_refused(store, tmp_path):
    episode = film()
    extra = dataclasses.replace(episode.meta, extra={})
    with Store.create(tmp_path / "other", durable=False) as other:
        id = other.append(dataclasses.replace(episode, meta=extra))
        with pytest.raises(DataFileError, match="no calibration"):
            detect_episode(other, id, known(), "known")
    spec = {k: v for k, v in episode.observation_spec.items() if k != "front.depth"}
    arrays = {k: v for k, v in episode.observations.items() if k != "front.depth"}
    with Store.create(tmp_path / "flat", durable=False) as flat:
        id = flat.append(dataclasses.replace(episode, observation_spec=spec, observations=arrays))
        with pytest.raises(DataFileError, match=r"no 'front.depth'"):
            detect_episode(flat, id, known(), "known")


def test_errors_are_those_that_were_made():
    """A detector that is 3 pixels off and swaps sides: raw is wrong, fixed is 3 pixels off."""
    clean = known().detect(np.zeros((9, *SIZE, 3), np.uint8))
    pixels = clean.pixels + np.array([3.0, 0.0])
    pixels[2:5] = pixels[2:5][:, [3, 4, 5, 0, 1, 2]]
    detection = dataclasses.replace(clean, pixels=pixels)
    depth = np.full((9, *SIZE), 1.6, np.float32)
    raw, fixed = look(detection, depth, K, POSE, rate_hz=5.0, source="t")
    errors = [film_error(seen, TRUTH, K, POSE) for seen in (raw, fixed)]
    assert errors[0].pixels[2:5].min() > 8.0
    np.testing.assert_allclose(errors[1].pixels, 3.0, atol=1e-9)
    assert errors[1].turned.tolist() == [False, False, True, True, True, False, False, False, False]
    numbers = row(errors[1:])
    assert numbers["shoulder px median"] == pytest.approx(3.0)
    assert numbers["turned"] == pytest.approx(3 / 9)
    assert 0.05 < (numbers["wrist m median"] or 0.0) < 0.15  # 3 px at 1.6 m and 50 px focal length, and the skin


def test_nobody_in_the_film_is_flagged_rejected_and_has_no_error(store):
    clean = known().detect(np.zeros((9, *SIZE, 3), np.uint8))
    empty = dataclasses.replace(
        clean,
        pixels=np.full_like(clean.pixels, np.nan),
        confidence=np.zeros_like(clean.confidence),
        people=np.zeros(9, int),
    )
    raw, fixed, _ = detect_episode(store, store.ids()[0], Recorded(empty), "empty")
    assert ((raw.quality.flags & Flag.NOBODY) != 0).all()
    assert fixed.quality.rejected.all()
    numbers = row([film_error(fixed, TRUTH, K, POSE)])
    assert numbers["found"] == 0.0
    assert numbers["wrist px median"] is None
    assert face_camera(empty)[1].sum() == 0
    assert np.isfinite(project(TRUTH, K, POSE)[:, [BOTH_ARMS.index(a) for a in ARM]]).all()


def test_the_command_watches_every_film_of_a_store(store, tmp_path, monkeypatch, capsys):
    from robolearn.verbs import keypoints

    class Fake:
        def build(self):
            return known()

    monkeypatch.setattr(keypoints, "BlazePoseConfig", Fake)
    store.close()
    assert keypoints.main(["detect", str(tmp_path / "films")]) == 0
    told = capsys.readouterr().out
    with Store.open(tmp_path / "films") as again:
        id = again.ids()[0]
        names = derived_names(again, id)
    assert len(names) == 2
    assert f"{id}: 9 pictures, somebody in 100%" in told
    assert all(name in told for name in names)
    assert keypoints.main(["detect"]) == 2
    with pytest.raises(UnknownName, match="detect"):
        keypoints.main(["detekt"])
    with pytest.raises(DataFileError, match="no calibration of the camera 'side'"):
        keypoints.main(["detect", str(tmp_path / "films"), "side"])
