import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from robolearn.diffusion import library, sampler, steps
from robolearn.diffusion.noise import normals, row_generators
from robolearn.diffusion.schedule import squared_cosine, visited
from robolearn.diffusion.steps import Prediction
from robolearn.errors import SpecError, UnknownName

SHAPE = (4, 8, 3)
SCHEDULE = squared_cosine(100)


def network(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """A fixed function that looks a little like a denoiser of data near 0.3."""
    share = SCHEDULE.alpha_bar[step].view(-1, 1, 1).to(x.dtype)
    return (x - share.sqrt() * (0.3 + 0.1 * torch.sin(3 * x))) * (1 - share).sqrt()


def start(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def by_pure_steps(kind: str, count: int, **options: Any) -> torch.Tensor:
    x, draw = start(), torch.Generator().manual_seed(7)
    for step, following in visited(SCHEDULE, count):
        now, then = SCHEDULE.alpha_bar[step], torch.tensor(SCHEDULE.at(following))
        output = network(x, torch.full((SHAPE[0],), step))
        mean_sigma = steps.ddpm_mean_sigma if kind == "ddpm" else steps.step_mean_sigma
        x, sigma = mean_sigma(x, output, now, then, **options)
        if sigma > 0:
            x = x + sigma * torch.randn(SHAPE, generator=draw)
    return x


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("clip", [None, 1.0, 0.2])
@pytest.mark.parametrize("count", [1, 2, 5, 10, 16])
@pytest.mark.parametrize(
    ("kind", "options"), [("ddpm", {}), ("ddim", {}), ("ddim", {"eta": 0.7}), ("ddim", {"eta": 1.0, "rederive": True})]
)
def test_the_planned_chain_equals_the_pure_steps(prediction, clip, count, kind, options):
    plan = sampler.make_plan(SCHEDULE, count, kind=kind, prediction=prediction, clip=clip, **options)
    ours = sampler.run(network, plan, start(), torch.Generator().manual_seed(7))
    slow = by_pure_steps(kind, count, prediction=prediction, clip=clip, **options)
    torch.testing.assert_close(ours, slow, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("kind", ["ddim", "ddpm"])
@pytest.mark.parametrize("count", [1, 4, 10, 100])
def test_our_samplers_equal_diffusers_through_the_adapter(kind: str, count: int):
    pytest.importorskip("diffusers")
    ours = sampler.sample(network, SCHEDULE, start(), steps=count, kind=kind, generators=row_generators(np.arange(4)))
    theirs = library.sample(network, SCHEDULE, start(), steps=count, name=kind, generators=row_generators(np.arange(4)))
    # The library gets betas, not alpha bars, and rounds them again; 100 steps add that up.
    tolerance = 2e-6 if count <= 10 else 1e-5
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", sorted(library.NAMES))
def test_every_named_sampler_finds_the_mean_of_a_narrow_gaussian(name: str, prediction: Prediction, clip: float | None):
    pytest.importorskip("diffusers")
    mean, variance = 0.6, 0.05**2

    def exact(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        share = SCHEDULE.alpha_bar[step].view(-1, 1, 1)
        clean = mean + share.sqrt() * variance / (share * variance + 1 - share) * (x - share.sqrt() * mean)
        return clean if prediction == "sample" else steps.predict_noise(x, clean, share)

    found = sampler.sample(
        exact,
        SCHEDULE,
        start(),
        steps=10,
        kind=name,
        prediction=prediction,
        clip=clip,
        generators=row_generators(np.arange(4)),
    )
    assert (found - mean).abs().max() < 0.3
    assert (found.mean() - mean).abs() < 0.03


def test_rows_do_not_depend_on_their_batch():
    seeds = np.array([5, 2**63 + 1, 7], np.uint64)
    together = normals((3, 8, 3), row_generators(seeds))
    for row in range(3):
        assert torch.equal(normals((1, 8, 3), row_generators(seeds[row : row + 1]))[0], together[row])


def test_all_bits_of_a_seed_count():
    seeds = np.array([1, 1 + 2**32, 1 + 2**63, 2**32], np.uint64)
    assert len({float(row[0, 0]) for row in normals((4, 2, 2), row_generators(seeds))}) == 4


def test_a_network_that_returns_its_input_is_safe():
    plan = sampler.make_plan(SCHEDULE, 5, clip=None)
    ours = sampler.run(lambda x, _: x, plan, start())
    torch.testing.assert_close(ours, sampler.run(lambda x, _: x.clone(), plan, start()))


def test_the_starting_noise_is_left_alone():
    noise = start()
    sampler.sample(network, SCHEDULE, noise, steps=3)
    assert torch.equal(noise, start())


def test_a_stochastic_chain_needs_generators():
    with pytest.raises(SpecError, match="needs generators to draw from"):
        sampler.sample(network, SCHEDULE, start(), steps=3, eta=0.5)


def test_an_unknown_sampler_names_the_closest():
    with pytest.raises(UnknownName, match=r"Did you mean 'dpmsolver\+\+'"):
        sampler.sample(network, SCHEDULE, start(), steps=3, kind="dpm-solver++")


def test_a_scheduler_without_betas_is_refused():
    pytest.importorskip("diffusers")
    with pytest.raises(SpecError, match="does not work with this family"):
        sampler.sample(network, SCHEDULE, start(), steps=3, kind="FlowMatchEulerDiscreteScheduler")


def test_diffusers_is_imported_only_when_used():
    code = (
        "import sys, torch; from robolearn.diffusion import sampler, schedule;"
        "sampler.sample(lambda x, t: x, schedule.squared_cosine(10), torch.zeros(1, 2, 2), steps=2);"
        "assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
