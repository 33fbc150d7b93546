from dataclasses import replace

import numpy as np
import pytest

from hardware import ur_models, xarm_models
from hardware.franka import FrankaConfig
from robolearn.arm.frames import chain_from_frames, displacement
from robolearn.clock import FakeClock
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_to_matrix
from sim.devices import TwinRobotConfig
from sim.robots import ROBOTS
from sim.twin_world import TwinWorldConfig

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("model", ur_models.UR_MODELS.values(), ids=lambda m: m.name)
def test_a_ur_stands_where_its_controller_says(model):
    q = RNG.uniform(-2, 2, (5, 6))
    posed = model.chain.posture(q)
    for k in range(5):
        flange = np.array(ur_models.flange_pose(model, q[k]))
        np.testing.assert_allclose(posed.tool[k], flange[:3], atol=1e-9)
        np.testing.assert_allclose(
            posed.hand[k] @ [0, 0, 1],
            np.array(_matrix(flange[3:])) @ [0, 0, 1],
            atol=1e-9,
        )


@pytest.mark.parametrize("model", xarm_models.XARM_MODELS.values(), ids=lambda m: m.name)
def test_an_xarm_stands_where_its_controller_says(model):
    q = RNG.uniform(-2, 2, (5, model.joints))
    posed = model.chain.posture(q)
    for k in range(5):
        np.testing.assert_allclose(posed.tool[k], xarm_models.flange_pose(model, q[k])[:3], atol=1e-9)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_twin_stands_where_its_sensors_say(name):
    robot = TwinRobotConfig(TwinWorldConfig(task="reach", robot=name)).build(FakeClock())
    seen = robot.read().arrays
    posed = robot.chain.posture(seen["arm.q"][None])
    np.testing.assert_allclose(posed.tool[0], seen["tool.position"], atol=1e-6)
    sensors, layout = robot.world.data.sensordata, robot.world.layout
    np.testing.assert_allclose(posed.anchors[0].ravel(), sensors[layout["joint.anchor"]], atol=1e-6)
    np.testing.assert_allclose(posed.axes[0].ravel(), sensors[layout["joint.axis"]], atol=1e-6)


def test_the_vendors_table_and_robosuites_model_agree_about_a_panda():
    twin = TwinRobotConfig().build(FakeClock())
    pytest.importorskip("pylibfranka")
    vendor = FrankaConfig().build(FakeClock()).chain
    q = RNG.uniform(-1, 1, (4, 7))
    ours, theirs = twin.chain.posture(q), vendor.posture(q)
    np.testing.assert_allclose(ours.axes, theirs.axes, atol=1e-6)
    hinge = np.cross(ours.anchors - theirs.anchors, theirs.axes)  # points of one axis may differ along it
    np.testing.assert_allclose(hinge, 0, atol=1e-6)


def test_a_displacement_is_what_the_tool_really_does_whatever_the_tool():
    model = ur_models.find_ur("ur5e")
    q, target = RNG.uniform(-1, 1, (3, 6)), RNG.uniform(-1, 1, (3, 6))
    chain = model.chain
    longer = replace(chain, tool=chain.tool + chain.hand @ [0.02, 0.05, 0.2])
    before, after = longer.posture(q), longer.posture(target)
    moved = displacement(chain.posture(q), chain.posture(target), before.tool)
    np.testing.assert_allclose(moved[:, :3], after.tool - before.tool, atol=1e-9)
    turn = after.hand @ before.hand.transpose(0, 2, 1)
    for k in range(3):
        np.testing.assert_allclose(_matrix(moved[k, 3:]), turn[k], atol=1e-6)
    still = displacement(chain.posture(q), chain.posture(q), before.tool)
    np.testing.assert_allclose(still, 0, atol=1e-9)


def test_a_frame_turns_about_its_own_z_axis():
    limits = {"low": [-1.0], "high": [1.0], "home": [0.0]}
    lying = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0.5], [0, 0, 0, 1]])
    chain = chain_from_frames("one", ["a"], [lying], _shift(0.3, 0.0, 0.0), **limits)
    turned = chain.posture(np.array([[np.pi / 2]]))
    np.testing.assert_allclose(chain.axes, [[0, -1, 0]], atol=1e-12)
    np.testing.assert_allclose(turned.tool, [[0, 0, 0.8]], atol=1e-12)


def _matrix(vector):
    return quaternion_to_matrix(quaternion_from_rotation_vector(np.asarray(vector)))


def _shift(x, y, z):
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T
