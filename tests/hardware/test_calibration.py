"""Calibration against renders of the board whose camera and poses are known exactly."""

import json
import struct
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hardware.calibration import board_pose, calibrate_hand_eye, calibrate_intrinsics, check_pose, pose_difference
from hardware.calibration_board import CharucoBoard, load_board, see_board
from hardware.calibration_stages import read_poses
from robolearn import plugins
from robolearn.bench.calibration import Calibration, Intrinsics, load_calibration, pose_matrix, save_calibration
from robolearn.clock import FakeClock
from robolearn.errors import BenchError, DataFileError, UnknownName
from robolearn.geometry import quaternion_from_matrix, quaternion_from_rotation_vector, quaternion_to_matrix
from robolearn.verbs import calibrate

cv2 = pytest.importorskip("cv2")

BOARD = CharucoBoard()
CAMERA = Intrinsics(480, 360, 460.0, 457.0, 243.0, 177.0, (0.08, -0.15, 0.001, -0.0008, 0.05))
MIDDLE = np.array([*BOARD.size_m, 0.0]) / 2


def pose(turn, place=(0.0, 0.0, 0.0)):
    result = np.eye(4)
    result[:3, :3] = quaternion_to_matrix(quaternion_from_rotation_vector(np.asarray(turn, float)))
    result[:3, 3] = place
    return result


def facing(turn, place):
    """T_camera_board with the board's middle at `place`, turned about it."""
    result = pose(turn)
    result[:3, 3] = np.asarray(place) - result[:3, :3] @ MIDDLE
    return result


def render(poses, camera=CAMERA):
    return [see_board(BOARD, camera, T, supersample=2) for T in poses]


def find(picture, name="picture"):
    view = BOARD.find(picture, name)
    assert view is not None, f"no board in {name}"
    return view


@pytest.fixture(scope="module")
def tilted():
    """Twelve poses of the board, tilted all around, and what the camera sees."""
    rng = np.random.default_rng(0)
    poses = []
    for k in range(12):
        angle, direction = rng.uniform(0.4, 0.75), 2 * np.pi * k / 12
        place = (rng.uniform(-0.09, 0.09), rng.uniform(-0.06, 0.06), rng.uniform(0.34, 0.45))
        poses.append(facing((angle * np.cos(direction), angle * np.sin(direction), 0.1), place))
    return poses, render(poses)


@pytest.fixture(scope="module")
def views(tilted):
    return [find(picture, f"{k:02d}.png") for k, picture in enumerate(tilted[1])]


def hand_eye_case(mount, seed=0, count=10, noise_m=0.0, noise_rad=0.0, axes=3, angle=0.6):
    """Tool poses and board poses that fit a known camera pose exactly, but for noise on the board poses."""
    rng = np.random.default_rng(seed)
    mounted, other = pose((0.1, -0.2, 1.5), (0.03, -0.05, 0.08)), pose((2.0, 0.3, 0.2), (0.5, 0.1, 0.02))
    tools, boards = [], []
    for _ in range(count):
        turn = rng.uniform(-angle, angle, 3) * (np.arange(3) < axes)
        tool = pose(turn, np.array([0.4, 0.0, 0.4]) + rng.uniform(-0.2, 0.2, 3))
        moving = tool if mount == "eye_in_hand" else np.linalg.inv(tool)
        seen = np.linalg.inv(moving @ mounted) @ other
        tools.append(tool)
        boards.append(seen @ pose(rng.normal(0, noise_rad, 3), rng.normal(0, noise_m, 3)))
    return tools, boards, mounted


# Intrinsics.


def test_intrinsics_are_recovered_within_their_stated_deviations(views):
    result = calibrate_intrinsics(views)
    found = result.intrinsics
    assert found.rms_px < 0.15
    errors = np.array([found.fx - CAMERA.fx, found.fy - CAMERA.fy, found.cx - CAMERA.cx, found.cy - CAMERA.cy])
    assert np.abs(errors[:2]).max() < 0.7  # 0.15 %
    assert np.abs(errors[2:]).max() < 0.7
    assert np.all(np.abs(errors) < 4 * np.array(result.deviations))
    # Single coefficients trade against each other; what counts is where points end up.
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.3, 0.3, 9))
    points = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 1, 3)
    true, ours = (
        cv2.projectPoints(points, np.zeros(3), np.zeros(3), c.matrix, np.array(c.distortion))[0]
        for c in (CAMERA, found)
    )
    assert np.abs(true - ours).max() < 0.7
    assert set(result.view_rms_px) == {view.name for view in views}


