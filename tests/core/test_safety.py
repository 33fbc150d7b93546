import numpy as np
import pytest

from robolearn.bench.env import BenchEnv
from robolearn.clock import FakeClock
from robolearn.episode import Outcome, Perturbation, Reading
from robolearn.errors import BenchError, SafetyFault
from robolearn.observers import Memory
from robolearn.rollout import rollout
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import ArraySpec
from robolearn.task import Task

LIMITS = Limits(rate={"arm.q_target": 1.0}, measured={"arm.q_target": "arm.q"})


class PerfectArm:
    """Goes where it is told at once, and remembers everything it was told."""

    observation_spec = {"arm.q": ArraySpec((2,), unit="rad")}
    action_spec = {"arm.q_target": ArraySpec((2,), low=-1.5, high=1.5, unit="rad")}

    def __init__(self, clock):
        self.clock, self.q, self.commands, self.stops = clock, np.array([0.5, 0.0]), [], 0

    def read(self):
        return Reading(self.clock.now(), {"arm.q": self.q.copy()})

    def write(self, action):
        self.commands.append(action["arm.q_target"].copy())
        self.q = self.commands[-1]
        return action

    def stop(self):
        self.stops += 1


@pytest.fixture
def arm():
    return PerfectArm(FakeClock())


def send(robot, clock, value, dt=0.1):
    clock.advance(dt)
    return robot.write({"arm.q_target": np.array(value, float)})["arm.q_target"]


def test_speed_is_limited_from_where_the_arm_is_measured(arm):
    robot = SafeRobot(arm, LIMITS, arm.clock)
    np.testing.assert_allclose(send(robot, arm.clock, [1.5, 0.0]), [0.6, 0.0])
    np.testing.assert_allclose(send(robot, arm.clock, [1.5, -1.0], dt=0.2), [0.8, -0.2])


def test_position_is_limited(arm):
    robot = SafeRobot(arm, LIMITS, arm.clock)
    assert send(robot, arm.clock, [9.0, -9.0], dt=100.0).tolist() == [1.5, -1.5]


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [0.0, np.inf], [0.0], [0.0, 0.0, 0.0]])
def test_a_bad_command_never_reaches_the_arm_and_latches(arm, bad):
    robot = SafeRobot(arm, LIMITS, arm.clock)
    good = send(robot, arm.clock, [0.55, 0.0])
    held = send(robot, arm.clock, bad)
    np.testing.assert_array_equal(held, good)
    assert arm.stops == 1
    assert "arm.q_target" in robot.fault
    send(robot, arm.clock, [0.5, 0.0])  # nothing clears itself
    assert len(arm.commands) == 1
    robot.clear()
    send(robot, arm.clock, [0.6, 0.0])
    assert len(arm.commands) == 2
    assert np.all(np.isfinite(arm.commands))


def test_a_bad_first_command_stops_the_arm_and_says_so(arm):
    robot = SafeRobot(arm, LIMITS, arm.clock)
    with pytest.raises(SafetyFault, match=r"first command was refused.*must be finite"):
        robot.write({"arm.q_target": np.array([np.nan, 0])})
    assert arm.stops == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (lambda: Limits({}, {}), "'arm.q_target' has no rate limit"),
        (lambda: Limits({"arm.q_target": float("nan")}, {}), "must be finite; found nan"),
        (lambda: Limits({"arm.q_target": -1.0}, {}), "must be positive and finite"),
        (lambda: Limits({"arm.q_target": 1.0}, {"arm.q_target": "arm.w"}), "'arm.w', which the robot does not measure"),
    ],
)
def test_missing_or_broken_limits_refuse_to_arm(arm, limits, message):
    with pytest.raises(SafetyFault, match=message):
        SafeRobot(arm, limits(), arm.clock)


def test_an_arm_without_position_limits_is_refused(arm):
    arm.action_spec = {"arm.q_target": ArraySpec((2,), unit="rad")}
    with pytest.raises(SafetyFault, match="no finite low and high limit; refusing to arm"):
        SafeRobot(arm, LIMITS, arm.clock)


class Camera:
    spec = {"wrist.rgb": ArraySpec((2, 2, 3), "uint8")}

    def __init__(self, clock):
        self.clock = clock

    def read(self):
        return Reading(self.clock.now() - 0.03, {"wrist.rgb": np.zeros((2, 2, 3), np.uint8)})


class Wave:
    observation_spec = {"arm.q": ArraySpec((2,), unit="rad")}
    action_spec = PerfectArm.action_spec

    def __init__(self, fails_at=-1):
        self.fails_at = fails_at

    def reset(self, seeds, rows):
        self.k = 0

    def act(self, observation):
        self.k += 1
        value = np.nan if self.k == self.fails_at else 0.1 * np.sin(self.k)
        return {"arm.q_target": np.full((1, 2), value)}


TASK = Task("wave", "wave", 10.0, 25)


def test_a_bench_is_a_batch_of_one_in_the_same_loop(arm):
    env = BenchEnv(SafeRobot(arm, LIMITS, arm.clock), [Camera(arm.clock)], TASK, arm.clock)
    memory = Memory(pictures=True)
    rollout(env, Wave(), seeds=[1, 2], rate_hz=10.0, clock=arm.clock, observers=[memory])
    assert [e.outcome for e in memory.episodes.values()] == [Outcome.TIMEOUT] * 2
    np.testing.assert_allclose(np.diff(memory.episodes[2].times), 0.1)
    assert memory.episodes[1].observations["wrist.rgb"].shape == (26, 2, 2, 3)
    assert float(np.ravel(env.observe().captured["wrist.rgb"])[0]) == pytest.approx(arm.clock.now() - 0.03)


def test_a_fault_ends_the_episode_and_the_arm_is_stopped(arm):
    env = BenchEnv(SafeRobot(arm, LIMITS, arm.clock), [], TASK, arm.clock)
    policy = Wave(fails_at=5)
    memory = Memory()
    rollout(env, policy, seeds=[1], rate_hz=10.0, clock=arm.clock, observers=[memory])
    assert memory.episodes[1].outcome is Outcome.ABORTED
    assert np.all(np.isfinite(arm.commands))
    assert arm.stops >= 2  # at reset, at the fault


def test_a_person_judges_and_is_cued(arm):
    cues = []
    env = BenchEnv(SafeRobot(arm, LIMITS, arm.clock), [], TASK, arm.clock, cue=cues.append)
    event = env.apply(0, Perturbation("MOVE_OBJ", "cup", {"dx": 0.1}))
    assert (event.kind, event.target, cues[0].target) == ("MOVE_OBJ", "cup", "cup")
    env.mark(Outcome.SUCCESS)
    assert env.outcomes().tolist() == [Outcome.SUCCESS]


def test_two_devices_with_one_name_are_refused(arm):
    with pytest.raises(BenchError, match="Two devices give"):
        BenchEnv(SafeRobot(arm, LIMITS, arm.clock), [Camera(arm.clock), Camera(arm.clock)], TASK, arm.clock)
