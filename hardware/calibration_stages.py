"""Calibration as stages: a folder of pictures and a table of tool poses in, `calibration.json` and a report out.

The command line and bench recipes come in here. Pictures are matched with tool poses by file name; those in which the
board is not found are named in the report and left out.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware.calibration import board_pose, calibrate_hand_eye, calibrate_intrinsics, check_pose
from hardware.calibration_board import CharucoBoard, View, load_board, opencv
from robolearn.bench.calibration import Calibration, load_calibration, pose_matrix, save_calibration
from robolearn.errors import DataFileError
from robolearn.geometry import quaternion_to_matrix
from robolearn.specs import Array

__all__ = ["BoardStage", "CheckStage", "HandEyeStage", "IntrinsicsStage", "read_poses", "read_views"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
COLUMNS = ("image", "x", "y", "z", "qw", "qx", "qy", "qz")


@dataclass(frozen=True, kw_only=True)
class BoardStage:
    """Draw a Charuco board as board.png, to be printed at 100 %, with its facts in board.json."""

    columns: int = 7
    """Squares along x."""
    rows: int = 5
    """Squares along y."""
    square_m: float = 0.035
    """Side of a square in metres."""
    marker_m: float = 0.026
    """Side of a marker in metres."""
    dictionary: str = "4x4_50"
    """OpenCV's marker dictionary without DICT_."""
    dots_per_inch: int = 300
    """Resolution of the picture."""

    def run(self, out: Path) -> Path:
        """Write board.png and board.json below `out`."""
        board = CharucoBoard(self.columns, self.rows, self.square_m, self.marker_m, self.dictionary)
        out.mkdir(parents=True, exist_ok=True)
        board.save(out, self.dots_per_inch)
        width, height = board.size_m
        return _report(
            out,
            {"board": asdict(board)},
            f"The squares together must measure {1e3 * width:.1f} x {1e3 * height:.1f} mm on paper; print at 100 %, "
            "measure, and correct square_m and marker_m in board.json if the printer scaled.",
        )


@dataclass(frozen=True, kw_only=True)
class IntrinsicsStage:
    """Find a camera's focal lengths, centre and distortion from pictures of the board."""

    images: str = ""
    """Folder of pictures from one camera in one mode."""
    board: str = ""
    """board.json of the printed board; "" is the default board."""
    name: str = "camera"
    """Name of the camera on the bench."""
    serial: str = ""
    """Its serial number."""

    def run(self, out: Path) -> Path:
        """Write calibration.json and report.json below `out`."""
        board = load_board(self.board)
        views, missed = read_views(Path(self.images), board)
        result = calibrate_intrinsics(views)
        calibration = Calibration(self.name, self.serial, result.intrinsics, asdict(board))
        out.mkdir(parents=True, exist_ok=True)
        save_calibration(calibration, out / "calibration.json")
        found = result.intrinsics
        worst = max(result.view_rms_px, key=lambda name: result.view_rms_px[name])
        facts = {
            "hash": calibration.hash,
            "deviations_px": result.deviations,
            "view_rms_px": result.view_rms_px,
            "without_board": missed,
        }
        return _report(
            out,
            facts,
            f"fx {found.fx:.2f} +- {result.deviations[0]:.2f}, fy {found.fy:.2f} +- {result.deviations[1]:.2f}, centre "
            f"({found.cx:.2f}, {found.cy:.2f}) px; reprojection {found.rms_px:.3f} px over {found.views} pictures "
            f"({len(missed)} without board), worst {worst} with {result.view_rms_px[worst]:.3f} px.",
        )


@dataclass(frozen=True, kw_only=True)
class HandEyeStage:
    """Find where the camera sits on the tool or in the base, from pictures and tool poses."""

    images: str = ""
    """Folder of pictures, one per tool pose."""
    poses: str = ""
    """Table of tool poses, see `read_poses`; "" is poses.csv beside the pictures."""
    calibration: str = ""
    """calibration.json with the camera's intrinsics; the result keeps them."""
    mount: str = "eye_in_hand"
    """"eye_in_hand" (camera on the tool, board fixed) or "eye_to_hand" (camera fixed, board on the tool)."""

    def run(self, out: Path) -> Path:
        """Write calibration.json, now with its hand-eye part, and report.json below `out`."""
        known = load_calibration(Path(self.calibration))
        views, missed = read_views(Path(self.images), CharucoBoard(**known.board))
        tools = _tool_poses(views, self.images, self.poses)
        boards = [board_pose(view, known.intrinsics)[0] for view in views]
        hand_eye = calibrate_hand_eye(tools, boards, self.mount)
        calibration = replace(known, hand_eye=hand_eye)
        out.mkdir(parents=True, exist_ok=True)
        save_calibration(calibration, out / "calibration.json")
        place = np.array(hand_eye.T_mount_camera)[:3, 3]
        where = "tool" if self.mount == "eye_in_hand" else "base"
        return _report(
            out,
            {"hash": calibration.hash, "hand_eye": asdict(hand_eye), "without_board": missed},
            f"The camera sits at ({place[0]:.4f}, {place[1]:.4f}, {place[2]:.4f}) m in the {where}; residuals "
            f"{1e3 * hand_eye.translation_m:.2f} mm and {hand_eye.rotation_deg:.3f} degrees over {hand_eye.views} "
            f"pictures ({len(missed)} without board).",
        )


