"""Between the policy's rate and the robot's: interpolation, deadlines, what happens when nothing comes."""

import threading
import time

import numpy as np
import pytest

from robolearn.bench.env import BenchEnv
from robolearn.bench.pace import Pacer
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.episode import Outcome, Reading
from robolearn.errors import BenchError
from robolearn.observers import Memory
from robolearn.rollout import rollout
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import ArraySpec
from robolearn.task import Task

Q = {"arm.q": ArraySpec((2,), unit="rad")}
A = {"arm.q_target": ArraySpec((2,), low=-1.5, high=1.5, unit="rad")}
DT, PERIOD = 0.008, 0.1


class Arm:
    observation_spec, action_spec = Q, A

    def __init__(self, clock):
        self.clock, self.q, self.sent, self.times, self.stops = clock, np.zeros(2), [], [], 0

    def read(self):
        return Reading(self.clock.now(), {"arm.q": self.q.copy()})

    def write(self, action):
        self.q = action["arm.q_target"].copy()
        self.sent.append(self.q.copy())
        self.times.append(self.clock.now())
        return action

    def stop(self):
        self.stops += 1


def rig(**limits):
    clock = FakeClock(1.0)
    arm = Arm(clock)
    full = Limits(
        {"arm.q_target": 1.0},
        {"arm.q_target": "arm.q"},
        acceleration={"arm.q_target": 8.0},
        jerk={"arm.q_target": 800.0},
        **limits,
    )
    gate = SafeRobot(arm, full, clock)
    pacer = Pacer(gate, 1 / DT, clock)
    clock.every(DT, pacer.tick)
    return clock, arm, gate, pacer


def send(pacer, clock, value, **options):
    return pacer.send({"arm.q_target": np.full(2, float(value))}, due=clock.now() + PERIOD, **options)["arm.q_target"]


def test_targets_are_met_in_time_and_the_way_between_is_smooth():
    clock, arm, _, pacer = rig()
    wave = 0.4 * (1 - np.cos(1.2 * PERIOD * np.arange(1, 60)))
    errors = []
    for value in wave:
        send(pacer, clock, value)
        clock.sleep_until(clock.now() + PERIOD)
        errors.append(abs(arm.q[0] - value))
    assert max(errors[3:]) < 0.012, "it lags by less than one robot period of motion"
    sent = np.array(arm.sent)[:, 0]
    v = np.diff(sent) / DT
    assert np.abs(v).max() <= 1.0 + 1e-6
    assert np.abs(np.diff(v)).max() / DT <= 8.0 + 1e-6
    between = np.interp(np.array(arm.times) - 1.0, PERIOD * np.arange(60), np.concatenate([[0], wave]))
    assert np.abs(sent[40:] - between[40:]).max() < 0.02
    assert len(arm.sent) > 10 * len(wave)


def test_a_steady_ramp_has_no_ripple_of_the_policys_rate():
    clock, arm, _, pacer = rig()
    for k in range(1, 20):
        send(pacer, clock, 0.05 * k)
        clock.sleep_until(clock.now() + PERIOD)
    v = np.diff(np.array(arm.sent)[-100:, 0]) / DT
    np.testing.assert_allclose(v, 0.5, atol=0.01)


def test_the_first_command_holds_until_it_comes_and_nothing_is_extrapolated():
    clock, arm, gate, pacer = rig()
    clock.sleep_until(clock.now() + 2.0)
    assert not arm.sent, "nothing is sent before the first target, however slow the first inference"
    for k in range(1, 6):
        send(pacer, clock, 0.05 * k)
        clock.sleep_until(clock.now() + PERIOD)
    at = arm.q[0]
    clock.sleep_until(clock.now() + 0.5)
    assert abs(arm.q[0] - 0.25) < 0.03, "it stays at the last target, give or take the way to brake"
    assert abs(arm.q[0] - at) < 0.04
    assert gate.reason == "no new target comes"
    send(pacer, clock, 0.3)
    clock.sleep_until(clock.now() + PERIOD)
    assert not gate.reason, "and goes on with the next"


def test_an_answer_to_an_old_observation_holds():
    clock, arm, gate, pacer = rig(stale_s={"decision": 0.3})
    seen = clock.now()
    for k in range(1, 8):
        send(pacer, clock, 0.05 * k, made=seen)
        clock.sleep_until(clock.now() + PERIOD)
    assert "'decision'" in gate.reason
    assert arm.q[0] < 0.2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_target_is_latched_and_braked_within_one_robot_period(bad):
    clock, arm, gate, pacer = rig()
    for k in range(1, 6):
        send(pacer, clock, 0.08 * k)
        clock.sleep_until(clock.now() + PERIOD)
    before = len(arm.sent)
    pacer.send({"arm.q_target": np.array([0.4, bad])}, due=clock.now() + PERIOD)
    clock.sleep_until(clock.now() + 0.5)
    v = np.diff(np.array(arm.sent)[before - 2 :, 0]) / np.diff(arm.times[before - 2 :])
    assert v[0] > 0.5
    assert np.all(np.diff(v[1:]) < 0), "slower with every period from the first on"
    assert "must be finite" in gate.fault
    assert np.all(np.isfinite(arm.sent))
    assert arm.stops == 1


