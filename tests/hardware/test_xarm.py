"""The xArm twin under the vendor's own client, and our driver on it; the controller's rules cycle by cycle."""

import os
import time

import numpy as np
import pytest

from hardware.kinematic_arm import KinematicArmConfig
from hardware.twin_process import TwinProcess
from hardware.xarm import XArmConfig, make_log_folder
from hardware.xarm_controller import XArmController
from hardware.xarm_models import find_xarm, flange_pose
from robolearn.errors import BenchError, SafetyFault, SpecError, StaleReading
from robolearn.specs import check

WHY = "xarm-python-sdk is not installed: the xArm driver and its twin stay untested (pip install xarm-python-sdk)"
make_log_folder()
wrapper = pytest.importorskip("xarm.wrapper", reason=WHY)
x_config = pytest.importorskip("xarm.core.config.x_config", reason=WHY)

ADDRESS = f"127.{20 + (os.getpid() >> 8) % 200}.{os.getpid() % 250 + 1}.5"
PORT = 15020  # 502 needs privileges
STALE = 0.4  # room for a busy machine


@pytest.fixture(scope="module")
def twin():
    with TwinProcess("xarm", address=ADDRESS, port=PORT) as process:
        yield process


@pytest.fixture
def arm(twin):
    with XArmConfig(ADDRESS, port=PORT, stale_s=STALE).build() as robot:
        yield robot


def sweep(robot, seconds: float, speed: float = 0.8) -> np.ndarray:
    q = robot.read().arrays["arm.q"].copy()
    start, first = time.monotonic(), q[0]
    while (passed := time.monotonic() - start) < seconds:
        q[0] = first + speed * passed
        robot.write({"arm.q_target": q})
        time.sleep(0.01)
    return q


@pytest.mark.parametrize("report", ["real", "normal", "rich"])
def test_vendor_client_drives_the_twin(twin, monkeypatch, report: str):
    monkeypatch.setattr(x_config.XCONF.SocketConf, "TCP_CONTROL_PORT", PORT)
    api = wrapper.XArmAPI(ADDRESS, is_radian=True, report_type=report)
    try:
        assert api.axis == 7
        assert (api.motion_enable(True), api.set_mode(0), api.set_state(0)) == (0, 0, 0)
        assert api.set_servo_angle(angle=[0.1, -0.5, 0, 0.8, 0, 1, 0], speed=2, mvacc=15, wait=True) == 0
        assert (api.set_mode(1), api.set_state(0)) == (0, 0)
        for k in range(50):
            assert api.set_servo_angle_j([0.1 + 0.002 * k, -0.5, 0, 0.8, 0, 1, 0]) == 0
            time.sleep(0.004)
        time.sleep(0.3)
        code, (q, dq, _) = api.get_joint_states(is_radian=True)
        assert code == 0
        assert abs(q[0] - 0.198) < 5e-3
        assert abs(dq[0]) < 0.01
        expected = flange_pose(find_xarm("xarm7"), q)
        assert np.allclose(np.array(api.get_position(is_radian=True)[1][:3]) / 1e3, expected[:3], atol=1e-3)
    finally:
        api.disconnect()


def test_readings_limits_and_bad_commands(arm):
    reading = arm.read()
    check(reading.arrays, arm.observation_spec, where="reading")
    sent = arm.write({"arm.q_target": reading.arrays["arm.q"] + 1.0})["arm.q_target"]
    assert np.all(sent - reading.arrays["arm.q"] < 0.02)
    with pytest.raises(SpecError, match="must be finite"):
        arm.write({"arm.q_target": np.full(7, np.nan)})
    q = sweep(arm, 0.5)
    assert abs(arm.read().arrays["arm.q"][0] - q[0]) < 0.15


def test_stop_in_any_state_and_move_again(twin):
    robot = XArmConfig(ADDRESS, port=PORT, stale_s=STALE).build()
    robot.stop()
    with pytest.raises(BenchError, match="not connected"):
        robot.write({"arm.q_target": np.zeros(7)})
    with robot:
        sweep(robot, 0.3)
        robot.stop()
        robot.stop()
        time.sleep(0.3)
        rest = robot.read().arrays
        assert np.all(np.abs(rest["arm.dq"]) < 0.01)
        sweep(robot, 0.3)
        assert robot.read().arrays["arm.q"][0] > rest["arm.q"][0] + 0.05
    robot.stop()


def test_wrong_model_is_named(twin):
    with pytest.raises(BenchError, match="has 7 joints; the bench says xarm6"):
        XArmConfig(ADDRESS, "xarm6", PORT).build().__enter__()


def test_a_frozen_controller_is_stale(arm, twin):
    """Its command channel still answers, but no report comes."""
    twin.command("freeze")
    time.sleep(STALE + 0.1)
    with pytest.raises(StaleReading, match="nothing new"):
        arm.read()
    twin.command("thaw")
    time.sleep(0.05)
    arm.read()


