"""Every kind of bad input is flagged in its own frame, and repaired or rejected by a declared rule."""

from dataclasses import replace

import numpy as np
import pytest

from robolearn.errors import DataFileError
from robolearn.keypoints.quality import Flag, Rules, examine, repair
from robolearn.keypoints.recordings import SLOW
from robolearn.keypoints.tracks import BOTH_ARMS, Tracks, read_assembly, read_numbers, read_onions


def person(frames: int = 40, seed: int = 0) -> Tracks:
    """Both arms of somebody who moves smoothly."""
    t = np.arange(frames)[:, None] / frames
    shoulders = np.array([[0.0, 0.2, 1.4], [0.0, -0.2, 1.4]])
    swing = 0.5 * np.sin(2 * np.pi * t[..., None] + np.array([0.0, 1.0])[:, None])
    turn = np.concatenate([np.sin(swing), np.zeros_like(swing), -np.cos(swing)], axis=-1)
    elbows = shoulders + 0.3 * turn
    wrists = elbows + 0.22 * np.array([1.0, 0.0, 0.0])
    points = np.stack([np.broadcast_to(shoulders, elbows.shape), elbows, wrists], axis=2)  # frame, side, part
    noise = 0.002 * np.random.default_rng(seed).standard_normal((frames, 6, 3))
    return Tracks(BOTH_ARMS, points.reshape(frames, 6, 3) + noise, 30.0, "test")


def flagged(flags, flag) -> list[int]:
    return np.flatnonzero(((flags & flag) != 0).any(axis=1)).tolist()


def test_a_good_recording_has_no_flags():
    tracks = person()
    flags = examine(tracks)
    assert not flags.any()
    fixed, quality = repair(tracks, flags, Rules(median=False))
    np.testing.assert_array_equal(fixed.points, tracks.points)
    assert not quality.rejected.any()
    assert not quality.filled.any()


def test_nan_is_flagged_filled_and_said():
    tracks = person()
    points = tracks.points.copy()
    points[10:12, 5] = np.nan
    broken = replace(tracks, points=points, confidence=np.zeros(0))
    flags = examine(broken)
    assert flagged(flags, Flag.MISSING) == [10, 11]
    fixed, quality = repair(broken, flags)
    assert np.flatnonzero(quality.filled.any(axis=1)).tolist() == [10, 11]
    assert np.linalg.norm(fixed.points[10:12, 5] - tracks.points[10:12, 5], axis=-1).max() < 0.02
    assert dict((name, n) for name, n, _ in quality.table())["frames with a filled point"] == 2


def test_a_long_gap_is_rejected_not_filled():
    points = person().points.copy()
    points[10:25, 5] = np.nan
    broken = Tracks(BOTH_ARMS, points, 30.0, "test")
    fixed, quality = repair(broken, examine(broken))
    assert np.flatnonzero(quality.rejected).tolist() == list(range(10, 25))
    assert np.isnan(fixed.points[10:25, 5]).all()
    assert np.isfinite(fixed.points[~quality.rejected]).all()


def test_a_jump_of_half_a_metre_is_flagged():
    points = person().points.copy()
    points[20, 4] += [0.4, 0.4, 0.0]
    flags = examine(Tracks(BOTH_ARMS, points, 30.0, "test"))
    assert flagged(flags, Flag.JUMP) == [20]
    assert flags[20, 4] & Flag.LIMB


def test_a_small_flicker_is_flagged():
    points = person().points.copy()
    points[20, 2] += [0.0, 0.0, 0.2]
    assert flagged(examine(Tracks(BOTH_ARMS, points, 30.0, "test")), Flag.FLICKER) == [20]


def test_swapped_sides_are_exchanged_back():
    tracks = person()
    points = tracks.points.copy()
    points[15:22] = points[15:22][:, [3, 4, 5, 0, 1, 2]]
    broken = replace(tracks, points=points)
    flags = examine(broken)
    assert flagged(flags, Flag.SWAPPED) == list(range(15, 22))
    fixed, quality = repair(broken, flags, Rules(median=False, jump_m=9.0, flicker_m=9.0))
    assert quality.exchanged.sum() == 7
    np.testing.assert_allclose(fixed.points, tracks.points)


@pytest.mark.parametrize(("people", "flag"), [(0, Flag.NOBODY), (2, Flag.CROWD)])
def test_nobody_and_two_people(people, flag):
    tracks = person()
    count = np.ones(40, int)
    count[30] = people
    flags = examine(replace(tracks, people=count))
    assert flagged(flags, flag) == [30]
    assert repair(replace(tracks, people=count), flags)[1].filled[30].all()


def test_missing_depth_and_low_confidence():
    points = person().points.copy()
    points[5, 0] = np.nan
    depthless = np.zeros((40, 6), bool)
    depthless[5, 0] = True
    tracks = Tracks(BOTH_ARMS, points, 30.0, "test", depthless=depthless)
    confidence = np.ones((40, 6))
    confidence[8, 1] = 0.1
    flags = examine(replace(tracks, confidence=confidence))
    assert flagged(flags, Flag.NO_DEPTH) == [5]
    assert flagged(flags, Flag.UNSURE) == [8]


def test_wrong_columns_words_and_empty_files_are_refused(tmp_path):
    path = tmp_path / "states_1.csv"
    path.write_text("1,2,3\n")
    with pytest.raises(DataFileError, match=r"line 1: expected 29 columns, found 3"):
        read_onions(tmp_path)
    path.write_text("1 2 x\n")
    with pytest.raises(DataFileError, match="expected numbers"):
        read_numbers(path, 3)
    path.write_text("\n")
    with pytest.raises(DataFileError, match="is empty"):
        read_numbers(path, 3)
    with pytest.raises(DataFileError, match="there is none"):
        read_numbers(tmp_path / "no.csv", 3)
    with pytest.raises(DataFileError, match="states_1"):
        read_onions(tmp_path / "nowhere")


def test_nan_in_a_file_is_kept_for_the_examination(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("nan 2 3\n4 5 6\n")
    assert np.isnan(read_numbers(path, 3)[0, 0])


def test_public_recordings(onion_human, human_assembly):
    """The specification's share of impossible bones, 12.7 % (12.6 % with each recording's own median)."""
    flags = np.concatenate([examine(t, SLOW) for t in read_onions(onion_human)])
    assert ((flags & Flag.LIMB) != 0).any(axis=1).mean() == pytest.approx(0.126, abs=0.002)
    assembly = [read_assembly(path) for path in sorted(human_assembly.rglob("*.txt"))]
    assert sum(map(len, assembly)) == 7944
    doubted = [examine(t).any(axis=1).sum() for t in assembly]
    assert doubted == [0, 0, 0, 1, 0, 0, 6, 3]
