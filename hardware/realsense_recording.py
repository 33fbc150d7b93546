"""A RealSense made of numpy arrays, live or on file: librealsense's own software device and recorder.

`SoftwareRealSense` is a device that delivers what is pushed into it, through the very library a camera uses; `record`
writes a synthetic scene into the file format of `rs-record` and realsense-viewer. Tests and demonstrations run the
unmodified driver on both.
"""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.realsense_device import realsense_sdk
from robolearn.clock import Clock, Rate
from robolearn.errors import BenchError
from robolearn.specs import Array

__all__ = ["Scene", "SoftwareRealSense", "record"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A wavy wall before a camera; the color picture says in its red channel which frame it is."""

    width: int = 320
    """Pixels of color and depth alike."""
    height: int = 240
    """Pixels of color and depth alike."""
    rate_hz: int = 30
    """Frames per second."""
    focal_px: float = 300.0
    """Focal length of both sensors."""
    baseline_m: float = 0.015
    """How far the depth sensor sits to the right of color."""
    depth_unit_m: float = 0.001
    """Metres per count of the raw depth (0.001 for most models, 0.0001 for a D405)."""
    color_first: bool = False
    """Deliver each color picture before its depth; real cameras do either."""

    def color(self, frame: int) -> Array:
        """(height, width, 3) uint8; red is `frame` modulo 200 plus 40, green rises to the right."""
        picture = np.zeros((self.height, self.width, 3), np.uint8)
        picture[..., 0] = 40 + frame % 200
        picture[..., 1] = np.linspace(0, 255, self.width).astype(np.uint8)
        return picture

    def depth(self, frame: int) -> Array:
        """(height, width) uint16 in counts of `depth_unit_m`: 0.6 m with waves of 0.1 m that move with the frame."""
        x = np.arange(self.width)
        metres = 0.6 + 0.1 * np.sin((x + 4 * frame) / 80.0)
        return np.broadcast_to(metres / self.depth_unit_m, (self.height, self.width)).astype(np.uint16)


class SoftwareRealSense:
    """An `rs.software_device` with a color and a depth sensor. Hand `device` to the driver.

    Args:
        scene: Its modes and intrinsics.
        serial: Serial number it reports.
        presets: How many depth presets it offers, 0 for none.

    Raises:
        MissingDependency: pyrealsense2 is not installed.
    """

    def __init__(self, scene: Scene | None = None, serial: str = "000000000001", presets: int = 0):
        self._rs = rs = realsense_sdk("A software RealSense")
        self.scene = scene or Scene()
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "Software RealSense")
        self.device.register_info(rs.camera_info.serial_number, serial)
        self._depth_sensor = self.device.add_sensor("Stereo Module")
        self._color_sensor = self.device.add_sensor("RGB Camera")
        self._depth = self._depth_sensor.add_video_stream(self._stream(rs.stream.depth, 0, 2, rs.format.z16))
        self._color = self._color_sensor.add_video_stream(self._stream(rs.stream.color, 1, 3, rs.format.rgb8))
        place = rs.extrinsics()
        place.rotation, place.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [self.scene.baseline_m, 0, 0]
        self._depth.register_extrinsics_to(self._color, place)
        self._depth_sensor.add_read_only_option(rs.option.depth_units, self.scene.depth_unit_m)
        if presets:
            limits = rs.option_range()
            limits.min, limits.max, limits.step, limits.default = 0, presets - 1, 1, 0
            self._depth_sensor.add_option(rs.option.visual_preset, limits, True)
        self.device.create_matcher(rs.matchers.default)
        self._kept: list[Array] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.frame = 0
        """Number of the next frame."""

    @property
    def preset(self) -> float:
        """The depth preset that somebody set."""
        return float(self._depth_sensor.get_option(self._rs.option.visual_preset))

    def open_for_recording(self, recorder: Any) -> Any:
        """Start a recorder's sensors, so that what is pushed reaches its file; returns what must be kept alive."""
        queue = self._rs.syncer()
        for sensor, stream in zip(recorder.query_sensors(), (self._depth, self._color), strict=True):
            sensor.open(stream)
            sensor.start(queue)
        return queue

    def push(self, device_time_s: float, *, frame: int | None = None, color: bool = True, depth: bool = True) -> None:
        """Deliver one frame of the scene.

        Args:
            device_time_s: Timestamp on the device's own clock.
            frame: Frame number, instead of counting on from the last.
            color: Deliver the color half.
            depth: Deliver the depth half.
        """
        number = self.frame if frame is None else frame
        halves: list[tuple[Any, Any, Array]] = []
        if depth:
            halves.append((self._depth_sensor, self._depth, np.ascontiguousarray(self.scene.depth(number))))
        if color:
            halves.append((self._color_sensor, self._color, self.scene.color(number)))
        for sensor, stream, pixels in reversed(halves) if self.scene.color_first else halves:
            self._push(sensor, stream, pixels, number, device_time_s)
        self.frame = number + 1

    def run(self, clock: Clock, *, origin_s: float = 100.0, stuck_at: int | None = None) -> None:
        """Push frames from a thread at the scene's rate until `halt`.

        Args:
            clock: Paces the frames.
            origin_s: Device time of the first frame.
            stuck_at: From this frame on deliver the same frame number for ever.
        """
        start, first = clock.now(), self.frame
        self._stop.clear()

        def deliver() -> None:
            rate = Rate(self.scene.rate_hz, clock)
            number = first
            while not self._stop.is_set():
                shown = number if stuck_at is None else min(number, stuck_at)
                self.push(origin_s + clock.now() - start, frame=shown)
                number += 1
                rate.wait()

        self._thread = threading.Thread(target=deliver, daemon=True, name="software realsense")
        self._thread.start()

    def halt(self) -> None:
        """Stop the thread of `run`; safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _stream(self, kind: Any, unique: int, bytes_per_pixel: int, kind_of_pixel: Any) -> Any:
        rs, scene = self._rs, self.scene
        optics = rs.intrinsics()
        optics.width, optics.height = scene.width, scene.height
        optics.ppx, optics.ppy, optics.fx, optics.fy = scene.width / 2, scene.height / 2, scene.focal_px, scene.focal_px
        optics.model, optics.coeffs = rs.distortion.none, [0.0] * 5
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt = kind, 0, unique, kind_of_pixel
        stream.width, stream.height, stream.fps, stream.bpp = scene.width, scene.height, scene.rate_hz, bytes_per_pixel
        stream.intrinsics = optics
        return stream

    def _push(self, sensor: Any, profile: Any, pixels: Array, number: int, device_time_s: float) -> None:
        rs = self._rs
        frame = rs.software_video_frame()
        frame.bpp = pixels.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
        frame.stride = frame.bpp * self.scene.width
        frame.frame_number, frame.timestamp = number, device_time_s * 1e3
        frame.domain, frame.profile = rs.timestamp_domain.hardware_clock, profile.as_video_stream_profile()
        if pixels.ndim == 2:
            frame.depth_units = self.scene.depth_unit_m
        frame.pixels = pixels
        # librealsense reads the pixels later, from other threads.
        self._kept = [*self._kept[-31:], pixels]
        sensor.on_video_frame(frame)


def record(path: Path, frames: int, clock: Clock, scene: Scene | None = None, serial: str = "000000000001") -> None:
    """Record a synthetic scene, in real time because the recorder stamps frames as they come.

    Args:
        path: File to write; must end in .db3 (what librealsense 2.58 and newer write).
        frames: How many.
        clock: Paces the recording.
        scene: What is seen.
        serial: Serial number of the pretended camera.

    Raises:
        BenchError: Another ending, or the file exists.
    """
    if path.suffix != ".db3":
        raise BenchError(f"A recording must end in .db3; found {path.name!r}. Rename it.")
    if path.exists():
        raise BenchError(f"{path} exists already. Delete it or choose another name.")
    rs = realsense_sdk("Recording a software RealSense")
    camera = SoftwareRealSense(scene, serial)
    recorder = rs.recorder(str(path), camera.device)
    queue = camera.open_for_recording(recorder)
    rate = Rate(camera.scene.rate_hz, clock)
    for k in range(frames):
        camera.push(100.0 + k / camera.scene.rate_hz)
        rate.wait()
    for sensor in recorder.query_sensors():
        sensor.stop()
        sensor.close()
    # The file is finished when librealsense's last reference to the recorder goes.
    del sensor, queue, recorder
    gc.collect()
