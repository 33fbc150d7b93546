import pytest
import torch

from robolearn.diffusion import steps
from robolearn.diffusion.schedule import squared_cosine, visited

diffusers = pytest.importorskip("diffusers")
SHAPE = (3, 8, 5)


def chain(seed: int, count: int):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=draw) for _ in range(count)]


def close(ours: torch.Tensor, theirs: torch.Tensor):
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("clip", [None, 1.0, 0.5])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rederive", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5, 10, 33, 100])
def test_ddim_steps_equal_diffusers(
    prediction: steps.Prediction, clip: float | None, eta: float, rederive: bool, count: int
):
    theirs = diffusers.DDIMScheduler(
        100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
    )
    theirs.set_timesteps(count)
    schedule = squared_cosine(100)
    x = chain(0, 1)[0]
    outputs, noises = chain(1, count), chain(2, count)
    for (step, following), output, noise in zip(visited(schedule, count), outputs, noises, strict=True):
        ours = steps.ddim_step(
            x,
            output,
            schedule.alpha_bar[step],
            torch.tensor(schedule.at(following)),
            eta=eta,
            noise=noise,
            prediction=prediction,
            clip=clip,
            rederive=rederive,
        )
        x = theirs.step(
            output, step, x, eta=eta, use_clipped_model_output=rederive, variance_noise=noise if eta else None
        ).prev_sample
        close(ours, x)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("count", [1, 4, 10, 100])
def test_ddpm_steps_equal_diffusers(prediction: steps.Prediction, clip: float | None, count: int):
    theirs = diffusers.DDPMScheduler(
        100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, clip_sample=clip is not None
    )
    theirs.set_timesteps(count)
    schedule = squared_cosine(100)
    x = chain(0, 1)[0]
    outputs = chain(1, count)
    for (step, following), output in zip(visited(schedule, count), outputs, strict=True):
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(step))
        now, then = schedule.alpha_bar[step], torch.tensor(schedule.at(following))
        ours = steps.ddpm_step(x, output, now, then, noise, prediction=prediction, clip=clip)
        x = theirs.step(output, step, x, generator=torch.Generator().manual_seed(step)).prev_sample
        close(ours, x)


def test_add_noise_equals_diffusers():
    theirs = diffusers.DDPMScheduler(100, beta_schedule="squaredcos_cap_v2")
    clean, noise = chain(0, 2)
    step = torch.tensor([0, 50, 99])
    ours = steps.add_noise(clean, noise, squared_cosine(100).alpha_bar[step])
    assert torch.equal(ours, theirs.add_noise(clean, noise, step))


def test_predictions_invert_add_noise():
    clean, noise = (x.double() for x in chain(0, 2))
    alpha_bar = squared_cosine(100).alpha_bar.double()[60]
    noisy = steps.add_noise(clean, noise, alpha_bar.expand(3))
    torch.testing.assert_close(steps.predict_clean(noisy, noise, alpha_bar, clip=None), clean)
    torch.testing.assert_close(steps.predict_noise(noisy, clean, alpha_bar), noise)


def test_unclipped_ddpm_is_ddim_with_eta_one():
    x, output = (x.double() for x in chain(0, 2))
    alpha_bar = squared_cosine(100).alpha_bar.double()
    ddim = steps.step_mean_sigma(x, output, alpha_bar[50], alpha_bar[40], eta=1.0, clip=None)
    ddpm = steps.ddpm_mean_sigma(x, output, alpha_bar[50], alpha_bar[40], clip=None)
    torch.testing.assert_close(ddim, ddpm)


def test_sigma_of_each_row_broadcasts():
    x, output = chain(0, 2)
    alpha_bar = squared_cosine(100).alpha_bar
    now, then = alpha_bar[[90, 50, 10]].view(3, 1, 1), alpha_bar[[80, 40, 0]].view(3, 1, 1)
    mean, sigma = steps.step_mean_sigma(x, output, now, then, eta=1.0)
    for row in range(3):
        alone, alone_sigma = steps.step_mean_sigma(x[row], output[row], now[row], then[row], eta=1.0)
        assert torch.equal(mean[row], alone)
        assert torch.equal(sigma[row], alone_sigma)
