"""Doubtful pictures in one episode: a camera that saw nothing, stood still, or was slower than the rows.

Colour and depth are judged alike; a depth map without a single echo is what a black picture is to a camera.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robolearn.data.findings import Finding, longest_run
from robolearn.specs import Array

__all__ = ["camera_faults"]

_DARK = 8  # of 255: no pixel brighter than this is a black picture
_FEWEST = 5  # pictures


def camera_faults(id: str, name: str, frames: Array, captured: Array) -> Iterator[Finding]:
    """What is wrong with the pictures of a camera.

    Args:
        id: The episode.
        name: The camera.
        frames: (T + 1, h, w, 3) uint8 or (T + 1, h, w) uint16 depth.
        captured: (T + 1,) capture times in nanoseconds; equal ones are one picture shown again.
    """
    depth = frames.ndim == 3
    if len(frames) >= _FEWEST and int(frames.max()) <= (0 if depth else _DARK):
        yield Finding(
            "black camera",
            f"{id}, {name}",
            "likely",
            f"No pixel of {len(frames)} depth maps has an echo."
            if depth
            else f"No pixel of {len(frames)} pictures is brighter than {int(frames.max())} of 255.",
            "Check that its emitter is on and nothing covers it." if depth else "Check lens cap, exposure and light.",
        )
        return
    same: Array = np.array([np.array_equal(a, b) for a, b in zip(frames[1:], frames[:-1], strict=True)], bool)
    repeated: Array = np.diff(captured) == 0
    start, run = longest_run(same & ~repeated)
    if run >= _FEWEST:
        yield Finding(
            "frozen camera",
            f"{id}, {name}, rows {start} to {start + run}",
            "possible" if run < 20 else "likely",
            f"{run} pictures in a row are equal to the last bit although their capture times differ.",
            "A real camera always has some noise: check its driver. In a simulation nothing may have moved.",
        )
    share = float(np.mean(repeated)) if len(repeated) else 0.0
    if share > 0.01:
        yield Finding(
            "repeated pictures",
            f"{id}, {name}",
            "certain",
            f"{share:.0%} of the rows repeat the picture before (the camera is slower than the control rate).",
            "Fine if intended; else raise the camera's rate or lower the control rate.",
        )
