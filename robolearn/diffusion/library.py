"""Any sampler of the diffusers library, chosen by name.

One adapter around `diffusers` schedulers (Apache-2.0; the library does the arithmetic): it is given our noise
schedule, our meaning of the network's output and one generator per row. The library is imported on first use,
since that takes three seconds. Solvers that cannot clip by themselves are shown the clipped clean sample instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robolearn.diffusion.noise import Generators
from robolearn.diffusion.schedule import Schedule
from robolearn.diffusion.steps import Prediction, predict_clean
from robolearn.errors import MissingDependency, SpecError, UnknownName

__all__ = ["NAMES", "check_name", "make_scheduler", "sample"]

NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmsolver++1s": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++", "lower_order_final": True}),
    "lcm": ("LCMScheduler", {}),
    "sde-dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "tcd": ("TCDScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""Short names to diffusers' class and the arguments that make it what the name says."""


def check_name(name: str) -> None:
    """Refuse an unknown sampler before anything is imported.

    A class name ending in "Scheduler" is looked up in diffusers itself, for solvers without a short name.

    Raises:
        UnknownName: With the closest valid name.
    """
    if name not in NAMES and not name.endswith("Scheduler"):
        raise UnknownName("sampler", name, NAMES, hint="A scheduler class of diffusers can be named as well.")


def make_scheduler(
    name: str, schedule: Schedule, *, prediction: Prediction = "epsilon", clip: float | None = 1.0
) -> tuple[Any, bool]:
    """Build a diffusers scheduler.

    Args:
        name: A key of `NAMES`, or the name of a scheduler class.
        schedule: The noise schedule trained on.
        prediction: What the network's output means.
        clip: Clean samples lie within [-clip, clip]; None does not clip.

    Returns:
        The scheduler, and whether it must be given the clipped clean sample because it does not clip itself.

    Raises:
        UnknownName: There is no such sampler.
        MissingDependency: diffusers is not installed.
    """
    check_name(name)
    try:
        import diffusers
    except ImportError as error:
        raise MissingDependency("diffusers", "train", f"The sampler {name!r}") from error
    class_name, settings = NAMES.get(name, (name, {}))
    found = getattr(diffusers, class_name, None)
    if found is None:
        raise UnknownName("scheduler of diffusers", name, [n for n in dir(diffusers) if n.endswith("Scheduler")])
    alpha_bar = schedule.alpha_bar.double()
    alpha = alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    accepted = inspect.signature(found.__init__).parameters
    if not {"trained_betas", "prediction_type"} <= accepted.keys():
        raise SpecError(
            f"The sampler {name!r} does not work with this family of noise schedules (it takes no list of betas). "
            f"Use one of: {', '.join(NAMES)}."
        )
    clips_itself = "clip_sample" in accepted
    betas = [float(beta) for beta in 1 - alpha]
    wanted: dict[str, Any] = {
        "num_train_timesteps": schedule.steps,
        "trained_betas": betas,
        "prediction_type": prediction if clip is None or clips_itself else "sample",
        "clip_sample": clip is not None,
        "clip_sample_range": 1.0 if clip is None else clip,
        "original_inference_steps": schedule.steps,
    } | settings
    scheduler = found(**{key: value for key, value in wanted.items() if key in accepted})
    return scheduler, clip is not None and not clips_itself


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    noise: Tensor,
    *,
    steps: int,
    name: str,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    generators: Generators | None = None,
) -> Tensor:
    """Draw samples with a scheduler of diffusers; arguments and result as `sampler.sample`."""
    scheduler, clip_here = make_scheduler(name, schedule, prediction=prediction, clip=clip)
    scheduler.set_timesteps(steps)
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {"generator": generators} if takes_generator and generators is not None else {}
    x = noise * float(scheduler.init_noise_sigma)
    for timestep in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, timestep)
        step = int(timestep)
        output = denoise(seen, torch.full((noise.shape[0],), step, dtype=torch.int64, device=noise.device))
        if clip_here:
            output = predict_clean(seen, output, schedule.alpha_bar[step].to(seen.device), prediction, clip)
        x = scheduler.step(output, timestep, x, return_dict=False, **extra)[0]
    return x
