"""Chunks stamped with time: what is skipped is what has really passed, whatever the latency; seams keep the limits."""

import time

import numpy as np
import pytest

from robolearn.ahead import Ahead, Chunk, Timeline
from robolearn.bench.pace import Pacer
from robolearn.clock import FakeClock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError, SpecError, TrainingFault
from robolearn.safety import Limits, SafeRobot
from robolearn.specs import ArraySpec

PERIOD = 0.05


def chunk(observed, sequence=1, session=0, length=10):
    """Actions that say for which time they are meant."""
    return Chunk(session, sequence, observed, {"x": observed + PERIOD * np.arange(length)})


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.12, 0.24, 0.26, 0.43])
def test_the_action_played_is_the_one_meant_for_now(latency):
    timeline = Timeline(PERIOD)
    assert timeline.merge(chunk(100.0), 100.0 + latency)
    played = timeline.at(100.0 + latency)
    assert played is not None
    assert abs(played["x"] - (100.0 + latency)) <= PERIOD / 2 + 1e-9
    assert timeline.skipped == int(latency / PERIOD + 0.5)


def test_a_newer_chunk_takes_over_at_the_present_period():
    timeline = Timeline(PERIOD)
    timeline.merge(chunk(0.0, 1), 0.0)
    for k in range(30):
        now = PERIOD * k
        if k in (5, 9):
            assert timeline.merge(chunk(now - 0.11, k), now)
        if (played := timeline.at(now)) is not None:
            assert abs(played["x"] - now) <= PERIOD / 2 + 1e-9, "no step is played twice or left out"
    assert timeline.left(PERIOD * 10) == 7
    assert timeline.at(PERIOD * 20) is None, "the end of a chunk is not extrapolated"


@pytest.mark.parametrize(
    ("late", "now"),
    [(chunk(0.0, 3), 0.6), (chunk(0.05, 1), 0.1), (chunk(0.05, 2), 0.1), (chunk(0.05, 4, session=7), 0.1)],
    ids=["altogether past", "out of order", "duplicate", "of another episode"],
)
def test_what_must_not_be_played_is_dropped(late, now):
    timeline = Timeline(PERIOD)
    timeline.merge(chunk(0.0, 2), 0.0)
    assert not timeline.merge(late, now)
    assert timeline.dropped == 1
    timeline.begin(7)
    assert timeline.at(0.0) is None


class Model:
    """Predicts the time at which each action is due, after a delay."""

    observation_spec = {"clock": ArraySpec((1,))}
    action_spec = {"x": ArraySpec((1,), low=0.0, high=1e9)}
    history, chunk = 2, 12

    def __init__(self, delays, clock):
        self.delays, self.clock, self.histories = list(delays), clock, []

    def predict(self, observations, noise):
        self.histories.append(observations["clock"].copy())
        if self.delays:
            time.sleep(self.delays.pop(0))
        observed = observations["clock"][:, -1:]
        return {"x": observed + PERIOD * np.arange(self.chunk)[None, :, None]}


def play(policy, clock, steps):
    """The loop: one action per period, on absolute deadlines; how far each is from the time it was meant for."""
    errors, deadline = [], clock.now()
    for _ in range(steps):
        action = policy.act({"clock": np.array([[clock.now()]])})
        errors.append(clock.now() - float(action["x"][0, 0]))
        deadline = max(deadline + PERIOD, clock.now())
        clock.sleep_until(deadline)
    return np.array(errors)


def test_inference_runs_beside_the_loop_and_its_latency_is_made_up_for():
    clock = MonotonicClock()
    model = Model([0.4, 0.02, 0.2, 0.02, 0.3], clock)  # a slow first inference, then an uneven server
    with Ahead(model, PERIOD, clock) as policy:
        policy.reset([3], [0])
        errors = play(policy, clock, 40)
    assert np.abs(errors).max() <= 1.1 * PERIOD, "every action was for the period in which it was played"
    assert policy.timeline.skipped > 8
    assert len(policy.latencies_s) > 5
    assert max(policy.latencies_s) > 0.39
    np.testing.assert_array_equal(model.histories[0][0, 0], model.histories[0][0, 1])  # the first one repeated
    assert np.all(model.histories[-1][0, 0] < model.histories[-1][0, 1])


