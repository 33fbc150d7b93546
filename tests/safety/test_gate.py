"""The gate's rules one by one: who may move the arm, what is refused and named, what reaches the recording."""

import dataclasses
import threading

import numpy as np
import pytest

from robolearn.bench.env import BenchEnv
from robolearn.bench.pace import Pacer
from robolearn.clock import FakeClock
from robolearn.data.store import Store
from robolearn.episode import Outcome, Perturbation, Reading
from robolearn.errors import BenchError, SafetyFault, StaleReading
from robolearn.observers import Memory
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from robolearn.safety import GateState, Limits, SafeRobot
from robolearn.specs import ArraySpec
from robolearn.task import Task


def move(bench, ticks=40, joint=5, far=0.3):
    goal = bench.target.copy()
    goal[joint] += far
    bench.go(goal, ticks)
    return np.abs(bench.witness.v).max()


def kinds(bench):
    return [event.kind for event in bench.events]


@pytest.fixture
def bench(rig):
    bench = rig.Bench()
    bench.engage()
    return bench


def test_a_link_that_returns_with_the_switch_pressed_moves_nothing_for_ten_seconds(bench):
    move(bench)
    bench.beats = False
    move(bench, 40)
    bench.beats = True
    at = bench.measured()
    for k in range(1250):
        bench.go(bench.target + 0.001 * (-1) ** k, 1)
        if k == 60:
            at = bench.measured()
    np.testing.assert_allclose(bench.measured(), at, atol=1e-3)
    assert "release the enabling switch" in bench.gate.reason or "no sign of life" in bench.gate.reason
    bench.engage()
    assert move(bench, far=-0.3) > 0.5


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([(1, None), (2, None), (2, None)], "message 2 of 'eve' came after 2"),
        ([(5, None), (3, None)], "message 3 of 'eve' came after 5"),
        ([(1, 0.0), (2, -0.5)], "message 2 of 'eve' was 0.5"),
        ([(1, 0.0), (2, -3600.0)], "message 2 of 'eve' was 3600.0"),
    ],
)
def test_late_reordered_and_repeated_signs_of_life_count_for_nothing(rig, messages, why):
    bench = rig.Bench()
    for sequence, sent in messages:
        bench.clock.advance(0.01)
        bench.gate.beat("eve", False, sequence, None if sent is None else bench.clock.now() + sent)
    ignored = [event for event in bench.gate.events() if event.kind == "gate.ignore"]
    assert len(ignored) == 1
    assert ignored[0].reason.startswith(why)


def test_one_person_holds_the_switch_until_it_is_released(bench):
    bench.gate.beat("eve", False, 1)
    bench.gate.beat("eve", True, 2)
    assert "'ann' holds the switch" in bench.gate.events()[-1].reason
    assert move(bench) > 0.5, "ann still moves it"
    bench.release()
    bench.tick()
    bench.beats = False
    bench.gate.beat("eve", False, 3)
    bench.gate.beat("eve", True, 4)
    assert bench.gate._operator.holder == "eve"


def test_an_emergency_stop_passes_a_command_that_hangs_in_the_driver(rig):
    bench = rig.Bench()
    bench.engage()
    inside, go_on = threading.Event(), threading.Event()
    write = bench.witness.write

    def hang(action):
        inside.set()
        go_on.wait(5)
        return write(action)

    bench.witness.write = hang
    thread = threading.Thread(target=bench.tick)
    thread.start()
    assert inside.wait(5)
    stops = bench.witness.stops
    bench.gate.emergency_stop("bystander")
    assert bench.witness.stops > stops, "the driver was stopped while the command was still under way"
    go_on.set()
    thread.join(5)
    bench.witness.write = write
    bench.fail("emergency")
    bench.tick()
    assert bench.gate.state is GateState.FAULT
    assert bench.gate.fault == "bystander pressed the emergency stop"


def test_refusals_name_the_joint(rig):
    bench = rig.Bench()
    bench.target[2] += 0.4
    bench.tick(None)
    bench.press()
    bench.tick()
    assert "arm.q_target[elbow_joint] is 0.400 away from where the arm is, at most 0.3" in bench.gate.reason
    bench = rig.Bench()
    bench.engage()
    bench.go(rig.HOME + 0.35 * np.eye(6)[5], 90)
    bench.release()
    bench.tick(None)
    bench.gate.begin()
    bench.press()
    for _ in range(60):
        bench.tick()
        bench.release() if "press" in bench.gate.reason else bench.press()
    assert any("arm.q[wrist_3_joint] is 0.3" in e.reason for e in bench.events if e.kind == "gate.refuse")


