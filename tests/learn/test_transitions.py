"""A chunk is one decision: rewards stop at the end, a cut is no end, nothing crosses episodes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robolearn.data.cache import build_cache
from robolearn.data.store import Store
from robolearn.episode import Episode, EpisodeMeta, Outcome
from robolearn.errors import SpecError
from robolearn.learn.normaliser import Normaliser, moments
from robolearn.learn.rewards import Reach, SparseRewardConfig, reachable
from robolearn.learn.transitions import chunk_targets, read_transitions
from robolearn.specs import ArraySpec, Spec

OBSERVATION = {"point.x": ArraySpec((1,))}
ACTION = {"point.v": ArraySpec((1,), low=-1.0, high=1.0)}


class Eyes:
    """A policy's encoder and codec without the policy: two observations side by side."""

    history, chunk = 2, 4
    observation_spec: Spec = OBSERVATION
    action_spec: Spec = ACTION

    def encoder(self, observation):
        return observation["point.x"].flatten(1).to(torch.float32)

    @property
    def codec(self):
        normaliser = Normaliser(ACTION, {"point.v": moments(np.array([[-1.0], [1.0]]))})

        class Codec:
            join = staticmethod(normaliser.encode)

        return Codec


def episode(steps: int, outcome: Outcome, base: float = 0.0) -> Episode:
    return Episode(
        observation_spec=OBSERVATION,
        action_spec=ACTION,
        observations={"point.x": base + np.arange(steps + 1.0)[:, None]},
        requested={"point.v": np.full((steps, 1), 0.5)},
        actions={"point.v": np.linspace(-1, 1, steps)[:, None]},
        actor=np.ones(steps, np.int8),
        times=np.arange(steps + 1.0),
        outcome=outcome,
        meta=EpisodeMeta("point", "", 1.0, 0),
    )


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "s", durable=False) as store:
        store.append(episode(7, Outcome.SUCCESS))
        store.append(episode(7, Outcome.TIMEOUT, 100.0))
        store.append(episode(3, Outcome.FAILURE, 200.0))
        yield store


def test_seven_steps_by_hand():
    """Chunk 4: [0, 4) goes on with gamma^4; [4, 7) ends inside the chunk, or is cut off after 3 real actions."""
    g, rewards = 0.9, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    reward, discount, real = chunk_targets(rewards, True, 4, g)
    assert reward[0] == pytest.approx(1 + 2 * g + 3 * g**2 + 4 * g**3)
    assert discount[0] == pytest.approx(g**4)
    assert reward[4] == pytest.approx(5 + 6 * g + 7 * g**2)
    assert discount[4] == 0.0
    assert discount[3] == 0.0, "the termination falls on the chunk's last action"
    assert reward[3] == pytest.approx(4 + 5 * g + 6 * g**2 + 7 * g**3)
    assert real.tolist() == [4, 4, 4, 4, 3, 2, 1]
    reward_cut, discount_cut, _ = chunk_targets(rewards, False, 4, g)
    assert np.allclose(reward_cut, reward)
    assert discount_cut[[0, 3, 4, 6]] == pytest.approx([g**4, g**4, g**3, g])


@given(st.integers(1, 12), st.integers(1, 6), st.booleans(), st.floats(0.5, 1.0), st.integers(0, 2**31))
def test_chunks_sum_to_the_return_of_the_episode(steps, chunk, ended, gamma, seed):
    rewards = np.random.default_rng(seed).normal(size=steps)
    reward, discount, real = chunk_targets(rewards, ended, chunk, gamma)
    total, weight, t = 0.0, 1.0, 0
    while t < steps:
        total, weight, t = total + weight * reward[t], weight * discount[t], t + real[t]
    assert total == pytest.approx(rewards @ gamma ** np.arange(steps))
    assert weight == pytest.approx(0.0 if ended else gamma**steps)


def test_decisions_see_the_observation_after_the_chunk_and_never_another_episode(store):
    data = read_transitions(
        store, build_cache(store), Eyes(), SparseRewardConfig(step=-0.1).build(), gamma=0.9, stride="sliding"
    )
    assert len(data) == 17
    assert data.start.tolist() == [*range(7), *range(7), *range(3)]
    assert data.condition[:3].tolist() == [[0, 0], [0, 1], [1, 2]], "history repeats the first observation"
    assert data.following[0].tolist() == [3, 4]
    assert data.following[5].tolist() == [6, 7]
    assert data.condition[7].tolist() == [100, 100]
    assert data.following[13].tolist() == [106, 107]
    assert data.following[14].tolist() == [202, 203]
    assert np.allclose(data.chunk[6], 1.0), "the last action repeated"
    assert data.discount[[4, 11, 14]] == pytest.approx([0.0, 0.9**3, 0.0])
    assert data.reward[4] == pytest.approx(-0.1 * (1 + 0.9 + 0.81) + 0.81)
    assert data.reward[11] == pytest.approx(-0.1 * (1 + 0.9 + 0.81))
    aligned = read_transitions(
        store, build_cache(store), Eyes(), SparseRewardConfig().build(), gamma=0.9, stride="aligned"
    )
    assert aligned.start.tolist() == [0, 4, 0, 4, 0]
    assert aligned.fingerprint != data.fingerprint


def test_bootstrap_draws_whole_episodes(store):
    data = read_transitions(store, build_cache(store), Eyes(), SparseRewardConfig().build(), gamma=0.9).bagged(50, 0)
    for k in range(3):
        rows = data.weight[data.episode == k]
        assert (rows == rows[0]).all()
    assert data.weight.mean() == pytest.approx(1.0, abs=0.2)
    assert data.weight.std(axis=1).min() > 0


def test_rewards_must_fit_the_cache(store):
    cache = build_cache(store)
    with pytest.raises(SpecError, match=r"Expected 7 rewards of episode .* found 3"):
        read_transitions(store, cache, Eyes(), lambda episode: np.zeros(3), gamma=0.9)


def test_waiting_never_pays():
    with pytest.raises(SpecError, match=r"at most 0; found 0\.1"):
        SparseRewardConfig(step=0.1).build()


def test_reachable_range():
    model = SparseRewardConfig(step=-0.01).build()
    reach = model.reach(0.99)
    assert (reach.low, reach.high) == pytest.approx((-1.0, 0.99))
    every = reachable(np.array([-0.01, 1.0]), 0.99)
    assert (every.low, every.high) == pytest.approx((-1.0, 100.0))
    assert Reach(0, 1).outside(np.array([-0.2, 0.5, 1.2, 1.3, -0.3, np.nan, np.inf])).tolist() == [
        False, False, False, True, True, True, True,
    ]  # fmt: skip
