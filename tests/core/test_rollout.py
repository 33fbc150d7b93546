import numpy as np
import pytest

from robolearn.clock import FakeClock, Rate
from robolearn.episode import Actor, Outcome, Perturbation
from robolearn.errors import CheckpointMismatch
from robolearn.observers import Film, Memory, Progress
from robolearn.rollout import episode_seeds, rollout
from robolearn.specs import ArraySpec


def test_every_episode_runs_once_and_comes_back_in_order(point_env, towards_zero):
    seeds = episode_seeds(10, 7)
    done = rollout(point_env(3), towards_zero, seeds=seeds)
    assert [d.seed for d in done] == seeds
    assert all(d.outcome is Outcome.SUCCESS for d in done)


def test_an_episode_does_not_depend_on_the_number_of_rows(point_env, towards_zero):
    def trajectories(n):
        memory = Memory()
        rollout(point_env(n), towards_zero, seeds=episode_seeds(7, 1), observers=[memory])
        return memory.episodes

    one, four = trajectories(1), trajectories(4)
    for seed, episode in one.items():
        np.testing.assert_array_equal(episode.observations["point.x"], four[seed].observations["point.x"])
        np.testing.assert_array_equal(episode.times, four[seed].times)


def test_seeds_are_prefixes_and_unrelated_between_bases():
    assert episode_seeds(3, 5) == episode_seeds(9, 5)[:3]
    assert not set(episode_seeds(500, 0)) & set(episode_seeds(500, 1))


def test_what_was_sent_is_kept_beside_what_was_asked(point_env, towards_zero):
    memory = Memory()
    rollout(point_env(1), towards_zero, seeds=[3], observers=[memory])
    (episode,) = memory.episodes.values()
    assert np.abs(episode.requested["point.velocity"]).max() == 2.0
    assert np.abs(episode.actions["point.velocity"]).max() == 1.0
    assert set(episode.actor) == {Actor.POLICY}


def test_pacing_holds_absolute_deadlines_and_never_bursts(point_env, towards_zero):
    clock = FakeClock()
    ticks = []

    class Slow(type(towards_zero)):
        def act(self, observation):
            ticks.append(clock.now())
            clock.advance(0.35 if len(ticks) == 3 else 0.02)  # one stall of three and a half periods
            return super().act(observation)

    env = point_env(1, horizon=10)
    env.reset([0], [0])
    rollout(env, Slow(), seeds=[4], rate_hz=10.0, clock=clock)
    gaps = np.diff(ticks)
    assert gaps[0] == pytest.approx(0.1)
    assert gaps.min() >= 0.05 - 1e-9  # after the stall: at once, then back on the grid
    assert ticks[-1] % 0.1 == pytest.approx(0.0, abs=1e-9) or ticks[-1] % 0.1 == pytest.approx(0.1)


def test_rate_does_not_drift():
    clock = FakeClock()
    rate = Rate(50.0, clock)
    for _ in range(1000):
        clock.advance(0.003)
        assert rate.wait() == 0.0
    assert clock.now() == pytest.approx(20.0)
    assert rate.overruns == 0


@pytest.mark.parametrize("hz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_must_be_positive_and_finite(hz):
    with pytest.raises(ValueError, match="positive, finite"):
        Rate(hz, FakeClock())


def test_perturbations_are_proposed_applied_and_recorded(point_env, towards_zero):
    class Pusher:
        def reset(self, seeds, rows):
            self.pushed = False

        def propose(self, reading):
            if self.pushed or reading.time[0] < 0.25:
                return []
            self.pushed = True
            return [(0, Perturbation("MOVE_OBJ", "point", {"dx": 0.5}))]

    seen = []

    class Watcher(Memory):
        def step(self, tick):
            super().step(tick)
            seen.extend(tick.events)

    rollout(point_env(2), towards_zero, seeds=[3, 4], adversary=Pusher(), observers=[Watcher()])
    ((row, event),) = seen
    assert (row, event.kind, event.params) == (0, "MOVE_OBJ", {"dx": 0.5})
    assert event.time == pytest.approx(0.3)


def test_a_policy_that_does_not_fit_is_refused_before_anything_moves(point_env, towards_zero):
    towards_zero.observation_spec = {"point.y": ArraySpec((1,))}
    with pytest.raises(CheckpointMismatch, match=r"'point.y' is missing .*Use the environment it was made for"):
        rollout(point_env(1), towards_zero, seeds=[0])


def test_film_shows_every_observation(point_env, towards_zero):
    film, memory = Film("point.rgb"), Memory()
    rollout(point_env(1), towards_zero, seeds=[5], observers=[film, memory])
    assert [int(frame[0, 0, 0]) for frame in film.frames] == list(range(memory.episodes[5].steps + 1))


def test_progress_tells_how_far_it_is(point_env, towards_zero, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        rollout(point_env(2), towards_zero, seeds=[1, 2, 3], observers=[Progress("play", 3, stream=stream)])
    assert "play: 3/3 episodes, 3 successes" in (tmp_path / "log").read_text()
