"""The UR twin under the vendor's own clients, and our driver on it. Twins run in their own process, in real time."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from hardware.twin_process import ROOT, TwinProcess
from hardware.ur import URConfig
from robolearn.clock import MonotonicClock
from robolearn.errors import BenchError, SafetyFault, SpecError, StaleReading
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import check

WHY = "ur_rtde is not installed: the UR driver and its twin stay untested (pip install ur_rtde)"
rtde_receive = pytest.importorskip("rtde_receive", reason=WHY)
rtde_control = pytest.importorskip("rtde_control", reason=WHY)
dashboard_client = pytest.importorskip("dashboard_client", reason=WHY)

# An own piece of 127.0.0.0/8 per test process.
NET = f"127.{20 + (os.getpid() >> 8) % 200}.{os.getpid() % 250 + 1}"


@pytest.fixture
def twin():
    with TwinProcess("ur", address=f"{NET}.1") as process:
        yield process


@pytest.fixture(scope="module")
def sound():
    """A twin and a connected arm for the tests that do not break it; they stand together in this file.

    ur_rtde takes a second to leave, and holds Python's lock while it connects and when its objects die: another arm
    that comes or goes in this process stops this one, through its watchdog.
    """
    with TwinProcess("ur", address=f"{NET}.2") as process, URConfig(f"{NET}.2", stale_s=0.3).build() as robot:
        yield process, robot


@pytest.fixture
def arm(twin):
    with URConfig(f"{NET}.1", stale_s=0.3).build() as robot:  # room for a busy machine
        yield robot


def eventually(condition, seconds: float = 3.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
    return result


def raised_by(call, error, seconds: float = 2.0):
    """The error that `call` comes to raise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            call()
        except error as found:
            return str(found)
        time.sleep(0.005)
    raise AssertionError(f"no {error.__name__} within {seconds} s")


def sweep(robot, seconds: float, speed: float = 1.0, joint: int = 0) -> np.ndarray:
    """Command one joint at a constant speed, 100 times a second."""
    q = robot.read().arrays["arm.q"].copy()
    start = time.monotonic()
    first = q[joint]
    while (passed := time.monotonic() - start) < seconds:
        q[joint] = first + speed * passed
        robot.write({"arm.q_target": q})
        time.sleep(0.01)
    return q


def test_vendor_clients_drive_the_twin(twin):
    address = f"{NET}.1"
    dashboard = dashboard_client.DashboardClient(address)
    dashboard.connect()
    assert dashboard.robotmode() == "Robotmode: RUNNING"
    assert dashboard.isInRemoteControl()
    receive = rtde_receive.RTDEReceiveInterface(address, 500.0)
    control = rtde_control.RTDEControlInterface(address, 500.0)
    goal = [0.3, -1.4, 1.4, -1.5, -1.5, 0.1]
    assert control.moveJ(goal, 1.5, 3.0)
    eventually(lambda: np.allclose(receive.getActualQ(), goal, atol=2e-3))
    assert np.allclose(control.getForwardKinematics(), receive.getActualTCPPose(), atol=2e-3)
    for k in range(100):
        start = control.initPeriod()
        assert control.servoJ([0.3 + 0.001 * k, *goal[1:]], 0.0, 0.0, 0.002, 0.05, 300)
        control.waitPeriod(start)
    assert control.servoStop()
    eventually(lambda: 0.35 < receive.getActualQ()[0] < 0.41)
    assert control.speedJ([0.2, 0, 0, 0, 0, 0], 1.0, 0.0)
    eventually(lambda: receive.getActualQd()[0] > 0.15)
    assert control.speedStop()
    eventually(lambda: abs(receive.getActualQd()[0]) < 0.01)
    assert control.isJointsWithinSafetyLimits(goal)
    assert control.isProgramRunning()
    control.stopScript()
    eventually(lambda: not control.isProgramRunning())
    control.disconnect()
    receive.disconnect()


@pytest.mark.parametrize("rate", [125.0, 500.0])
def test_state_arrives_at_its_rate(twin, rate: float):
    """Counted on the twin's clock, which a busy machine slows; benchmarks/rtde_twin.py states what a client sees."""
    receive = rtde_receive.RTDEReceiveInterface(f"{NET}.1", rate, ["timestamp", "actual_q"])
    stamps, end = set(), time.monotonic() + 0.5
    before = twin.command("state")
    while time.monotonic() < end:
        stamps.add(receive.getTimestamp())
        time.sleep(0.0005)
    after = twin.command("state")
    sent, passed = after["packages"] - before["packages"], after["time"] - before["time"]
    receive.disconnect()
    print(f"{rate} Hz: {len(stamps)} distinct states in 0.5 s, {sent} packages in {passed:.3f} s of the twin's clock")
    assert abs(sent - rate * passed) <= 0.05 * rate * passed + 2
    assert len(stamps) > 20


