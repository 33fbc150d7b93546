"""RealSense cameras: color, depth aligned to it, hardware timestamps on the host's clock, frame counters.

One driver serves a camera on USB, a recorded .db3 or .bag file and an `rs.software_device`: all three run through
librealsense's own pipeline, so what tests exercise is what a bench runs. A thread per camera keeps the newest whole
frameset; partial ones (the first after starting usually is) are counted and skipped.

The device's own clock is used for timestamps: librealsense's "global time" would put them on the wall clock, which may
step. Aligned depth lies in the pixels of the color picture, so color intrinsics serve for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.frames import CaptureThread, Frame, NewestFrame, RecordingEnded, picture_spec
from hardware.host_clock import HostClockMap
from hardware.realsense_device import (
    choose_device,
    device_info,
    intrinsics,
    millimetres,
    modes,
    realsense_sdk,
    set_options,
)
from robolearn.bench.calibration import Intrinsics, load_calibration
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError
from robolearn.specs import Array, Spec

__all__ = ["RealSense", "RealSenseConfig"]


_LARGEST_GAP_PERIODS = 0.6
"""librealsense also emits framesets of a new depth and the color before it. Free-running sensors of one rate pair to
within half a period, so a wider gap is such a mixture."""


@dataclass(frozen=True, slots=True)
class RealSenseConfig:
    """A RealSense camera, or a recording of one."""

    name: str = "wrist"
    """Name of the camera; its arrays are "<name>.rgb", "<name>.depth" and "<name>.frame"."""
    serial: str = ""
    """Serial number; "" takes the only camera there is."""
    recording: str = ""
    """Play this .db3 or .bag file, in real time, instead of a camera."""
    repeat: bool = False
    """Start a recording over at its end."""
    width: int = 640
    """Width of color and depth in pixels."""
    height: int = 480
    """Height of color and depth in pixels."""
    rate_hz: int = 30
    """Frames per second asked of the camera."""
    depth: bool = True
    """Also deliver depth, aligned to color."""
    preset: str = ""
    """Depth preset, such as "High Accuracy"; "" leaves the camera's own."""
    options: tuple[tuple[str, float], ...] = ()
    """Other librealsense options, such as (("exposure", 8000),), set on every sensor that has them."""
    max_age_s: float = 0.2
    """Oldest frame that may be read."""
    dark_level: int = 3
    """A picture with no value above this counts as no picture; -1 accepts all."""
    first_frame_s: float = 5.0
    """How long connecting may wait for the first whole frame."""
    silent_s: float = 2.0
    """After so long without a frame the camera is closed and opened again."""
    calibration: str = ""
    """Calibration file of this camera; its hash goes into every episode."""

    def build(self, clock: Clock | None = None) -> RealSense:
        """The camera, not yet connected. Raises `MissingDependency` without pyrealsense2."""
        realsense_sdk(f"The RealSense camera {self.name!r}")
        return RealSense(self, clock or MonotonicClock())


