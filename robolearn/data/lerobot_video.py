"""Pictures of an episode out of a LeRobot video, row by row and by time, not by counting.

Row k lies at `start + k / fps` of the file. Where the file has no picture within half a period of that, the newest one
before it stands in and is given with its own row number, so that the caller can mark it as repeated.
"""

# PyAV's stubs leave types of streams open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error

from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["picture_size", "stored_pictures", "video_pictures"]


def picture_size(video: tuple[Path, float] | None, stored: Any) -> tuple[int, int]:
    """Height and width, from the file itself.

    Raises:
        DataFileError: There is no picture in it.
    """
    if video is None:
        first = next(stored_pictures(stored, Path()), None)
        if first is None:
            raise DataFileError("it has no pictures.")
        return first[1].shape[0], first[1].shape[1]
    try:
        with av.open(str(video[0])) as container:
            stream = container.streams.video[0]
            return stream.height, stream.width
    except (av.error.FFmpegError, IndexError) as error:
        raise DataFileError(f"the video {video[0].name} cannot be read ({error}).") from error


def video_pictures(path: Path, start_s: float, fps: float, count: int) -> Iterator[tuple[int, Array]]:
    """Yield (row it was taken for, picture) for rows 0 to count - 1; ends early where the file does."""
    half = 0.5 / fps
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            base = float(stream.time_base or 1)
            first_s = float((stream.start_time or 0) * base)
            if start_s > 0:
                container.seek(int((first_s + start_s) / base), stream=stream, backward=True)
            frames = container.decode(stream)
            newest: tuple[int, Array] | None = None
            ahead: Any = next(frames, None)
            for row in range(count):
                want = start_s + row / fps
                while ahead is not None and ahead.time - first_s < want + half:
                    if ahead.time - first_s >= want - half:
                        newest = row, ahead.to_ndarray(format="rgb24")
                    ahead = next(frames, None)
                if newest is None or (ahead is None and newest[0] != row):
                    return
                yield newest
    except (av.error.FFmpegError, IndexError) as error:
        raise DataFileError(f"the video {path.name} cannot be read ({error}).") from error


def stored_pictures(column: Any, root: Path) -> Iterator[tuple[int, Array]]:
    """Pictures in a table's column: encoded bytes, or paths of files."""
    cells: list[Any] = [] if column is None else list(column)
    for row, cell in enumerate(cells):
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
        if data is None and path is None:
            return
        file: Any = str(root / str(path)) if data is None else io.BytesIO(data)
        try:
            container: Any = av.open(file, "r")
            with container:
                yield row, next(container.decode(video=0)).to_ndarray(format="rgb24")
        except (av.error.FFmpegError, StopIteration, IndexError) as error:
            raise DataFileError(f"the picture of row {row} cannot be read ({error}).") from error