def test_without_a_switch_what_may_not_engage_is_a_fault_that_somebody_clears(rig):
    ages = {name: age for name, age in rig.LIMITS.stale_s.items() if name != "operator"}
    bench = rig.Bench(limits=dataclasses.replace(rig.LIMITS, dead_man=False, stale_s=ages))
    bench.check = bench.judge = lambda *args: None
    bench.target = bench.target + 0.4
    with pytest.raises(SafetyFault, match="refusing to engage"):
        bench.tick()
    assert "refusing to engage" in bench.gate.fault
    bench.target = bench.measured()
    with pytest.raises(SafetyFault):
        bench.tick()  # nothing clears itself
    bench.gate.clear("ann")
    bench.tick()
    assert bench.gate.state is GateState.ACTIVE
    assert [e.kind for e in bench.gate.events()] == ["gate.fault", "gate.clear", "gate.engage"]


def test_a_pause_ends_by_itself_smoothly_and_a_long_one_is_a_fault(bench):
    move(bench, 30)
    bench.camera = False
    move(bench, 60)
    assert "wrist.rgb" in bench.gate.reason
    bench.camera = True
    bench.go(bench.target, 5)
    assert move(bench, 30, far=-0.4) > 0.5, "the witness has checked acceleration and jerk all along"
    assert kinds(bench).count("gate.pause") == kinds(bench).count("gate.resume") == 1
    bench.camera = False
    for _ in range(170):
        bench.tick()
    assert "it stayed so for more than 1.0 s" in bench.gate.fault


@pytest.mark.parametrize(("pause_s", "again"), [(0.1, "gate.resume"), (0.5, "gate.engage")])
def test_on_a_slow_machine_a_short_pause_does_not_start_the_ramp_again(bench, pause_s, again):
    """Commands so rare that the driver brakes in a pause: only after a long one is slow from the beginning right."""

    def slowly(command: str | None = "target"):
        bench.clock.advance(0.03)
        bench.target[5] += 0.02
        bench.tick(command)

    for _ in range(12):
        slowly()
    bench.events.clear()
    until = bench.clock.now() + pause_s
    while bench.clock.now() < until:
        slowly(None)
    bench.target = bench.measured()
    for _ in range(6):
        slowly()
    assert kinds(bench)[0] == "gate.pause"
    assert [kind for kind in kinds(bench) if kind in ("gate.resume", "gate.engage")] == [again]
    assert (bench.gate._pace(bench.clock.now()) == 1.0) == (again == "gate.resume")


def test_a_camera_that_never_delivers_lets_nothing_begin(rig):
    bench = rig.Bench()
    bench.camera = False
    bench.tick()
    bench.press()
    for _ in range(5):
        bench.tick()
    assert "'wrist.rgb' has not delivered anything yet" in bench.gate.reason
    assert bench.gate.state is GateState.HOLD


def test_a_gripper_may_be_told_to_close_at_once_and_the_arm_may_not_jump(bench):
    """A policy at a high rate closes from one end to the other in a single short period, and that is no fault."""
    for k in range(20):
        bench.tick(gripper=1.0 if k % 2 else -1.0)
    assert not bench.gate.fault
    bench.target[5] += 1.0
    bench.tick()
    assert "jumped by 1.000" in bench.gate.fault


def test_a_reordered_command_is_ignored(bench):
    command = {"arm.q_target": bench.target, "gripper.command": np.array([-1.0])}
    bench.gate.write(command, sequence=5)
    before = bench.witness.q.copy()
    bench.clock.advance(0.008)
    bench.gate.write(command | {"arm.q_target": bench.target + 0.002}, sequence=4)
    np.testing.assert_array_equal(bench.witness.q, before)
    assert bench.gate.events()[-1].reason == "command 4 came after 5"


def test_limits_of_space_need_a_body(rig):
    with pytest.raises(SafetyFault, match=r"limit clearance_m needs to know the arm's shape; refusing to arm"):
        SafeRobot(rig.Bench().witness, rig.LIMITS, rig.Bench().clock)


def test_a_driver_whose_stop_fails_too_is_still_latched(bench):
    def broken(*_):
        raise BenchError("the cable is out")

    bench.witness.write = bench.witness.stop = broken
    bench.fail("driver")
    move(bench, 3)
    assert bench.gate.fault == "the driver refused a command: the cable is out"
    assert any("stop failed" in event.reason for event in bench.events)


# The gate's events and what was sent, in the recording.

Q = {"arm.q": ArraySpec((2,), unit="rad")}
A = {"arm.q_target": ArraySpec((2,), low=-1.5, high=1.5, unit="rad")}


class Arm:
    observation_spec, action_spec = Q, A

    def __init__(self, clock):
        self.clock, self.q = clock, np.zeros(2)

    def read(self):
        return Reading(self.clock.now(), {"arm.q": self.q.copy()})

    def write(self, action):
        self.q = action["arm.q_target"].copy()
        return action

    def stop(self):
        pass


