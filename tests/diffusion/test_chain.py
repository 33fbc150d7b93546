import math

import numpy as np
import pytest
import torch

from robolearn.diffusion import steps
from robolearn.diffusion.chain import (
    StepTable,
    chain_log_prob,
    chain_sigmas,
    pair_log_prob,
    plan_chain,
    sample_chain,
)
from robolearn.diffusion.noise import row_generators
from robolearn.diffusion.schedule import squared_cosine, visited
from robolearn.errors import SpecError

SCHEDULE = squared_cosine(100)
SIGMAS = [(0.01, 0.8), (0.0067, 0.1), (0.05, 0.1), (0.1, 0.1), (0.02, 10.0)]


def network(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    share = SCHEDULE.alpha_bar[step].view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    return (x - share.sqrt() * (0.3 + 0.1 * torch.sin(3 * x))) * (1 - share).sqrt()


def start(rows: int = 6, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn((rows, 4, 3), generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_the_schedule_of_ten_steps_is_the_published_one():
    published = [0.865, 0.713, 0.598, 0.505, 0.422, 0.343, 0.261, 0.166, 0.041, 0.020]
    assert [round(sigma, 3) for sigma in chain_sigmas(SCHEDULE, 10)] == published
    assert sum(sigma > 0.8 for sigma in published) == 1  # sigma_max 0.8 clips one step,
    assert sum(sigma > 0.1 for sigma in published) == 8  # 0.1 clips eight


@pytest.mark.parametrize("convention", ["paper", "consistent"])
@pytest.mark.parametrize(("low", "high"), SIGMAS)
@pytest.mark.parametrize("clip", [1.0, None])
def test_a_stored_chain_has_the_likelihood_it_was_drawn_with(convention, low, high, clip):
    plan = plan_chain(SCHEDULE, 10, sigma_min=low, sigma_max=high, convention=convention, clip=clip)
    chain = sample_chain(network, plan, start(), row_generators(np.arange(6)))
    again = chain_log_prob(network, plan, chain.states_BK)
    torch.testing.assert_close(again, chain.log_prob_BK, atol=1e-6, rtol=0)
    # And pairs in any order, as minibatches take them, say the same.
    row, k = torch.randint(6, (40,)), torch.randint(10, (40,))
    table = StepTable.of(plan, chain.states_BK)
    pairs = pair_log_prob(network, table, chain.states_BK[row, k], chain.states_BK[row, k + 1], k)
    torch.testing.assert_close(pairs, chain.log_prob_BK[row, k], atol=1e-6, rtol=0)


@pytest.mark.parametrize("convention", ["paper", "consistent"])
@pytest.mark.parametrize(("low", "high"), SIGMAS)
def test_every_step_is_the_gaussian_of_the_equation(convention, low, high):
    """Against `steps.step_mean_sigma` and torch's own normal, one step at a time."""
    plan = plan_chain(SCHEDULE, 10, sigma_min=low, sigma_max=high, convention=convention)
    chain = sample_chain(network, plan, start(), row_generators(np.arange(6)))
    pairs = visited(SCHEDULE, 10, offset=1)
    pairs[-1] = (1, 0)
    for k, (step, following) in enumerate(pairs):
        x, after = chain.states_BK[:, k], chain.states_BK[:, k + 1]
        output = network(x, torch.full((6,), step))
        now, then = (SCHEDULE.alpha_bar[s].double() for s in (step, following))
        mean, sigma = steps.step_mean_sigma(x, output, now, then, eta=1.0)
        clipped = sigma.clamp(low, high)
        if convention == "consistent":  # the share of noise that leads to this sigma
            mean, _ = steps.step_mean_sigma(x, output, now, then, eta=float(clipped / sigma))
        expected = torch.distributions.Normal(mean, clipped).log_prob(after).sum((1, 2))
        torch.testing.assert_close(chain.log_prob_BK[:, k], expected, atol=2e-5, rtol=1e-5)


def test_the_conventions_differ_where_sigma_is_clipped_and_only_there():
    wide = [plan_chain(SCHEDULE, 10, sigma_min=0.001, sigma_max=10, convention=c) for c in ("paper", "consistent")]
    assert wide[0].updates == wide[1].updates
    narrow = [plan_chain(SCHEDULE, 10, sigma_min=0.001, sigma_max=0.1, convention=c) for c in ("paper", "consistent")]
    same = [a == b for a, b in zip(narrow[0].updates, narrow[1].updates, strict=True)]
    assert same == [False] * 8 + [True] * 2


def test_the_consistent_convention_keeps_the_marginals_of_training():
    """With the exact denoiser of N(0, 0.5^2), a chain with small noise ends in N(0, 0.5^2); the paper's contracts."""

    def exact(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        share = SCHEDULE.alpha_bar[step].view(-1, 1).to(x.dtype)
        return (1 - share).sqrt() * x / (share * 0.25 + 1 - share)

    spread = {}
    for convention in ("paper", "consistent"):
        plan = plan_chain(SCHEDULE, 50, sigma_min=1e-3, sigma_max=0.1, convention=convention, clip=None)
        noise = torch.randn((4000, 1), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        spread[convention] = float(sample_chain(exact, plan, noise, torch.Generator().manual_seed(2)).sample.std())
    assert spread["consistent"] == pytest.approx(0.5, abs=0.03)
    assert spread["paper"] < 0.35


def test_the_mean_path_is_a_function_of_the_noise_alone():
    plan = plan_chain(SCHEDULE, 10, sigma_min=0.01, sigma_max=0.8)
    a = sample_chain(network, plan, start(), deterministic=True)
    b = sample_chain(network, plan, start(), row_generators(np.arange(6)), deterministic=True)
    assert torch.equal(a.states_BK, b.states_BK)
    likeliest = [-12 * (math.log(update.sigma) + 0.5 * math.log(2 * math.pi)) for update in plan.updates]
    torch.testing.assert_close(a.log_prob_BK[0], torch.tensor(likeliest, dtype=torch.float64))


def test_without_noise_there_is_no_likelihood():
    with pytest.raises(SpecError, match=r"0 < sigma_min <= sigma_max; found 0\.0 and 0\.1"):
        plan_chain(SCHEDULE, 10, sigma_min=0.0, sigma_max=0.1)
    plan = plan_chain(SCHEDULE, 10, sigma_min=0.1, sigma_max=0.1)
    with pytest.raises(SpecError, match="needs generators"):
        sample_chain(network, plan, start())


def test_the_gradient_of_the_likelihood_matches_finite_differences():
    """A one-dimensional policy whose only parameter shifts the noise estimate."""
    plan = plan_chain(SCHEDULE, 5, sigma_min=0.1, sigma_max=0.5, clip=None)

    def shifted(shift: torch.Tensor):
        return lambda x, step: network(x, step) + shift

    noise = start()[:, :1, 0]
    chain = sample_chain(shifted(torch.zeros((), dtype=torch.float64)), plan, noise, row_generators(np.arange(6)))
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    chain_log_prob(shifted(shift), plan, chain.states_BK).sum().backward()
    h = torch.tensor(1e-5, dtype=torch.float64)
    up, down = (chain_log_prob(shifted(s), plan, chain.states_BK).sum() for s in (h, -h))
    assert shift.grad is not None
    assert float(shift.grad) == pytest.approx(float((up - down) / 2e-5), rel=1e-5)
