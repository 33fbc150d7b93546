"""Limits that are missing, not numbers, negative, swapped or too wide refuse to arm and name the field."""

from typing import Any

import numpy as np
import pytest

from robolearn.errors import SafetyFault
from robolearn.safety import Limits
from robolearn.specs import ArraySpec

ACTION = {"arm.q_target": ArraySpec((2,), low=-1.5, high=1.5, unit="rad")}
OBSERVATION = {"arm.q": ArraySpec((2,), unit="rad")}
GOOD = {
    "rate": {"arm.q_target": 1.0},
    "measured": {"arm.q_target": "arm.q"},
    "acceleration": {"arm.q_target": [5.0, 6.0]},
    "jerk": {"arm.q_target": 50},
    "low": {"arm.q_target": -1.4},
    "high": {"arm.q_target": [1.4, 1.5]},
    "workspace_low": (-0.5, -0.5, 0.0),
    "workspace_high": (0.5, 0.5, 0.8),
    "clearance_m": 0.02,
    "start": {"arm.q": [0.0, 0.5]},
    "start_tolerance": 0.1,
    "engage_gap": 0.3,
    "ramp_s": 1.0,
    "jump": 5.0,
    "adversary_speed": 0.3,
    "adversary_hold_s": 2.0,
    "stale_s": {"command": 0.1, "decision": 0.5, "robot": 0.05, "operator": 0.2, "wrist.rgb": 0.2},
    "lost_s": 1.0,
    "dead_man": True,
}


def test_complete_limits_fit():
    limits = Limits(**GOOD)
    limits.require_fit(OBSERVATION, ACTION)
    limits.require_complete()
    low, high = limits.positions("arm.q_target", ACTION)
    np.testing.assert_array_equal([low, high], [[-1.4, -1.4], [1.4, 1.5]])


NUMBERS = [name for name, value in GOOD.items() if isinstance(value, float)]
TABLES = ["rate", "acceleration", "jerk", "low", "high", "start", "stale_s"]
BAD = [float("nan"), float("inf"), -float("inf"), "1e3", True, None, [], [1.0, float("nan")]]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_table_refuses_what_is_no_number(name, bad):
    key = next(iter(GOOD[name]))
    with pytest.raises(SafetyFault, match=rf"{name}.* of '{key}' must be"):
        Limits(**GOOD | {name: GOOD[name] | {key: bad}})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("bad", [b for b in BAD if b is not None], ids=repr)
def test_a_number_refuses_what_is_none(name, bad):
    with pytest.raises(SafetyFault, match=f"limit {name} must be"):
        Limits(**GOOD | {name: bad})


@pytest.mark.parametrize("name", [*NUMBERS, *[t for t in TABLES if t not in ("low", "high", "start")]])
@pytest.mark.parametrize(("bad", "message"), [(-1.0, "must be positive"), (0.0, "must be positive"), (1e6, "is wider")])
def test_negative_and_too_wide(name, bad, message):
    value = bad if name in NUMBERS else GOOD[name] | {next(iter(GOOD[name])): bad}
    with pytest.raises(SafetyFault, match=f"{name}.*{message}"):
        Limits(**GOOD | {name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": {"arm.q_target": 1.45}}, "limit low of 'arm.q_target' must be below high"),
        ({"workspace_low": (0.6, -0.5, 0.0)}, "workspace_low must be below workspace_high"),
        ({"workspace_high": (500.0, 500.0, 800.0)}, "span 800 m; at most 3.0 m is possible. Are they in metres"),
        ({"workspace_high": None}, "limit workspace_high is missing"),
        ({"workspace_low": (0.0, 0.0)}, r"workspace_low must be a corner \(x, y, z\)"),
        ({"workspace_low": (0.0, 0.0, float("nan"))}, "workspace_low must be finite"),
        ({"acceleration": {}}, "limit acceleration of 'arm.q_target' is missing"),
        ({"start_tolerance": None}, "limit start_tolerance is missing"),
        ({"start": {}}, "limit start is missing"),
        ({"adversary_hold_s": None}, "limit adversary_hold_s is missing"),
        ({"stale_s": {"command": 0.1}}, "stale_s of 'operator' is missing"),
        ({"lost_s": 0.3}, "lost_s must be above stale_s of 'decision'"),
        ({"dead_man": 1}, "dead_man must be true or false; found 1"),
        ({"rate": 3.0}, "limit rate must be a table"),
        ({"measured": {"arm.q_target": 3}}, "limit measured of 'arm.q_target' must name an observation"),
    ],
)
def test_what_does_not_go_together_is_named(change, message):
    with pytest.raises(SafetyFault, match=message):
        Limits(**GOOD | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": {"arm.q": 1.0}}, "'arm.q_target' has no rate limit"),
        ({"rate": {"arm.q_target": 1.0, "arm.x": 1.0}}, "limit rate names 'arm.x', which the robot does not have"),
        (
            {"acceleration": {"arm.q_target": [1.0, 2.0, 3.0]}},
            r"acceleration of .* have shape \(2,\); found shape \(3,",
        ),
        ({"high": {"arm.q_target": 1.6}}, "limit high of 'arm.q_target' is wider than the robot's own"),
        ({"start": {"arm.w": 0.0}}, "limit start names 'arm.w'"),
        ({"measured": {"arm.w_target": "arm.q"}}, "limit measured names 'arm.w_target'"),
        ({"measured": {"arm.q_target": "arm.w"}}, "'arm.w', which the robot does not measure"),
    ],
)
def test_limits_of_another_robot_are_refused(change, message):
    with pytest.raises(SafetyFault, match=message):
        Limits(**GOOD | change).require_fit(OBSERVATION, ACTION)


@pytest.mark.parametrize("name", [n for n in GOOD if n not in ("rate", "measured", "dead_man")])
def test_a_bench_needs_every_limit(name):
    pairs = {"workspace_low": "workspace_high", "start": "start_tolerance", "adversary_speed": "adversary_hold_s"}
    pairs |= {b: a for a, b in pairs.items()} | {"acceleration": "jerk"}
    less: dict[str, Any] = {key: value for key, value in GOOD.items() if key not in (name, pairs.get(name))} | {
        "dead_man": False
    }
    with pytest.raises(SafetyFault, match=rf"limits .*{name}.* missing; refusing to arm"):
        Limits(**less).require_complete()


def test_a_bench_needs_the_age_of_commands_and_state():
    ages = {"command": 0.1, "decision": 0.2, "operator": 0.2}
    whole: dict[str, Any] = {**GOOD, "stale_s": ages}
    with pytest.raises(SafetyFault, match=r"limits stale_s\.robot are missing"):
        Limits(**whole).require_complete()
