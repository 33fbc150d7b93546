"""PPO over chains on problems small enough to know the answer."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robolearn.diffusion.chain import plan_chain
from robolearn.diffusion.noise import row_generators
from robolearn.diffusion.schedule import squared_cosine
from robolearn.errors import TrainingFault
from robolearn.learn.chain_policy import pairs_log_prob, sample_actions
from robolearn.learn.decisions import Batch
from robolearn.learn.improve import chain_kl
from robolearn.learn.ppo import PpoConfig, PpoLearner

STEPS = 20


class Bandit(nn.Module):
    """A chain policy of one number and no observation, trained to denoise two modes at +-0.5."""

    observation_spec, action_spec, history, chunk = {}, {}, 1, 1
    sample_shape, condition_size = (1, 1), 1

    def __init__(self, sigma: float = 0.1):
        super().__init__()
        self.schedule = squared_cosine(STEPS)
        self.plan = plan_chain(self.schedule, 5, sigma_min=sigma, sigma_max=sigma)
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.Mish(), nn.Linear(32, 32), nn.Mish(), nn.Linear(32, 1))

    def denoise(self, noisy_BHA, step_B, condition_BC):
        share_B = self.schedule.alpha_bar[step_B]
        x = torch.stack([noisy_BHA[:, 0, 0], share_B.sqrt(), (1 - share_B).sqrt()], 1)
        return self.layers(x)[:, :, None]

    def imitate(self, steps: int = 600) -> "Bandit":
        draw = torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(self.parameters(), 5e-3)
        for _ in range(steps):
            clean = (torch.randint(2, (128, 1, 1), generator=draw) - 0.5) + 0.05 * torch.randn(
                128, 1, 1, generator=draw
            )
            step, noise = torch.randint(STEPS, (128,), generator=draw), torch.randn(128, 1, 1, generator=draw)
            share = self.schedule.alpha_bar[step].view(-1, 1, 1)
            output = self.denoise(share.sqrt() * clean + (1 - share).sqrt() * noise, step, torch.zeros(128, 1))
            optimizer.zero_grad()
            nn.functional.mse_loss(output, noise).backward()
            optimizer.step()
        return self


@pytest.fixture(scope="module")
def imitated():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Bandit().imitate().state_dict()


def bandit(imitated, **changes) -> Any:
    policy = Bandit(**changes)
    policy.load_state_dict(imitated)
    return policy.eval()


def play(policy, reward, count: int, seed: int) -> Batch:
    with torch.inference_mode():
        chain = sample_actions(policy, torch.zeros(count, 1), torch.Generator().manual_seed(seed))
    x = chain.sample[:, 0, 0].numpy()
    yes = np.ones(count, bool)
    return Batch(
        condition=np.zeros((count, 1), np.float32),
        chain=chain.states_BK.numpy().copy(),
        log_prob=chain.log_prob_BK.numpy().copy(),
        version=np.zeros(count, int),
        reward=reward(x),
        discount=np.full(count, 0.9),
        terminated=yes,
        cut=yes,
        next_condition=np.zeros((count, 1), np.float32),
        steps=count,
        episodes=(),
    )


def learn(policy, reward, batches: int, **changes):
    config = PpoConfig(**{"warmup": 0, "minibatch": 512, "learning_rate": 1e-3, "highest_rate": 3e-3} | changes)
    torch.manual_seed(1)  # the critic's weights
    learner = PpoLearner(policy, config, torch.Generator().manual_seed(1))
    return learner, [learner.update(play(policy, reward, 512, seed)) for seed in range(batches)]


def modes(policy) -> np.ndarray:
    return play(policy, np.abs, 2000, 999).chain[:, -1, 0, 0]


def test_reward_rises_and_neither_of_two_modes_is_lost(imitated):
    """The best answers are +-0.7, a little outside of what was demonstrated."""

    def reward(x):
        return np.exp(-(((np.abs(x) - 0.7) / 0.15) ** 2))

    policy = bandit(imitated)
    before = modes(policy)
    learn(policy, reward, 40)
    after = modes(policy)
    assert reward(before).mean() < 0.35
    assert reward(after).mean() > 0.55
    assert 0.25 < (after > 0).mean() < 0.75
    assert (np.abs(after) > 0.4).mean() > 0.95


def test_the_better_mode_wins_when_only_one_is_rewarded(imitated):
    policy = bandit(imitated)
    learn(policy, lambda x: (x > 0).astype(float), 15)
    assert (modes(policy) > 0).mean() > 0.9


def test_the_gradient_of_the_objective_is_that_of_the_expected_reward(imitated):
    """Score-function gradient over the chain against finite differences of the reward, with the same noise."""
    policy = bandit(imitated, sigma=0.3)
    bias = policy.layers[-1].bias
    count = 60_000

    def mean_reward(shift: float) -> float:
        with torch.no_grad():
            bias.add_(shift)
            # The noise is common, so the difference is far less noisy than either value.
            x = sample_actions(policy, torch.zeros(count, 1), torch.Generator().manual_seed(3)).sample
            bias.sub_(shift)
        return float((x - 0.2).square().neg().mean())

    numeric = (mean_reward(0.02) - mean_reward(-0.02)) / 0.04
    batch = play(policy, lambda x: -((x - 0.2) ** 2), count, 4)
    advantage = torch.as_tensor(batch.reward - batch.reward.mean(), dtype=torch.float32)
    chain = torch.as_tensor(batch.chain)
    total = torch.zeros(())
    for k in range(5):
        at = torch.full((count,), k)
        total = (
            total + (pairs_log_prob(policy, torch.zeros(count, 1), chain[:, k], chain[:, k + 1], at) * advantage).mean()
        )
    (gradient,) = torch.autograd.grad(total, bias)
    assert abs(numeric) > 0.01
    assert float(gradient) == pytest.approx(numeric, rel=0.15)


def test_the_ratio_is_one_before_the_first_update_and_the_run_asserts_it(imitated):
    policy = bandit(imitated)
    _, metrics = learn(policy, lambda x: x, 1)
    assert metrics[0]["ratio_deviation"] < 1e-5
    policy = bandit(imitated)
    policy.layers.insert(2, nn.Dropout(0.2))  # the classic mistake
    policy.train()
    with pytest.raises(TrainingFault, match="dropout or augmentation"):
        learn(policy, lambda x: x, 1)


def test_the_divergence_of_a_chain_is_the_mean_log_ratio_per_denoised_number(imitated):
    old, new = bandit(imitated), bandit(imitated)
    condition = torch.zeros(20_000, 1)
    assert chain_kl(old, old, condition, torch.Generator().manual_seed(0)) == 0
    with torch.no_grad():
        new.layers[-1].bias.add_(0.1)
        chain = sample_actions(old, condition, torch.Generator().manual_seed(0))
        x = chain.states_BK
        said = [
            pairs_log_prob(new, condition, x[:, k], x[:, k + 1], torch.full((len(condition),), k)) for k in range(5)
        ]
    ratio = float((chain.log_prob_BK - torch.stack(said, 1)).mean())
    assert ratio > 0.001
    assert chain_kl(new, old, condition, torch.Generator().manual_seed(1)) == pytest.approx(ratio, rel=0.1)


def test_the_critic_warms_up_before_the_policy_moves(imitated):
    policy = bandit(imitated)
    learner, metrics = learn(policy, lambda x: 0 * x + 1, 3, warmup=2)
    assert ["updates" in m for m in metrics] == [False, False, True]
    assert metrics[-1]["critic_loss"] < 0.1 * metrics[0]["critic_loss"]
    assert learner.batches == 3


def test_too_large_a_step_ends_the_update_and_lowers_the_rate(imitated):
    learner, metrics = learn(bandit(imitated), lambda x: x, 1, learning_rate=0.1, highest_rate=0.2, epochs=10)
    assert metrics[0]["last_kl"] > 0.04
    assert metrics[0]["updates"] < 50
    assert learner.rate < 0.1
    careful, _ = learn(bandit(imitated), lambda x: x, 1, learning_rate=1e-6)
    assert careful.rate > 1e-6


def test_the_kl_anchor_holds_the_policy(imitated):
    free, held = bandit(imitated), bandit(imitated)
    learn(free, lambda x: (x > 0).astype(float), 10)
    learn(held, lambda x: (x > 0).astype(float), 10, kl_weight=10.0)
    assert abs((modes(held) > 0).mean() - 0.5) < 0.5 * abs((modes(free) > 0).mean() - 0.5)


def test_old_decisions_are_corrected_and_the_ratio_is_still_one(imitated):
    """A batch collected by an older policy: the clip is around the present one."""
    policy = bandit(imitated)
    batch = play(policy, lambda x: x, 512, 0)
    with torch.no_grad():
        policy.layers[-1].bias.add_(0.03)
    learner = PpoLearner(policy, PpoConfig(warmup=0), torch.Generator().manual_seed(0))
    found = learner.update(batch)
    assert found["ratio_deviation"] < 1e-5
    assert found["age_weight"] != pytest.approx(1.0, abs=1e-3)


def test_per_row_noise_does_not_depend_on_the_other_rows(imitated):
    policy = bandit(imitated)
    both = sample_actions(policy, torch.zeros(2, 1), row_generators(np.array([5, 6]))).sample
    one = sample_actions(policy, torch.zeros(1, 1), row_generators(np.array([6]))).sample
    torch.testing.assert_close(both[1:], one)


def test_a_share_of_the_target_divergence_is_kept_to(imitated):
    """With a tenth of the target the same batches move the policy less, and the rate comes down."""

    def moved(share: float) -> tuple[float, float]:
        policy = bandit(imitated)
        config = PpoConfig(warmup=0, minibatch=512, learning_rate=1e-3, highest_rate=3e-3, target_kl=0.02)
        torch.manual_seed(1)
        learner = PpoLearner(policy, config, torch.Generator().manual_seed(1))
        found = [
            learner.update(play(policy, lambda x: (x > 0).astype(float), 512, seed), kl_share=share)["last_kl"]
            for seed in range(12)
        ]
        return float(np.mean(found[-6:])), learner.rate

    whole, tenth = moved(1.0), moved(0.1)
    assert tenth[0] < 0.4 * whole[0]
    assert tenth[1] < whole[1]
