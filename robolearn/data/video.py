"""Pictures beside the log as fragmented MP4, readable at any instant, even after a kill.

Every frame is its own fragment and goes to the file when the next one arrives, so the death of the process costs at
most the newest frame. Lossless mode (H.264 in RGB at quantiser 0) gives back every bit and is meant for the small
pictures networks learn from; the other mode is H.264 at crf 18 in yuv420p for pictures people look at.
"""

# PyAV's stubs leave the type of packets open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from robolearn.errors import DataFileError, SpecError
from robolearn.specs import Array

__all__ = ["LOSSLESS_UP_TO_PX", "VideoWriter", "read_video", "resize"]

LOSSLESS_UP_TO_PX = 128
_KEY_PERIOD_S = 0.5  # a damaged frame spoils at most this much


def _codec(lossless: bool) -> Literal["libx264rgb", "libx264"]:
    return "libx264rgb" if lossless else "libx264"


class VideoWriter:
    """Encodes pictures of one size to a file, in order.

    Args:
        path: The file to make; it must not exist.
        height: Rows of a picture.
        width: Columns of a picture.
        rate_hz: Nominal frames per second, for players; true times are in the log.
        lossless: Keep every bit; by default for pictures of at most 128 x 128.
    """

    def __init__(self, path: Path, height: int, width: int, rate_hz: float, lossless: bool | None = None):
        if lossless is None:
            lossless = max(height, width) <= LOSSLESS_UP_TO_PX
        if min(height, width) < 1 or (not lossless and (height % 2 or width % 2)):
            raise SpecError(
                f"Cannot encode pictures of {height} x {width} px for {path.name}: lossy video needs even sizes of at "
                "least 2. Crop the picture at the camera or record it lossless."
            )
        self.count = 0
        self._shape = (height, width, 3)
        # Our own unbuffered file, so that a full disk is an OSError here and not a line in ffmpeg's log.
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - lives as long as the writer
        flags = "frag_every_frame+empty_moov+default_base_moof"
        self._container: OutputContainer = av.open(
            self._file, "w", format="mp4", options={"movflags": flags, "flush_packets": "1"}
        )
        quality = {"preset": "superfast", "qp": "0"} if lossless else {"preset": "veryfast", "crf": "18"}
        self._stream: VideoStream = self._container.add_stream(
            _codec(lossless),
            rate=Fraction(rate_hz).limit_denominator(1001),
            options={**quality, "tune": "zerolatency", "bf": "0"},
        )
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        self._stream.codec_context.gop_size = max(1, round(rate_hz * _KEY_PERIOD_S))
        if lossless:
            self._stream.codec_context.thread_count = 1  # hundreds of small writers live side by side

    def add(self, frame: Array) -> int:
        """Encode one picture (height, width, 3) uint8 and return its number.

        Raises:
            SpecError: Another shape or type.
            OSError: The disk is full or failing.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise SpecError(f"Expected a picture {self._shape} uint8; found {frame.shape} {frame.dtype}.")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self.count
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        """Write what is left and close; safe to call twice."""
        if self._file.closed:
            return
        try:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close the file as it stands, without raising when the disk is full."""
        try:
            self.close()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise


def read_video(path: Path) -> Array:
    """All whole pictures of a video, (T, height, width, 3) uint8; a torn tail is left out.

    Raises:
        DataFileError: The file is missing or holds no picture.
    """
    frames: list[Array] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # frame threads would drop whole frames before a torn one
            stream.codec_context.options = {"err_detect": "explode"}  # never a made-up picture
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    break
                frames.extend(frame.to_ndarray(format="rgb24") for frame in packet.decode())
    except FileNotFoundError as error:
        raise DataFileError(f"Expected a video at {path}; there is none. Restore it or delete the episode.") from error
    except (av.error.FFmpegError, IndexError) as error:
        if not frames:
            raise DataFileError(
                f"Expected a readable video at {path}; found no whole picture in it ({error}). It was cut off or "
                "damaged; restore it from a copy or delete the episode."
            ) from error
    if not frames:
        raise DataFileError(f"Expected pictures in {path}; found none. Delete the episode or restore the file.")
    return np.stack(frames)


def resize(frames: Array, height: int, width: int) -> Array:
    """Pictures (T, h, w, 3) uint8 at another size, by area averaging (no aliasing)."""
    if frames.shape[1:3] == (height, width):
        return frames
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        smaller: Any = picture.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
        out[i] = smaller.to_ndarray()
    return out
