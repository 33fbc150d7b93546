"""Where a camera looks and sits: intrinsics from views of a board, hand-eye from tool poses, and a check before work.

Intrinsics: Zhang, "A flexible new technique for camera calibration" (2000), by `cv2.calibrateCamera`. Hand-eye: A X =
X B by Park and Martin (1994), `cv2.calibrateHandEye`; for a camera beside the robot the same equation with the tool's
pose inverted. We add what OpenCV leaves to the user: standard deviations and the spread of rotation axes decide
whether the views were rich enough, and residuals come in metres and degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.calibration_board import View, opencv
from robolearn.bench.calibration import Calibration, HandEye, Intrinsics, pose_matrix
from robolearn.errors import DataFileError, UnknownName
from robolearn.geometry import quaternion_from_matrix, rotation_vector
from robolearn.specs import Array

__all__ = [
    "IntrinsicsResult",
    "PoseCheck",
    "board_pose",
    "calibrate_hand_eye",
    "calibrate_intrinsics",
    "check_pose",
    "pose_difference",
]

FEWEST_VIEWS = 8
"""For intrinsics; 15 to 25 are better."""
FEWEST_POSES = 5
"""For hand-eye; three are the mathematical minimum, 10 to 15 are better."""
LARGEST_FOCAL_DEVIATION = 0.005
"""Standard deviation of the focal lengths, relative to them, above which the views cannot have been tilted enough."""
SMALLEST_TILT_DEG = 20.0
"""Between the board's normals in two pictures; without tilt a longer focal length looks like a larger distance."""
SMALLEST_ROTATION_DEG = 15.0
"""Largest turn between any two tool poses must exceed this, for its error is that of the poses divided by the turn."""
SMALLEST_AXIS_SPREAD = 0.2
"""Turns about one axis leave the camera's position along it undetermined; 0 is one axis, 1 is all of them alike."""


@dataclass(frozen=True, slots=True)
class IntrinsicsResult:
    """Intrinsics and how sure they are.

    Attributes:
        intrinsics: The result.
        deviations: Standard deviations of fx, fy, cx, cy in pixels.
        view_rms_px: Reprojection error of each view by name; a large one is a blurred or moved picture.
    """

    intrinsics: Intrinsics
    deviations: tuple[float, float, float, float]
    view_rms_px: dict[str, float]


def calibrate_intrinsics(views: Sequence[View]) -> IntrinsicsResult:
    """Fit a pinhole with five Brown-Conrady coefficients to views of a board.

    Args:
        views: Detections in pictures of one size, at different tilts and places in the picture.

    Raises:
        DataFileError: Too few views, different sizes, or views that do not determine the camera (no tilt).
    """
    if len(views) < FEWEST_VIEWS:
        raise DataFileError(
            f"Intrinsics need at least {FEWEST_VIEWS} pictures in which the board is found; found {len(views)}. "
            "Take more, tilted by 20 to 45 degrees in different directions and spread over the picture."
        )
    sizes = sorted({view.size for view in views})
    if len(sizes) > 1:
        raise DataFileError(f"Expected pictures of one size; found {sizes}. Use pictures of one camera and mode.")
    width, height = sizes[0]
    rms, matrix, distortion, turns, _, deviations, _, per_view = opencv().calibrateCameraExtended(
        [view.points_m for view in views], [view.pixels for view in views], (width, height), None, None
    )
    normals = np.stack([opencv().Rodrigues(turn)[0][:, 2] for turn in turns])
    tilt = float(np.degrees(np.arccos(np.clip((normals @ normals.T).min(), -1.0, 1.0))))
    if tilt < SMALLEST_TILT_DEG:
        raise DataFileError(
            f"The board was hardly tilted: by at most {tilt:.1f} degrees between any two pictures, at least "
            f"{SMALLEST_TILT_DEG:g} are needed to tell focal length from distance. Tilt it by 20 to 45 degrees."
        )
    fx, fy, cx, cy = (float(v) for v in (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]))
    spread = float(deviations[0, 0]), float(deviations[1, 0]), float(deviations[2, 0]), float(deviations[3, 0])
    relative = max(spread[0] / fx, spread[1] / fy)
    if not relative <= LARGEST_FOCAL_DEVIATION:
        raise DataFileError(
            f"The views do not determine the focal length: its standard deviation is {100 * relative:.2g} %, and "
            f"{100 * LARGEST_FOCAL_DEVIATION:g} % is the most. Tilt the board by 20 to 45 degrees in all directions."
        )
    found = Intrinsics(
        width, height, fx, fy, cx, cy, tuple(float(v) for v in distortion.ravel()[:5]), "brown_conrady", rms, len(views)
    )
    names = [view.name for view in views]
    return IntrinsicsResult(found, spread, dict(zip(names, (float(v) for v in per_view.ravel()), strict=True)))


