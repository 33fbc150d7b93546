"""One property test over random fault schedules, and one deliberately broken gate per rule on which it fails.

The machine plays an operator, an adversary, a policy and a broken world before the MuJoCo twin on a simulated clock;
`rig.Bench` asserts the invariants after every robot period. Each broken gate lacks one rule: if the test passed on it,
the test would prove nothing about that rule.
"""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RULE_MARKER,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from robolearn.safety import SafeRobot

# The long search, with fresh seeds; an hour or two:
# ENVELOPE_EXAMPLES=200 ENVELOPE_STEPS=300 python -m pytest tests/safety/test_envelope.py -k random -s --timeout 0
EXAMPLES = int(os.environ.get("ENVELOPE_EXAMPLES", "0"))
STEPS = int(os.environ.get("ENVELOPE_STEPS", "300"))
SETTINGS = settings(
    max_examples=EXAMPLES or 7,
    stateful_step_count=STEPS if EXAMPLES else 14,
    derandomize=not EXAMPLES,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    report_multiple_bugs=False,
    print_blob=bool(EXAMPLES),
)
BAD = [np.nan, np.inf, -np.inf]
few = st.integers(1, 12)
some = st.integers(10, 45)


def machine(rig, gate: type[SafeRobot], only: tuple[str, ...] = (), tally: list[tuple[int, int]] | None = None):
    """The state machine before a gate, with all rules or only these; `tally` gets each run's steps and periods."""
    home = rig.HOME

    class Envelope(RuleBasedStateMachine):
        @initialize()
        def start(self):
            self.bench = rig.Bench(gate)
            self.bench.engage()

        @invariant()
        def count(self):
            self.steps = getattr(self, "steps", -1) + 1

        def teardown(self):
            if tally is not None:
                tally.append((self.steps, self.bench.periods))

        @rule(offset=st.tuples(*[st.integers(-50, 50)] * 6), speed=st.sampled_from([0.3, 0.9, 1.8]), ticks=some)
        def go(self, offset, speed, ticks):
            self.bench.go(home + 0.01 * np.array(offset), ticks, speed)

        @rule(joint=st.integers(0, 5), far=st.sampled_from([-4.0, 4.0]), ticks=st.integers(30, 80))
        def go_to_the_end(self, joint, far, ticks):
            goal = home.copy()
            goal[joint] += far
            self.bench.go(goal, ticks, 1.5)

        @rule(joint=st.integers(0, 5), value=st.sampled_from([*BAD, 1e308, 3.0]), ticks=few)
        def command_what_must_not_pass(self, joint, value, ticks):
            command = self.bench.target.copy()
            command[joint] = value
            self.bench.fail("bad command") if self.bench.gate.state == 1 or not np.isfinite(value) else None
            self.bench.tick(command)
            for _ in range(ticks):
                self.bench.tick()

        def move_on(self, ticks):
            """Commands that keep moving, which a fault must end: the last joint turns to and fro."""
            goal = home.copy()
            goal[5] -= 0.35 * np.sign(self.bench.target[5] - home[5] + 1e-6)
            self.bench.go(goal, ticks)

        @rule(ticks=some)
        def release(self, ticks):
            self.move_on(10)
            self.bench.release()
            self.move_on(ticks)

        @rule(ticks=few)
        def press(self, ticks):
            self.bench.press()
            for _ in range(ticks):
                self.bench.tick()

        @rule()
        def start_again(self):
            self.bench.engage()

        @rule(ticks=st.integers(5, 70), stays=st.booleans())
        def operator_is_gone_with_the_switch_pressed(self, ticks, stays):
            self.bench.press()
            self.bench.beats = False
            self.move_on(ticks)
            self.bench.beats = not stays
            self.move_on(5)

        @rule(ticks=st.integers(5, 60))
        def camera_freezes(self, ticks):
            self.bench.camera = False
            self.move_on(ticks)
            self.bench.camera = True
            self.move_on(5)

        @rule(ticks=st.integers(3, 30))
        def controller_freezes(self, ticks):
            self.bench.witness.frozen = self.bench.witness.robot.read()
            self.move_on(ticks)
            self.bench.witness.frozen = None
            self.move_on(5)

        @rule(ticks=few)
        def policy_answers_an_old_observation(self, ticks):
            self.bench.go(home + 0.2, ticks, made=self.bench.clock.now() - rig.DECISION_S - 0.01)

        @rule(ticks=some)
        def nothing_comes(self, ticks):
            for _ in range(ticks):
                self.bench.tick(None)

        @rule(seconds=st.sampled_from([0.03, 0.06, 0.15, 1.0]))
        def everything_stalls(self, seconds):
            self.bench.clock.advance(seconds)
            self.bench.target = self.bench.measured()
            self.bench.target[5] += 0.2
            self.bench.go(home, 8)

        @rule(role=st.sampled_from(["operator", "adversary", "bystander"]), ticks=some)
        def emergency_stop(self, role, ticks):
            self.move_on(10)
            self.bench.emergency_stop(role)
            self.move_on(ticks)

        @precondition(lambda self: self.bench.bad)
        @rule(ticks=some)
        def clear_with_the_switch_pressed(self, ticks):
            self.bench.press()
            self.bench.tick()
            self.bench.clear()
            self.move_on(ticks)

        @rule()
        def adversary_acts(self):
            self.bench.disturb()
            self.bench.go(home - 0.4 * np.sign(self.bench.target - home + 1e-9), 60, 1.2)

        @rule(away=st.booleans())
        def episode_begins(self, away):
            bench = self.bench
            if away:  # somebody has moved the arm meanwhile
                bench.engage()
                goal = home + np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.38])
                bench.go(goal, 70)
            at = bench.measured()
            bench.release()
            bench.tick()
            bench.gate.begin()
            bench.target = at
            bench.press()
            bench.go(home, 3)
            wrong = np.abs(at - home).max() > rig.START + 0.02
            assert not (wrong and bench.witness.moved), "it began elsewhere than at its start"
            if not wrong:
                bench.engage()

        @rule(gap=st.sampled_from([-0.4, 0.4]))
        def leader_stands_elsewhere(self, gap):
            bench = self.bench
            bench.engage()
            bench.release()
            for _ in range(40):
                bench.tick()
            bench.target = bench.measured() + gap
            bench.press()
            for _ in range(5):
                bench.tick()
            assert not np.any(bench.witness.v), "it engaged far from where the leader stands"

    for name in [n for n, value in vars(Envelope).items() if only and hasattr(value, RULE_MARKER) and n not in only]:
        delattr(Envelope, name)
    return Envelope


