"""The Franka driver's own 1 kHz loop on a stand-in for the vendor's client that refuses what the arm refuses.

Time runs on a simulated clock inside the loop's thread, so nothing here depends on how busy the machine is.
"""

import threading
import time

import numpy as np
import pytest

from hardware.franka import Franka, FrankaConfig
from hardware.franka_fake import FakeFrankaConfig, RobotMode
from robolearn.errors import BenchError, SafetyFault, SpecError
from robolearn.specs import check


class ThreadClock:
    """Simulated seconds that pass in the loop's thread, a millisecond for a few real microseconds; others may wait."""

    def __init__(self):
        self._now, self._lock = 0.0, threading.Condition()

    def now(self):
        return self._now

    def sleep_until(self, deadline):
        with self._lock:
            self._now = max(self._now, deadline)
            self._lock.notify_all()
        time.sleep(0.0002)

    def wait(self, seconds):
        end = self._now + seconds
        with self._lock:
            assert self._lock.wait_for(lambda: self._now >= end, timeout=20), "the loop stands still"


@pytest.fixture
def rig():
    clock = ThreadClock()
    fake = FakeFrankaConfig().build(clock)
    return clock, fake, Franka(FrankaConfig(), clock, fake)


def lead(robot, clock, joint, way, speed=0.8):
    """Command one joint at a constant speed, a hundred times a second."""
    q = robot.read().arrays["arm.q"].copy()
    goal = q[joint] + way
    while abs(goal - q[joint]) > 1e-6:
        q[joint] += np.clip(goal - q[joint], -speed * 0.01, speed * 0.01)
        robot.write({"arm.q_target": q})
        clock.wait(0.01)
    return q


def test_it_moves_within_what_the_arm_accepts_and_leaves_at_rest(rig):
    clock, fake, robot = rig
    with robot:
        check(robot.read().arrays, robot.observation_spec, where="reading")
        q = lead(robot, clock, 3, 0.3)
        for _ in range(80):
            robot.write({"arm.q_target": q})
            clock.wait(0.01)
        np.testing.assert_allclose(robot.read().arrays["arm.q"], q, atol=2e-3)
        assert fake.commands > 500
    assert fake.mode is RobotMode.Idle
    assert not fake.reflex, "no set point was refused"
    np.testing.assert_allclose(fake._v, 0, atol=1e-9)


def test_silence_and_stop_brake_and_hold(rig):
    clock, fake, robot = rig
    with robot:
        lead(robot, clock, 0, 0.4)
        clock.wait(0.8)
        at = fake.q.copy()
        clock.wait(0.3)
        np.testing.assert_allclose(fake.q, at, atol=1e-6)
        q = robot.read().arrays["arm.q"].copy()
        for _ in range(20):
            q[0] += 0.008
            robot.write({"arm.q_target": q})
            clock.wait(0.01)
        robot.stop()
        clock.wait(0.6)
        at = fake.q.copy()
        clock.wait(0.3)
        np.testing.assert_allclose(fake.q, at, atol=1e-6)
    assert not fake.reflex


def test_a_reflex_latches_and_is_never_recovered_from_here(rig):
    clock, fake, robot = rig
    with robot:
        q = lead(robot, clock, 0, 0.05)
        fake.stop_button()
        robot._loop.join(5)
        with pytest.raises((SafetyFault, BenchError), match=r"user_stopped"):
            robot.write({"arm.q_target": q})
    with pytest.raises(BenchError, match="never recovers by itself"):
        robot.__enter__()


def test_bad_commands_and_no_arm(rig):
    _, fake, robot = rig
    with robot, pytest.raises(SpecError, match="must be finite"):
        robot.write({"arm.q_target": np.full(7, np.nan)})
    assert not fake.reflex
    fake.reachable = False
    with pytest.raises(BenchError, match="cannot be controlled"):
        robot.__enter__()


@pytest.mark.parametrize(
    ("step", "reflex"),
    [(4.0, "position_limits"), (0.01, "velocity_limits"), (1e-4, "velocity_discontinuity"), (8e-6, "acceleration_dis")],
)
def test_the_stand_in_refuses_what_the_arm_refuses(rig, step, reflex):
    _, fake, _ = rig
    fake.start_joint_position_control("joint impedance")
    with pytest.raises(RuntimeError, match=reflex):
        fake.writeOnce(fake.JointPositions((fake.q + step).tolist()))
