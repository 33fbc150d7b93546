"""UVC through cv2.VideoCapture on a video file, and the synthetic camera with its faults in exact time."""

import sys
import time

import numpy as np
import pytest

from hardware.synthetic_camera import SyntheticCameraConfig, draw_counter, read_counter
from hardware.uvc import UvcConfig
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.errors import BenchError, DataFileError, MissingDependency, StaleReading, UnknownName
from robolearn.specs import check

FRAMES = 24


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A 320 x 240 MJPG video at 30 Hz whose frames are a synthetic camera's, counter and all."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("uvc") / "clip.avi"
    camera = SyntheticCameraConfig().build(FakeClock())
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (320, 240))
    for k in range(FRAMES):
        writer.write(cv2.cvtColor(camera.picture(k), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def uvc(path, **fields):
    return UvcConfig(**{"device": str(path), "width": 320, "height": 240, **fields}).build()


def test_a_video_plays_at_its_own_pace_with_pixels_that_match_their_counter(video):
    began = time.monotonic()
    seen = {}
    with uvc(video, max_age_s=0.6) as camera:
        while FRAMES not in seen:
            reading = camera.read()
            check(reading.arrays, camera.spec, where="reading")
            seen[int(reading.arrays["scene.frame"][0])] = reading
            time.sleep(0.004)
        time.sleep(0.65)
        with pytest.raises(StaleReading, match=r"clip\.avi has ended"):
            camera.read()
        assert camera.facts["rate_hz"] == pytest.approx(30.0)
    assert time.monotonic() - began > 0.7  # 24 frames at 30 Hz
    assert len(seen) >= FRAMES // 2
    assert all(read_counter(reading.arrays["scene.rgb"]) == number - 1 for number, reading in seen.items())
    times = np.array([reading.time for reading in seen.values()])
    assert np.all(np.diff(times) > 0)
    healthy = SyntheticCameraConfig().build(FakeClock())
    last = max(seen)
    error = seen[last].arrays["scene.rgb"].astype(float) - healthy.picture(last - 1)
    assert np.abs(error).mean() < 12  # JPEG loss; red and blue swapped would be about 50


def test_a_video_may_start_over(video):
    with uvc(video, repeat=True) as camera:
        end = time.monotonic() + 5
        while camera.newest.accepted < FRAMES + 5:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert camera.read().arrays["scene.frame"][0] > FRAMES


def test_size_device_and_options_are_checked(video, tmp_path):
    with pytest.raises(BenchError, match=r"expected pictures of 640 x 480; .*clip.avi gives 320 x 240"):
        uvc(video, width=640, height=480).__enter__()
    with pytest.raises(BenchError, match=r"there is no /dev/video77. Found: "):
        uvc("/dev/video77").__enter__()
    with pytest.raises(UnknownName, match=r"Unknown option of camera 'scene' 'exposur'. Did you mean 'exposure'"):
        uvc(video, options=(("exposur", 1.0),)).__enter__()
    (tmp_path / "bad.avi").write_text("no video")
    with pytest.raises(BenchError, match=r"bad.avi cannot be opened. Expected it to be a video OpenCV can read"):
        uvc(tmp_path / "bad.avi").__enter__()
    with pytest.raises(DataFileError, match="There is no calibration /nope"):
        uvc(video, calibration="/nope")


def test_serials_choose_among_the_devices_of_the_machine(monkeypatch):
    import hardware.uvc as module

    monkeypatch.setattr(
        module, "find_devices", lambda: {"usb-Cam_A1-video-index0": "/a", "usb-Cam_B2-video-index0": "/b"}
    )
    camera = UvcConfig(serial="B2").build()
    assert camera.source._find() == "/b"
    with pytest.raises(
        UnknownName, match=r"serial of camera 'scene' 'C3'. Valid names: usb-Cam_A1-video-index0, usb-Cam_B2"
    ):
        UvcConfig(serial="C3").build().source._find()
    with pytest.raises(BenchError, match="2 cameras fit"):
        UvcConfig(serial="Cam").build().source._find()
    monkeypatch.setattr(module, "find_devices", dict)
    with pytest.raises(BenchError, match="no USB camera is connected"):
        UvcConfig().build().source._find()


def test_a_repeated_buffer_does_not_count_and_a_lost_camera_is_told(monkeypatch):
    """The device half of the source, on a capture that plays V4L2: monotonic buffer times, then silence."""
    cv2 = pytest.importorskip("cv2")

    class Capture:
        stamps = iter([5.0, 5.0, 5.033])
        stamp: float | None = None

        def grab(self):
            self.stamp = next(self.stamps, None)
            return self.stamp is not None

        def get(self, _):
            return 1e3 * (self.stamp or 0.0)

        def retrieve(self):
            return True, np.full((240, 320, 3), 90, np.uint8)

    clock = FakeClock(100.0)
    source = UvcConfig(width=320, height=240).build(clock).source
    source._capture, source.path = Capture(), "/dev/video0"
    frames = [source.grab(0.1) for _ in range(2)]
    clock.advance(0.04)
    frames.append(source.grab(0.1))
    assert all(f is not None for f in frames)
    assert [f.counter for f in frames if f] == [1, 1, 2]
    assert [f.time for f in frames if f] == pytest.approx([100.0, 100.0, 100.033])
    with pytest.raises(BenchError, match=r"/dev/video0 stopped delivering \(unplugged\?\)"):
        source.grab(0.1)
    assert cv2 is not None


def test_without_opencv_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependency, match=r"camera 'scene' needs the package 'opencv-python'.*\[camera\]"):
        UvcConfig().build()


# The synthetic camera.


def synthetic(**fields):
    clock = FakeClock(5.0)
    return SyntheticCameraConfig(name="s", latency_s=0.0, **fields).build(clock), clock


def run(camera, clock, ticks, rate_hz=30.0):
    """Counters read tick by tick, None where the reading was stale."""
    seen = []
    start = clock.now()
    for k in range(ticks):
        clock.sleep_until(start + k / rate_hz + 1e-4)
        try:
            reading = camera.read()
        except StaleReading:
            seen.append(None)
            continue
        number = int(reading.arrays["s.frame"][0])
        assert read_counter(reading.arrays["s.rgb"]) == number
        assert reading.time == pytest.approx(5.0 + number / 30)
        check(reading.arrays, camera.spec, where="reading")
        seen.append(number)
    return seen


def test_every_frame_of_a_healthy_camera_is_seen_once():
    camera, clock = synthetic(depth=True)
    assert run(camera, clock, 60) == list(range(60))


def test_the_same_seed_gives_the_same_pictures():
    first, second, other = synthetic(seed=3)[0], synthetic(seed=3)[0], synthetic(seed=4)[0]
    assert np.array_equal(first.picture(9), second.picture(9))
    assert not np.array_equal(first.picture(9), other.picture(9))


def test_a_freeze_is_refused_after_the_age_limit():
    camera, clock = synthetic(fault="freeze", fault_at_s=1.0)
    seen = run(camera, clock, 45)
    assert seen[:30] == list(range(30))
    # Frame 29, of 0.9667 s, may be read until 1.1667 s, which is tick 34.
    assert seen[30:] == [29] * 5 + [None] * 10
    with pytest.raises(StaleReading, match="keeps delivering frame 29 again"):
        camera.read()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("black", "Its pictures are black"),
        ("wrong-size", r"must have shape \(240, 320, 3\); found \(120, 160, 3\)"),
        ("never", r"has delivered no frame in 1\.\d\d s"),
    ],
)
def test_other_faults_are_refused_with_their_reason(fault, message):
    camera, clock = synthetic(fault=fault)
    assert run(camera, clock, 40) == [None] * 40
    with pytest.raises(StaleReading, match=message):
        camera.read()