class RealSense:
    """A `Camera`. As a context manager: entering connects and waits for the first frame, leaving disconnects.

    Args:
        config: What is wanted.
        clock: The host's clock, on which capture times are given.
        devices: Lists the devices to choose from; None asks librealsense. Give a function that returns
            `rs.software_device` objects to run without hardware.

    Raises:
        BenchError: On connecting: no camera, a mode or preset it does not have, no frames.
        UnknownName: On connecting: a serial number that is not there; lists those that are.
    """

    def __init__(self, config: RealSenseConfig, clock: Clock, devices: Callable[[], Sequence[Any]] | None = None):
        self.config = config
        self._spec = picture_spec(config.name, config.width, config.height, depth=config.depth)
        self.newest = NewestFrame(
            config.name, self._spec, clock, max_age_s=config.max_age_s, dark_level=config.dark_level
        )
        self.source = _Pipeline(config, clock, devices)
        self._thread = CaptureThread(config.name, self.source, self.newest, silent_s=config.silent_s)
        self._calibration_hash = load_calibration(Path(config.calibration)).hash if config.calibration else ""

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        return self._thread.read()

    @property
    def intrinsics(self) -> Intrinsics:
        """The factory's color intrinsics (of aligned depth too), known once connected."""
        if self.source.intrinsics is None:
            raise BenchError(f"Camera {self.config.name!r} is not connected, so its intrinsics are unknown.")
        return self.source.intrinsics

    @property
    def T_color_depth(self) -> Array:
        """(4, 4) the depth sensor's pose in the color sensor, metres; the identity without depth."""
        return self.source.T_color_depth.copy()

    @property
    def reconnects(self) -> int:
        """How often the camera was lost and came back."""
        return self._thread.reopened

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON values about this camera, for the episode's meta data."""
        return {
            "serial": self.source.serial,
            "model": self.source.model,
            "calibration": self._calibration_hash,
            "intrinsics": asdict(self.intrinsics),
        }

    def __enter__(self) -> RealSense:
        self._thread.start(self.config.first_frame_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()


class _Pipeline:
    """librealsense's pipeline as a `FrameSource`."""

    def __init__(self, config: RealSenseConfig, clock: Clock, devices: Callable[[], Sequence[Any]] | None):
        self._config, self._clock, self._devices = config, clock, devices
        self._pipeline: Any = None
        self._playback: Any = None
        self._align: Any = None
        self._times = HostClockMap()
        self.intrinsics: Intrinsics | None = None
        self.T_color_depth = np.eye(4)
        self.serial = self.model = ""
        self.partial = 0
        """Framesets that lacked color or depth, or paired the color of one moment with the depth of another."""

    def open(self) -> None:
        config = self._config
        rs = realsense_sdk(f"The RealSense camera {config.name!r}")
        wanted = rs.config()
        wanted.enable_stream(rs.stream.color, config.width, config.height, rs.format.rgb8, config.rate_hz)
        if config.depth:
            wanted.enable_stream(rs.stream.depth, config.width, config.height, rs.format.z16, config.rate_hz)
        pipeline = rs.pipeline()
        if config.recording:
            device = self._open_recording(rs, wanted)
        else:
            device = choose_device(rs, self._list(rs), name=config.name, serial=config.serial)
            if self._devices is None:
                wanted.enable_device(device.get_info(rs.camera_info.serial_number))
            else:
                pipeline.set_device(device)
            set_options(rs, device, name=config.name, preset=config.preset, options=config.options)
        try:
            profile = pipeline.start(wanted)
        except RuntimeError as error:
            raise BenchError(
                f"Camera {config.name!r} cannot stream {config.width} x {config.height} at {config.rate_hz} Hz"
                f"{' with depth' if config.depth else ''}: {error}. Its modes: {modes(rs, device)}."
            ) from error
        self._pipeline = pipeline
        self._playback = profile.get_device().as_playback() if config.recording else None
        self._align = rs.align(rs.stream.color) if config.depth else None
        self._times = HostClockMap()
        self.serial = device_info(device, rs.camera_info.serial_number)
        self.model = device_info(device, rs.camera_info.name)
        color = profile.get_stream(rs.stream.color).as_video_stream_profile()
        self.intrinsics = intrinsics(color.get_intrinsics())
        if config.depth:
            found = profile.get_stream(rs.stream.depth).get_extrinsics_to(color)
            self.T_color_depth = np.eye(4)
            # librealsense stores rotations column by column.
            self.T_color_depth[:3, :3] = np.array(found.rotation).reshape(3, 3).T
            self.T_color_depth[:3, 3] = found.translation

    def grab(self, timeout_s: float) -> Frame | None:
        try:
            whole, frames = self._pipeline.try_wait_for_frames(int(timeout_s * 1e3))
            arrival = self._clock.now()
            if not whole:
                self._check_alive()
                return None
            if not frames.get_color_frame() or (self._align is not None and not frames.get_depth_frame()):
                self.partial += 1
                return None
            if self._align is not None:
                apart_s = abs(frames.get_depth_frame().get_timestamp() - frames.get_color_frame().get_timestamp()) / 1e3
                if apart_s > _LARGEST_GAP_PERIODS / self._config.rate_hz:
                    self.partial += 1
                    return None
                frames = self._align.process(frames)
            color = frames.get_color_frame()
            name = self._config.name
            time = self._times.to_host(color.get_timestamp() / 1e3, arrival)
            arrays = {f"{name}.rgb": np.array(color.get_data(), copy=True)}
            captured: dict[str, float] = {}
            if self._align is not None:
                depth = frames.get_depth_frame()
                arrays[f"{name}.depth"] = millimetres(np.asanyarray(depth.get_data()), depth.get_units())
                captured[f"{name}.depth"] = time + (depth.get_timestamp() - color.get_timestamp()) / 1e3
            return Frame(time, int(color.get_frame_number()), arrays, captured)
        except RuntimeError as error:
            raise BenchError(f"librealsense says: {error}") from error

    def close(self) -> None:
        if self._pipeline is not None:
            pipeline, self._pipeline, self._playback = self._pipeline, None, None
            try:
                pipeline.stop()
            except RuntimeError:
                return  # already stopped by the loss of the device

    def _check_alive(self) -> None:
        """A silent source is at its end, gone, or only slow."""
        if self._playback is not None:
            if "stopped" in str(self._playback.current_status()):
                raise RecordingEnded(f"The recording {self._config.recording} has ended")
            return
        rs = realsense_sdk("RealSense")
        serials = [device_info(device, rs.camera_info.serial_number) for device in self._list(rs)]
        if self.serial not in serials:
            raise BenchError(f"Serial {self.serial} was unplugged (there is: {', '.join(serials) or 'nothing'})")

    def _list(self, rs: Any) -> list[Any]:
        return list(rs.context().query_devices() if self._devices is None else self._devices())

    def _open_recording(self, rs: Any, wanted: Any) -> Any:
        config = self._config
        if config.preset or config.options:
            raise BenchError(
                f"Camera {config.name!r}: a recording cannot change its preset or options. Leave them empty."
            )
        if not Path(config.recording).is_file():
            raise BenchError(f"Camera {config.name!r}: there is no recording {config.recording}. Check the path.")
        try:
            device = rs.context().load_device(config.recording)
        except RuntimeError as error:
            raise BenchError(f"Camera {config.name!r}: {config.recording} is not a recording: {error}.") from error
        wanted.enable_device_from_file(config.recording, config.repeat)
        return device
