"""What the collecting observer hands over, on the loop's own toy environment."""

import numpy as np
import pytest
import torch

from robolearn.clock import MonotonicClock
from robolearn.compose import Chunked
from robolearn.diffusion.chain import plan_chain
from robolearn.diffusion.schedule import squared_cosine
from robolearn.episode import Outcome
from robolearn.errors import SpecError, TrainingFault
from robolearn.learn.chain_policy import Exploring
from robolearn.learn.collection import Collector, Starts
from robolearn.learn.decisions import Decisions, Reward
from robolearn.rollout import episode_seeds, rollout
from robolearn.specs import ArraySpec

OBSERVATION = {"point.x": ArraySpec((1,), unit="m")}
ACTION = {"point.velocity": ArraySpec((1,), low=-1.0, high=1.0, unit="m/s")}
CHUNK = 4


class Towards(torch.nn.Module):
    """A chain policy that heads for the origin: its clean chunk is the sign of the newest position."""

    observation_spec, action_spec, history, chunk = OBSERVATION, ACTION, 2, CHUNK
    sample_shape, condition_size = (CHUNK, 1), 2

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.schedule = squared_cosine(20)
        self.plan = plan_chain(self.schedule, 5, sigma_min=0.1, sigma_max=0.1)

    def condition(self, observations):
        return torch.as_tensor(observations["point.x"][:, :, 0], dtype=torch.float32)

    def denoise(self, noisy_BHA, step_B, condition_BC):
        share = self.schedule.alpha_bar[step_B].view(-1, 1, 1)
        clean = -torch.sign(condition_BC[:, -1:, None]) * 0.8 * self.gain
        return (noisy_BHA - share.sqrt() * clean) / (1 - share).sqrt()

    def actions(self, x_BHA):
        return {"point.velocity": x_BHA.clamp(-1, 1).numpy().astype(np.float64)}


class Watch:
    """Keeps everything, to compare with."""

    def __init__(self):
        self.x, self.rows = {}, {}
        self.episodes = []

    def begin(self, env, rows, seeds):
        for row, seed in zip(rows, seeds, strict=True):
            self.rows[row] = (seed, [])

    def step(self, tick):
        for row, (_, xs) in self.rows.items():
            xs.append(float(tick.reading.arrays["point.x"][row, 0]))

    def end(self, rows, outcomes, reading):
        for row, outcome in zip(rows, outcomes, strict=True):
            seed, xs = self.rows.pop(row)
            self.episodes.append((seed, [*xs, float(reading.arrays["point.x"][row, 0])], outcome))


def conditions(model):
    return lambda observations: model.condition(observations).numpy()


def collect(env, reward, episodes=6, seed=3, gain=1.0):
    model = Towards(gain)
    watch = Watch()
    decisions = Decisions(reward, conditions(model), model.history, list(OBSERVATION))
    policy = Chunked(Exploring(model, torch.Generator().manual_seed(0)), env.n)
    rollout(env, policy, seeds=episode_seeds(episodes, seed), observers=[watch, decisions])
    return watch, decisions.take()


