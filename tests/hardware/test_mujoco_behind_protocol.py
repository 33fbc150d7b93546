"""MuJoCo behind the vendors' protocols: their unmodified clients move the simulated arm, and feel what it touches."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from hardware.rtde_twin import UrTwinConfig
from hardware.simulated_arm import simulated_arm
from hardware.twin_process import ROOT, TwinProcess
from hardware.ur import URConfig
from hardware.ur_models import find_ur, flange_pose
from hardware.xarm import make_log_folder
from robolearn.errors import UnknownName

WHY = "is not installed: MuJoCo behind the vendors' protocols stays untested"
pytest.importorskip("mujoco", reason=f"mujoco {WHY}")
NET = f"127.{20 + (os.getpid() >> 8) % 200}.{os.getpid() % 250 + 1}"
XARM_PORT = 15021


@pytest.fixture
def ur_clients():
    receive = pytest.importorskip("rtde_receive", reason=f"ur_rtde {WHY}")
    control = pytest.importorskip("rtde_control", reason=f"ur_rtde {WHY}")
    return receive, control


def eventually(condition, seconds: float = 6.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
    return result


def test_the_command_runs_a_mujoco_ur5e_for_the_vendors_client(ur_clients):
    receiver, controller = ur_clients
    command = [sys.executable, "-m", "robolearn.cli", "twin", "ur5e", "--address", f"{NET}.8"]
    twin = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert twin.stdin is not None
    assert twin.stdout is not None
    try:
        assert f"ur5e listens on {NET}.8:30004 (mujoco)" in twin.stdout.readline()
        receive = receiver.RTDEReceiveInterface(f"{NET}.8", 125.0)
        control = controller.RTDEControlInterface(f"{NET}.8", 125.0)
        goal = np.array(receive.getActualQ()) + np.array([0.3, 0.0, 0.1, 0.0, 0.0, 0.2])
        assert control.moveJ(goal.tolist(), 1.5, 3.0)
        eventually(lambda: np.allclose(receive.getActualQ(), goal, atol=2e-3))
        assert np.allclose(control.getForwardKinematics(), receive.getActualTCPPose(), atol=3e-3)
        for _ in range(40):
            began = control.initPeriod()
            goal[0] += 0.002
            assert control.servoJ(goal.tolist(), 0.0, 0.0, 0.008, 0.05, 300)
            control.waitPeriod(began)
        eventually(lambda: abs(receive.getActualQ()[0] - goal[0]) < 0.02)
        assert np.all(np.abs(receive.getActualTCPForce()) < 0.5), "in the air"
        control.stopScript()
        control.disconnect()
        receive.disconnect()
        twin.stdin.write("state\n")
        twin.stdin.flush()
        state = json.loads(twin.stdout.readline())
        assert state["safety"] == "NORMAL"
    finally:
        twin.send_signal(signal.SIGINT)
        for pipe in (twin.stdin, twin.stdout):
            pipe.close()
        twin.wait(10)


def test_our_driver_on_the_mujoco_ur5e_declares_and_measures_a_wrench(ur_clients):
    with TwinProcess("ur", address=f"{NET}.9", physics="mujoco"), URConfig(f"{NET}.9", stale_s=0.3).build() as robot:
        reading = robot.read()
        assert reading.arrays["tool.wrench"].shape == (6,)
        q = reading.arrays["arm.q"].copy()
        start = q.copy()
        for _ in range(40):
            q[5] += 0.005
            robot.write({"arm.q_target": q})
            time.sleep(0.01)
        eventually(lambda: robot.read().arrays["arm.q"][5] - start[5] > 0.15)


def test_pressing_on_the_table_is_felt_and_equals_the_weight_it_carries():
    """Cycle by cycle, without sockets: the arm is driven down onto the table and feels it push back."""
    box = UrTwinConfig(physics="mujoco").build().controller
    arm: Any = box._physics
    for _ in range(50):
        box.step()
    free = np.array(box.values()["actual_TCP_force"])
    assert np.all(np.abs(free) < 1e-6), "nothing touches the tool"
    q = np.array(box.values()["actual_q"])
    pressed = np.zeros(6)
    for _ in range(1500):
        q = q + np.array([0.0, 0.0006, 0.0, -0.0006, 0.0, 0.0])  # the shoulder bends forward, the tool stays upright
        arm.command(q)
        box.cycles += 1
        arm.step_to(box.time)
        arm.state()
        pressed = arm.wrench()
        if pressed[2] > 20.0:
            break
    assert pressed[2] > 20.0, "the table pushes up"
    # What the contact gives, the joints must carry: J^T f against the actuators' torques, in the model's frame.
    from sim.engine import mujoco

    world = arm.robot.world
    for _ in range(500):
        box.cycles += 1
        arm.step_to(box.time)
        arm.state()
    model, data = world.model, world.data
    jacobian, turning = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jacobian, turning, model.site("tool").id)
    held = arm.robot.read().arrays["tool.wrench"]
    torques = jacobian.T @ held[:3] + turning.T @ held[3:]
    np.testing.assert_allclose(torques[:6], -data.qfrc_actuator[:6], atol=0.05 * np.abs(torques[:6]).max())


def test_model_and_controller_agree_on_where_the_flange_is():
    """A UR's base frame is the model's, turned by half a turn about the vertical."""
    arm = simulated_arm("ur5e", 6, turned=True)
    world = arm.robot.world
    flange = world.data.body("right_hand").xpos
    q = world.data.qpos[:6]
    reported = np.array(flange_pose(find_ur("ur5e"), q.tolist())[:3])
    np.testing.assert_allclose(reported, flange * [-1, -1, 1], atol=3e-3)  # robosuite's is 2 mm longer
    assert arm.joints == 6


def test_only_arms_with_a_model_have_one():
    with pytest.raises(UnknownName, match="Valid names: ur5e, xarm7"):
        UrTwinConfig(model="ur10e", physics="mujoco").build()


def test_the_vendor_client_moves_a_mujoco_xarm7():
    make_log_folder()
    wrapper = pytest.importorskip("xarm.wrapper", reason=f"xarm-python-sdk {WHY}")
    x_config = pytest.importorskip("xarm.core.config.x_config", reason=f"xarm-python-sdk {WHY}")
    with (
        pytest.MonkeyPatch.context() as patch,
        TwinProcess("xarm", address=f"{NET}.7", port=XARM_PORT, physics="mujoco") as twin,
    ):
        patch.setattr(x_config.XCONF.SocketConf, "TCP_CONTROL_PORT", XARM_PORT)
        api = wrapper.XArmAPI(f"{NET}.7", is_radian=True, report_type="real")
        try:
            api.motion_enable(True)
            assert (api.set_mode(1), api.set_state(0)) == (0, 0)
            start = np.array(twin.command("state")["actual_q"])
            q = start.copy()
            for _ in range(100):
                q[0] += 0.003
                assert api.set_servo_angle_j(q.tolist()) == 0
                time.sleep(0.005)
            eventually(lambda: abs(twin.command("state")["actual_q"][0] - start[0] - 0.3) < 0.02)
            moved = np.array(twin.command("state")["actual_q"]) - start
        finally:
            api.disconnect()
    assert np.all(np.abs(moved[1:]) < 0.02)


def test_anybodys_script_reads_the_state_with_nothing_but_a_socket():
    """RTDE as documented, byte by byte, without any client library."""
    with TwinProcess("ur", address=f"{NET}.6", physics="mujoco"), socket.create_connection((f"{NET}.6", 30004), 5) as s:

        def ask(kind: int, payload: bytes) -> bytes:
            s.sendall(struct.pack(">HB", len(payload) + 3, kind) + payload)
            return receive()[1]

        def receive() -> tuple[int, bytes]:
            head = s.recv(3, socket.MSG_WAITALL)
            size, kind = struct.unpack(">HB", head)
            return kind, s.recv(size - 3, socket.MSG_WAITALL)

        assert ask(ord("V"), struct.pack(">H", 2)) == b"\x01"
        assert ask(ord("O"), struct.pack(">d", 125.0) + b"timestamp,actual_q")[1:] == b"DOUBLE,VECTOR6D"
        assert ask(ord("S"), b"") == b"\x01"
        stamps = []
        for _ in range(3):
            kind, data = receive()
            assert kind == ord("U")
            stamps.append(struct.unpack(">7d", data[1:])[0])
        np.testing.assert_allclose(np.diff(stamps), 0.008, atol=1e-6)
