"""What the gate is told of the arm's shape: distances that mean something, and a bound on how fast they change."""

import numpy as np
import pytest

from robolearn import plugins
from robolearn.errors import UnknownName
from sim.clearance import ClearanceConfig
from sim.devices import TwinRobotConfig
from sim.robots import ROBOTS
from sim.twin_world import TwinWorldConfig


@pytest.fixture(scope="module", params=["panda", "ur5e", "xarm7"])
def arm(request):
    return ROBOTS[request.param], ClearanceConfig(request.param).build()


def test_home_is_clear_and_the_tool_is_where_the_twin_says(arm):
    robot, body = arm
    home = np.array(robot.home)
    assert body.clearance(home) > 0.04
    twin = TwinRobotConfig(world=TwinWorldConfig("reach", robot.name, exact=True)).build()
    np.testing.assert_allclose(body.tool(home), twin.read().arrays["tool.position"], atol=1e-6)


def test_bowing_onto_the_table_and_folding_onto_itself_have_no_clearance(arm):
    robot, body = arm
    down = np.array(robot.home)
    clear = [body.clearance(down + k * 0.1 * np.eye(len(down))[1]) for k in range(18)]
    assert min(clear) < 0.0, "it goes through the table"
    assert clear[0] > 0.04
    rng = np.random.default_rng(0)
    span = np.array([1.0 if k % 2 else 2.5 for k in range(len(down))])
    assert min(body.clearance(down + rng.uniform(-span, span)) for _ in range(300)) < 0.0


def test_no_distance_changes_faster_than_the_stated_reach(arm):
    """The bound with which the gate saves evaluations; for single joints and for all together."""
    robot, body = arm
    rng = np.random.default_rng(1)
    home = np.array(robot.home)
    for _ in range(150):
        q, step = home + rng.uniform(-1.2, 1.2, len(home)), rng.uniform(-0.05, 0.05, len(home))
        allowed = body.reach_m * np.abs(step).sum()
        assert abs(body.clearance(q) - body.clearance(q + step)) <= allowed + 1e-9
        assert np.linalg.norm(body.tool(q) - body.tool(q + step)) <= allowed + 1e-9


def test_it_is_found_by_name_and_unknown_robots_are_named():
    assert plugins.load("body", "mujoco") is ClearanceConfig
    with pytest.raises(UnknownName, match="Did you mean 'ur5e'"):
        ClearanceConfig("ur5").build()
