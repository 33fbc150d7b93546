import numpy as np
import pytest
import torch

from robolearn.errors import SpecError, TrainingFault
from robolearn.learn.advantages import chunk_return, gae
from robolearn.learn.clipped import clipped_objective, require_unit_ratio

GAMMA = 0.5
REWARD = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])


def test_seven_steps_in_chunks_of_four_by_hand():
    """Truncated after the seventh step: the second chunk has three actions and is bootstrapped with gamma^3."""
    found = chunk_return(REWARD, np.zeros(7, bool), GAMMA, 4)
    assert found.reward.tolist() == [1 + 1 + 1 + 1, 16 + 16 + 16]
    assert found.discount.tolist() == [0.5**4, 0.5**3]
    assert found.terminated.tolist() == [False, False]
    value, last = np.array([10.0, 20.0]), 80.0
    advantage, target = gae(
        found.reward[:, None],
        value[:, None],
        np.array([[20.0], [last]]),
        found.terminated[:, None],
        np.array([[False], [True]]),
        found.discount[:, None],
        0.9,
    )
    second = 48 + 0.125 * 80 - 20  # 38
    first = 4 + 0.0625 * 20 - 10 + 0.0625 * 0.9 * second
    assert advantage[:, 0].tolist() == pytest.approx([first, second])
    assert target[:, 0].tolist() == pytest.approx([first + 10, second + 20])


def test_termination_inside_a_chunk_ends_the_rewards_and_the_bootstrap():
    """The sixth step ends the world; the seventh was still played and does not count."""
    ended = np.zeros(7, bool)
    ended[5] = True
    found = chunk_return(REWARD, ended, GAMMA, 4)
    assert found.reward.tolist() == [4, 16 + 16]
    assert found.terminated.tolist() == [False, True]
    advantage, _ = gae(
        found.reward[:, None], np.zeros((2, 1)), np.array([[0.0], [1e9]]), found.terminated[:, None],
        np.array([[False], [True]]), found.discount[:, None], 0.0,
    )  # fmt: skip
    assert advantage[:, 0].tolist() == [4, 32]


def test_termination_at_the_last_step_of_a_chunk_belongs_to_that_chunk():
    ended = np.zeros(7, bool)
    ended[3] = True
    found = chunk_return(REWARD, ended, GAMMA, 4)
    assert (found.reward.tolist(), found.terminated.tolist()) == ([4.0], [True])


def test_no_advantage_leaks_over_the_end_of_an_episode():
    reward, value = np.array([[0.0], [0.0], [1.0]]), np.zeros((3, 1))
    cut = np.array([[False], [True], [True]])
    advantage, _ = gae(reward, value, value, cut, cut, 0.99, 0.95)
    assert advantage[:, 0].tolist() == [0, 0, 1]


def test_nothing_leaks_over_a_truncation_either_and_it_is_bootstrapped():
    """The second decision is the last of a truncated episode; the third belongs to the next one."""
    reward, value = np.array([[0.0], [0.0], [1.0]]), np.zeros((3, 1))
    following, cut = np.array([[0.0], [0.5], [0.0]]), np.array([[False], [True], [True]])
    terminated = np.array([[False], [False], [True]])
    advantage, _ = gae(reward, value, following, terminated, cut, 0.8, 0.5)
    assert advantage[:, 0].tolist() == pytest.approx([0.8 * 0.5 * 0.8 * 0.5, 0.8 * 0.5, 1.0])


def test_lambda_one_is_the_return_minus_the_value():
    draw = np.random.default_rng(0)
    reward, value = draw.normal(size=(6, 3)), draw.normal(size=(7, 3))
    cut = np.zeros((6, 3), bool)
    cut[-1] = True
    _, target = gae(reward, value[:-1], value[1:], np.zeros_like(cut), cut, 0.9, 1.0)
    by_hand = value[6]
    for t in reversed(range(6)):
        by_hand = reward[t] + 0.9 * by_hand
    np.testing.assert_allclose(target[0], by_hand)


@pytest.mark.parametrize("reward", [np.zeros((2, 2)), np.zeros(0), np.zeros(3)])
def test_chunks_refuse_what_is_no_episode(reward):
    with pytest.raises(SpecError, match=r"both of shape \(steps,\)"):
        chunk_return(reward, np.zeros(4, bool), 0.9, 2)


def test_the_clipped_objective_stops_rewarding_beyond_the_clip():
    log_ratio = torch.tensor([0.0, 0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0])
    loss, statistics = clipped_objective(log_ratio, advantage, 0.2)
    up, down = float(np.exp(0.5)), float(np.exp(-0.5))
    assert loss.item() == pytest.approx(-(1 + 1.2 + down - up - 0.8) / 5)
    loss.backward()
    assert log_ratio.grad is not None
    # Good and already too likely, or bad and already too unlikely: no gradient.
    assert [g == 0 for g in log_ratio.grad.tolist()] == [False, True, False, False, True]
    assert statistics["clip_fraction"].item() == pytest.approx(0.8)
    assert statistics["approximate_kl"].item() > 0
    assert statistics["ratio_max"].item() == pytest.approx(up)


def test_the_clip_may_differ_per_sample():
    loss, _ = clipped_objective(torch.tensor([0.5, 0.5]), torch.ones(2), torch.tensor([0.1, 0.3]))
    assert loss.item() == pytest.approx(-(1.1 + 1.3) / 2)


def test_a_ratio_that_is_not_one_is_refused():
    assert require_unit_ratio(torch.full((3,), 1e-5)) == pytest.approx(1e-5, rel=1e-2)
    for bad in (torch.tensor([0.0, 0.01]), torch.tensor([float("nan")])):
        with pytest.raises(TrainingFault, match="ratio of new to old likelihood must be 1"):
            require_unit_ratio(bad)
