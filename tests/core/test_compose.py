import numpy as np
import pytest

from robolearn.compose import Chunked, Intervene, Replay
from robolearn.episode import Actor, Outcome
from robolearn.errors import SpecError
from robolearn.observers import Memory
from robolearn.rollout import rollout
from robolearn.specs import ArraySpec


class Counting:
    """A chunk model whose actions tell what it saw: history sum, place in the chunk, the row's noise."""

    observation_spec = {"x": ArraySpec((1,))}
    action_spec = {"a": ArraySpec((3,))}
    history, chunk = 3, 4

    def __init__(self):
        self.asked = []

    def predict(self, observations, noise):
        self.asked.append(len(noise))
        rows = len(noise)
        out = np.zeros((rows, self.chunk, 3))
        out[..., 0] = observations["x"].sum(axis=(1, 2))[:, None]
        out[..., 1] = np.arange(self.chunk)
        out[..., 2] = (noise % 1000)[:, None]
        return {"a": out}


def play(policy, values):
    return np.stack([policy.act({"x": np.array(v, float)[:, None]})["a"] for v in values])


def test_chunks_are_played_in_order_and_history_starts_with_the_first_observation():
    policy = Chunked(Counting(), 1)
    policy.reset([0], [0])
    actions = play(policy, [[1], [2], [3], [4], [5]])
    assert actions[:, 0, 1].tolist() == [0, 1, 2, 3, 0]
    assert actions[0, 0, 0] == 3  # 1 + 1 + 1
    assert actions[4, 0, 0] == 12  # 3 + 4 + 5


def test_rows_reset_on_their_own_and_only_empty_rows_ask():
    model = Counting()
    policy = Chunked(model, 3)
    policy.reset([1, 2, 3], [0, 1, 2])
    play(policy, [[0, 0, 0], [0, 0, 0]])
    policy.reset([9], [1])
    actions = play(policy, [[5, 6, 7]])
    assert actions[0, :, 1].tolist() == [2, 0, 2]
    assert actions[0, 1, 0] == 18
    assert model.asked == [3, 1]


def test_a_rows_noise_depends_on_its_seed_alone():
    def run(n, seeds):
        policy = Chunked(Counting(), n)
        policy.reset(seeds, range(n))
        return play(policy, [[0] * n] * 9)

    together = run(3, [11, 22, 33])
    for row, seed in enumerate([11, 22, 33]):
        np.testing.assert_array_equal(run(1, [seed])[:, 0, 2], together[:, row, 2])
    assert together[0, 0, 2] != together[4, 0, 2]


def test_replay_reproduces_an_episode_and_ends_with_it(point_env, towards_zero):
    memory = Memory()
    rollout(point_env(2), towards_zero, seeds=[3, 4], observers=[memory])
    episodes = [memory.episodes[3], memory.episodes[4]]
    again = Memory()
    rollout(point_env(2), Replay(episodes), seeds=[3, 4], observers=[again])
    for episode in episodes:
        copy = again.episodes[int(episode.meta.seed or 0)]
        np.testing.assert_array_equal(copy.observations["point.x"], episode.observations["point.x"])
        assert set(copy.actor) == {Actor.REPLAY}
        assert (
            copy.outcome is episode.outcome is Outcome.SUCCESS
        )  # the last action succeeds and ends the replay at once


def test_replay_that_does_not_succeed_ends_as_timeout(point_env, towards_zero):
    memory = Memory()
    rollout(point_env(1), towards_zero, seeds=[3], observers=[memory])
    (summary,) = rollout(point_env(1), Replay([memory.episodes[3]]), seeds=[4])
    assert summary.outcome is Outcome.TIMEOUT
    assert summary.steps == memory.episodes[3].steps


def test_replay_needs_episodes_that_agree(point_env, towards_zero):
    with pytest.raises(SpecError, match="at least one episode"):
        Replay([])


def test_an_operator_takes_over_row_by_row(towards_zero):
    class Person(type(towards_zero)):
        def act(self, observation):
            return {"point.velocity": np.full((2, 1), 0.5), "note.engaged": np.array([True, False])}

    class Scripted(type(towards_zero)):
        def act(self, observation):
            return super().act(observation) | {"note.actor": np.full(2, Actor.POLICY, np.int8)}

    both = Intervene(Scripted(), Person())
    action = both.act({"point.x": np.array([[-1.0], [-1.0]])})
    assert action["point.velocity"].tolist() == [[0.5], [2.0]]
    assert action["note.policy.point.velocity"].tolist() == [[2.0], [2.0]]
    assert action["note.actor"].tolist() == [Actor.INTERVENTION, Actor.POLICY]


def test_operator_and_policy_must_take_the_same_actions(towards_zero):
    other = type(towards_zero)()
    other.action_spec = {"point.velocity": ArraySpec((1,), low=-3.0, high=3.0, unit="m/s")}
    with pytest.raises(SpecError, match="differs in low"):
        Intervene(towards_zero, other)
