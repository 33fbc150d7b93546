import shutil
from pathlib import Path

import numpy as np
import pytest

from robolearn.bench.calibration import Calibration, Intrinsics, save_calibration
from robolearn.bench.file import read_bench
from robolearn.errors import BenchError

BENCHES = Path(__file__).resolve().parents[2] / "launch" / "benches"
PANDA = (BENCHES / "panda_twin.toml").read_text()


@pytest.fixture
def refused(tmp_path):
    """What a changed bench file is refused with."""

    def refuse(old: str, new: str, text: str = PANDA) -> str:
        assert old in text, f"the bench file no longer says {old!r}"
        path = tmp_path / "bench.toml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BenchError) as caught:
            read_bench(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize("path", sorted(BENCHES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_bench_of_ours_is_in_order(path):
    file = read_bench(path)
    assert file.name == path.stem
    assert file.limits.missing() == []
    assert file.shadow is None or read_bench(file.shadow)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # unknown keys, in every table, with the closest match
        ("rate_hz = 20.0", "rate_hertz = 20.0", "'bench.rate_hertz'. Did you mean 'bench.rate_hz'"),
        ("horizon = 100", "horizon = 100\nhorizont = 3", "'task.horizont'. Did you mean 'task.horizon'"),
        ("timeout_s = 0.25", "timeout = 0.25", "'timeout'. Did you mean 'timeout_s'"),
        ("clearance_m = 0.002", "clearence_m = 0.002", "'limits.clearence_m'. Did you mean 'limits.clearance_m'"),
        ("[control]", "[controls]", "'controls'. Did you mean 'control'"),
        ('plugin = "mujoco_mocap"', 'plugin = "mujoco_mokap"', "Did you mean 'mujoco_mocap'"),
        ('plugin = "mujoco_mocap"', 'plugin = "mujoco_mocap"\nnoise = 1.0', "'noise'. Did you mean 'noise_m'"),
        # missing
        ('name = "panda_twin"\n', "", "bench.name is missing"),
        ("horizon = 100\n", "", "task.horizon is missing"),
        ("clearance_m = 0.002\n", "", "limits clearance_m are missing"),
        ('measured = { "arm.q_target" = "arm.q" }\n', "", "limits.measured is missing"),
        ("lost_s = 1.0\n", "", "limits lost_s are missing"),
        ("command = 0.25, ", "", "stale_s.command"),
        # not finite, and texts that look like numbers
        ("clearance_m = 0.002", "clearance_m = nan", "limits.clearance_m must be a finite number; found nan"),
        ("start_tolerance = 0.15 ", "start_tolerance = inf ", "limits.start_tolerance must be a finite number"),
        ("rate_hz = 20.0", "rate_hz = nan", "bench.rate_hz must be a finite number"),
        ("2.1, 2.1, 2.1, 2.1", "2.1, -inf, 2.1, 2.1", r"limits.rate.arm.q_target[1] must be a finite number"),
        ("timeout_s = 0.25", "timeout_s = inf", "robot.timeout_s must be a finite number"),
        ("clearance_m = 0.002", 'clearance_m = "2e-3"', "limit clearance_m must be a number; found '2e-3'"),
        ("rate_hz = 20.0", 'rate_hz = "20"', "bench.rate_hz: expected <class 'float'>, found '20'"),
        ("timeout_s = 0.25", 'timeout_s = "0.25"', "robot.mujoco.timeout_s: expected"),
        # negative, zero, swapped, too wide
        ("rate_hz = 20.0", "rate_hz = -20.0", "bench.rate_hz must lie in"),
        ("horizon = 100", "horizon = 0", "task.horizon must be at least 1"),
        ("jump = 20.0", "jump = -1.0", "limit jump must be positive"),
        ("2.1, 2.1, 2.1, 2.1", "2.1, -2.1, 2.1, 2.1", "rate limit of 'arm.q_target' must be positive"),
        ("rate = {", 'rate = { "arm.q_target" = 100.0 }\nunused = {', "'limits.unused'"),
        ("[2.1, 2.1, 2.1, 2.1, 2.5, 2.5, 2.5]", "180.0", "rate limit of 'arm.q_target' is wider than makes sense"),
        ("workspace_low = [0.15", "workspace_low = [0.95", "workspace_low must be below workspace_high"),
        ('low = { "arm.q_target" = [-2.8', 'low = { "arm.q_target" = [2.9', "low of 'arm.q_target' must be below"),
        ("lost_s = 1.0", "lost_s = 0.01", "lost_s must be above stale_s"),
        ("home = [", "damping = 2.0\nhome = [", "control.damping must lie in (0, 1)"),
        # the wrong kind of thing
        ('[robot]\nplugin = "mujoco"', '[[robot]]\nplugin = "mujoco"', "robot must be a table"),
        ('plugin = "mujoco_mocap"', "[cameras.mocap.extrinsics]", '"plugin"'),
        ("[task]", 'shadow = "nowhere.toml"\n[task]', "bench.shadow names 'nowhere.toml'"),
    ],
)
def test_a_mistake_is_refused_by_its_name(refused, old, new, says):
    assert says in refused(old, new)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-1.0", "0.0", '"1e3"', "true", "1e9"])
def test_no_number_that_is_none_arms_any_limit(refused, number):
    for line in ("clearance_m = 0.002", "engage_gap = 0.3", "ramp_s = 0.5", "jump = 20.0", "lost_s = 1.0"):
        key = line.split(" ")[0]
        assert key in refused(line, f"{key} = {number}")


def test_a_missing_file_names_its_neighbours(tmp_path):
    with pytest.raises(BenchError, match=r"panda_twin\.toml"):
        read_bench(BENCHES / "pandatwin.toml")
    (tmp_path / "broken.toml").write_text("[bench\n")
    with pytest.raises(BenchError, match="not a TOML file"):
        read_bench(tmp_path / "broken.toml")


CAMERA = """
[cameras.wrist]
plugin = "mujoco"
name = "wrist"
calibration = "wrist.json"

[cameras.wrist.extrinsics]
mount = "tool"
T_mount_camera = [[1, 0, 0, 0.05], [0, 1, 0, 0], [0, 0, 1, 0.02], [0, 0, 0, 1]]
"""


def test_calibrations_and_places_of_cameras_belong_to_the_facts_of_an_episode(tmp_path, refused):
    calibration = Calibration("wrist", "", Intrinsics(84, 84, 70.0, 70.0, 41.5, 41.5), {})
    save_calibration(calibration, tmp_path / "wrist.json")
    path = tmp_path / "bench.toml"
    path.write_text(PANDA + CAMERA)
    facts = read_bench(path).facts()
    assert facts["cameras"]["wrist"]["calibration"] == calibration.hash
    assert facts["cameras"]["wrist"]["extrinsics"]["mount"] == "tool"
    assert np.allclose(facts["cameras"]["wrist"]["extrinsics"]["T_mount_camera"][0], [1, 0, 0, 0.05])
    assert len(facts["bench_sha256"]) == 64
    whole = PANDA + CAMERA
    assert "'table'" in refused('mount = "tool"', 'mount = "table"', whole)
    assert "not a rigid pose" in refused("[[1, 0, 0, 0.05]", "[[2, 0, 0, 0.05]", whole)
    assert "There is no calibration" in refused('"wrist.json"', '"rist.json"', whole)
    edited = (tmp_path / "wrist.json").read_text().replace("70.0", "71.0")
    (tmp_path / "wrist.json").write_text(edited)
    assert "was changed after calibrating" in refused("[cameras.wrist]", "[cameras.wrist]", whole)


def test_a_calibration_of_another_camera_is_refused(tmp_path, refused):
    save_calibration(
        Calibration("front", "111", Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0), {}), tmp_path / "front.json"
    )
    text = (
        PANDA + '\n[cameras.front]\nplugin = "realsense"\nname = "front"\nserial = "222"\ncalibration = "front.json"\n'
    )
    says = refused('"222"', '"222"', text)
    assert "serial '111'" in says
    assert "cameras.front.serial" in says


def test_a_shadow_is_a_bench_file_beside_it(tmp_path):
    shutil.copy(BENCHES / "ur5e_twin.toml", tmp_path)
    with pytest.raises(BenchError, match=r"bench\.shadow"):
        read_bench(tmp_path / "ur5e_twin.toml")
    shutil.copy(BENCHES / "ur5e_mujoco.toml", tmp_path)
    assert read_bench(tmp_path / "ur5e_twin.toml").shadow == tmp_path / "ur5e_mujoco.toml"