def test_corners_are_found_without_bias(tilted, views):
    """OpenCV's detector alone is off by half a pixel both ways, which no reprojection error shows."""
    off = []
    for T, view in zip(tilted[0], views, strict=True):
        turn = cv2.Rodrigues(T[:3, :3])[0]
        true, _ = cv2.projectPoints(view.points_m, turn, T[:3, 3], CAMERA.matrix, np.array(CAMERA.distortion))
        off.append(view.pixels - true.reshape(-1, 2))
    assert np.abs(np.concatenate(off).mean(axis=0)).max() < 0.02
    assert np.concatenate(off).std() < 0.12


def test_too_few_pictures_are_refused(views):
    with pytest.raises(
        DataFileError, match=r"at least 8 pictures in which the board is found; found 7. Take more, tilted"
    ):
        calibrate_intrinsics(views[:7])


def test_pictures_of_two_sizes_are_refused(views):
    import dataclasses

    mixed = [*views, dataclasses.replace(views[0], size=(640, 480))]
    with pytest.raises(DataFileError, match=r"pictures of one size; found \[\(480, 360\), \(640, 480\)\]"):
        calibrate_intrinsics(mixed)


def test_a_board_that_was_never_tilted_is_refused():
    rng = np.random.default_rng(1)
    flat = [facing((0, 0, a), (*rng.uniform(-0.05, 0.05, 2), 0.4)) for a in np.linspace(0, 1.5, 8)]
    found = [find(picture, str(k)) for k, picture in enumerate(render(flat))]
    with pytest.raises(DataFileError, match=r"The board was hardly tilted: by at most \d\.\d degrees between any two"):
        calibrate_intrinsics(found)


def test_pictures_too_noisy_to_tell_the_focal_length_are_refused(views):
    import dataclasses

    rng = np.random.default_rng(2)
    shaken = [
        dataclasses.replace(v, pixels=(v.pixels + rng.normal(0, 4.0, v.pixels.shape)).astype(np.float32))
        for v in views[:8]
    ]
    with pytest.raises(
        DataFileError, match=r"do not determine the focal length: its standard deviation is .* % is the most"
    ):
        calibrate_intrinsics(shaken)


def test_no_board_is_none_and_a_hidden_part_is_no_harm(tilted):
    poses, pictures = tilted
    assert BOARD.find(np.full((360, 480), 90, np.uint8)) is None
    assert BOARD.find(np.random.default_rng(0).integers(0, 255, (360, 480, 3), np.uint8)) is None
    half = pictures[0].copy()
    half[:, 250:] = 120
    view = find(half)
    assert 6 <= len(view.pixels) < 24
    metres, degrees = pose_difference(board_pose(view, CAMERA)[0], poses[0])
    assert metres < 0.004
    assert degrees < 1.0


def test_the_pose_of_a_board_is_found(tilted, views):
    for T, view in zip(tilted[0], views, strict=True):
        seen, rms = board_pose(view, CAMERA)
        metres, degrees = pose_difference(T, seen)
        assert metres < 0.0004  # at 0.4 m
        assert degrees < 0.15
        assert rms < 0.15
    other = Intrinsics(640, 480, 460.0, 457.0, 320.0, 240.0)
    with pytest.raises(DataFileError, match=r"00.png is 480 x 360, the intrinsics are for 640 x 480"):
        board_pose(views[0], other)


# Hand-eye.


@pytest.mark.parametrize("mount", ["eye_in_hand", "eye_to_hand"])
def test_hand_eye_is_exact_on_clean_data(mount):
    tools, boards, mounted = hand_eye_case(mount)
    found = calibrate_hand_eye(tools, boards, mount)
    metres, degrees = pose_difference(np.array(found.T_mount_camera), mounted)
    assert metres < 1e-6
    assert degrees < 1e-4
    assert found.translation_m < 1e-6
    assert found.rotation_deg < 1e-4


@pytest.mark.parametrize("mount", ["eye_in_hand", "eye_to_hand"])
def test_residuals_tell_how_noisy_the_poses_were(mount):
    tools, boards, mounted = hand_eye_case(mount, count=40, noise_m=0.001, noise_rad=0.003)
    found = calibrate_hand_eye(tools, boards, mount)
    metres, degrees = pose_difference(np.array(found.T_mount_camera), mounted)
    assert metres < 0.003
    assert degrees < 0.25
    assert 0.001 < found.translation_m < 0.005  # 1 mm a coordinate, and the turn's lever
    assert 0.15 < found.rotation_deg < 0.5  # 0.003 rad a coordinate is 0.3 degrees in all


