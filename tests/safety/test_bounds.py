"""Every fault of the table in benchmarks/safety_stop.py within its time bound, on the simulated clock."""

import runpy
from pathlib import Path

import pytest

from robolearn.safety import SafeRobot

TABLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "safety_stop.py"), run_name="table")


class Careless(SafeRobot):
    def _why_late(self, now, made):
        return ""


@pytest.mark.parametrize("name", TABLE["FAULTS"])
def test_a_fault_stops_the_arm_in_time(rig, name):
    fault = TABLE["FAULTS"][name]
    stop = TABLE["measure"](vars(rig), fault)
    assert stop.slows_s <= fault.slows_s + 1e-9
    assert stop.rests_s <= fault.rests_s


def test_the_bound_fails_for_a_gate_that_does_not_notice(rig, monkeypatch):
    monkeypatch.setattr(rig.Bench.__init__, "__defaults__", (Careless, rig.LIMITS))
    monkeypatch.setattr(rig.Bench, "check", lambda self, now: None)
    fault = TABLE["FAULTS"]["camera frozen"]
    assert TABLE["measure"](vars(rig), fault).rests_s > fault.rests_s
