"""Pictures for people: each frame is encoded once, away from the loop, for the live view and for the review.

The loop hands frames over and goes on; a thread of its own makes JPEGs. When it cannot keep up, the live view skips and
the review shows the frame before. What is recorded is not touched by any of this.
"""

from __future__ import annotations

import queue
import threading
from typing import NamedTuple

from robolearn.clock import Clock
from robolearn.data.web import jpeg
from robolearn.specs import Array

__all__ = ["Film", "Frame"]

MOST_KEPT_BYTES = 256 << 20
"""Of one episode; what comes after is shown as the last picture before."""


class Frame(NamedTuple):
    """A picture as the pages get it: a number that grows, its capture time, its JPEG."""

    number: int
    captured: float
    data: bytes


class Film:
    """The newest frame of every camera, and every frame of the episode that is being recorded."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: dict[str, Frame] = {}
        self._kept: dict[str, list[Frame]] = {}
        self._bytes = 0
        self._captured: dict[str, float] = {}
        self._queue: queue.Queue[tuple[str, float, Array, bool] | None] = queue.Queue(maxsize=24)
        self._thread: threading.Thread | None = None

    def offer(self, camera: str, captured: float, frame: Array, *, keep: bool) -> None:
        """A frame (height, width, 3) uint8 that the loop has seen; the same one twice counts once."""
        if self._captured.get(camera) == captured:
            return
        self._captured[camera] = captured
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="film", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((camera, captured, frame, keep))
        except queue.Full:
            return

    def begin(self) -> None:
        """Forget the frames of the episode before."""
        with self._lock:
            self._kept, self._bytes = {}, 0

    def newest(self, camera: str) -> Frame | None:
        """The newest picture of a camera."""
        with self._lock:
            return self._newest.get(camera)

    def episode(self, camera: str) -> list[Frame]:
        """The pictures of the episode, in order of time."""
        with self._lock:
            return list(self._kept.get(camera, ()))

    def drain(self) -> None:
        """Wait until everything that was offered is encoded."""
        if self._thread is not None:
            self._queue.join()

    def close(self) -> None:
        """End the thread; safe to call twice."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        number = 0
        while (item := self._queue.get()) is not None:
            camera, captured, picture, keep = item
            number += 1
            frame = Frame(number, captured, jpeg(picture))
            with self._lock:
                self._newest[camera] = frame
                if keep and self._bytes < MOST_KEPT_BYTES:
                    self._kept.setdefault(camera, []).append(frame)
                    self._bytes += len(frame.data)
            self._queue.task_done()
        self._queue.task_done()
