"""Calibration on disk: intrinsics and where the camera sits, as readable JSON with a hash of its meaning.

The hash covers the numbers and names, not the layout of the file, and belongs into every episode (`EpisodeMeta.extra`),
so that data taken before and after a bump against the camera never mix unnoticed. A file whose content does not
match its hash is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["Calibration", "HandEye", "Intrinsics", "load_calibration", "pose_matrix", "save_calibration"]

FORMAT = "robolearn-calibration-1"


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """How a camera projects, in pixels of the full picture; pixel centres lie at whole numbers (as OpenCV has it).

    Attributes:
        width: Picture width.
        height: Picture height.
        fx: Focal length along x.
        fy: Focal length along y.
        cx: Principal point, x.
        cy: Principal point, y.
        distortion: Coefficients of `model`.
        model: "brown_conrady" (OpenCV's k1 k2 p1 p2 k3), or the vendor's name for another model.
        rms_px: Root mean square reprojection error of the calibration, 0 when the vendor gave the numbers.
        views: How many pictures it rests on, 0 when the vendor gave the numbers.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    model: str = "brown_conrady"
    rms_px: float = 0.0
    views: int = 0

    @property
    def matrix(self) -> Array:
        """(3, 3) the camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True)
class HandEye:
    """Where the camera sits: on the hand (`T_tool_camera`) or beside the robot (`T_base_camera`).

    Attributes:
        mount: "eye_in_hand" or "eye_to_hand".
        T_mount_camera: (4, 4) rows of the camera's pose in the tool or in the base; metres.
        T_other_board: (4, 4) rows of the board's pose in the base (eye in hand) or in the tool (eye to hand).
        rotation_deg: Root mean square rotation residual over the views.
        translation_m: Root mean square position residual over the views.
        views: How many pairs of poses it rests on.
    """

    mount: str
    T_mount_camera: tuple[tuple[float, ...], ...]
    T_other_board: tuple[tuple[float, ...], ...]
    rotation_deg: float
    translation_m: float
    views: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that is known about one camera's geometry.

    Attributes:
        camera: The camera's name on the bench.
        serial: Its serial number or device path, "" when unknown.
        intrinsics: How it projects.
        board: Facts of the board that was used.
        hand_eye: Where it sits, None when not yet calibrated.
    """

    camera: str
    serial: str
    intrinsics: Intrinsics
    board: dict[str, Any]
    hand_eye: HandEye | None = None

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that change when any number or name changes."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def pose_matrix(rows: Any, what: str = "A pose") -> Array:
    """Check that something is a rigid pose and return it as (4, 4) float64.

    Raises:
        DataFileError: Wrong shape, not finite, or the rotation is not one (to 1e-4).
    """
    pose = np.asarray(rows, np.float64)
    if pose.shape != (4, 4) or not np.all(np.isfinite(pose)):
        raise DataFileError(
            f"{what} must be a finite 4 x 4 matrix; found shape {pose.shape}. Give T_base_tool per view."
        )
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > 1e-4 or np.linalg.det(rotation) < 0 or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-9:
        raise DataFileError(
            f"{what} is not a rigid pose (rotation off by {error:.2g}, last row {pose[3].tolist()}). "
            "Expected a rotation matrix with determinant +1 and the last row 0 0 0 1."
        )
    return pose


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file whole or not at all: aside, then renamed into place."""
    content = {"format": FORMAT, "hash": calibration.hash, **asdict(calibration)}
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(content, indent=1) + "\n")
    aside.replace(path)


def load_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        DataFileError: Missing, not a calibration, damaged, or edited by hand (the hash does not match).
    """
    if not path.is_file():
        raise DataFileError(f"There is no calibration {path}. Make one with: robolearn calibrate intrinsics")
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise DataFileError(f"{path} has the format {content['format']!r}; this version reads {FORMAT!r}.")
        found = Calibration(
            camera=content["camera"],
            serial=content["serial"],
            intrinsics=Intrinsics(**_tuples(content["intrinsics"])),
            board=content["board"],
            hand_eye=HandEye(**_tuples(content["hand_eye"])) if content["hand_eye"] is not None else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"{path} is not a calibration file: {error!r}. Calibrate again.") from error
    if found.hash != content["hash"]:
        raise DataFileError(
            f"{path} was changed after calibrating: it says hash {content['hash']}, its content has {found.hash}. "
            "Calibrate again, or restore the file."
        )
    if found.hand_eye is not None:
        pose_matrix(found.hand_eye.T_mount_camera, "T_mount_camera")
        pose_matrix(found.hand_eye.T_other_board, "T_other_board")
    return found


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    def convert(value: Any) -> Any:
        return tuple(convert(v) for v in cast("list[Any]", value)) if isinstance(value, list) else value

    return {key: convert(value) for key, value in fields.items()}