@dataclass(frozen=True, kw_only=True)
class CheckStage:
    """Compare where the board is seen with where the calibration says it must be. Fails when they differ."""

    images: str = ""
    """Folder of one or more pictures."""
    poses: str = ""
    """Table of tool poses, see `read_poses`; "" is poses.csv beside the pictures."""
    calibration: str = ""
    """calibration.json with a hand-eye part."""
    most_m: float = 0.005
    """Largest allowed distance in metres."""
    most_deg: float = 1.0
    """Largest allowed turn in degrees."""

    def run(self, out: Path) -> Path:
        """Write report.json below `out`. Raises `DataFileError` when the camera or the board has moved."""
        known = load_calibration(Path(self.calibration))
        views, missed = read_views(Path(self.images), CharucoBoard(**known.board))
        if not views:
            raise DataFileError(
                f"The board is in none of the {len(missed)} pictures in {self.images}. Bring it into view."
            )
        tools = _tool_poses(views, self.images, self.poses)
        limits = {"most_m": self.most_m, "most_deg": self.most_deg}
        checks = [
            check_pose(known, tool, board_pose(view, known.intrinsics)[0], **limits)
            for view, tool in zip(views, tools, strict=True)
        ]
        worst = max(checks, key=lambda c: max(c.translation_m / self.most_m, c.rotation_deg / self.most_deg))
        text = (
            f"worst of {len(checks)} pictures: {1e3 * worst.translation_m:.2f} mm (at most {1e3 * self.most_m:g}) and "
            f"{worst.rotation_deg:.3f} degrees (at most {self.most_deg:g})"
        )
        out.mkdir(parents=True, exist_ok=True)
        pictures = {view.name: asdict(check) for view, check in zip(views, checks, strict=True)}
        report = _report(
            out, {"hash": known.hash, "pictures": pictures, "without_board": missed}, f"Check pose, {text}."
        )
        if not worst.ok:
            raise DataFileError(f"The camera or the board has moved: {text}. Calibrate again before recording.")
        return report


def read_views(folder: Path, board: CharucoBoard) -> tuple[list[View], list[str]]:
    """Views of the board in every picture of a folder, by name, and the names of pictures without it.

    Raises:
        DataFileError: No folder, no pictures, or one that cannot be read.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not paths:
        raise DataFileError(
            f"Expected pictures ({', '.join(PICTURES)}) in the folder {str(folder)!r}; found none. "
            "Give --images, or --camera to take them now."
        )
    cv2 = opencv()
    views: list[View] = []
    missed: list[str] = []
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise DataFileError(f"{path} cannot be read as a picture. Remove it or take it again.")
        view = board.find(picture, path.name)
        if view is None:
            missed.append(path.name)
        else:
            views.append(view)
    return views, missed


def read_poses(path: Path) -> dict[str, Array]:
    """Tool poses T_base_tool (4, 4) by picture name.

    A .csv has the columns image, x, y, z (metres), qw, qx, qy, qz (unit quaternion); a .json maps picture names to
    4 x 4 matrices.

    Raises:
        DataFileError: Missing file or columns, or something that is not a pose.
    """
    if not path.is_file():
        raise DataFileError(
            f"There is no table of tool poses {path}. Expected a .csv with columns {', '.join(COLUMNS)}."
        )
    try:
        if path.suffix == ".json":
            content: dict[str, Any] = json.loads(path.read_text())
            return {name: pose_matrix(rows, f"The pose of {name}") for name, rows in content.items()}
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            if missing := set(COLUMNS) - set(rows.fieldnames or ()):
                raise DataFileError(f"{path} lacks the columns {sorted(missing)}; expected {', '.join(COLUMNS)}.")
            return {row["image"]: _row_pose(row, path) for row in rows}
    except ValueError as error:
        raise DataFileError(f"{path} cannot be read: {error}. Expected numbers in every column.") from error


def _row_pose(row: dict[str, str], path: Path) -> Array:
    values = np.array([float(row[column]) for column in COLUMNS[1:]])
    length = float(np.linalg.norm(values[3:]))
    if not abs(length - 1.0) < 1e-3:
        raise DataFileError(
            f"{path}: the quaternion of {row['image']} has length {length:.4f}; expected 1, in the order w, x, y, z."
        )
    pose = np.eye(4)
    pose[:3, :3] = quaternion_to_matrix(values[3:] / length)
    pose[:3, 3] = values[:3]
    return pose_matrix(pose, f"The pose of {row['image']}")


def _tool_poses(views: list[View], images: str, poses: str) -> list[Array]:
    path = Path(poses) if poses else Path(images) / "poses.csv"
    table = read_poses(path)
    if missing := [view.name for view in views if view.name not in table]:
        raise DataFileError(f"{path} has no pose for {', '.join(missing)}. Add them, or remove the pictures.")
    return [table[view.name] for view in views]


def _report(out: Path, facts: dict[str, Any], summary: str) -> Path:
    path = out / "report.json"
    path.write_text(json.dumps({"summary": summary, **facts}, indent=1) + "\n")
    return path
