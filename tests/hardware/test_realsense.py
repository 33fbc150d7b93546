"""The RealSense driver through librealsense itself: software devices and a recorded file, never a mock."""

import subprocess
import sys
import time

import numpy as np
import pytest

from hardware.frames import CaptureThread, Frame, NewestFrame, picture_spec
from hardware.host_clock import HostClockMap
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.errors import BenchError, MissingDependency, StaleReading, UnknownName
from robolearn.specs import check

CLOCK = MonotonicClock()


def until(condition, seconds=5.0):
    """Wait for something that a thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module", params=[False, True], ids=["depth first", "color first"])
def recording(request, tmp_path_factory):
    pytest.importorskip("pyrealsense2", exc_type=ImportError)  # also without libusb
    from hardware.realsense_recording import Scene, record

    path = tmp_path_factory.mktemp("realsense") / "wall.db3"
    record(path, 30, CLOCK, Scene(color_first=request.param), serial="777")
    return path


@pytest.fixture
def soft():
    pytest.importorskip("pyrealsense2", exc_type=ImportError)  # also without libusb
    from hardware.realsense_recording import SoftwareRealSense

    made = []

    def make(**kwargs):
        made.append(SoftwareRealSense(**kwargs))
        return made[-1]

    yield make
    for camera in made:
        camera.halt()


def driver(*soft, **fields):
    from hardware.realsense import RealSense, RealSenseConfig

    config = RealSenseConfig(**{"width": 320, "height": 240, "first_frame_s": 4.0, **fields})
    return RealSense(config, CLOCK, devices=lambda: [camera.device for camera in soft])


def test_a_recording_plays_through_the_driver(recording):
    from hardware.realsense import RealSenseConfig
    from hardware.realsense_recording import Scene

    scene, seen = Scene(), {}
    config = RealSenseConfig(recording=str(recording), width=320, height=240, max_age_s=0.8)
    with config.build() as camera:
        while 29 not in seen:
            reading = camera.read()
            check(reading.arrays, camera.spec, where="reading")
            seen[int(reading.arrays["wrist.frame"][0])] = reading
            time.sleep(0.003)
        until(lambda: "ended" in camera.newest._problem)
        until(lambda: CLOCK.now() - reading.time > 0.8)
        with pytest.raises(StaleReading, match=r"number 29\) is 0\.8\d+ s old; at most 0.8 s .*wall.db3 has ended"):
            camera.read()
        facts = camera.facts
        assert camera.T_color_depth[0, 3] == pytest.approx(0.015)
    assert len(seen) >= 15  # of 30: the first may be partial, and a busy machine may look away
    times = [reading.time for reading in seen.values()]
    assert np.all(np.diff(times) > 0)
    # Stamps are 1/30 s apart, exactly but for the few times when the clock map finds a smaller delay; arrivals are not.
    off = np.diff(times) - np.diff(list(seen)) / 30
    assert np.mean(np.abs(off) < 2e-5) > 0.5
    assert np.abs(off).max() < 0.1
    for number, reading in seen.items():
        assert np.array_equal(reading.arrays["wrist.rgb"], scene.color(number))
        assert reading.captured["wrist.depth"] == pytest.approx(reading.time, abs=1e-4)
        # The wall's depth lies between 500 and 700 mm wherever the aligned picture has any.
        measured = reading.arrays["wrist.depth"][reading.arrays["wrist.depth"] > 0]
        assert measured.size > 0.9 * 320 * 240
        assert 499 <= measured.min() <= measured.max() <= 700
    assert facts["serial"] == "777"
    assert facts["intrinsics"]["fx"] == 300.0


def test_depth_is_moved_into_the_pixels_of_color(soft):
    from hardware.realsense_recording import Scene

    scene = Scene(rate_hz=15)
    camera = soft(scene=scene)
    camera.run(CLOCK)
    with driver(camera, rate_hz=15) as d:
        reading = d.read()
    number = int(reading.arrays["wrist.frame"][0])
    raw, aligned = scene.depth(number).astype(float), reading.arrays["wrist.depth"]
    # A point of depth z that depth sees in column u lies 15 mm further right for color: u + 300 px * 15 mm / z.
    u = np.arange(40, 260)
    shifted = np.rint(u + 300 * 15 / raw[100, u]).astype(int)
    assert np.median(np.abs(aligned[100, shifted] - raw[100, u])) <= 1.0
    assert np.median(np.abs(aligned[100, u] - raw[100, u])) > 2.0  # without alignment it would be these


def test_a_partial_or_mixed_frameset_never_gets_out(soft):
    camera = soft()
    d = driver(camera)
    d.source.open()
    try:
        camera.push(1.0, depth=False)
        camera.push(1.0 + 1 / 30, frame=1)
        frames = [f for f in (d.source.grab(0.2) for _ in range(3)) if f is not None]
        camera.push(1.0 + 2 / 30, frame=2, depth=False)
        camera.push(1.0 + 3 / 30, frame=3)
        frames += [f for f in (d.source.grab(0.2) for _ in range(4)) if f is not None]
    finally:
        d.source.close()
    for frame in frames:
        assert frame.captured["wrist.depth"] == pytest.approx(frame.time, abs=1e-6)
        assert set(frame.arrays) == {"wrist.rgb", "wrist.depth"}
    assert {f.counter for f in frames} == {1, 3}


def test_serial_numbers_choose_and_a_wrong_one_lists_them(soft):
    first, second = soft(serial="111"), soft(serial="222")
    second.run(CLOCK)
    with driver(first, second, serial="222") as camera:
        assert camera.facts["serial"] == "222"
    with pytest.raises(
        UnknownName, match=r"serial number of camera 'wrist' '223'. Did you mean '222'\? Valid names: 111, 222"
    ):
        driver(first, second, serial="223").__enter__()
    with pytest.raises(BenchError, match=r"2 cameras are connected \(111, 222\). Set serial"):
        driver(first, second).__enter__()
    with pytest.raises(BenchError, match=r"expected the RealSense 223, found none connected. Check the cable"):
        driver(serial="223").__enter__()


def test_presets_and_options_by_name(soft):
    camera = soft(presets=4)
    camera.run(CLOCK)
    with driver(camera, preset="High Accuracy"):
        assert camera.preset == 3.0
    with pytest.raises(
        UnknownName, match=r"Unknown preset of camera 'wrist' 'High Acuracy'. Did you mean 'High Accuracy'"
    ):
        driver(camera, preset="High Acuracy").__enter__()
    with pytest.raises(BenchError, match="has no depth presets; found preset 'Hand'"):
        driver(soft(), preset="Hand").__enter__()
    with pytest.raises(
        UnknownName, match=r"Unknown option of camera 'wrist' 'visual_presets'. Did you mean 'visual_preset'"
    ):
        driver(camera, options=(("visual_presets", 1.0),)).__enter__()


def test_a_mode_it_does_not_have_names_those_it_has(soft):
    with pytest.raises(
        BenchError, match=r"cannot stream 640 x 480 at 30 Hz with depth: .*color 320 x 240 at 30 Hz, depth 320"
    ):
        driver(soft(), width=640, height=480).__enter__()


def test_no_frames_and_no_connection_are_told(soft):
    camera = driver(soft(), first_frame_s=0.3)
    with pytest.raises(
        BenchError, match=r"no usable frame within 0.3 s. Camera 'wrist' has delivered no frame in 0\.\d+ s"
    ):
        camera.__enter__()
    with pytest.raises(BenchError, match=r"'wrist' is not connected. Use it in a with statement"):
        camera.read()
    with pytest.raises(BenchError, match="not connected, so its intrinsics are unknown"):
        driver(soft()).intrinsics  # noqa: B018


def test_a_stuck_counter_is_stale_though_frames_keep_coming(soft):
    camera = soft()
    camera.run(CLOCK, stuck_at=5)
    with driver(camera) as d:
        last = d.newest.accepted
        until(lambda: d.newest.repeated > 8 and "again" in d.newest._problem)
        time.sleep(0.3)
        assert d.newest.accepted - last <= 6
        with pytest.raises(StaleReading, match=r"\(number 5\) is 0\.\d+ s old.*keeps delivering frame 5 again"):
            d.read()


def test_it_comes_back_after_it_was_unplugged(soft):
    from hardware.realsense import RealSense, RealSenseConfig

    camera = soft(serial="42")
    plugged = [camera.device]
    camera.run(CLOCK)
    d = RealSense(RealSenseConfig(width=320, height=240, silent_s=0.3), CLOCK, devices=lambda: list(plugged))
    with d:
        first = d.read()
        camera.halt()
        plugged.clear()
        until(lambda: "found none" in d.newest._problem)
        with pytest.raises(StaleReading, match=r"Lost, and not back yet: .*found none connected"):
            d.read()
        plugged.append(camera.device)
        camera.run(CLOCK, origin_s=5.0)  # a fresh device clock, as after power-on
        until(lambda: d.reconnects == 1 and d.newest._problem == "")
        assert d.read().time > first.time


def test_a_recording_that_is_none(tmp_path):
    pytest.importorskip("pyrealsense2", exc_type=ImportError)  # also without libusb
    from hardware.realsense_recording import record

    (tmp_path / "bad.db3").write_text("not a recording")
    with pytest.raises(BenchError, match=r"bad.db3 is not a recording"):
        driver(recording=str(tmp_path / "bad.db3")).__enter__()
    with pytest.raises(BenchError, match=r"there is no recording .*none.db3"):
        driver(recording=str(tmp_path / "none.db3")).__enter__()
    with pytest.raises(BenchError, match="cannot change its preset or options"):
        driver(recording=str(tmp_path / "bad.db3"), preset="Hand").__enter__()
    with pytest.raises(BenchError, match=r"must end in .db3; found 'a.bag'"):
        record(tmp_path / "a.bag", 1, CLOCK)


def test_without_the_package_the_message_names_the_extra(monkeypatch):
    from hardware.realsense import RealSenseConfig

    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(MissingDependency, match=r"camera 'wrist' needs the package 'pyrealsense2'.*\[realsense\]"):
        RealSenseConfig().build()


def test_importing_the_camera_modules_needs_no_vendor_package():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pyrealsense2', 'cv2', 'torch']));"
        "import hardware.realsense, hardware.realsense_recording, hardware.uvc, hardware.synthetic_camera,"
        "hardware.calibration, hardware.calibration_stages, hardware.monitor, robolearn.verbs.calibrate"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_depth_in_other_units_becomes_millimetres():
    from hardware.realsense_device import millimetres

    assert millimetres(np.array([[0, 5004, 5006]], np.uint16), 1e-4).tolist() == [[0, 500, 501]]
    assert millimetres(np.array([[65535]], np.uint16), 0.01).tolist() == [[65535]]


# The clock map, in exact time.


def test_capture_times_survive_jitter_and_drift():
    rng = np.random.default_rng(0)
    clock_map, worst = HostClockMap(), 0.0
    for k in range(3000):
        true = 1000.0 + k / 30
        device = 5.0 + (true - 1000.0) * (1 + 50e-6)  # 50 ppm fast
        arrival = true + 0.008 + rng.exponential(0.005) + 0.3 * (rng.random() < 0.01)
        found = clock_map.to_host(device, arrival)
        assert found <= arrival
        if k > 100:
            worst = max(worst, abs(found - true - 0.008))
    assert worst < 0.002  # the smallest delay of 8 ms stays in, jitter of 5 ms and stalls of 300 ms do not


def test_a_device_clock_that_starts_over_begins_a_new_map():
    clock_map = HostClockMap()
    assert clock_map.to_host(4294.9, 100.0) == pytest.approx(100.0)
    assert clock_map.to_host(0.02, 100.03) == pytest.approx(100.03)  # a 32-bit microsecond counter wrapped
    assert clock_map.to_host(3600.0, 100.06) == pytest.approx(100.06)  # a wall clock jumped ahead


def test_a_queue_of_old_frames_keeps_their_true_age():
    clock_map = HostClockMap()
    for k in range(10):
        clock_map.to_host(k / 30, 50.0 + k / 30)
    assert clock_map.to_host(10 / 30, 51.5) == pytest.approx(50.0 + 10 / 30)  # delivered 1.2 s late: old, not new


# What every driver shares, in exact time.


def frame(counter, time_s, level=100, shape=(16, 16, 3)):
    return Frame(time_s, counter, {"c.rgb": np.full(shape, level, np.uint8)})


@pytest.fixture
def newest():
    clock = FakeClock(10.0)
    return NewestFrame("c", picture_spec("c", 16, 16), clock, max_age_s=0.2), clock


def test_a_frame_may_be_read_until_its_age_limit(newest):
    kept, clock = newest
    with pytest.raises(StaleReading, match=r"has delivered no frame in 0.00 s. Check the cable"):
        kept.read()
    assert kept.accept(frame(3, 10.0))
    clock.advance(0.2)
    reading = kept.read()
    assert reading.time == 10.0
    assert reading.arrays["c.frame"].tolist() == [3]
    assert not reading.arrays["c.rgb"].flags.writeable
    clock.advance(0.001)
    with pytest.raises(StaleReading, match=r"newest frame \(number 3\) is 0.201 s old; at most 0.2 s"):
        kept.read()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (frame(1, 11.0), "keeps delivering frame 1 again"),
        (frame(2, 11.0, level=3), r"pictures are black \(no value above 3\)"),
        (frame(2, 11.0, shape=(8, 16, 3)), r"must have shape \(16, 16, 3\); found \(8, 16, 3\)"),
    ],
)
def test_a_bad_frame_never_replaces_a_good_one(newest, bad, message):
    kept, clock = newest
    kept.accept(frame(1, 10.0))
    assert not kept.accept(bad)
    assert kept.read().time == 10.0
    clock.advance(1.0)
    with pytest.raises(StaleReading, match=message):
        kept.read()


def test_a_fault_in_the_thread_is_told():
    class Broken:
        def open(self): ...
        def close(self): ...
        def grab(self, timeout_s):
            raise ZeroDivisionError

    import threading

    kept = NewestFrame("c", picture_spec("c", 16, 16), CLOCK, max_age_s=0.2)
    thread = CaptureThread("c", Broken(), kept)
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        with pytest.raises(BenchError, match=r"no usable frame within 0.05 s"):
            thread.start(0.05)
        kept.accept(frame(1, CLOCK.now()))
        thread._first.set()
        thread._thread = threading.Thread(target=lambda: None)
        with pytest.raises(StaleReading, match="its thread ended by a fault"):
            thread.read()
    finally:
        threading.excepthook = hook