def test_a_target_too_far_is_admitted_as_far_as_speed_allows():
    clock, _, _, pacer = rig()
    np.testing.assert_allclose(send(pacer, clock, 1.4), 0.1)
    np.testing.assert_allclose(send(pacer, clock, -9.0), -0.1)


class Wave:
    observation_spec, action_spec = Q, A

    def __init__(self, fails_at=-1, slow_s=0.0, clock=None):
        self.fails_at, self.slow_s, self.clock = fails_at, slow_s, clock

    def reset(self, seeds, rows):
        self.k = 0

    def act(self, observation):
        self.k += 1
        if self.slow_s and self.k == 1:
            assert self.clock is not None
            self.clock.sleep_until(self.clock.now() + self.slow_s)
        return {"arm.q_target": np.full((1, 2), np.nan if self.k == self.fails_at else 0.15 * np.sin(0.4 * self.k))}


@pytest.mark.parametrize("slow_s", [0.0, 1.53])
def test_the_loop_runs_with_a_pacer_and_a_slow_first_inference_only_holds(slow_s):
    clock, arm, gate, pacer = rig(stale_s={"decision": 0.3})
    env = BenchEnv(gate, [], Task("wave", "wave", 1 / PERIOD, 30), clock, pacer=pacer)
    memory = Memory()
    rollout(env, Wave(slow_s=slow_s, clock=clock), seeds=[1], rate_hz=1 / PERIOD, clock=clock, observers=[memory])
    episode = memory.episodes[1]
    assert episode.outcome is Outcome.TIMEOUT
    assert len(arm.sent) > 10 * 27
    v = np.diff(np.array(arm.sent)[:, 0]) / np.diff(arm.times)
    assert np.abs(np.diff(v)).max() / DT <= 8.0 + 1e-6
    # What is recorded as sent is where the arm was led to, which it reaches by the next observation.
    np.testing.assert_allclose(episode.observations["arm.q"][6:], episode.actions["arm.q_target"][5:], atol=0.02)


def test_a_fault_ends_the_paced_episode():
    clock, _, gate, pacer = rig()
    env = BenchEnv(gate, [], Task("wave", "wave", 1 / PERIOD, 30), clock, pacer=pacer)
    memory = Memory()
    rollout(env, Wave(fails_at=6), seeds=[1], rate_hz=1 / PERIOD, clock=clock, observers=[memory])
    assert memory.episodes[1].outcome is Outcome.ABORTED
    assert memory.episodes[1].steps == 6


def test_the_thread_holds_its_rate_and_accounts_for_it():
    clock = MonotonicClock()
    arm = Arm(clock)
    gate = SafeRobot(arm, Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}), clock)
    with Pacer(gate, 100.0, clock) as pacer:
        assert any(thread.name == "pacer" for thread in threading.enumerate())
        began = clock.now()
        while clock.now() - began < 0.5:
            pacer.send({"arm.q_target": np.zeros(2)}, due=clock.now() + 0.05)
            time.sleep(0.05)
    late, most = pacer.lateness(), 100 * (clock.now() - began) + 2
    assert 10 < late.ticks <= most, "absolute deadlines: never more than the rate, however late"
    assert 0.0 <= late.p50_s <= late.p99_s <= late.worst_s
    assert late.overruns <= late.ticks
    assert not any(thread.name == "pacer" for thread in threading.enumerate())


def test_a_thread_that_dies_stops_the_arm_and_says_so():
    clock = MonotonicClock()
    arm = Arm(clock)
    gate = SafeRobot(arm, Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}), clock)
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        with Pacer(gate, 200.0, clock) as pacer:
            pacer.send({"arm.q_target": np.zeros(2)}, due=clock.now() + 0.05)
            time.sleep(0.05)
            arm.write = lambda action: 1 / 0
            pacer.send({"arm.q_target": np.zeros(2)}, due=clock.now() + 0.05)
            deadline = time.monotonic() + 5
            while not gate.fault and time.monotonic() < deadline:
                time.sleep(0.005)
            assert "ZeroDivisionError" in gate.fault
            assert arm.stops
            with pytest.raises(BenchError, match="thread that writes to the robot has died"):
                pacer.send({"arm.q_target": np.zeros(2)}, due=clock.now() + 0.05)
    finally:
        threading.excepthook = hook


def test_a_stall_of_everything_causes_no_burst():
    clock, arm, _, pacer = rig(stale_s={"command": 0.05})
    for k in range(1, 6):
        send(pacer, clock, 0.05 * k)
        clock.sleep_until(clock.now() + PERIOD)
    before = len(arm.sent)
    clock.advance(1.0)
    send(pacer, clock, 0.3)
    clock.sleep_until(clock.now() + PERIOD)
    assert len(arm.sent) - before <= 14
    steps = np.abs(np.diff(np.array(arm.sent)[before - 1 :, 0]))
    assert steps.max() <= 1.0 * DT + 1e-9