def test_hand_eye_from_pictures_end_to_end():
    """Arm poses, pictures rendered from them, detection, pose, hand-eye: within 1 mm and 0.2 degrees."""
    rng = np.random.default_rng(3)
    mounted, board = pose((0.05, -0.1, 0.3), (0.02, -0.06, 0.05)), pose((np.pi, 0, 0.1), (0.45, 0.1, 0.0))
    tools, boards = [], []
    for k in range(10):
        angle, direction = rng.uniform(0.35, 0.6), 2 * np.pi * k / 10
        seen = facing((angle * np.cos(direction), angle * np.sin(direction), rng.uniform(-0.4, 0.4)), (0, 0, 0.33))
        tools.append(board @ np.linalg.inv(seen) @ np.linalg.inv(mounted))
        boards.append(board_pose(find(see_board(BOARD, CAMERA, seen, supersample=2)), CAMERA)[0])
    found = calibrate_hand_eye(tools, boards, "eye_in_hand")
    metres, degrees = pose_difference(np.array(found.T_mount_camera), mounted)
    assert metres < 0.001
    assert degrees < 0.2
    assert found.translation_m < 0.001


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 4}, "needs at least 5 views with the board found; found 4"),
        ({"angle": 0.05}, r"The tool hardly turned: at most \d\.\d degrees between any two poses, at least 15"),
        ({"axes": 1}, r"All turns of the tool are about one axis \(1.00, 0.00, 0.00 in the tool's frame; spread 0.00"),
    ],
)
def test_poor_motion_is_refused(fields, message):
    tools, boards, _ = hand_eye_case("eye_in_hand", **fields)
    with pytest.raises(DataFileError, match=message):
        calibrate_hand_eye(tools, boards, "eye_in_hand")


def test_hand_eye_refuses_what_is_not_paired_poses():
    tools, boards, _ = hand_eye_case("eye_in_hand")
    with pytest.raises(DataFileError, match="one tool pose per board pose; found 10 and 9"):
        calibrate_hand_eye(tools, boards[:9], "eye_in_hand")
    with pytest.raises(UnknownName, match=r"Unknown mount 'eye_in_hant'. Did you mean 'eye_in_hand'"):
        calibrate_hand_eye(tools, boards, "eye_in_hant")
    tools[2] = tools[2] * 1.01
    with pytest.raises(DataFileError, match=r"Tool pose 2 is not a rigid pose \(rotation off by 0\.02"):
        calibrate_hand_eye(tools, boards, "eye_in_hand")
    with pytest.raises(DataFileError, match="must be a finite 4 x 4 matrix"):
        pose_matrix(np.eye(3))


# The check pose and the file.


@pytest.fixture
def calibration():
    tools, boards, _ = hand_eye_case("eye_in_hand")
    return Calibration("wrist", "1", CAMERA, {"columns": 7}, calibrate_hand_eye(tools, boards, "eye_in_hand"))


@pytest.mark.parametrize("mount", ["eye_in_hand", "eye_to_hand"])
def test_a_bumped_camera_is_found(mount):
    tools, boards, _ = hand_eye_case(mount)
    calibration = Calibration("wrist", "1", CAMERA, {}, calibrate_hand_eye(tools, boards, mount))
    fresh_tools, fresh_boards, _ = hand_eye_case(mount, seed=9, count=1)
    assert check_pose(calibration, fresh_tools[0], fresh_boards[0]).ok
    bumped = pose((0, 0.03, 0), (0.004, 0, 0)) @ fresh_boards[0]
    result = check_pose(calibration, fresh_tools[0], bumped)
    assert not result.ok
    assert result.rotation_deg == pytest.approx(np.degrees(0.03), abs=1e-3)
    with pytest.raises(DataFileError, match="says nothing about where the camera sits"):
        check_pose(Calibration("wrist", "1", CAMERA, {}), fresh_tools[0], fresh_boards[0])


def test_a_calibration_round_trips_and_its_hash_covers_every_number(calibration, tmp_path):
    path = tmp_path / "calibration.json"
    save_calibration(calibration, path)
    again = load_calibration(path)
    assert again == calibration
    assert again.hash == calibration.hash
    assert len(again.hash) == 16
    content = json.loads(path.read_text())
    content["intrinsics"]["fx"] += 1e-9
    path.write_text(json.dumps(content, indent=4))
    with pytest.raises(DataFileError, match=f"was changed after calibrating: it says hash {calibration.hash}"):
        load_calibration(path)
    path.write_text("{}")
    with pytest.raises(DataFileError, match="is not a calibration file: KeyError"):
        load_calibration(path)
    with pytest.raises(DataFileError, match=r"There is no calibration .*Make one with: robolearn calibrate intrinsics"):
        load_calibration(tmp_path / "none.json")


