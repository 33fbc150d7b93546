"""The gripper on its protocol twin: widths in metres, objects, faults, a lost line."""

import time

import numpy as np
import pytest

from hardware.robotiq import RobotiqConfig
from hardware.robotiq_twin import RobotiqTwinConfig
from robolearn.clock import FakeClock
from robolearn.errors import BenchError, SpecError
from robolearn.specs import check


@pytest.fixture
def twin():
    with RobotiqTwinConfig(port=0).build() as device:
        yield device


@pytest.fixture
def gripper(twin):
    with RobotiqConfig("127.0.0.1", twin.port).build() as device:
        yield device


def width(gripper, settle: float = 0.7) -> float:
    time.sleep(settle)
    return float(gripper.read().arrays["gripper.width"][0])


def test_opens_and_closes_in_metres(gripper, twin):
    check(gripper.read().arrays, gripper.observation_spec, where="reading")
    gripper.write({"gripper.command": np.array([1.0])})
    assert width(gripper) == pytest.approx(0.0, abs=1e-3)
    gripper.write({"gripper.command": np.array([-1.0])})
    assert width(gripper) == pytest.approx(0.085, abs=1e-3)
    assert "SET ACT 1" in twin.received, "it activated the gripper"


def test_stops_on_an_object_and_stop_holds_where_it_is(gripper, twin):
    twin.object_count = 128
    gripper.write({"gripper.command": np.array([1.0])})
    assert width(gripper) == pytest.approx(0.085 * (228 - 128) / 225, abs=1e-3)
    assert gripper.holds_object
    gripper.write({"gripper.command": np.array([-1.0])})
    time.sleep(0.1)
    gripper.stop()
    gripper.stop()
    first = width(gripper, 0.2)
    assert 0.04 < first < 0.085
    assert width(gripper, 0.2) == pytest.approx(first, abs=1e-4)


def test_faults_and_a_lost_line_are_told(gripper, twin):
    with pytest.raises(SpecError, match="must be finite"):
        gripper.write({"gripper.command": np.array([np.nan])})
    twin.fault = 8
    time.sleep(0.2)
    with pytest.raises(BenchError, match="too hot"):
        gripper.read()
    twin.drop_clients()


def test_lost_line(gripper, twin):
    twin.drop_clients()
    time.sleep(0.2)
    with pytest.raises(BenchError, match="is lost"):
        gripper.read()
    with pytest.raises(BenchError, match="is lost"):
        gripper.write({"gripper.command": np.array([0.0])})


def test_before_connecting():
    gripper = RobotiqConfig("127.0.0.1", 1).build()
    gripper.stop()
    with pytest.raises(BenchError, match="not connected"):
        gripper.read()
    with pytest.raises(BenchError, match="No gripper answers"):
        gripper.__enter__()


def test_twin_moves_on_its_clock_only():
    clock = FakeClock()
    twin = RobotiqTwinConfig(active=True).build(clock)
    twin._answer("SET POS 255")
    twin._answer("SET GTO 1")
    assert twin.position == 3
    clock.advance(0.1)
    assert twin.position == pytest.approx(48.0)
    clock.advance(10)
    assert twin._answer("GET POS") == "POS 228\n"
    assert twin._answer("GET OBJ") == "OBJ 3\n"
    assert twin._answer("nonsense") == "?\n"
