import numpy as np
import pytest

from hardware import ur_models, xarm_models
from hardware.franka import FrankaConfig
from robolearn.chain import Articulated, Chain, displacement, from_frames
from robolearn.clock import FakeClock
from robolearn.errors import SpecError
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_to_matrix
from sim.devices import TwinRobotConfig, TwinWorldConfig
from sim.robots import ROBOTS

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("model", ur_models.UR_MODELS.values(), ids=lambda m: m.name)
def test_a_ur_stands_where_its_controller_says(model):
    q = RNG.uniform(-2, 2, (5, 6))
    posed = model.chain.at(q)
    for k in range(5):
        flange = np.array(ur_models.flange_pose(model, q[k]))
        np.testing.assert_allclose(posed.position[k], flange[:3], atol=1e-9)
        np.testing.assert_allclose(
            posed.rotation[k] @ [0, 0, 1],
            np.array(_matrix(flange[3:])) @ [0, 0, 1],
            atol=1e-9,
        )


@pytest.mark.parametrize("model", xarm_models.XARM_MODELS.values(), ids=lambda m: m.name)
def test_an_xarm_stands_where_its_controller_says(model):
    q = RNG.uniform(-2, 2, (5, model.joints))
    posed = model.chain.at(q)
    for k in range(5):
        np.testing.assert_allclose(posed.position[k], xarm_models.flange_pose(model, q[k])[:3], atol=1e-9)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_twin_stands_where_its_sensors_say(name):
    robot = TwinRobotConfig(TwinWorldConfig(task="reach", robot=name)).build(FakeClock())
    assert isinstance(robot, Articulated)
    seen = robot.read().arrays
    posed = robot.chain.at(seen["arm.q"][None])
    np.testing.assert_allclose(posed.position[0], seen["tool.position"], atol=1e-6)
    sensors, layout = robot.world.data.sensordata, robot.world.layout
    np.testing.assert_allclose(posed.anchors[0].ravel(), sensors[layout["joint.anchor"]], atol=1e-6)
    np.testing.assert_allclose(posed.axes[0].ravel(), sensors[layout["joint.axis"]], atol=1e-6)


def test_the_vendors_table_and_robosuites_model_agree_about_a_panda():
    twin = TwinRobotConfig().build(FakeClock())
    pytest.importorskip("pylibfranka")
    vendor = FrankaConfig().build(FakeClock()).chain
    q = RNG.uniform(-1, 1, (4, 7))
    ours, theirs = twin.chain.at(q), vendor.at(q)
    np.testing.assert_allclose(ours.axes, theirs.axes, atol=1e-6)
    hinge = np.cross(ours.anchors - theirs.anchors, theirs.axes)  # points of one axis may differ along it
    np.testing.assert_allclose(hinge, 0, atol=1e-6)


def test_a_displacement_is_what_the_tool_really_does_whatever_the_tool():
    model = ur_models.find_ur("ur5e")
    q, target = RNG.uniform(-1, 1, (3, 6)), RNG.uniform(-1, 1, (3, 6))
    chain = model.chain
    longer = Chain(chain.anchors, chain.axes, chain.T_base_tool @ _shift(0.02, 0.05, 0.2))
    before, after = longer.at(q), longer.at(target)
    moved = displacement(chain.at(q), chain.at(target), before.position)
    np.testing.assert_allclose(moved[:, :3], after.position - before.position, atol=1e-9)
    turn = after.rotation @ before.rotation.transpose(0, 2, 1)
    for k in range(3):
        np.testing.assert_allclose(_matrix(moved[k, 3:]), turn[k], atol=1e-6)
    still = displacement(chain.at(q), chain.at(q), before.position)
    np.testing.assert_allclose(still, 0, atol=1e-9)


def test_a_chain_that_is_none_is_refused():
    with pytest.raises(SpecError, match="anchors"):
        Chain(np.zeros((2, 3)), np.zeros((3, 3)), np.eye(4))
    with pytest.raises(SpecError, match="unit vectors"):
        Chain(np.zeros((2, 3)), np.ones((2, 3)), np.eye(4))
    one = from_frames([np.eye(4)], _shift(0.0, 0.0, 1.0)).at(np.array([[0.3]]))
    np.testing.assert_allclose(one.position, [[0, 0, 1]], atol=1e-12)


def _matrix(vector):
    return quaternion_to_matrix(quaternion_from_rotation_vector(np.asarray(vector)))


def _shift(x, y, z):
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T