def board_pose(view: View, intrinsics: Intrinsics) -> tuple[Array, float]:
    """Pose of the board in the camera.

    Returns:
        T_camera_board (4, 4) in metres, and the reprojection error in pixels (root mean square).

    Raises:
        DataFileError: The picture has another size than the intrinsics, or no pose fits.
    """
    if view.size != (intrinsics.width, intrinsics.height):
        raise DataFileError(
            f"{view.name} is {view.size[0]} x {view.size[1]}, the intrinsics are for {intrinsics.width} x "
            f"{intrinsics.height}. Use the same mode, or calibrate this one."
        )
    cv2, matrix, distortion = opencv(), intrinsics.matrix, np.array(intrinsics.distortion)
    ok, rotation, translation = cv2.solvePnP(view.points_m, view.pixels, matrix, distortion, flags=cv2.SOLVEPNP_IPPE)
    if not ok:
        raise DataFileError(f"No pose of the board fits {view.name}. Leave this picture out.")
    rotation, translation = cv2.solvePnPRefineLM(view.points_m, view.pixels, matrix, distortion, rotation, translation)
    seen, _ = cv2.projectPoints(view.points_m, rotation, translation, matrix, distortion)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    return pose, float(np.sqrt(np.mean(np.sum((seen.reshape(-1, 2) - view.pixels) ** 2, axis=-1))))


def calibrate_hand_eye(T_base_tool: Sequence[Array], T_camera_board: Sequence[Array], mount: str) -> HandEye:
    """Where the camera sits, from pairs of tool pose and seen board pose.

    Args:
        T_base_tool: (4, 4) each, as the controller reports them, arm at rest.
        T_camera_board: (4, 4) each, from `board_pose`.
        mount: "eye_in_hand" (camera on the tool, board fixed) or "eye_to_hand" (camera fixed, board on the tool).

    Raises:
        DataFileError: Too few or unpaired poses, or motion that leaves the answer undetermined.
    """
    if mount not in ("eye_in_hand", "eye_to_hand"):
        raise UnknownName("mount", mount, ("eye_in_hand", "eye_to_hand"))
    if len(T_base_tool) != len(T_camera_board):
        raise DataFileError(
            f"Expected one tool pose per board pose; found {len(T_base_tool)} and {len(T_camera_board)}."
        )
    if len(T_base_tool) < FEWEST_POSES:
        raise DataFileError(
            f"Hand-eye calibration needs at least {FEWEST_POSES} views with the board found; found "
            f"{len(T_base_tool)}. Take more, turning the tool about different axes by 20 to 60 degrees."
        )
    tools = np.stack([pose_matrix(pose, f"Tool pose {k}") for k, pose in enumerate(T_base_tool)])
    boards = np.stack([pose_matrix(pose, f"Board pose {k}") for k, pose in enumerate(T_camera_board)])
    _require_rich_motion(tools)
    # With the camera fixed, the tool plays the part of the base: the same equation with T_tool_base.
    moving = tools if mount == "eye_in_hand" else np.linalg.inv(tools)
    cv2 = opencv()
    rotation, translation = cv2.calibrateHandEye(
        moving[:, :3, :3], moving[:, :3, 3], boards[:, :3, :3], boards[:, :3, 3], method=cv2.CALIB_HAND_EYE_PARK
    )
    mounted = np.eye(4)
    mounted[:3, :3], mounted[:3, 3] = rotation, translation.ravel()
    placed = moving @ mounted @ boards
    middle = _mean_pose(placed)
    metres, degrees = np.array([pose_difference(middle, pose) for pose in placed]).T
    return HandEye(
        mount=mount,
        T_mount_camera=tuple(tuple(float(v) for v in row) for row in mounted),
        T_other_board=tuple(tuple(float(v) for v in row) for row in middle),
        rotation_deg=float(np.sqrt(np.mean(degrees**2))),
        translation_m=float(np.sqrt(np.mean(metres**2))),
        views=len(tools),
    )


