"""Pictures come back bit for bit where that is promised, and a torn file gives its whole pictures only."""

from __future__ import annotations

import numpy as np
import pytest

from robolearn.data.video import VideoWriter, read_video, resize
from robolearn.errors import DataFileError, SpecError


def counted(count, height, width):
    """Noise with the frame's number drawn into its first pixels."""
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    for k in range(count):
        frames[k, 0, :8] = [[255 * (k >> bit & 1)] * 3 for bit in range(8)]
    return frames


def encode(path, frames, lossless=None):
    writer = VideoWriter(path, frames.shape[1], frames.shape[2], 20.0, lossless)
    assert [writer.add(frame) for frame in frames] == list(range(len(frames)))
    writer.close()


@pytest.mark.parametrize("size", [(16, 20), (33, 47), (84, 84), (1, 9)])
def test_lossless_is_bit_exact(tmp_path, size):
    frames = counted(25, *size)
    encode(tmp_path / "a.mp4", frames)
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4"), frames)


def test_lossy_keeps_the_order_and_is_near(tmp_path):
    y, x = np.mgrid[:96, :160]
    frames = np.stack([np.stack([x, y + 8 * k, 0 * x + 20 * k], -1).clip(0, 255) for k in range(12)]).astype(np.uint8)
    encode(tmp_path / "a.mp4", frames)
    back = read_video(tmp_path / "a.mp4")
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 3
    assert (np.diff(back[:, 48, 40, 1].astype(int)) > 0).all()


def test_odd_lossy_sizes_are_refused_and_odd_lossless_ones_work(tmp_path):
    with pytest.raises(SpecError, match="lossy video needs even sizes"):
        VideoWriter(tmp_path / "a.mp4", 201, 300, 20.0)
    assert not (tmp_path / "a.mp4").exists()
    with pytest.raises(SpecError, match=r"Expected a picture \(4, 6, 3\) uint8"):
        VideoWriter(tmp_path / "b.mp4", 4, 6, 20.0).add(np.zeros((6, 4, 3), np.uint8))


def test_cut_anywhere_gives_whole_pictures_only(tmp_path):
    frames = counted(12, 24, 32)
    encode(tmp_path / "a.mp4", frames)
    data = (tmp_path / "a.mp4").read_bytes()
    seen = set()
    for cut in range(0, len(data), 997):
        (tmp_path / "cut.mp4").write_bytes(data[:cut])
        try:
            back = read_video(tmp_path / "cut.mp4")
        except DataFileError:
            continue
        seen.add(len(back))
        np.testing.assert_array_equal(back, frames[: len(back)])
    assert len(seen) > 8


def test_a_frame_is_on_disk_when_the_next_one_is_added(tmp_path):
    frames = counted(6, 24, 32)
    writer = VideoWriter(tmp_path / "a.mp4", 24, 32, 20.0)
    for k, frame in enumerate(frames):
        writer.add(frame)
        if k:
            (tmp_path / "copy.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
            assert len(read_video(tmp_path / "copy.mp4")) >= k


def test_resize_averages_areas():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[:, :, 4:] = 200
    small = resize(frames, 4, 4)
    assert small.shape == (2, 4, 4, 3)
    assert np.abs(small[0, :, 0].astype(int)).max() <= 2
    assert np.abs(small[0, :, 3].astype(int) - 200).max() <= 2
    assert resize(frames, 8, 8) is frames


def test_a_missing_video_says_so(tmp_path):
    with pytest.raises(DataFileError, match="there is none"):
        read_video(tmp_path / "a.mp4")