def test_a_taken_port_is_named(twin):
    with pytest.raises(BenchError, match=rf"Cannot listen on {NET}.1:29999"):
        TwinProcess("ur", address=f"{NET}.1")


def test_readings_match_their_spec_and_writes_their_limits(sound):
    _, arm = sound
    reading = arm.read()
    check(reading.arrays, arm.observation_spec, where="reading")
    assert "tool.wrench" in arm.observation_spec
    readings = [arm.read() for _ in range(50)]
    for before, after in itertools.pairwise(readings):
        same = np.array_equal(before.arrays["arm.q"], after.arrays["arm.q"])
        assert after.time == before.time if same else after.time > before.time, "a new measurement has a new time"
    assert len({reading.time for reading in readings}) > 25
    assert abs(MonotonicClock().now() - float(readings[-1].time)) < 0.5
    q = reading.arrays["arm.q"] + 1.0
    sent = arm.write({"arm.q_target": q})["arm.q_target"]
    assert np.all(sent - reading.arrays["arm.q"] <= 1.0 / 125 + 1e-4), "the first step is one period at full speed"
    with pytest.raises(SpecError, match="must be finite"):
        arm.write({"arm.q_target": np.full(6, np.nan)})
    with pytest.raises(SpecError, match=r"must have shape \(6,\)"):
        arm.write({"arm.q_target": np.zeros(7)})


def test_silence_of_the_caller_ends_in_a_hold(sound):
    twin, arm = sound
    sweep(arm, 0.4)
    last = arm.read().time
    eventually(lambda: np.all(np.abs(arm.read().arrays["arm.dq"]) < 0.02))
    assert arm.read().time - last < 0.7
    time.sleep(0.3)
    assert twin.command("state")["playing"], "holding keeps the watchdog fed"


def test_nan_never_reaches_the_driver_behind_the_gate(sound, monkeypatch):
    twin, arm = sound
    passed: list[object] = []
    write = arm.write
    monkeypatch.setattr(arm, "write", lambda action: (passed.append(action), write(action))[1])
    gate = SafeRobot(arm, Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}), MonotonicClock())
    target = arm.read().arrays["arm.q"]
    gate.write({"arm.q_target": target})
    bad = target.copy()
    bad[3] = np.nan
    gate.write({"arm.q_target": bad})
    assert "finite" in gate.fault
    assert len(passed) == 1
    assert twin.command("state")["safety"] == "NORMAL"


def test_speed_slider_slows_commands_without_a_catch_up_jump(sound):
    twin, arm = sound
    twin.command("speed_slider 0.3")
    time.sleep(0.1)
    start = arm.read().arrays["arm.q"][0]
    q = sweep(arm, 1.0)
    moved = arm.read().arrays["arm.q"][0] - start
    assert moved < 0.4, "a third of the speed"
    twin.command("speed_slider 1.0")
    for _ in range(50):
        arm.write({"arm.q_target": q})
        time.sleep(0.01)
    speeds = [max(map(abs, dq)) for _, _, dq, _ in twin.command("history")[-300:]]
    assert max(speeds) < 1.3


