import numpy as np
import pytest

from robolearn.clock import FakeClock
from robolearn.errors import SpecError, StaleReading, UnknownName
from robolearn.specs import check
from sim.devices import TwinCameraConfig, TwinRobotConfig
from sim.robots import PANDA
from sim.twin_world import TwinWorldConfig


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def robot(clock):
    return TwinRobotConfig().build(clock)


def command(robot, offset, close=-1.0):
    return {"arm.q_target": robot.read().arrays["arm.q"] + offset, "gripper.command": np.array([close])}


def test_readings_obey_the_spec_and_follow_the_clock(robot, clock):
    assert robot.read().time == 100.0
    clock.advance(1.0)
    reading = robot.read()
    check(reading.arrays, robot.observation_spec)
    assert reading.time == pytest.approx(101.0 - 0.005)
    assert robot.read().time == reading.time  # nothing new without new time


def test_a_written_target_is_reached_and_what_was_sent_is_returned(robot, clock):
    action = command(robot, 0.1, close=1.0)
    sent = robot.write(action)
    np.testing.assert_array_equal(sent["arm.q_target"], action["arm.q_target"])
    for _ in range(40):
        clock.advance(0.05)
        robot.write(action)
    np.testing.assert_allclose(robot.read().arrays["arm.q"], action["arm.q_target"], atol=2e-3)
    assert robot.read().arrays["gripper.width"][0] < 0.005


def test_targets_are_clipped_to_joint_limits(robot):
    sent = robot.write({"arm.q_target": np.full(7, 50.0), "gripper.command": np.array([3.0])})
    check(sent, robot.action_spec, limits=True)
    assert sent["arm.q_target"][0] == pytest.approx(2.8973)


def test_physics_does_not_depend_on_how_often_somebody_looks():
    ends = []
    for looks in (1, 7):
        clock = FakeClock()
        robot = TwinRobotConfig().build(clock)
        action = command(robot, 0.2)
        for tick in range(10):
            robot.write(action)
            for look in range(looks):
                clock.sleep_until(0.1 * tick + 0.1 * (look + 1) / looks)
                robot.read()
        ends.append(robot.world.state())
    assert np.array_equal(*ends)


def test_joint_speed_is_limited(robot, clock):
    action = command(robot, np.array([1.5, 0, 0, 0, 0, 0, 0]))
    fastest = 0.0
    for _ in range(20):
        robot.write(action)
        clock.advance(0.05)
        fastest = max(fastest, np.abs(robot.read().arrays["arm.dq"]).max())
    assert 0.9 * PANDA.velocity_limits[0] < fastest < 1.1 * PANDA.velocity_limits[0]


def test_without_commands_it_holds_where_it_is(robot, clock):
    robot.write(command(robot, np.array([1.5, 0, 0, 0, 0, 0, 0])))
    clock.advance(0.25)
    at_timeout = robot.read().arrays["arm.q"][0]
    clock.advance(0.5)
    stopped = robot.read().arrays
    assert np.abs(stopped["arm.dq"]).max() < 0.02
    assert (
        abs(stopped["arm.q"][0] - at_timeout) < 0.3
    )  # braking at 15 rad/s^2 from 2.2 rad/s, far from the 1.5 rad that were asked for
    clock.advance(1.0)
    assert robot.read().arrays["arm.q"][0] == pytest.approx(stopped["arm.q"][0], abs=2e-3)


def test_the_timeout_does_not_depend_on_when_it_is_noticed():
    ends = []
    for nap in (0.01, 2.0):
        clock = FakeClock()
        robot = TwinRobotConfig().build(clock)
        robot.write(command(robot, 0.5))
        while clock.now() < 2.0 - 1e-9:
            clock.sleep_until(min(clock.now() + nap, 2.0))
            robot.read()
        ends.append(robot.world.state())
    assert np.array_equal(*ends)


def test_stop_holds_at_once_and_on_leaving(clock):
    with TwinRobotConfig().build(clock) as robot:
        robot.write(command(robot, np.array([1.0, 0, 0, 0, 0, 0, 0])))
        clock.advance(0.2)
        before = robot.read().arrays["arm.q"][0]
        robot.stop()
        robot.stop()
    clock.advance(1.0)
    after = robot.read().arrays
    assert abs(after["arm.q"][0] - before) < 0.3
    assert np.abs(after["arm.dq"]).max() < 0.01


def test_non_finite_targets_are_refused(robot, clock):
    action = command(robot, 0.0)
    action["arm.q_target"][3] = np.nan
    with pytest.raises(SpecError, match=r"'arm.q_target' must be finite; found nan at index \(3,\)"):
        robot.write(action)
    clock.advance(0.5)
    assert np.abs(robot.read().arrays["arm.dq"]).max() < 1e-3


def test_robot_and_cameras_share_a_world_and_frames_have_their_own_time(clock):
    world = TwinWorldConfig(seed=3).build(clock)
    robot = TwinRobotConfig().build(world=world)
    with TwinCameraConfig(name="wrist", width=32, height=24, rate_hz=10.0).build(world=world) as camera:
        first = camera.read()
        check(first.arrays, camera.spec)
        robot.write(command(robot, 0.3))
        clock.advance(0.05)
        assert camera.read().time == first.time  # the next frame is not due yet
        clock.advance(0.05)
        second = camera.read()
        assert second.time == pytest.approx(first.time + 0.1)
        assert not np.array_equal(second.arrays["wrist.rgb"], first.arrays["wrist.rgb"])
        camera.frozen = True
        clock.advance(0.4)
        assert camera.read().time == second.time
        clock.advance(0.2)
        with pytest.raises(StaleReading, match=r"'wrist' has had no new frame for 0\.6"):
            camera.read()


def test_reset_starts_again_from_a_seed(clock):
    world = TwinWorldConfig(seed=1).build(clock)
    _, first = world.measure()
    clock.advance(0.5)
    world.reset(1)
    time, again = world.measure()
    assert time == clock.now()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert world.success() is False


def test_unknown_names_list_the_valid_ones(clock):
    with pytest.raises(UnknownName, match="Did you mean 'lift'"):
        TwinWorldConfig(task="lifft").build(clock)
    with pytest.raises(UnknownName, match="Valid names: agent, wrist"):
        TwinCameraConfig(name="front").build(clock)


def test_a_stop_decelerates_within_its_limit_and_comes_to_rest(robot, clock):
    for _ in range(12):
        robot.write(command(robot, np.array([1.5, 0, 0, 0, 0, 0, 0])))
        clock.advance(0.05)
    robot.stop()
    speeds = []
    for _ in range(80):
        clock.advance(0.005)
        speeds.append(robot.read().arrays["arm.dq"][0])
        robot.stop()  # any number of times
    assert speeds[0] > 1.5
    assert np.abs(np.diff(speeds)).max() / 0.005 < 1.4 * 15.0
    assert abs(speeds[-1]) < 0.02
