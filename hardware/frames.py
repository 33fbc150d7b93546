"""What every camera driver shares: the newest whole frame, its age, and a thread that keeps fetching.

A frame counts as new only when its counter differs from the last one, so a camera that hands out the same picture
again grows stale like one that is unplugged. `NewestFrame` judges on any clock, without a thread; `CaptureThread`
feeds it from a `FrameSource` and opens the source again after it was lost.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import BenchError, SpecError, StaleReading
from robolearn.specs import Array, ArraySpec, Spec, check

__all__ = [
    "CaptureThread",
    "Frame",
    "FrameSource",
    "NewestFrame",
    "RecordingEnded",
    "picture_spec",
]


class RecordingEnded(BenchError):
    """A recorded file has been played to its end; there is nothing to reconnect to."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame (set).

    Attributes:
        time: Capture time in seconds on the host's monotonic clock.
        counter: The device's frame number; equal numbers mean the same picture.
        arrays: Pictures under the names of the camera's spec, without the counter.
        captured: Capture times of arrays that differ from `time`, by name.
    """

    time: float
    counter: int
    arrays: Mapping[str, Array]
    captured: Mapping[str, float] = field(default_factory=lambda: {})


class FrameSource(Protocol):
    """Where a `CaptureThread` gets frames. All calls come from one thread at a time."""

    def open(self) -> None:
        """Connect. Raises `BenchError` when the device is not there or refuses the wanted mode."""
        ...

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when there was no whole one in time.

        Raises:
            BenchError: The device is gone; it will be opened again.
            RecordingEnded: A file is at its end.
        """
        ...

    def close(self) -> None:
        """Give the device back; safe to call twice and when `open` failed."""
        ...


def picture_spec(name: str, width: int, height: int, *, depth: bool = False) -> dict[str, ArraySpec]:
    """The spec of a camera: "<name>.rgb", "<name>.frame" (the counter) and, if wanted, "<name>.depth".

    Depth is uint16 in millimetres along the optical axis, in the pixels of the color picture; 0 means not measured.
    Millimetres are an exception to SI: they are what the sensors deliver, exact and half the size of float32 metres,
    and a missing value stays a legal number.
    """
    for field_name, value in (("width", width), ("height", height)):
        if value < 16:
            raise BenchError(f"Camera {name!r}: {field_name} must be at least 16 pixels; found {value}. Correct it.")
    spec = {f"{name}.rgb": ArraySpec((height, width, 3), "uint8", frame=f"{name}.color")}
    if depth:
        spec[f"{name}.depth"] = ArraySpec((height, width), "uint16", unit="mm", frame=f"{name}.color")
    return spec | {f"{name}.frame": ArraySpec((1,), "int64")}


class NewestFrame:
    """Keeps the newest acceptable frame and refuses to hand it out when it is too old. No thread, any clock.

    Args:
        name: The camera's name, for messages.
        spec: Its spec, with the counter; a frame that does not match is not accepted.
        clock: Now.
        max_age_s: Oldest frame that may be read, in seconds since its capture.
        dark_level: A color picture none of whose values (on every eighth pixel) exceeds this is not accepted: a covered
            lens still shows noise, a dead sensor does not. -1 accepts all.
    """

    def __init__(self, name: str, spec: Spec, clock: Clock, *, max_age_s: float, dark_level: int = 3):
        if not max_age_s > 0:
            raise BenchError(f"Camera {name!r}: max_age_s must be positive; found {max_age_s!r}. 0.2 is usual.")
        self._name, self._spec, self._clock = name, spec, clock
        self._max_age_s, self._dark_level = max_age_s, dark_level
        self._pictures = {key: one for key, one in spec.items() if key != f"{name}.frame"}
        self._since = clock.now()
        self._frame: Frame | None = None
        self._problem = ""
        self.accepted = 0
        """Distinct frames accepted so far."""
        self.repeated = 0
        """Times the device delivered a frame that had been delivered before."""
        self.refused = 0
        """Frames of the wrong size or without light."""

    def accept(self, frame: Frame) -> bool:
        """Take a frame when it is new, whole and lit; else remember what is wrong. Returns whether it was taken."""
        if self._frame is not None and frame.counter == self._frame.counter:
            self.repeated += 1
            return self._refuse(f"It keeps delivering frame {frame.counter} again", count=False)
        try:
            check(frame.arrays, self._pictures, where="its frames")
        except SpecError as error:
            return self._refuse(f"It delivers something else than promised: {str(error).rstrip('.')}")
        rgb = frame.arrays[f"{self._name}.rgb"]
        if int(rgb[::8, ::8].max()) <= self._dark_level:
            return self._refuse(f"Its pictures are black (no value above {self._dark_level})")
        for array in frame.arrays.values():
            array.flags.writeable = False  # handed to several readers
        self._frame, self._problem = frame, ""
        self.accepted += 1
        return True

    def report(self, problem: str) -> None:
        """Say why nothing new comes, for the message of the next `StaleReading`."""
        self._problem = problem

    def read(self) -> Reading:
        """The newest frame with its counter.

        Raises:
            StaleReading: There is none yet, or it is older than allowed; says why as far as known.
        """
        frame, problem, now = self._frame, self._problem, self._clock.now()
        why = f" {problem}." if problem else ""
        cure = "Check the cable, the power and that no other program uses the camera."
        if frame is None:
            raise StaleReading(
                f"Camera {self._name!r} has delivered no frame in {now - self._since:.2f} s.{why} {cure}"
            )
        if (age := now - frame.time) > self._max_age_s:
            raise StaleReading(
                f"Camera {self._name!r}: the newest frame (number {frame.counter}) is {age:.3f} s old; at most "
                f"{self._max_age_s:g} s is allowed.{why} {cure}"
            )
        counter = {f"{self._name}.frame": np.array([frame.counter], np.int64)}
        return Reading(frame.time, {**frame.arrays, **counter}, frame.captured)

    def _refuse(self, problem: str, *, count: bool = True) -> bool:
        self.refused += count
        self._problem = problem
        return False


