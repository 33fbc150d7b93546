"""A recorded episode, replayed in a fresh twin, gives the recorded joints."""

import numpy as np
import pytest

from robolearn.bench.env import BenchEnv
from robolearn.bench.pace import Pacer
from robolearn.clock import FakeClock
from robolearn.data.store import Store
from robolearn.errors import BadEpisode
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from robolearn.safety import Limits, SafeRobot
from robolearn.task import Task
from sim.devices import TwinRobotConfig
from sim.fidelity import best_lag, compare
from sim.robots import UR5E
from sim.twin_world import TwinWorldConfig


class Wave:
    """Moves all joints smoothly."""

    def __init__(self, env):
        self.action_spec, self.observation_spec = env.action_spec, {}

    def reset(self, seeds, rows):
        self.k = 0

    def act(self, observation):
        self.k += 1
        t = 0.05 * self.k
        wave = 0.12 * min(1.0, t) * (np.sin(np.array([1.0, 1.3, 1.6, 0.9, 1.8, 2.0]) * t + np.arange(6)))
        q = UR5E.home + wave - 0.12 * min(1.0, t) * np.sin(np.arange(6))
        return {"arm.q_target": q[None], "gripper.command": np.zeros((1, 1))}


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    """Through the gate and the pacer, at 20 Hz, into a store."""
    clock = FakeClock(50.0)
    robot = TwinRobotConfig(world=TwinWorldConfig("reach", "ur5e", step_s=0.002, exact=True)).build(clock)
    limits = Limits(
        {"arm.q_target": 1.0, "gripper.command": 5.0},
        {"arm.q_target": "arm.q"},
        acceleration={"arm.q_target": 8.0},
    )
    gate = SafeRobot(robot, limits, clock)
    pacer = Pacer(gate, 125.0, clock)
    clock.every(0.008, pacer.tick)
    env = BenchEnv(gate, [], Task("wave", "wave", 20.0, 80), clock, pacer=pacer)
    store = Store.create(tmp_path_factory.mktemp("fidelity") / "store")
    with Recorder(store) as recorder:
        rollout(env, Wave(env), seeds=[0], rate_hz=20.0, clock=clock, observers=[recorder])
    return store[recorder.kept[0]]


def test_the_twin_repeats_a_recording(episode):
    found = compare(episode, "ur5e")
    print(f"rms {1e3 * found.rms:.2f} mrad, worst {1e3 * found.worst:.2f} mrad over {found.steps} measurements")
    assert np.ptp(episode.observations["arm.q"], axis=0).min() > 0.1, "every joint has moved"
    assert found.rms < 0.001
    assert found.worst < 0.005


def test_a_twin_of_other_dynamics_does_not_repeat_it(episode):
    """The comparison can fail: with a controller that lags by 80 ms it shows, and the lag is found."""
    late = compare(episode, "ur5e", lag_s=0.08)
    assert late.rms > 0.004
    assert best_lag(episode, "ur5e", (0.0, 0.04, 0.08), (0.0, 0.5)) == 0.0


def test_what_does_not_fit_is_named(episode):
    with pytest.raises(BadEpisode, match="has 7 joints, the episode 6"):
        compare(episode, "panda")