def test_every_episode_becomes_its_decisions(point_env):
    watch, batch = collect(point_env(2), Reward(gamma=0.9))
    assert batch.steps == sum(len(xs) - 1 for _, xs, _ in watch.episodes)
    assert len(batch) == sum(-(-(len(xs) - 1) // CHUNK) for _, xs, _ in watch.episodes)
    assert batch.cut.sum() == 6
    assert sorted(batch.episodes) == sorted(outcome for _, _, outcome in watch.episodes)
    assert batch.log_prob.shape == (len(batch), 5)
    assert batch.chain.shape == (len(batch), 6, CHUNK, 1)
    # Row after row; each episode's first decision saw its first observation twice (history 2).
    starts = np.flatnonzero(np.concatenate([[True], batch.cut[:-1]]))
    first = {round(float(c[1]), 5) for c in batch.condition[starts]}
    assert first == {round(xs[0], 5) for _, xs, _ in watch.episodes}
    assert (batch.condition[starts, 0] == batch.condition[starts, 1]).all()


def test_success_is_rewarded_once_and_a_time_limit_is_no_end(point_env):
    watch, batch = collect(point_env(2), Reward(gamma=0.9))
    by_start = {round(xs[0], 5): (xs, outcome) for _, xs, outcome in watch.episodes}
    begins = [0, *(np.flatnonzero(batch.cut)[:-1] + 1)]
    for begin, end in zip(begins, np.flatnonzero(batch.cut), strict=True):
        xs, outcome = by_start[round(float(batch.condition[begin, 1]), 5)]
        steps = len(xs) - 1
        last = steps - CHUNK * (end - begin)
        assert batch.discount[end] == pytest.approx(0.9**last)
        assert (batch.reward[begin:end] == 0).all()
        assert batch.terminated[end] == (outcome is Outcome.SUCCESS)
        assert batch.reward[end] == pytest.approx(0.9 ** (last - 1) if outcome is Outcome.SUCCESS else 0)
        # What follows the last action, with its history.
        assert batch.next_condition[end] == pytest.approx(xs[-2:], abs=1e-5)


def test_a_timed_out_episode_is_bootstrapped(point_env):
    watch, batch = collect(point_env(1, horizon=6), Reward(gamma=0.9), episodes=3, gain=0.05)
    assert [outcome for _, _, outcome in watch.episodes] == [Outcome.TIMEOUT] * 3
    assert batch.cut.sum() == 3
    assert not batch.terminated.any()
    assert batch.discount[batch.cut] == pytest.approx(0.9**2)


def test_a_time_limit_that_ends_the_task_is_worth_nothing(point_env):
    _, batch = collect(point_env(1, horizon=6), Reward(gamma=0.9, finite=True), episodes=3, gain=0.05)
    assert batch.terminated.sum() == 3
    assert (batch.terminated == batch.cut).all()
    assert (batch.reward == 0).all()


def test_a_penalty_per_step_counts_every_step(point_env):
    _, plain = collect(point_env(2), Reward(gamma=1.0))
    _, dear = collect(point_env(2), Reward(gamma=1.0, step_penalty=0.01))
    assert plain.reward.sum() - dear.reward.sum() == pytest.approx(0.01 * plain.steps)


def test_shaping_does_not_change_what_an_episode_is_worth(point_env):
    """Potential-based: the discounted sum differs by the potential of the start, whatever was done."""

    class Shaped(point_env):
        @property
        def observation_spec(self):
            return super().observation_spec | {"task.reward": ArraySpec((1,))}

        def observe(self):
            reading = super().observe()
            return reading._replace(arrays=dict(reading.arrays) | {"task.reward": np.exp(-np.abs(self.x))[:, None]})

    def worth(batch):
        total, found = 0.0, []
        for t in reversed(range(len(batch))):
            total = batch.reward[t] + (0.0 if batch.cut[t] else batch.discount[t] * total)
            if t == 0 or batch.cut[t - 1]:
                found.append(total)
        return np.array(found[::-1])

    _, sparse = collect(Shaped(2), Reward(gamma=0.9))
    _, shaped = collect(Shaped(2), Reward(gamma=0.9, shaping=0.5))
    starts = np.concatenate([[True], sparse.cut[:-1]])
    potential = np.exp(-np.abs(sparse.condition[starts, 1]))
    over = sparse.terminated[sparse.cut]
    np.testing.assert_allclose((worth(shaped) - worth(sparse))[over], -0.5 * potential[over], atol=1e-5)
    with pytest.raises(SpecError, match=r"Shaping needs the observation 'task\.reward'"):
        collect(point_env(1), Reward(shaping=1.0))


def test_what_is_handed_over_in_parts_is_the_same_as_at_once(point_env):
    """Open decisions stay open; the value after the last finished one is that of what the row decided on next."""
    model = Towards()

    class InParts:
        def __init__(self):
            self.inner = Decisions(Reward(), conditions(model), model.history, list(OBSERVATION))
            self.parts, self.ticks = [], 0

        def begin(self, env, rows, seeds):
            self.inner.begin(env, rows, seeds)

        def step(self, tick):
            self.inner.step(tick)
            self.ticks += 1
            if self.ticks % 7 == 0 and len(self.inner):
                self.parts.append(self.inner.take())

        def end(self, rows, outcomes, reading):
            self.inner.end(rows, outcomes, reading)

    parts = InParts()
    whole = Decisions(Reward(), conditions(model), model.history, list(OBSERVATION))
    policy = Chunked(Exploring(model, torch.Generator().manual_seed(0)), 2)
    rollout(point_env(2), policy, seeds=episode_seeds(4, 3), observers=[whole, parts])
    parts.parts.append(parts.inner.take())
    together = whole.take()
    keys = {tuple(np.round(c.ravel(), 6)) for p in parts.parts for c in p.chain}
    assert keys == {tuple(np.round(c.ravel(), 6)) for c in together.chain}
    assert sum(p.steps for p in parts.parts) == together.steps
    assert sum(p.reward.sum() for p in parts.parts) == pytest.approx(together.reward.sum())
    following = {c.tobytes(): n for c, n in zip(together.chain, together.next_condition, strict=True)}
    for part in parts.parts:
        for t in np.flatnonzero(part.cut):
            np.testing.assert_array_equal(part.next_condition[t], following[part.chain[t].tobytes()])


def test_the_collector_runs_one_batch_ahead_with_the_newest_weights(point_env):
    env = point_env(4)
    collector = Collector(env, Towards(), Reward(), 40, Starts(1), torch.Generator().manual_seed(0), MonotonicClock())
    model = Towards(0.5)
    collector.give(0, Towards().state_dict())
    with collector:
        first = collector.take()
        collector.give(1, model.state_dict())
        second = collector.take()
        third = collector.take()
    assert len(first.batch) >= 40
    assert set(first.batch.version) == {0}
    assert set(second.batch.version) <= {0, 1}
    assert max(third.batch.version) == 1
    assert max(c.ratio_deviation for c in (first, second, third)) < 1e-4
    assert env.closed


def test_without_running_ahead_every_batch_is_of_the_newest_weights(point_env):
    collector = Collector(
        point_env(4), Towards(), Reward(), 40, Starts(1), torch.Generator(), MonotonicClock(), ahead=False
    )
    collector.give(0, Towards().state_dict())
    with collector:
        for version in range(4):
            versions = collector.take().batch.version
            # A decision that was open at the hand-over is still of the policy before.
            assert (versions == version).mean() > 0.5
            assert (versions >= version - 1).all()
            collector.give(version + 1, Towards(1.0 - 0.1 * version).state_dict())


def test_a_fault_in_the_collecting_thread_reaches_the_learner(point_env):
    class Broken(point_env):
        def act(self, action):
            raise SpecError("the table is gone")

    with (
        Collector(Broken(2), Towards(), Reward(), 5, Starts(0), torch.Generator(), MonotonicClock()) as collector,
        pytest.raises(TrainingFault, match="Collecting has failed: the table is gone"),
    ):
        collector.take()


def test_a_policy_that_denoises_differently_than_it_says_is_refused(point_env):
    """The collector recomputes likelihoods of what it noted."""

    class Forgetful(Towards):
        calls = 0

        def denoise(self, noisy_BHA, step_B, condition_BC):
            self.calls += 1
            return super().denoise(noisy_BHA, step_B, condition_BC) + 0.01 * (self.calls > 300)

    with Collector(
        point_env(2), Forgetful(), Reward(), 40, Starts(0), torch.Generator(), MonotonicClock()
    ) as collector:
        collector.take()  # with the first weights all is well

        def more():
            while True:
                collector.take()

        with pytest.raises(TrainingFault, match="ratio of new to old likelihood must be 1"):
            more()


def test_failed_starts_come_again_and_do_not_count(point_env):
    starts = Starts(3, again=0.5)
    assert [starts[k] for k in range(40)] == episode_seeds(40, 3)
    failed = set(episode_seeds(40, 3)[1::2])
    for seed in episode_seeds(40, 3):
        starts.finished(seed, seed not in failed)
    given = [starts[k] for k in range(40, 240)]
    assert given == [starts[k] for k in range(40, 240)]
    assert failed <= set(given)
    assert 60 < sum(seed in failed for seed in given) < 140
    solved = given[0]
    starts.finished(solved, True)
    assert solved not in [starts[k] for k in range(240, 640)]

    starts = Starts(3, again=0.9)
    with Collector(
        point_env(4, horizon=6), Towards(0.05), Reward(), 60, starts, torch.Generator(), MonotonicClock()
    ) as collector:
        found = [collector.take() for _ in range(3)]
    assert sum(len(c.batch.episodes) for c in found) > 2 * sum(len(c.outcomes) for c in found)


def test_starts_are_those_of_the_loop():
    starts = Starts(3)
    assert [starts[k] for k in range(4)] == episode_seeds(4, 3)
    assert Starts(3, first=2)[0] == episode_seeds(3, 3)[2]
