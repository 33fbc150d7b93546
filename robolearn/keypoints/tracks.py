"""Points of people over time, as a tracker gave them, and the files in which others recorded them.

A `Tracks` believes nothing: faults of the tracker are still in it. `quality` says which frames to doubt, and repairs by
declared rules. Points are metres in a frame that x ahead, y left, z up describes unless the source says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["ARM", "BOTH_ARMS", "Tracks", "read_assembly", "read_numbers", "read_onions"]

ARM = ("right_shoulder", "right_elbow", "right_wrist")
BOTH_ARMS = ("left_shoulder", "left_elbow", "left_wrist", *ARM)
_ONION_COLUMNS = 29
_ASSEMBLY_ORDER = ("left_wrist", "right_wrist", "left_elbow", "right_elbow", "left_shoulder", "right_shoulder")


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Named points over T frames.

    Attributes:
        names: Of the P points.
        points: (T, P, 3) positions, m; NaN where the tracker gave none.
        rate_hz: Frames per second; 0 where nobody recorded it.
        source: Where it comes from.
        confidence: (T, P) the detector's own, between 0 and 1; one where it gave none.
        people: (T,) how many people were seen; one where nobody counted.
        onions: (T, 5, 4) x, y, z and label (1 good, 0 blemished; all -1 once it is gone), for recordings of sorting.
    """

    names: tuple[str, ...]
    points: Array
    rate_hz: float
    source: str
    confidence: Array = field(default_factory=lambda: np.zeros(0))
    people: Array = field(default_factory=lambda: np.zeros(0, int))
    onions: Array | None = None

    def __post_init__(self) -> None:
        frames = len(self.points)
        if self.points.shape != (frames, len(self.names), 3) or not frames:
            raise DataFileError(
                f"{self.source}: expected points of shape (frames, {len(self.names)}, 3) and at least one frame; "
                f"found {self.points.shape}."
            )
        if self.confidence.shape != self.points.shape[:2]:
            object.__setattr__(self, "confidence", np.where(np.isnan(self.points).any(axis=-1), 0.0, 1.0))
        if self.people.shape != (frames,):
            object.__setattr__(self, "people", np.ones(frames, int))

    def __len__(self) -> int:
        return len(self.points)

    def point(self, name: str) -> Array:
        """(T, 3) one point."""
        return self.points[:, self.names.index(name)]


def read_numbers(path: Path, columns: int, separator: str | None = None) -> Array:
    """A table of numbers (T, columns); "nan" is allowed, anything else is refused with its line.

    Raises:
        DataFileError: There is no such file, a line has another number of columns, or a word is no number.
    """
    if not path.is_file():
        raise DataFileError(f"Expected a recording at {path}; there is none. Check the path.")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        words = line.split(separator)
        if len(words) != columns:
            raise DataFileError(
                f"{path}, line {number}: expected {columns} columns, found {len(words)}. The file was cut or is of "
                "another kind; nothing of it was read."
            )
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise DataFileError(f"{path}, line {number}: expected numbers, found {str(error)[-40:]}.") from error
    if not rows:
        raise DataFileError(f"{path} is empty; expected lines of {columns} numbers.")
    return np.array(rows)


def read_onions(folder: Path) -> list[Tracks]:
    """Recordings of people who sort onions: `states_<k>.csv`, in the order of k.

    29 columns: right shoulder, elbow and wrist, then x, y, z and label of five onions, in the laboratory's frame (x
    ahead of the person, y left, z up, the table at 0.77 m). The frame rate was not recorded; the motion says 1 to 2 Hz.
    Published with thinclab/imitation, branch robust_online_airl (MIT), for Visual IRL (arXiv 2412.11360).

    Raises:
        DataFileError: There is none, or one is damaged.
    """
    paths = sorted(folder.glob("states_*.csv"), key=lambda p: int(p.stem.partition("_")[2]))
    if not paths:
        raise DataFileError(f"Expected files states_1.csv, states_2.csv, ... in {folder}; there is none.")
    found: list[Tracks] = []
    for path in paths:
        table = read_numbers(path, _ONION_COLUMNS, ",")
        onions = table[:, 9:].reshape(-1, 5, 4)
        found.append(Tracks(ARM, table[:, :9].reshape(-1, 3, 3), 0.0, path.name, onions=onions))
    return found


def read_assembly(path: Path, rate_hz: float = 30.0) -> Tracks:
    """One recording of both arms of a person who assembles blocks: 18 columns, in the frame of a camera.

    x points right in the picture, y down, z away from the camera. Published as Human_Assembly_Data (MIT), from a
    RealSense camera and OpenPose.

    Raises:
        DataFileError: It is not there, or damaged.
    """
    table = read_numbers(path, 18)
    order = [_ASSEMBLY_ORDER.index(name) for name in BOTH_ARMS]
    return Tracks(BOTH_ARMS, table.reshape(-1, 6, 3)[:, order], rate_hz, path.name)