def test_a_camera_carries_its_calibrations_hash(calibration, tmp_path):
    from hardware.uvc import UvcConfig

    save_calibration(calibration, tmp_path / "c.json")
    assert UvcConfig(calibration=str(tmp_path / "c.json")).build().facts["calibration"] == calibration.hash


# The board for the printer.


def test_the_printed_board_has_its_true_size(tmp_path):
    path = BOARD.save(tmp_path, dots_per_inch=150)
    data = path.read_bytes()
    at = data.index(b"pHYs")
    assert struct.unpack(">IIB", data[at + 4 : at + 13]) == (5906, 5906, 1)  # 150 dots per inch in metres
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture.shape[1] / 5906 == pytest.approx(7 * 0.035 + 0.02, abs=2e-4)
    assert len(find(picture).pixels) == 24
    assert load_board(str(tmp_path / "board.json")) == BOARD


@pytest.mark.parametrize(
    ("board", "error", "message"),
    [
        (CharucoBoard(dictionary="4x4_5"), UnknownName, "Unknown marker dictionary '4x4_5'. Did you mean '4x4_50'"),
        (CharucoBoard(marker_m=0.04), DataFileError, "markers smaller than squares; found 7 x 5, square_m 0.035"),
        (CharucoBoard(columns=20, rows=20), DataFileError, "needs 200 markers, 4x4_50 has 50. Use a larger dictionary"),
    ],
)
def test_impossible_boards_are_refused(board, error, message):
    with pytest.raises(error, match=message):
        board.draw(1000)


# The command line.


@pytest.fixture
def verb(monkeypatch):
    """`robolearn calibrate` with the plugins as pyproject.toml will name them."""
    stages = {"board": "BoardStage", "intrinsics": "IntrinsicsStage", "handeye": "HandEyeStage", "check": "CheckStage"}
    points = {
        "robolearn.stage": [
            EntryPoint(f"calibrate_{k}", f"hardware.calibration_stages:{v}", "robolearn.stage")
            for k, v in stages.items()
        ],
        "robolearn.camera": [
            EntryPoint("synthetic", "hardware.synthetic_camera:SyntheticCameraConfig", "robolearn.camera")
        ],
        "robolearn.robot": [],
    }
    monkeypatch.setattr(plugins, "entry_points", lambda group: points[group])
    return lambda *arguments: calibrate.main([str(a) for a in arguments])


def test_the_command_line_from_board_to_check(verb, tilted, tmp_path, capsys):
    assert verb("board", "--out", tmp_path / "board") == 0
    assert "245.0 x 175.0 mm" in capsys.readouterr().out
    board, images = tmp_path / "board" / "board.json", tmp_path / "images"
    images.mkdir()
    mounted, fixed = pose((0.05, -0.1, 0.3), (0.02, -0.06, 0.05)), pose((np.pi, 0, 0.1), (0.45, 0.1, 0.0))
    rows = ["image,x,y,z,qw,qx,qy,qz"]
    for k, (T, picture) in enumerate(zip(*tilted, strict=True)):
        cv2.imwrite(str(images / f"{k:02d}.png"), picture)
        tool = fixed @ np.linalg.inv(T) @ np.linalg.inv(mounted)
        values = [*tool[:3, 3], *quaternion_from_matrix(tool[:3, :3])]
        rows.append(",".join([f"{k:02d}.png", *(f"{v:.9f}" for v in values)]))
    (images / "poses.csv").write_text("\n".join(rows) + "\n")
    cv2.imwrite(str(images / "zz.png"), np.full((360, 480), 90, np.uint8))

    assert verb("intrinsics", "--images", images, "--board", board, "--out", tmp_path / "a", "--name", "wrist") == 0
    assert "over 12 pictures (1 without board)" in capsys.readouterr().out
    first = tmp_path / "a" / "calibration.json"
    assert verb("handeye", "--images", images, "--calibration", first, "--out", tmp_path / "b") == 0
    second = tmp_path / "b" / "calibration.json"
    hand_eye = load_calibration(second).hand_eye
    assert hand_eye is not None
    metres, degrees = pose_difference(np.array(hand_eye.T_mount_camera), mounted)
    assert metres < 0.001  # intrinsics are estimated here too
    assert degrees < 0.2
    assert load_calibration(first).hash != load_calibration(second).hash
    capsys.readouterr()
    assert verb("check", "--images", images, "--calibration", second, "--out", tmp_path / "c") == 0
    assert "worst of 12 pictures" in capsys.readouterr().out
    for name in ("01.png", "02.png"):
        (images / name).unlink()
    (images / "00.png").rename(images / "01.png")  # a picture that does not fit its pose
    with pytest.raises(DataFileError, match="The camera or the board has moved: worst of 10 pictures"):
        verb("check", "--images", images, "--calibration", second, "--out", tmp_path / "d")
    assert json.loads((tmp_path / "d" / "report.json").read_text())["without_board"] == ["zz.png"]


