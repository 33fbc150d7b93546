"""The Charuco board: drawing it for the printer, finding it in pictures, and what a camera would see of it.

A Charuco board is a chessboard with a marker in every white square, so each corner has a number and a partly hidden
board still counts (OpenCV's `aruco` module). The board's frame has its origin at the outer corner of the first square,
x along the columns, y along the rows and z into the paper, in metres.
"""

from __future__ import annotations

import importlib
import json
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.bench.calibration import Intrinsics
from robolearn.errors import DataFileError, MissingDependency, UnknownName
from robolearn.specs import Array

__all__ = ["CharucoBoard", "View", "load_board", "opencv", "see_board"]

FEWEST_CORNERS = 6


def opencv() -> Any:
    """The module cv2. Raises `MissingDependency` when it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingDependency("opencv-python", "camera", "Calibration") from error


@dataclass(frozen=True, slots=True)
class View:
    """What was found of the board in one picture.

    Attributes:
        name: Which picture.
        points_m: (k, 3) float32, corners in the board's frame.
        pixels: (k, 2) float32, where they were seen.
        size: Width and height of the picture.
    """

    name: str
    points_m: Array
    pixels: Array
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CharucoBoard:
    """A printed Charuco board."""

    columns: int = 7
    """Squares along x."""
    rows: int = 5
    """Squares along y."""
    square_m: float = 0.035
    """Side of a square; measure the print, printers scale."""
    marker_m: float = 0.026
    """Side of a marker."""
    dictionary: str = "4x4_50"
    """OpenCV's marker dictionary without DICT_."""

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the squares together."""
        return self.columns * self.square_m, self.rows * self.square_m

    def draw(self, pixels_per_m: float, margin_m: float = 0.0) -> Array:
        """The board as a grey picture (height, width) uint8 with a white margin.

        Raises:
            DataFileError: Impossible sizes.
        """
        margin = round(margin_m * pixels_per_m)
        width, height = (round(side * pixels_per_m) for side in self.size_m)
        picture = self._opencv_board().generateImage((width, height), marginSize=0, borderBits=1)
        return np.pad(picture, margin, constant_values=255)

    def save(self, folder: Path, dots_per_inch: int = 300) -> Path:
        """Write board.png, to be printed at 100 %, and board.json with the board's facts; returns the picture's path.

        The picture states its resolution, so every program prints or embeds (in a PDF, say) the true size.
        """
        ok, png = opencv().imencode(".png", self.draw(dots_per_inch / 0.0254, margin_m=0.01))
        if not ok:
            raise DataFileError("OpenCV could not encode the board as PNG. Reinstall opencv-python.")
        picture = folder / "board.png"
        picture.write_bytes(_with_resolution(png.tobytes(), dots_per_inch))
        (folder / "board.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        return picture

    def find(self, picture: Array, name: str = "picture") -> View | None:
        """The board in a picture (height, width, 3) or (height, width) uint8, None when too little is seen of it."""
        cv2 = opencv()
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        board = self._opencv_board()
        corners, numbers, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(grey)
        if numbers is None or len(numbers) < FEWEST_CORNERS:
            return None
        points = np.asarray(board.getChessboardCorners(), np.float32)[numbers.ravel()]
        # Corners in one row say nothing about a plane.
        if np.linalg.matrix_rank(points[:, :2] - points[:, :2].mean(axis=0), tol=1e-6) < 2:
            return None
        pixels = self._refine(grey, np.asarray(corners, np.float32).reshape(-1, 2))
        return View(name, points, pixels, (grey.shape[1], grey.shape[0]))

    def _refine(self, grey: Array, pixels: Array) -> Array:
        """Corners at their saddle points, with pixel centres at whole numbers.

        OpenCV's detector (4.11, say) adds half a pixel to what it refined (opencv/opencv#25539), which would shift the
        principal point and every pose; refining again, in a window clear of the markers, is right for any version.
        """
        apart = np.linalg.norm(pixels[:, None] - pixels, axis=-1) + 1e9 * np.eye(len(pixels))
        clear = 0.5 * (1.0 - self.marker_m / self.square_m) * float(apart.min())
        half = int(np.clip(clear, 2, 7))
        cv2 = opencv()
        until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
        refined = cv2.cornerSubPix(grey, pixels[:, None].copy(), (half, half), (-1, -1), until)
        return np.asarray(refined, np.float32).reshape(-1, 2)

    def _opencv_board(self) -> Any:
        aruco = opencv().aruco
        names = {n.removeprefix("DICT_").lower(): n for n in dir(aruco) if n.startswith("DICT_")}
        if self.dictionary.lower() not in names:
            raise UnknownName("marker dictionary", self.dictionary, names)
        if not (self.columns >= 3 and self.rows >= 3 and 0 < self.marker_m < self.square_m):
            raise DataFileError(
                "A board needs at least 3 x 3 squares and markers smaller than squares; found "
                f"{self.columns} x {self.rows}, square_m {self.square_m!r}, marker_m {self.marker_m!r}."
            )
        dictionary = aruco.getPredefinedDictionary(getattr(aruco, names[self.dictionary.lower()]))
        needed, there = self.columns * self.rows // 2, len(dictionary.bytesList)
        if needed > there:
            raise DataFileError(
                f"The board needs {needed} markers, {self.dictionary} has {there}. Use a larger dictionary."
            )
        return aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary)


def load_board(path: str) -> CharucoBoard:
    """The board of a board.json; the default board when `path` is "".

    Raises:
        DataFileError: Missing or not a board.
    """
    if not path:
        return CharucoBoard()
    if not Path(path).is_file():
        raise DataFileError(f"There is no board {path}. Make one with: robolearn calibrate board --out <folder>")
    try:
        return CharucoBoard(**json.loads(Path(path).read_text()))
    except (ValueError, TypeError) as error:
        raise DataFileError(f"{path} does not describe a board: {error}. Make it again.") from error


def see_board(
    board: CharucoBoard, intrinsics: Intrinsics, T_camera_board: Array, *, background: int = 120, supersample: int = 3
) -> Array:
    """What a camera sees of the board: a grey picture (height, width) uint8, exact in geometry.

    Every sample of the picture is carried back along its (undistorted) ray to the board's plane, so the distortion is
    the very model that calibration fits. For tests, demonstrations and for trying out poses before printing.

    Args:
        board: What hangs there, with a white margin of one square.
        intrinsics: The camera; model "brown_conrady".
        T_camera_board: (4, 4) the board's pose in the camera (z ahead), metres.
        background: Grey of everything else.
        supersample: Samples per pixel along each axis.
    """
    cv2 = opencv()
    pixels_per_m = 3000.0
    texture = board.draw(pixels_per_m, margin_m=board.square_m)
    width, height = intrinsics.width * supersample, intrinsics.height * supersample
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    samples = np.stack([x, y], -1).reshape(-1, 1, 2)
    samples = (samples + 0.5) / supersample - 0.5  # centres of samples in pixels of the picture
    rays = cv2.undistortPoints(samples, intrinsics.matrix, np.array(intrinsics.distortion)).reshape(-1, 2)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    rotation, origin = T_camera_board[:3, :3], T_camera_board[:3, 3]
    # In the board's frame a ray is R^T (s ray - origin); the plane is z = 0.
    towards, start = rays @ rotation, -origin @ rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = -start[2] / towards[:, 2]
        hit = start[:2] + scale[:, None] * towards[:, :2]
    hit[~(scale > 0)] = -1e3
    where = ((hit + board.square_m) * pixels_per_m - 0.5).astype(np.float32).reshape(height, width, 2)
    seen = cv2.remap(texture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=background)
    return cv2.resize(seen, (intrinsics.width, intrinsics.height), interpolation=cv2.INTER_AREA)


def _with_resolution(png: bytes, dots_per_inch: int) -> bytes:
    """Insert the chunk pHYs (dots per metre) behind the header of a PNG file."""
    per_metre = round(dots_per_inch / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    header = 8 + 25  # signature and IHDR
    return png[:header] + chunk + png[header:]