@dataclass(frozen=True, slots=True)
class PoseCheck:
    """Expected against seen pose of the board.

    Attributes:
        translation_m: How far apart.
        rotation_deg: How much turned.
        ok: Whether both are within the given limits.
    """

    translation_m: float
    rotation_deg: float
    ok: bool


def check_pose(
    calibration: Calibration,
    T_base_tool: Array,
    T_camera_board: Array,
    *,
    most_m: float = 0.005,
    most_deg: float = 1.0,
) -> PoseCheck:
    """Compare where the board is seen with where the calibration says it must be; run at the start of a day.

    Raises:
        DataFileError: The calibration has no hand-eye part.
    """
    if calibration.hand_eye is None:
        raise DataFileError(
            f"The calibration of {calibration.camera!r} says nothing about where the camera sits. "
            "Run: robolearn calibrate handeye"
        )
    hand_eye, tool = calibration.hand_eye, pose_matrix(T_base_tool, "The tool pose")
    moving = tool if hand_eye.mount == "eye_in_hand" else np.linalg.inv(tool)
    expected = np.linalg.inv(moving @ np.array(hand_eye.T_mount_camera)) @ np.array(hand_eye.T_other_board)
    metres, degrees = pose_difference(expected, pose_matrix(T_camera_board, "The board pose"))
    return PoseCheck(metres, degrees, metres <= most_m and degrees <= most_deg)


def pose_difference(a: Array, b: Array) -> tuple[float, float]:
    """Distance in metres and angle in degrees between two poses (4, 4)."""
    turn = rotation_vector(quaternion_from_matrix(a[:3, :3].T @ b[:3, :3]))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), float(np.degrees(np.linalg.norm(turn)))


def _require_rich_motion(tools: Array) -> None:
    first, second = np.triu_indices(len(tools), 1)
    relative = np.swapaxes(tools[first, :3, :3], 1, 2) @ tools[second, :3, :3]
    turns = rotation_vector(quaternion_from_matrix(relative))
    largest = float(np.degrees(np.linalg.norm(turns, axis=1).max()))
    if largest < SMALLEST_ROTATION_DEG:
        raise DataFileError(
            f"The tool hardly turned: at most {largest:.1f} degrees between any two poses, at least "
            f"{SMALLEST_ROTATION_DEG:g} are needed. Turn the tool about different axes by 20 to 60 degrees."
        )
    values, axes = np.linalg.eigh(turns.T @ turns)
    spread = float(np.sqrt(max(values[1], 0.0) / values[2]))
    if spread < SMALLEST_AXIS_SPREAD:
        axis = ", ".join(f"{v:.2f}" for v in axes[:, 2] * np.sign(axes[np.argmax(np.abs(axes[:, 2])), 2]))
        raise DataFileError(
            f"All turns of the tool are about one axis ({axis} in the tool's frame; spread {spread:.2f}, at least "
            f"{SMALLEST_AXIS_SPREAD:g} is needed), which leaves the camera's place along it open. "
            "Turn about a second axis too."
        )


def _mean_pose(poses: Array) -> Array:
    """Mean of poses (n, 4, 4): of the positions, and the rotation nearest to the mean of the matrices."""
    u, _, v = np.linalg.svd(poses[:, :3, :3].mean(axis=0))
    middle = np.eye(4)
    middle[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    middle[:3, 3] = poses[:, :3, 3].mean(axis=0)
    return middle