def test_pictures_taken_live_and_their_complaints(verb, tmp_path):
    live = ("--camera", "synthetic", "--camera.width", 64, "--camera.height", 48, "--count", 2, "--every-s", 0.05)
    with pytest.raises(DataFileError, match="at least 8 pictures in which the board is found; found 0"):
        verb("intrinsics", "--out", tmp_path / "a", *live)
    assert sorted(p.name for p in (tmp_path / "a" / "images").iterdir()) == ["000.png", "001.png"]
    with pytest.raises(BenchError, match=r"images already holds files. Give another --out"):
        verb("intrinsics", "--out", tmp_path / "a", *live)
    with pytest.raises(BenchError, match="--robot gives the tool pose of pictures taken now; it needs --camera"):
        verb("handeye", "--out", tmp_path / "b", "--robot", "ur5e")
    with pytest.raises(
        UnknownName, match=r"Unknown step of robolearn calibrate 'intrinsic'. Did you mean 'intrinsics'"
    ):
        verb("intrinsic")
    with pytest.raises(DataFileError, match=r"Expected pictures .* in the folder '/nope'; found none"):
        verb("intrinsics", "--images", "/nope", "--out", tmp_path / "c")


def test_live_pictures_come_with_the_measured_tool_pose(tmp_path):
    from hardware.synthetic_camera import SyntheticCameraConfig
    from robolearn.episode import Reading
    from robolearn.specs import ArraySpec

    clock = FakeClock()

    class Arm:
        action_spec = {}
        observation_spec = {"tool.position": ArraySpec((3,)), "tool.quaternion": ArraySpec((4,))}

        def read(self):
            place = {"tool.position": np.array([0.1, 0.2, clock.now()]), "tool.quaternion": np.array([1.0, 0, 0, 0])}
            return Reading(clock.now(), place)

        def write(self, action):
            raise AssertionError("calibration never moves an arm")

        def stop(self):
            pass

    calibrate.take(SyntheticCameraConfig().build(clock), Arm(), tmp_path / "images", 3, 1.5, clock)
    poses = read_poses(tmp_path / "images" / "poses.csv")
    assert list(poses) == ["000.png", "001.png", "002.png"]
    assert poses["002.png"][:3, 3].tolist() == [0.1, 0.2, 4.5]
    arm = Arm()
    arm.observation_spec = {}
    with pytest.raises(BenchError, match=r"does not measure tool.position, tool.quaternion. Give --poses"):
        calibrate.take(SyntheticCameraConfig().build(clock), arm, tmp_path / "more", 1, 0.0, clock)


def test_tables_of_poses_say_what_is_wrong(tmp_path):
    table = tmp_path / "poses.csv"
    with pytest.raises(
        DataFileError, match=r"no table of tool poses .*Expected a .csv with columns image, x, y, z, qw"
    ):
        read_poses(table)
    table.write_text("image,x,y,z\na,0,0,0\n")
    with pytest.raises(DataFileError, match=r"lacks the columns \['qw', 'qx', 'qy', 'qz'\]"):
        read_poses(table)
    table.write_text("image,x,y,z,qw,qx,qy,qz\na,0,0,0,1,1,0,0\n")
    with pytest.raises(DataFileError, match=r"quaternion of a has length 1.4142; expected 1, in the order w, x, y, z"):
        read_poses(table)
    table.write_text("image,x,y,z,qw,qx,qy,qz\na,zero,0,0,1,0,0,0\n")
    with pytest.raises(DataFileError, match="could not convert string to float: 'zero'"):
        read_poses(table)
    matrices = tmp_path / "poses.json"
    matrices.write_text(json.dumps({"a": np.eye(4).tolist()}))
    assert np.array_equal(read_poses(matrices)["a"], np.eye(4))