def test_stop_in_any_state_from_any_thread(twin):
    robot = URConfig(f"{NET}.1", stale_s=0.3).build()  # room for a busy machine
    robot.stop()
    with pytest.raises(BenchError, match="not connected"):
        robot.read()
    with pytest.raises(BenchError, match="not connected"):
        robot.write({"arm.q_target": np.zeros(6)})
    with robot:
        sweep(robot, 0.4)
        assert robot.read().arrays["arm.dq"][0] > 0.5
        others = [threading.Thread(target=robot.stop) for _ in range(4)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
        robot.stop()
        time.sleep(0.4)
        rest = robot.read().arrays
        assert np.all(np.abs(rest["arm.dq"]) < 0.01)
        time.sleep(0.3)
        assert np.allclose(robot.read().arrays["arm.q"], rest["arm.q"], atol=1e-3), "a stop holds, it does not creep"
        sweep(robot, 0.2)  # a new command moves it again
        assert robot.read().arrays["arm.q"][0] > rest["arm.q"][0] + 0.02
    robot.stop()


def test_protective_stop_latches_and_is_never_unlocked_from_here(arm, twin):
    q = sweep(arm, 0.3)
    twin.command("protective_stop")
    message = raised_by(lambda: arm.write({"arm.q_target": q}), SafetyFault)
    assert "enable it at the pendant" in message.replace("\n", " ")
    time.sleep(0.3)
    arm.stop()
    with pytest.raises(SafetyFault, match="protective stop"):
        arm.write({"arm.q_target": q})
    arm.__exit__()
    with pytest.raises(SafetyFault, match="protective stop"):
        arm.__enter__()  # nor does connecting again
    assert twin.command("state")["safety"] == "PROTECTIVE_STOP"
    check_never_unlocks(twin)


def check_never_unlocks(twin) -> None:
    assert twin.command("state")["unlocks"] == 0
    assert not [line for line in twin.command("log") if "unlock" in line]


def test_the_unlock_check_fails_for_a_client_that_unlocks(twin):
    check_never_unlocks(twin)
    twin.command("protective_stop")
    dashboard = dashboard_client.DashboardClient(f"{NET}.1")
    dashboard.connect()
    with pytest.raises(RuntimeError, match="Unlock protective stop failure"):
        dashboard.unlockProtectiveStop()  # too early, and counted all the same
    with pytest.raises(AssertionError):
        check_never_unlocks(twin)


def test_emergency_stop_and_a_stop_at_the_pendant_say_what_to_do(arm, twin):
    q = sweep(arm, 0.2)
    twin.command("emergency_stop")
    assert "emergency stop" in raised_by(lambda: arm.write({"arm.q_target": q}), SafetyFault)


def test_program_stopped_at_the_pendant(arm):
    q = sweep(arm, 0.2)
    dashboard = dashboard_client.DashboardClient(f"{NET}.1")
    dashboard.connect()
    dashboard.stop()
    assert "Connect again" in raised_by(lambda: arm.write({"arm.q_target": q}), BenchError)


def test_refuses_to_connect_without_remote_control_or_in_a_stop(twin):
    twin.command("remote_control off")
    with pytest.raises(BenchError, match="remote control"):
        URConfig(f"{NET}.1").build().__enter__()
    twin.command("remote_control on")
    twin.command("protective_stop")
    with pytest.raises(SafetyFault, match="never unlocks"):
        URConfig(f"{NET}.1").build().__enter__()


def test_arm_and_gripper_are_one_robot(twin):
    with TwinProcess("robotiq", address=f"{NET}.1"), URConfig(f"{NET}.1", gripper="robotiq").build() as robot:
        reading = robot.read()
        check(reading.arrays, robot.observation_spec, where="reading")
        assert reading.captured["gripper.width"] != reading.time
        q = reading.arrays["arm.q"]
        for _ in range(60):
            sent = robot.write({"arm.q_target": q, "gripper.command": np.array([1.0])})
            time.sleep(0.01)
        assert sent["gripper.command"] == 1.0
        assert robot.read().arrays["gripper.width"][0] < 0.002


def test_no_controller_at_all():
    with pytest.raises(BenchError, match="No UR controller answers"):
        URConfig(f"{NET}.99").build().__enter__()


def test_a_frozen_controller_is_stale(arm, twin):
    arm.read()
    twin.command("freeze")
    assert "has sent nothing new" in raised_by(arm.read, StaleReading)
    began = time.monotonic()
    arm.stop()
    assert time.monotonic() - began < 1.5
    time.sleep(0.2)
    with pytest.raises(BenchError, match="connect again"):
        arm.write({"arm.q_target": np.zeros(6)})  # nor does it command what it cannot see
    twin.command("thaw")  # the link comes back: commanding again takes a deliberate new connection
    time.sleep(0.3)
    with pytest.raises(BenchError, match="connect again"):
        arm.write({"arm.q_target": np.zeros(6)})


CLIENT = """
import sys, time
from hardware.ur import URConfig
with URConfig(sys.argv[1]).build() as arm:
    q = arm.read().arrays["arm.q"].copy()
    start, first = time.monotonic(), q[0]
    while True:
        q[0] = first + (time.monotonic() - start)
        arm.write({"arm.q_target": q})
        if time.monotonic() - start > 0.5:
            print("moving", flush=True)
        time.sleep(0.01)
"""
CARELESS = """
import sys, time, rtde_control
control = rtde_control.RTDEControlInterface(sys.argv[1], 125.0)
control.speedJ([0.5, 0, 0, 0, 0, 0], 2.0, 0.0)
time.sleep(0.6)
print("moving", flush=True)
time.sleep(60)
"""


def rest_after_kill(twin, source: str) -> float:
    """Kill a client in full motion; seconds on the twin's clock from its last command until the arm rests."""
    client = subprocess.Popen([sys.executable, "-c", source, f"{NET}.1"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert client.stdout is not None
    with client.stdout:
        line = client.stdout.readline()
        client.send_signal(signal.SIGKILL)
        client.wait()
    assert line == "moving\n"
    time.sleep(0.7)
    last = twin.command("state")["last_input"]
    history = twin.command("history")
    before = max(max(map(abs, dq)) for t, _, dq, _ in history if last - 0.1 < t <= last)
    assert before > 0.4, "it was moving when it was killed"
    moving = [t for t, _, dq, _ in history if max(map(abs, dq)) > 0.02]
    return moving[-1] - last


def test_killed_client_leaves_the_arm_at_rest_within_250_ms(twin):
    rest = rest_after_kill(twin, CLIENT)
    print(f"at rest {rest * 1e3:.0f} ms after the last command")
    assert rest <= 0.25


def test_the_kill_check_fails_for_a_client_without_a_watchdog(twin):
    with pytest.raises(AssertionError):
        assert rest_after_kill(twin, CARELESS) <= 0.25