def test_a_first_inference_slower_than_its_whole_chunk_is_asked_again():
    clock = MonotonicClock()
    model = Model([0.8], clock)
    with Ahead(model, PERIOD, clock) as policy:
        policy.reset([0], [0])
        policy._history.clear()
        began = clock.now()
        action = policy.act({"clock": np.array([[clock.now()]])})
        assert clock.now() - began > 0.7, "it waited, and the arm with it"
    assert policy.timeline.dropped == 1
    assert action["note.ahead"][0] > 0


def test_silence_and_mistakes_are_told():
    clock = MonotonicClock()

    class Broken(Model):
        def predict(self, observations, noise):
            raise TrainingFault("the weights are not finite")

    with pytest.raises(BenchError, match="Nobody computes chunks"):
        Ahead(Broken([], clock), PERIOD, clock).act({"clock": np.zeros((1, 1))})
    with Ahead(Broken([], clock), PERIOD, clock) as policy:
        with pytest.raises(SpecError, match="a bench of one row"):
            policy.reset([1, 2], [0, 1])
        policy.reset([1], [0])
        with pytest.raises(TrainingFault, match="weights are not finite"):
            policy.act({"clock": np.zeros((1, 1))})
    with Ahead(Model([1.0], clock), PERIOD, clock, patience_s=0.1) as policy:
        policy.reset([1], [0])
        with pytest.raises(BenchError, match=r"has sent nothing for 0.1 s; the arm holds"):
            policy.act({"clock": np.zeros((1, 1))})


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.3, 0.45])
def test_the_seam_between_chunks_that_disagree_keeps_speed_and_acceleration(latency):
    """Two plans that differ by 0.1 rad where they meet, at any latency, through pacer and gate."""

    class Arm:
        observation_spec = {"arm.q": ArraySpec((1,), unit="rad")}
        action_spec = {"arm.q_target": ArraySpec((1,), low=-2.0, high=2.0, unit="rad")}
        q, sent = np.zeros(1), []

        def read(self):
            return Reading(clock.now(), {"arm.q": self.q.copy()})

        def write(self, action):
            self.q = action["arm.q_target"].copy()
            self.sent.append(float(self.q[0]))
            return action

        def stop(self):
            pass

    clock, arm, dt = FakeClock(), Arm(), 0.008
    arm.sent = []
    limits = Limits(
        {"arm.q_target": 1.5},
        {"arm.q_target": "arm.q"},
        acceleration={"arm.q_target": 8.0},
        jerk={"arm.q_target": 500.0},
    )
    pacer = Pacer(SafeRobot(arm, limits, clock), 1 / dt, clock)
    clock.every(dt, pacer.tick)
    timeline = Timeline(PERIOD)
    times = PERIOD * np.arange(12)
    timeline.merge(Chunk(0, 1, 0.0, {"q": 0.6 * times}), 0.0)
    for k in range(20):
        now = clock.now()
        if k == 9:
            observed = now - latency
            timeline.merge(Chunk(0, 2, observed, {"q": 0.6 * (observed + times) + 0.1}), now)
        if (action := timeline.at(now)) is not None:
            pacer.send({"arm.q_target": np.atleast_1d(action["q"])}, due=now + PERIOD)
        clock.sleep_until(now + PERIOD)
    v = np.diff(arm.sent) / dt
    assert v.max() > 0.5
    assert np.abs(v).max() <= 1.5 + 1e-6
    assert np.abs(np.diff(v)).max() / dt <= 8.0 + 1e-6