def test_error_latches_and_is_never_cleared_from_here(twin):
    with TwinProcess("xarm", address=ADDRESS[:-1] + "6", port=PORT) as other:
        robot = XArmConfig(other_address := ADDRESS[:-1] + "6", port=PORT, stale_s=STALE).build()
        with robot:
            q = sweep(robot, 0.2)
            other.command("error 31")
            time.sleep(0.1)
            with pytest.raises(SafetyFault, match="error 31"):
                robot.write({"arm.q_target": q})
            robot.stop()
            with pytest.raises(SafetyFault, match="never clears"):
                robot.write({"arm.q_target": q})
        with pytest.raises(SafetyFault, match="error 31"):
            XArmConfig(other_address, port=PORT, stale_s=STALE).build().__enter__()
        state = other.command("state")
        assert (state["error"], state["clears"]) == (31, 0)
        assert max(map(abs, state["actual_qd"])) < 0.01


def box(cls=XArmController) -> XArmController:
    controller = cls(find_xarm("xarm7"), KinematicArmConfig((0.0, -0.5, 0.0, 0.8, 0.0, 1.0, 0.0)).build())
    controller.enable(True)
    controller.set_mode(1)
    controller.set_state(0)
    return controller


def check_joint_limit(controller: XArmController) -> None:
    q = controller.q.copy()
    q[3] = -1.0
    controller.servo(q)
    for _ in range(250):
        controller.step()
    assert controller.error == 23
    assert controller.q[3] >= controller.model.low[3] - 1e-3


def check_stop(controller: XArmController) -> None:
    controller.servo(controller.q + 0.3)
    for _ in range(20):
        controller.step()
    controller.stop()
    for _ in range(60):
        controller.step()
        controller.servo(controller.q + 0.3)
    assert np.max(np.abs(controller.dq)) < 0.01
    assert controller.state == 4


class Boundless(XArmController):
    def inside(self, q, margin=0.0):
        return True


class Unstoppable(XArmController):
    def stop(self):
        pass


@pytest.mark.parametrize(("rule", "broken"), [(check_joint_limit, Boundless), (check_stop, Unstoppable)])
def test_rule_holds_and_its_check_can_fail(rule, broken):
    rule(box())
    with pytest.raises(AssertionError):
        rule(box(broken))


def test_a_velocity_without_duration_runs_on_and_with_one_it_ends():
    for duration, moving in ((np.inf, True), (0.2, False)):
        controller = box()
        controller.set_mode(4)
        controller.set_state(0)
        controller.velocity(np.array([0.3, 0, 0, 0, 0, 0, 0]), duration)
        for _ in range(250):
            controller.step()
        assert (controller.dq[0] > 0.25) == moving


def test_flange_poses_at_zero_are_those_of_the_manual():
    assert np.allclose(flange_pose(find_xarm("xarm7"), [0.0] * 7)[:3], (0.206, 0, 0.1205), atol=1e-9)
    assert np.allclose(flange_pose(find_xarm("xarm6"), [0.0] * 6)[:3], (0.207, 0, 0.112), atol=1e-9)


def test_no_controller_at_all():
    with pytest.raises(BenchError, match="No xArm controller answers"):
        XArmConfig(ADDRESS[:-1] + "9", port=PORT).build().__enter__()


def eventually(condition, seconds: float = 4.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
    return result


def test_vendor_client_drives_the_grippers_twin(twin, monkeypatch):
    monkeypatch.setattr(x_config.XCONF.SocketConf, "TCP_CONTROL_PORT", PORT)
    twin.command("thing 0")
    api = wrapper.XArmAPI(ADDRESS, is_radian=True)
    try:
        assert (api.set_gripper_enable(True), api.set_gripper_mode(0), api.set_gripper_speed(4000)) == (0, 0, 0)
        assert api.set_gripper_position(200, wait=True, timeout=5) == 0
        assert api.get_gripper_position() == (0, 200)
        assert api.set_gripper_position(850, wait=False) == 0
        eventually(lambda: api.get_gripper_position()[1] == 850)
    finally:
        api.disconnect()


def test_arm_and_gripper_are_one_robot(twin):
    twin.command("thing 300")
    with XArmConfig(ADDRESS, port=PORT, stale_s=STALE, gripper="xarm").build() as robot:
        reading = robot.read()
        check(reading.arrays, robot.observation_spec, where="reading")
        assert reading.captured["gripper.width"] != reading.time
        q = reading.arrays["arm.q"]

        def close():
            sent = robot.write({"arm.q_target": q, "gripper.command": np.array([1.0])})
            assert sent["gripper.command"] == 1.0
            return twin.command("state")["holds"]

        eventually(close)
        eventually(lambda: abs(robot.read().arrays["gripper.width"][0] - 0.030) < 1e-3)
        robot.write({"arm.q_target": q, "gripper.command": np.array([-1.0])})
        eventually(lambda: robot.read().arrays["gripper.width"][0] > 0.04)
        robot.stop()
        time.sleep(0.2)
        at = twin.command("state")["gripper"]
        time.sleep(0.2)
        assert twin.command("state")["gripper"] == pytest.approx(at, abs=2), "a stop holds the fingers too"
        twin.command("gripper_error 11")
        eventually(lambda: "error 11" in failure(robot.read))
    twin.command("gripper_error 0")


def failure(call) -> str:
    try:
        call()
    except BenchError as error:
        return str(error)
    return ""
