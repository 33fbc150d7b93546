"""USB cameras and video files through OpenCV, in a thread of their own.

A UVC camera has no frame counter that OpenCV shows, so the counter here counts deliveries whose device timestamp is
new: a driver that hands out one buffer twice does not advance it. Capture times come from the driver's buffer
timestamps (V4L2) or the position in a file, put on the host's clock by `HostClockMap`; where a backend gives neither,
the time is that of arrival. A video file takes the same path and is played at its own pace.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.frames import CaptureThread, Frame, NewestFrame, RecordingEnded, picture_spec
from hardware.host_clock import HostClockMap
from robolearn.bench.calibration import load_calibration
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, MissingDependency, UnknownName
from robolearn.specs import Spec

__all__ = ["Uvc", "UvcConfig", "find_devices"]

BY_ID = Path("/dev/v4l/by-id")


@dataclass(frozen=True, slots=True)
class UvcConfig:
    """A USB camera, or a video file in its place."""

    name: str = "scene"
    """Name of the camera; its arrays are "<name>.rgb" and "<name>.frame"."""
    device: str = ""
    """Path such as /dev/video2 or /dev/v4l/by-id/..., or a video file; "" chooses by serial."""
    serial: str = ""
    """Part of the name below /dev/v4l/by-id, usually the serial number; "" takes the only camera there is."""
    width: int = 640
    """Width in pixels."""
    height: int = 480
    """Height in pixels."""
    rate_hz: float = 30.0
    """Frames per second asked of the camera; a file keeps its own."""
    fourcc: str = "MJPG"
    """Pixel format asked of the camera: MJPG needs a tenth of the bandwidth of YUYV. "" leaves it."""
    options: tuple[tuple[str, float], ...] = ()
    """Properties by OpenCV's name without CAP_PROP_, such as (("exposure", 200), ("autofocus", 0))."""
    repeat: bool = False
    """Start a file over at its end."""
    max_age_s: float = 0.2
    """Oldest frame that may be read."""
    dark_level: int = 3
    """A picture with no value above this counts as no picture; -1 accepts all."""
    first_frame_s: float = 5.0
    """How long connecting may wait for the first frame."""
    silent_s: float = 2.0
    """After so long without a frame the camera is closed and opened again."""
    calibration: str = ""
    """Calibration file of this camera; its hash goes into every episode."""

    def build(self, clock: Clock | None = None) -> Uvc:
        """The camera, not yet connected. Raises `MissingDependency` without OpenCV."""
        _opencv(self.name)
        return Uvc(self, clock or MonotonicClock())