def test_the_envelope_holds_under_random_faults(rig):
    tally: list[tuple[int, int]] = []
    run_state_machine_as_test(machine(rig, SafeRobot, tally=tally), settings=SETTINGS)
    steps, periods = (sum(column) for column in zip(*tally, strict=True))
    print(f"{len(tally)} schedules, {steps} steps, invariants examined in {periods} robot periods")
    # Hypothesis ends long schedules early without a word when they use up its randomness. One step of each is the
    # start, and its first schedule may be empty.
    assert steps >= 0.9 * (SETTINGS.max_examples - 1) * (SETTINGS.stateful_step_count - 1)


class Broken(SafeRobot):
    """A gate whose limits of motion can be changed behind its back."""

    changes: dict = {}

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._caps = self._caps._replace(**{k: np.where(np.isfinite(v), v, v) for k, v in self._changed().items()})

    def _changed(self):
        return {name: getattr(self._caps, name) * factor for name, factor in self.changes.items()}


class NoFiniteCheck(SafeRobot):
    def write(self, action, **options):
        if not np.all(np.isfinite(action["arm.q_target"])):
            low, high = self._caps.low[:6], self._caps.high[:6]
            clamped = np.minimum(np.maximum(action["arm.q_target"], low), high)  # lets NaN through
            return self._robot.write(action | {"arm.q_target": clamped})
        return super().write(action, **options)


class NoRange(SafeRobot):
    def __init__(self, robot, limits, *args, **options):
        super().__init__(robot, dataclasses.replace(limits, low={}, high={}), *args, **options)


class NoSpeed(Broken):
    changes = {"speed": 3.0}


class NoAcceleration(Broken):
    changes = {"acceleration": 4.0, "jerk": 4.0}


class NoJerk(Broken):
    changes = {"jerk": 10.0}


