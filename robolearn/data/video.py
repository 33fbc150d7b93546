"""Pictures beside the log as fragmented MP4, readable at any instant, even after a kill.

Every frame is its own fragment and goes to the file when the next one arrives, so the death of the process costs at
most the newest frame. Lossless mode (H.264 in RGB at quantiser 0) gives back every bit and is meant for the small
pictures networks learn from; the other mode is H.264 at crf 18 in yuv420p for pictures people look at. Depth, 16 bits
in one channel, is always lossless (FFV1), because a smoothed depth edge is a surface that does not exist.
"""

# PyAV's stubs leave the type of packets open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from robolearn.errors import DataFileError, SpecError
from robolearn.specs import Array, ArraySpec

__all__ = ["LOSSLESS_UP_TO_PX", "VideoWriter", "is_filmed", "iterate_video", "open_video", "read_video", "resize"]

LOSSLESS_UP_TO_PX = 128
_KEY_PERIOD_S = 0.5  # a damaged frame spoils at most this much


def is_filmed(spec: ArraySpec) -> bool:
    """Whether an array goes to a video: a picture (height, width, 3) uint8 or a depth map (height, width) uint16."""
    return spec.is_image or (spec.dtype == "uint16" and len(spec.shape) == 2)


class _File:
    """An unbuffered file, so that a full disk is an OSError here and not a line in ffmpeg's log."""

    def __init__(self, path: Path):
        self.fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)

    def write(self, data: bytes) -> int:
        written = os.write(self.fd, data)
        while written < len(data):  # the kernel took a part: the next call says why
            written += os.write(self.fd, data[written:])
        return written

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_video(path: Path, spec: ArraySpec, rate_hz: float, lossless: bool | None = None) -> VideoWriter:
    """A writer for the pictures or depth maps of a spec."""
    return VideoWriter(path, spec.shape[0], spec.shape[1], rate_hz, lossless, depth=len(spec.shape) == 2)


class VideoWriter:
    """Encodes pictures of one size to a file, in order.

    Args:
        path: The file to make; it must not exist.
        height: Rows of a picture.
        width: Columns of a picture.
        rate_hz: Nominal frames per second, for players; true times are in the log.
        lossless: Keep every bit; by default for depth and for pictures of at most 128 x 128.
        depth: The pictures are (height, width) uint16.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        rate_hz: float,
        lossless: bool | None = None,
        *,
        depth: bool = False,
    ):
        if lossless is None or depth:
            lossless = depth or max(height, width) <= LOSSLESS_UP_TO_PX
        if min(height, width) < 1 or (not lossless and (height % 2 or width % 2)):
            raise SpecError(
                f"Cannot encode pictures of {height} x {width} px for {path.name}: lossy video needs even sizes of at "
                "least 2. Crop the picture at the camera or record it lossless."
            )
        self.count = 0
        self._shape, self._dtype = ((height, width), np.uint16) if depth else ((height, width, 3), np.uint8)
        self._format = "gray16le" if depth else "rgb24"
        self._file = _File(path)
        flags = "frag_every_frame+empty_moov+default_base_moof"
        self._container: OutputContainer = av.open(
            self._file, "w", format="mp4", options={"movflags": flags, "flush_packets": "1"}
        )
        codec: Literal["ffv1", "libx264rgb", "libx264"] = "ffv1" if depth else "libx264rgb" if lossless else "libx264"
        fast = {"tune": "zerolatency", "bf": "0"}
        options = {
            "ffv1": {"level": "3", "slices": "4", "slicecrc": "1"},
            "libx264rgb": {"preset": "superfast", "qp": "0", **fast},
            "libx264": {"preset": "veryfast", "crf": "18", **fast},
        }[codec]
        self._stream: VideoStream = self._container.add_stream(
            codec, rate=Fraction(rate_hz).limit_denominator(1001), options=options
        )
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = self._format if lossless else "yuv420p"
        self._stream.codec_context.gop_size = 1 if depth else max(1, round(rate_hz * _KEY_PERIOD_S))
        if lossless:
            self._stream.codec_context.thread_count = 1  # hundreds of small writers live side by side

    @property
    def fd(self) -> int:
        """Descriptor of the file, -1 when it is closed."""
        return self._file.fd

    def add(self, frame: Array) -> int:
        """Encode one picture, (height, width, 3) uint8 or (height, width) uint16 for depth; returns its number.

        Raises:
            SpecError: Another shape or type.
            OSError: The disk is full or failing.
        """
        if frame.shape != self._shape or frame.dtype != self._dtype:
            kind = np.dtype(self._dtype).name
            raise SpecError(f"Expected a picture {self._shape} {kind}; found {frame.shape} {frame.dtype}.")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=self._format)
        picture.pts = self.count
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        """Write what is left and close; safe to call twice."""
        if self._file.fd < 0:
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


def iterate_video(path: Path) -> Iterator[Array]:
    """Whole pictures of a video one by one, (height, width, 3) uint8 or (height, width) uint16; see `read_video`.

    Raises:
        DataFileError: The file is missing or holds no picture.
    """
    count = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if cast(Any, stream).codec_context is None:
                raise DataFileError(
                    f"Expected a readable video at {path}; its coding is unknown. It was damaged; restore it from a "
                    "copy or delete the episode."
                )
            stream.thread_type = "SLICE"  # frame threads would drop whole frames before a torn one
            stream.codec_context.options = {"err_detect": "explode"}  # never a made-up picture
            kind = "gray16le" if stream.codec_context.name == "ffv1" else "rgb24"
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    break
                for frame in packet.decode():
                    count += 1
                    yield frame.to_ndarray(format=kind)
    except FileNotFoundError as error:
        raise DataFileError(f"Expected a video at {path}; there is none. Restore it or delete the episode.") from error
    except (av.error.FFmpegError, IndexError) as error:
        if not count:
            raise DataFileError(
                f"Expected a readable video at {path}; found no whole picture in it ({error}). It was cut off or "
                "damaged; restore it from a copy or delete the episode."
            ) from error
    if not count:
        raise DataFileError(f"Expected pictures in {path}; found none. Delete the episode or restore the file.")


def read_video(path: Path) -> Array:
    """All whole pictures of a video, (T, height, width[, 3]); a torn tail is left out.

    Raises:
        DataFileError: The file is missing or holds no picture.
    """
    return np.stack(list(iterate_video(path)))


def resize(frames: Array, height: int, width: int) -> Array:
    """Pictures at another size.

    Colour (T, h, w, 3) uint8 by area averaging (no aliasing), depth (T, h, w) uint16 by picking, because a blended
    depth is a surface that does not exist.
    """
    if frames.shape[1:3] == (height, width):
        return frames
    if frames.ndim == 3:
        rows = ((np.arange(height) + 0.5) * frames.shape[1] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * frames.shape[2] / width).astype(int)
        return frames[:, rows[:, None], columns]
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        smaller: Any = picture.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
        out[i] = smaller.to_ndarray()
    return out