class Uvc:
    """A `Camera`. As a context manager: entering connects and waits for the first frame, leaving disconnects.

    A camera that hangs inside the driver holds up leaving and reconnecting until OpenCV gives up (10 s with V4L2);
    readings go stale in time all the same.

    Args:
        config: What is wanted.
        clock: The host's clock, on which capture times are given.

    Raises:
        BenchError: On connecting: no such device, another picture size than asked for, no frames.
        UnknownName: On connecting: a serial or an option that is not there.
    """

    def __init__(self, config: UvcConfig, clock: Clock):
        self.config = config
        self._spec = picture_spec(config.name, config.width, config.height)
        self.newest = NewestFrame(
            config.name, self._spec, clock, max_age_s=config.max_age_s, dark_level=config.dark_level
        )
        self.source = _Capture(config, clock)
        self._thread = CaptureThread(config.name, self.source, self.newest, silent_s=config.silent_s)
        self._calibration_hash = load_calibration(Path(config.calibration)).hash if config.calibration else ""

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        return self._thread.read()

    @property
    def reconnects(self) -> int:
        """How often the camera was lost and came back."""
        return self._thread.reopened

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON values about this camera, for the episode's meta data."""
        return {
            "device": self.source.path,
            "rate_hz": self.source.rate_hz,
            "calibration": self._calibration_hash,
        }

    def __enter__(self) -> Uvc:
        self._thread.start(self.config.first_frame_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()


def find_devices() -> dict[str, str]:
    """Capture devices of this machine by what can be asked for: name below /dev/v4l/by-id, or the path."""
    by_id = {link.name: str(link) for link in sorted(BY_ID.glob("*-video-index0"))} if BY_ID.exists() else {}
    return by_id or {str(path): str(path) for path in sorted(Path("/dev").glob("video[0-9]*"))}


class _Capture:
    """cv2.VideoCapture as a `FrameSource`."""

    def __init__(self, config: UvcConfig, clock: Clock):
        self._config, self._clock = config, clock
        self._capture: Any = None
        self._times = HostClockMap()
        self._is_file = False
        self._started = 0.0
        self._last_stamp = -1.0
        self._counter = 0
        self.path = ""
        self.rate_hz = 0.0
        """What the driver says it delivers, 0 when it does not say."""

    def open(self) -> None:
        config = self._config
        cv2 = _opencv(config.name)
        self.path = self._find()
        self._is_file = Path(self.path).is_file()
        on_linux = sys.platform.startswith("linux")
        capture = cv2.VideoCapture(self.path, cv2.CAP_V4L2 if on_linux and not self._is_file else cv2.CAP_ANY)
        self._capture = capture
        if not capture.isOpened():
            what = "a video OpenCV can read" if self._is_file else "free, and readable by this user (group video)"
            raise BenchError(f"Camera {config.name!r}: {self.path} cannot be opened. Expected it to be {what}.")
        if not self._is_file:
            if config.fourcc:
                capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.fourcc))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
            capture.set(cv2.CAP_PROP_FPS, config.rate_hz)
        for option, value in config.options:
            self._set(cv2, option, value)
        found = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if found != (config.width, config.height):
            raise BenchError(
                f"Camera {config.name!r}: expected pictures of {config.width} x {config.height}; {self.path} gives "
                f"{found[0]} x {found[1]}. Set width and height to a size it has (v4l2-ctl --list-formats-ext)."
            )
        self.rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        self._times = HostClockMap()
        self._started, self._last_stamp = self._clock.now(), -1.0

    def grab(self, timeout_s: float) -> Frame | None:
        cv2, capture = _opencv(self._config.name), self._capture
        if not capture.grab():
            if not self._is_file:
                raise BenchError(f"{self.path} stopped delivering (unplugged?)")
            if not self._config.repeat:
                raise RecordingEnded(f"The video {self.path} has ended")
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            self._started, self._last_stamp = self._clock.now(), -1.0
            return None
        stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if self._is_file:
            self._clock.sleep_until(self._started + stamp)
        arrival = self._clock.now()
        if stamp > 0 and stamp == self._last_stamp:
            return Frame(arrival, self._counter, {})
        time = self._times.to_host(stamp, arrival) if stamp > 0 else arrival
        whole, picture = capture.retrieve()
        if not whole:
            return None
        self._last_stamp = stamp
        self._counter += 1
        return Frame(time, self._counter, {f"{self._config.name}.rgb": cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)})

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _find(self) -> str:
        config = self._config
        if config.device:
            if not Path(config.device).exists():
                found = ", ".join(find_devices()) or "no camera"
                raise BenchError(f"Camera {config.name!r}: there is no {config.device}. Found: {found}.")
            return config.device
        devices = find_devices()
        matching = {name: path for name, path in devices.items() if config.serial in name}
        if not devices:
            raise BenchError(f"Camera {config.name!r}: no USB camera is connected. Check the cable, or set device.")
        if not matching:
            raise UnknownName(f"serial of camera {config.name!r}", config.serial, devices)
        if len(matching) > 1:
            raise BenchError(
                f"Camera {config.name!r}: {len(matching)} cameras fit ({', '.join(matching)}). Set device or serial."
            )
        return next(iter(matching.values()))

    def _set(self, cv2: Any, option: str, value: float) -> None:
        known = {n.removeprefix("CAP_PROP_").lower(): n for n in dir(cv2) if n.startswith("CAP_PROP_")}
        if option.lower() not in known:
            raise UnknownName(f"option of camera {self._config.name!r}", option, known)
        if not self._capture.set(getattr(cv2, known[option.lower()]), value):
            raise BenchError(
                f"Camera {self._config.name!r} refuses {option} = {value:g}. Remove it or choose another value."
            )


def _opencv(name: str) -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingDependency("opencv-python", "camera", f"The camera {name!r}") from error