def test_dropped_frames_leave_a_gap_and_every_other_frame_keeps_its_number():
    lost = (7, *range(20, 30))
    camera, clock = synthetic(fault="drop", dropped=lost)
    seen = run(camera, clock, 50)
    assert seen[7] == 6
    assert seen[20:30] == [19] * 5 + [None] * 5  # readable for 0.2 s
    assert {n for n in seen if n is not None} == set(range(50)) - set(lost)


def test_jitter_delays_but_never_reorders():
    camera, clock = synthetic(fault="jitter", jitter_s=0.05)
    seen = run(camera, clock, 60)
    numbers = [n for n in seen if n is not None]
    assert numbers == sorted(numbers)
    late = {k - n for k, n in enumerate(seen) if n is not None}
    assert late == {1, 2}  # up to 50 ms at 30 Hz; on time would be 0


def test_a_random_drop_rate_is_repeatable():
    losses = []
    for _ in range(2):
        camera, clock = synthetic(fault="drop", drop_rate=0.3, seed=8)
        losses.append(run(camera, clock, 90))
    assert losses[0] == losses[1]
    assert 10 < 90 - len({n for n in losses[0] if n is not None}) < 45


@pytest.mark.parametrize("number", [0, 1, 12345, 2**32 - 1])
def test_the_counter_survives_compression_and_resizing(number):
    cv2 = pytest.importorskip("cv2")
    picture = SyntheticCameraConfig(width=640, height=480).build(FakeClock()).picture(number)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
    assert read_counter(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)) == number
    assert read_counter(cv2.resize(picture, (84, 84), interpolation=cv2.INTER_AREA)) == number


def test_a_picture_without_counter_reads_as_none():
    noise = np.random.default_rng(0).integers(0, 255, (500, 48, 64, 3), np.uint8)
    assert sum(read_counter(picture) is not None for picture in noise) < 10  # 1 in 256 by chance
    assert read_counter(np.zeros((48, 64, 3), np.uint8)) is None
    with pytest.raises(BenchError, match="at least 60 x 6 pixels; found 40 x 30"):
        draw_counter(np.zeros((30, 40, 3), np.uint8), 1)


def test_a_real_clock_works_too():
    camera = SyntheticCameraConfig(rate_hz=100.0, latency_s=0.0).build(MonotonicClock())
    with camera:
        first = camera.read()
        time.sleep(0.03)
        assert camera.read().time > first.time
