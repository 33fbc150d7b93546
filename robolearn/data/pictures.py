"""The videos of one episode: an encoder per camera, at work off the control thread, with a queue that is never long.

A frame gets its number in the video when its queue takes it, so order and number are fixed at once and the log's row
can be written before the picture is encoded. A full queue refuses the frame: it is lost and said to be lost, and the
control loop never waits for an encoder.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import numpy as np

from robolearn.data.freshness import NO_COUNTER, FrameTrack, Freshness, doubt
from robolearn.data.video import VideoWriter, is_filmed, open_video
from robolearn.specs import Array, Spec

__all__ = ["QUEUE_FRAMES", "BackgroundVideo", "Pictures"]

QUEUE_FRAMES = 12
"""Frames of one camera that may wait for their encoder; a kill loses at most these: 0.4 s at 30 Hz."""


class BackgroundVideo:
    """A `VideoWriter` with a thread and a bounded queue.

    Args:
        video: The writer; this object closes it.
        capacity: Frames that may wait.
    """

    def __init__(self, video: VideoWriter, capacity: int):
        self.video = video
        self.high_water = 0
        self.count = 0
        self.fault: OSError | None = None
        self._waiting: queue.Queue[Array | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._encode, daemon=True, name="video encoder")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Frames in the queue now."""
        return self._waiting.qsize()

    def offer(self, frame: Array) -> int | None:
        """The frame's number in the video, or None when the queue is full.

        The frame must not be changed afterwards.

        Raises:
            OSError: The encoder met a full or failing disk earlier.
        """
        if self.fault is not None:
            raise self.fault
        try:
            self._waiting.put_nowait(frame)
        except queue.Full:
            return None
        self.high_water = max(self.high_water, self._waiting.qsize())
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        """Encode what waits and finish the file.

        Raises:
            OSError: The disk is full or failing.
        """
        self._join()
        self.video.close()
        if self.fault is not None:
            raise self.fault

    def abandon(self) -> None:
        """Close the file as it stands."""
        self._join()
        self.video.abandon()

    def _join(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)  # the encoder takes frames until it sees this, also after a fault
            self._thread.join()

    def _encode(self) -> None:
        while (frame := self._waiting.get()) is not None:
            if self.fault is None:
                try:
                    self.video.add(frame)
                except OSError as error:
                    self.fault = error


class Pictures:
    """All videos of an episode.

    Args:
        folder: Where they go, as `<array name>.mp4`.
        spec: The episode's observation spec; what is not filmed is ignored.
        rate_hz: Nominal rate of the videos.
        live: Encode in the background and lose frames rather than time; else encode at once.
        lossless: Keep every bit; None decides by size (see `VideoWriter`).
    """

    def __init__(self, folder: Path, spec: Spec, rate_hz: float, *, live: bool, lossless: bool | None):
        self.spec = {name: one for name, one in spec.items() if is_filmed(one)}
        self.tracks = {name: FrameTrack() for name in self.spec}
        self._folder, self._rate_hz, self._live, self._lossless = folder, rate_hz, live, lossless
        self._videos: dict[str, VideoWriter] = {}
        self._encoders: dict[str, BackgroundVideo] = {}
        self._last: dict[str, tuple[int, Array]] = {}

    def prepare(self) -> None:
        """Open all encoders now, so that the first frame is not late."""
        for name in self.spec:
            self._video(name)

    @property
    def descriptors(self) -> dict[str, int]:
        """Open file of every video."""
        return {name: video.fd for name, video in self._videos.items() if video.fd >= 0}

    @property
    def high_water(self) -> dict[str, int]:
        """Most frames that ever waited, per camera."""
        return {name: encoder.high_water for name, encoder in self._encoders.items()}

    def add(self, name: str, frame: Array, at_ns: int, counter: int = NO_COUNTER, *, keep: bool = True) -> int | None:
        """Take a frame.

        Args:
            name: Its array.
            frame: The picture; when live it must not be changed afterwards.
            at_ns: When it was captured.
            counter: The device's number of it.
            keep: The same frame may be offered again; remember it.

        Returns:
            Its number in the video; None when it is a repeated frame or was lost.

        Raises:
            OSError: The disk is full or failing.
        """
        track = self.tracks[name]
        if not self._live:
            last = self._last.get(name)
            if last is not None and last[0] == at_ns and np.array_equal(last[1], frame):
                return None
            if keep:
                self._last[name] = (at_ns, frame.copy())
            track.add(at_ns, counter)
            return self._video(name).add(frame)
        if track.is_repeat(at_ns, counter):
            return None
        self._video(name)
        number = self._encoders[name].offer(frame)
        if number is None:
            track.lose()
        else:
            track.add(at_ns, counter)
        return number

    def rows(self, time_ns: int, shown_ns: dict[str, int]) -> dict[str, tuple[Freshness, int, int]]:
        """Per camera the state, counter and age of what the row at `time_ns` shows."""
        return {name: track.row(time_ns, shown_ns[name]) for name, track in self.tracks.items()}

    def doubts(self, end_ns: int) -> str:
        """Why the episode is degraded, "" when it is not."""
        found = (doubt(name, track.captured_ns, track.counters, end_ns) for name, track in self.tracks.items())
        return " ".join(one for one in found if one)

    def close(self) -> None:
        """Finish all videos.

        Raises:
            OSError: The disk is full or failing.
        """
        for name, video in self._videos.items():
            self._encoders.get(name, video).close()

    def abandon(self) -> None:
        """Close all files as they stand."""
        for name, video in self._videos.items():
            self._encoders.get(name, video).abandon()

    def fail(self) -> None:
        """Raise what an encoder met since the last call.

        Raises:
            OSError: The disk is full or failing.
        """
        for encoder in self._encoders.values():
            if encoder.fault is not None:
                raise encoder.fault

    def _video(self, name: str) -> VideoWriter:
        if name not in self._videos:
            path = self._folder / f"{name}.mp4"
            video = open_video(path, self.spec[name], self._rate_hz, self._lossless)
            self._videos[name] = video
            if self._live:
                self._encoders[name] = BackgroundVideo(video, QUEUE_FRAMES)
        return self._videos[name]