class CaptureThread:
    """Keeps a `NewestFrame` filled from a source, and opens the source again when it is lost.

    Args:
        name: The camera's name.
        source: Where frames come from.
        newest: Where they go.
        silent_s: After this long without any frame the source is closed and opened again.
        retry_s: Pause between attempts to open.
    """

    def __init__(
        self, name: str, source: FrameSource, newest: NewestFrame, *, silent_s: float = 2.0, retry_s: float = 0.5
    ):
        self._name, self._source, self._newest = name, source, newest
        self._silent_s, self._retry_s = silent_s, retry_s
        self._stop = threading.Event()
        self._first = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self.reopened = 0
        """How often the source was opened again after it was lost."""

    def start(self, first_frame_s: float) -> None:
        """Open the source and wait for a first frame.

        Raises:
            BenchError: The device is missing, refuses the mode, or delivers nothing within `first_frame_s`.
        """
        if self._thread is not None:
            raise BenchError(f"Camera {self._name!r} is already connected. Disconnect it first.")
        self._source.open()
        self._stop.clear()
        self._first.clear()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"camera {self._name}", daemon=True)
        self._thread.start()
        if not self._first.wait(first_frame_s):
            try:
                self._newest.read()
            except StaleReading as error:
                self.stop()
                raise BenchError(f"Connected, but no usable frame within {first_frame_s:g} s. {error}") from error

    def stop(self) -> None:
        """End the thread and close the source; safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._source.close()

    def read(self) -> Reading:
        """The newest frame. Raises `StaleReading`, and `BenchError` when not connected."""
        if self._thread is None:
            raise BenchError(f"Camera {self._name!r} is not connected. Use it in a with statement.")
        if not self._thread.is_alive() and not self._ended:
            raise StaleReading(f"Camera {self._name!r}: its thread ended by a fault (see stderr). Restart the program.")
        return self._newest.read()

    def _run(self) -> None:
        silent = 0.0
        slice_s = min(0.1, self._silent_s)
        while not self._stop.is_set():
            try:
                frame = self._source.grab(slice_s)
                if frame is not None:
                    silent = 0.0
                    if self._newest.accept(frame):
                        self._first.set()
                    continue
                silent += slice_s
                if silent >= self._silent_s:
                    raise BenchError(f"Nothing came for {silent:.1f} s")
            except RecordingEnded as error:
                self._ended = True
                self._newest.report(str(error).rstrip("."))
                return
            except BenchError as error:
                self._newest.report(f"{str(error).rstrip('.')}; trying to reconnect")
                silent = 0.0
                self._reopen()

    def _reopen(self) -> None:
        self._source.close()
        while not self._stop.wait(self._retry_s):
            try:
                self._source.open()
            except BenchError as error:
                self._newest.report(f"Lost, and not back yet: {str(error).rstrip('.')}")
                self._source.close()
                continue
            self.reopened += 1
            return