class NoSpace(SafeRobot):
    def _guard(self, point, wanted, caps, dt, now):
        return wanted


class OnlyWhereItIs(SafeRobot):
    """Checks the next posture but not whether the arm can still stop."""

    def _guard(self, point, wanted, caps, dt, now):
        return wanted if self._space.room(wanted.q[:6]) >= 0 else point._replace(v=0 * point.v)


class NoDeadMan(SafeRobot):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._operator.why_not = lambda now: ""


class DeafToSilence(SafeRobot):
    """Knows whether the switch is pressed, not whether anybody is there."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._operator._stale_s = np.inf


class NoFreshPress(SafeRobot):
    """A switch that is still pressed is enough."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._operator.revoke = lambda: None


class NoEmergencyStop(SafeRobot):
    def emergency_stop(self, by="somebody"):
        self._robot.stop()


class NoLatch(SafeRobot):
    def write(self, action, **options):
        if self.fault:
            self.fault, self._operator._released = "", True
        return super().write(action, **options)


class NoAges(SafeRobot):
    def _why_late(self, now, made):
        return ""


class NoBraking(SafeRobot):
    """Holds by commanding the posture of now at once."""

    def _halt(self, now):
        point = self._line.point
        if self._braking and point is not None and not point.at_rest:
            self._send(point._replace(v=0 * point.v, a=0 * point.a), now)
        return super()._halt(now)


class NoStallCheck(SafeRobot):
    def __init__(self, robot, limits, *args, **options):
        ages = {stream: age for stream, age in limits.stale_s.items() if stream != "command"}
        super().__init__(robot, dataclasses.replace(limits, stale_s=ages), *args, **options)


class NoAdversaryCap(SafeRobot):
    def disturb(self):
        return


class NoRamp(SafeRobot):
    def _pace(self, now):
        self._ramp_from = -np.inf
        return super()._pace(now)


class NoJump(SafeRobot):
    def _why_jump(self, target, since):
        return ""


class NoStartPose(SafeRobot):
    def begin(self):
        return


class NoEngageGap(SafeRobot):
    def __init__(self, robot, limits, *args, **options):
        super().__init__(robot, dataclasses.replace(limits, engage_gap=None), *args, **options)


BROKEN = {
    NoFiniteCheck: ("finite", "command_what_must_not_pass"),
    NoRange: ("range", "go_to_the_end"),
    NoSpeed: ("speed|ramp", "go_to_the_end"),
    NoAcceleration: ("acceleration", "go_to_the_end"),
    NoJerk: ("jerk", "go_to_the_end"),
    NoSpace: ("workspace|clearance", "go_to_the_end"),
    OnlyWhereItIs: ("workspace|clearance|acceleration|jerk", "go_to_the_end"),
    NoDeadMan: ("must not|fresh press", "release"),
    DeafToSilence: ("must not|fresh press", "operator_is_gone_with_the_switch_pressed"),
    NoFreshPress: ("must not|fresh press", "operator_is_gone_with_the_switch_pressed"),
    NoEmergencyStop: ("must not|begins", "emergency_stop"),
    NoLatch: ("must not|fresh press", "command_what_must_not_pass"),
    NoAges: ("must not", "camera_freezes"),
    NoBraking: ("acceleration|jerk|must not", "emergency_stop", "release", "go_to_the_end"),
    NoStallCheck: ("begins", "everything_stalls"),
    NoAdversaryCap: ("adversary", "adversary_acts"),
    NoRamp: ("ramp", "go_to_the_end"),
    NoJump: ("must not", "command_what_must_not_pass"),
    NoStartPose: ("elsewhere", "episode_begins"),
    NoEngageGap: ("engaged far", "leader_stands_elsewhere"),
}
QUICK = settings(SETTINGS, max_examples=6, stateful_step_count=6, derandomize=True)


@pytest.mark.parametrize("gate", BROKEN, ids=lambda gate: gate.__name__)
def test_a_gate_without_one_rule_fails(rig, gate):
    """With the faults that touch the rule, so that it is quick; the sound gate stands the same schedules."""
    what, *only = BROKEN[gate]
    with pytest.raises(AssertionError, match=what):
        run_state_machine_as_test(machine(rig, gate, tuple(only)), settings=QUICK)
