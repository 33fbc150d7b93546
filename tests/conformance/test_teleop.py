"""What every device a person holds must keep; a new one is found by its entry point. All run on their seeded fakes."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from robolearn import plugins
from robolearn.clock import FakeClock
from robolearn.compose import Intervene
from robolearn.episode import Actor, Outcome, Reading
from robolearn.errors import MissingDependency, SpecError, StaleReading
from robolearn.specs import ArraySpec, check
from robolearn.task import Task
from teleop.hand import MARKS, common_spec

NAMES = plugins.names("teleop")
DT = 0.02


class Still:
    """An environment of one row that never moves, commanded by the tool or by joints."""

    n = 1
    task = Task("pick_place", "stay", 50.0, 1000)

    def __init__(self, command):
        limit = (0.05,) * 3 + (0.5,) * 3
        arm = {
            "arm.delta": ArraySpec((6,), low=tuple(-v for v in limit), high=limit),
            "arm.q_target": ArraySpec((7,), low=-3.1, high=3.1),
        }[command]
        self.action_spec = {command: arm, "gripper.command": ArraySpec((1,), low=-1.0, high=1.0)}
        self.observation_spec = {
            "tool.position": ArraySpec((3,)),
            "tool.quaternion": ArraySpec((4,)),
            "arm.q": ArraySpec((7,)),
        }
        self.seen = {
            "tool.position": np.zeros((1, 3)),
            "tool.quaternion": np.array([[0.0, 1, 0, 0]]),
            "arm.q": np.array([[0.0, -0.17, 0.0, -2.5, 0.0, 2.33, 0.785]]),
        }

    def observe(self):
        return Reading(np.zeros(1), self.seen)


def config(name):
    return dataclasses.replace(plugins.load("teleop", name)(), fake=True, seed=3)


def play(name, seconds, seed=3):
    clock = FakeClock(50.0)
    device = dataclasses.replace(config(name), seed=seed).build(clock)
    readings = []
    try:
        for _ in range(round(seconds / DT)):
            clock.advance(DT)
            readings.append(device.read())
    finally:
        getattr(device, "close", lambda: None)()
    return device.spec, readings


def flat(readings):
    return np.concatenate([np.concatenate([np.ravel(v).astype(float) for v in r.arrays.values()]) for r in readings])


def engaged_operator(name, seconds=1.5):
    clock = FakeClock(50.0)
    env = Still("arm.q_target" if name == "leader" else "arm.delta")
    operator = config(name).operator(env, clock)
    operator.reset([0], [0])
    actions = []
    for _ in range(round(seconds / DT)):
        clock.advance(DT)
        actions.append(operator.act({k: env.seen[k] for k in operator.observation_spec}))
    return env, clock, operator, actions


@pytest.mark.parametrize("name", NAMES)
def test_readings_obey_the_spec_and_carry_the_clock_s_time(name):
    spec, readings = play(name, 1.5)
    assert common_spec().items() <= spec.items()
    times = [reading.time for reading in readings]
    assert np.all(np.diff(times) >= 0)
    assert times[-1] == pytest.approx(51.5, abs=0.1)
    for reading in readings:
        check(reading.arrays, spec, limits=True)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"expert"}))
def test_the_same_seed_moves_the_same_and_another_seed_differently(name):
    first, again, other = (flat(play(name, 1.5, seed)[1]) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    clutch = {bool(r.arrays["hand.enable"][0]) for r in play(name, 1.5)[1]}
    assert clutch == {False, True}, "the clutch is pressed on the way"


@pytest.mark.parametrize("name", NAMES)
def test_config_is_frozen_documented_and_goes_through_its_dict_form(name):
    cls = plugins.load("teleop", name)
    assert cls.__doc__
    assert dataclasses.fields(cls)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().fake = True


@pytest.mark.parametrize("name", NAMES)
def test_importing_it_needs_no_vendor_package(name):
    module = plugins.load("teleop", name).__module__
    script = (
        "import sys\n"
        "vendors = 'hid pygame dynamixel_sdk serial fastapi uvicorn websockets torch mujoco'\n"
        "for m in vendors.split():\n"
        "    sys.modules[m] = None\n"
        f"import {module}\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "package"), [("spacemouse", "hid"), ("gamepad", "pygame"), ("leader", "dynamixel_sdk")]
)
def test_a_missing_vendor_package_is_named_with_its_cure(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"needs the package '{package}'.*\[teleop\]"):
        plugins.load("teleop", name)().build(FakeClock())


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"expert"}))
def test_as_an_operator_it_engages_moves_and_notes_it(name):
    env, _, _, actions = engaged_operator(name)
    engaged = np.array([a["note.engaged"][0] for a in actions])
    assert not engaged[0], "nothing before the first press"
    assert engaged.any()
    for action in actions:
        check({k: action[k] for k in env.action_spec}, env.action_spec, lead=(1,), limits=True)
        assert action["note.engaged"].shape == (1,)
        assert action["note.engaged"].dtype == bool
        assert action["note.actor"].tolist() == [Actor.OPERATOR]
        assert action["note.outcome"].tolist() == [Outcome.RUNNING]
    arm = next(iter(env.action_spec))
    moving = np.stack([a[arm][0] for a in actions])
    rest = moving[~engaged]
    np.testing.assert_array_equal(rest, np.broadcast_to(rest[0], rest.shape))
    assert np.ptp(moving[engaged], axis=0).max() > 0.002


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"expert"}))
def test_when_its_person_is_gone_it_holds_within_the_heartbeat(name):
    env, clock, operator, actions = engaged_operator(name, 1.0)
    assert actions[-1]["note.engaged"][0]
    find_hand(operator.device).gone_s = 0.0
    left = clock.now()
    while True:
        clock.advance(DT)
        last = operator.act({k: env.seen[k] for k in operator.observation_spec})
        if not last["note.engaged"][0]:
            break
        assert clock.now() - left <= 0.21
    with pytest.raises(StaleReading):
        operator.device.read()
    operator.close()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"expert"}))
def test_it_fits_the_wrapper_that_takes_over_from_a_policy(name):
    env, clock, operator, _ = engaged_operator(name, 0.1)

    class Zero:
        observation_spec = {}
        action_spec = env.action_spec

        def reset(self, seeds, rows): ...

        def act(self, observation):
            return {k: np.zeros((1, *s.shape)) for k, s in env.action_spec.items()} | {
                "note.actor": np.array([Actor.POLICY], np.int8)
            }

    both = Intervene(Zero(), operator)
    both.reset([0], [0])
    actors = []
    for _ in range(60):
        clock.advance(DT)
        actors.append(int(both.act({k: env.seen[k] for k in both.observation_spec})["note.actor"][0]))
    assert Actor.POLICY in actors or name in ("web", "phone")
    operator.close()


def test_an_operator_says_when_device_and_environment_do_not_fit():
    with pytest.raises(SpecError, match=r"a leader arm drives joints and needs the action 'arm.q_target'"):
        config("leader").operator(Still("arm.delta"), FakeClock())
    with pytest.raises(SpecError, match=r"this device drives the tool and needs the action 'arm.delta'"):
        config("keyboard").operator(Still("arm.q_target"), FakeClock())


def test_every_mark_is_a_button():
    assert len(set(MARKS)) == len(MARKS)


def find_hand(thing, depth=0):
    """The seeded hand somewhere behind a fake device."""
    from teleop.seeded import SeededHand

    for value in vars(thing).values():
        if isinstance(value, SeededHand):
            return value
        if type(value).__module__.startswith("teleop") and depth < 3 and hasattr(value, "__dict__"):
            found = find_hand(value, depth + 1)
            if found is not None:
                return found
    return None
