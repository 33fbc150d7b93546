"""The MuJoCo bench behind a vendor protocol: the xArm SDK moves a simulated seven-joint arm.

The only arm of the simulation today is a Panda; it takes the xArm 7's place with its own joint limits.
"""

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from hardware.kinematic_arm import RobotPhysics
from hardware.xarm_controller import XArmController
from hardware.xarm_models import find_xarm
from hardware.xarm_twin import XArmTwin, XArmTwinConfig
from robolearn.clock import MonotonicClock

WHY = "is not installed: MuJoCo behind the xArm protocol stays untested"
pytest.importorskip("mujoco", reason=f"mujoco {WHY}")
wrapper = pytest.importorskip("xarm.wrapper", reason=f"xarm-python-sdk {WHY}")
x_config = pytest.importorskip("xarm.core.config.x_config", reason=f"xarm-python-sdk {WHY}")

ADDRESS, PORT = f"127.{20 + (os.getpid() >> 8) % 200}.{os.getpid() % 250 + 1}.7", 15021


def test_the_vendor_client_moves_mujoco(monkeypatch):
    from sim.devices import TwinRobotConfig

    monkeypatch.setattr(x_config.XCONF.SocketConf, "TCP_CONTROL_PORT", PORT)
    clock = MonotonicClock()
    robot = TwinRobotConfig().build(clock)
    limit = robot.action_spec["arm.q_target"]
    assert isinstance(limit.low, tuple)
    assert isinstance(limit.high, tuple)
    model = replace(find_xarm("xarm7"), low=limit.low, high=limit.high)
    controller = XArmController(model, RobotPhysics(robot, 7))
    with XArmTwin(XArmTwinConfig(address=ADDRESS, port=PORT), controller, clock):
        api = wrapper.XArmAPI(ADDRESS, is_radian=True, report_type="real", check_joint_limit=False)
        try:
            api.motion_enable(True)
            assert (api.set_mode(1), api.set_state(0)) == (0, 0)
            start = robot.read().arrays["arm.q"].copy()
            q = start.copy()
            for _ in range(100):
                q[0] += 0.003
                assert api.set_servo_angle_j(q.tolist()) == 0
                time.sleep(0.005)
            time.sleep(0.5)
            moved = robot.read().arrays["arm.q"] - start
        finally:
            api.disconnect()
    assert moved[0] == pytest.approx(0.3, abs=0.02)
    assert np.all(np.abs(moved[1:]) < 0.02)