class Policy:
    observation_spec, action_spec = Q, A

    def __init__(self, actions):
        self.actions = actions

    def reset(self, seeds, rows):
        self.k = -1

    def act(self, observation):
        self.k += 1
        return {"arm.q_target": np.full((1, 2), self.actions[min(self.k, len(self.actions) - 1)])}


def record(tmp_path, actions, clock, **limits):
    arm = Arm(clock)
    gate = SafeRobot(arm, Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}, **limits), clock)
    env = BenchEnv(gate, [], Task("wave", "wave", 10.0, 12), clock)
    store = Store.create(tmp_path / "store")
    with Recorder(store) as recorder:
        rollout(env, Policy(actions), seeds=[1], rate_hz=10.0, clock=clock, observers=[recorder])
    return store[recorder.kept[0]]


def test_every_intervention_is_an_event_beside_what_was_asked_and_what_was_sent(tmp_path):
    episode = record(tmp_path, [0.05, 0.1, 2.0, 2.0, np.nan], FakeClock(5.0))
    assert episode.outcome is Outcome.ABORTED
    by_kind = {event.kind: event for event in episode.events if event.source == "gate"}
    assert set(by_kind) == {"gate.engage", "gate.limit", "gate.fault"}
    assert by_kind["gate.limit"].params == {"limit": "position"}
    assert "must be finite" in by_kind["gate.fault"].reason
    assert by_kind["gate.fault"].time == pytest.approx(5.4)
    assert episode.requested["arm.q_target"][2, 0] == 2.0
    np.testing.assert_allclose(episode.actions["arm.q_target"][:, 0], [0.0, 0.1, 0.2, 0.3, 0.3], atol=1e-9)


def test_an_adversary_slows_the_arm_through_the_loop(tmp_path):
    clock = FakeClock()
    gate = SafeRobot(
        Arm(clock),
        Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}, adversary_speed=0.25, adversary_hold_s=0.5),
        clock,
    )
    env = BenchEnv(gate, [], Task("wave", "wave", 10.0, 12), clock)

    class Adversary:
        def reset(self, seeds, rows):
            self.k = 0

        def propose(self, reading):
            self.k += 1
            return [(0, Perturbation("MOVE_OBJ", "cup"))] if self.k == 4 else []

    memory = Memory()
    adversary = Adversary()
    rollout(env, Policy([1.4]), seeds=[1], rate_hz=10.0, clock=clock, adversary=adversary, observers=[memory])
    steps = np.diff(memory.episodes[1].actions["arm.q_target"][:, 0])
    assert steps.max() == pytest.approx(0.1)
    np.testing.assert_allclose(steps[3:6], 0.025)


def test_a_late_camera_is_waited_for_and_a_lost_one_ends_the_rollout():
    class Camera:
        spec = {"wrist.rgb": ArraySpec((2, 2, 3), "uint8")}
        broken_until = 0.0

        def read(self):
            if clock.now() < self.broken_until:
                raise StaleReading("'wrist' has had no new frame")
            return Reading(clock.now(), {"wrist.rgb": np.zeros((2, 2, 3), np.uint8)})

    clock, camera = FakeClock(1.0), Camera()
    limits = Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"}, stale_s={"wrist.rgb": 0.2}, lost_s=1.0)
    gate = SafeRobot(Arm(clock), limits, clock)
    env = BenchEnv(gate, [camera], Task("wave", "wave", 10.0, 12), clock)
    env.reset([1], [0])
    camera.broken_until = clock.now() + 0.5
    env.observe()
    assert clock.now() == pytest.approx(1.5)
    assert not gate.fault
    camera.broken_until = np.inf
    with pytest.raises(StaleReading):
        env.observe()
    assert "no new frame" in gate.fault


def test_a_bench_takes_no_robot_past_the_gate():
    clock = FakeClock()
    task = Task("wave", "wave", 10.0, 12)
    with pytest.raises(BenchError, match="inside the safety gate; found a bare Arm"):
        BenchEnv(Arm(clock), [], task, clock)  # pyright: ignore[reportArgumentType]
    limits = Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.q"})
    one, other = SafeRobot(Arm(clock), limits, clock), SafeRobot(Arm(clock), limits, clock)
    with pytest.raises(BenchError, match="another robot"):
        BenchEnv(one, [], task, clock, pacer=Pacer(other, 100.0, clock))


def test_only_the_gate_holds_a_drivers_write():
    """Of our own code above the devices, one class calls `write` on something that is not itself a gate."""
    import ast
    from pathlib import Path

    import robolearn

    root = Path(robolearn.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".write(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write":
                owner = ast.unparse(node.func.value)
                if "robot" in owner or "arm" in owner or "driver" in owner:
                    found.add((str(path.relative_to(root)), owner))
    gated = {("bench/env.py", "self._robot"), ("bench/pace.py", "self.robot")}  # both refuse anything but a SafeRobot
    assert found == gated | {("safety/line.py", "self._robot")}
