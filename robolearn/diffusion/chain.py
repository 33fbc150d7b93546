"""The stochastic denoising chain whose every step is a Gaussian with an exact likelihood: what RL improves.

Source: RL-100 (arXiv 2510.14830) and DDIM (Song et al. 2021, eq. 16) with eta = 1; names as in `steps.py`:

    x0 = clip((x - sqrt(1 - abar) e) / sqrt(abar)),    sigma = eta sqrt((1 - abar')/(1 - abar)) sqrt(1 - abar/abar')
    s  = min(max(sigma, sigma_min), sigma_max)
    mu = sqrt(abar') x0 + sqrt(1 - abar' - d^2) e,     x' ~ N(mu, s^2),     log pi = sum_dims log N(x'; mu, s)

The two conventions differ in d. "paper": d = sigma, the clip comes after mu was computed (as the public code does), so
with a small sigma_max the samples are less dispersed than what the network was trained on. "consistent": d = s, the
direction is computed again with the clipped sigma, so the marginals stay those of training as far as s allows.

As in RL-100's code the visited steps are 91, 81, ..., 1 and the last one goes to step 0, not to no noise at all; e is
not derived again after x0 was clipped. Where we differ: one floor and ceiling for all steps is a field of the plan, and
exploration (sampling) and evaluation (the noise-free mean path of the same chain) are two ways to run one plan.

Every function here takes the mean of a step from `step_means`, so a stored chain's likelihood is computed by the same
operations that drew it. Nothing inside a stored chain is clamped; clamp actions where they leave for the environment.

Shapes: B batch, K steps of the chain, P pairs of a row and a step, X... one sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robolearn.diffusion.noise import Generators, normals
from robolearn.diffusion.sampler import Denoise, Plan, Update, ddim_update, unclipped
from robolearn.diffusion.schedule import CLEAN, Schedule, visited
from robolearn.diffusion.steps import Prediction
from robolearn.errors import SpecError

__all__ = [
    "Chain",
    "Convention",
    "StepTable",
    "chain_log_prob",
    "chain_sigmas",
    "pair_log_prob",
    "plan_chain",
    "sample_chain",
    "step_means",
]

Convention = Literal["consistent", "paper"]

LOG_2PI = math.log(2 * math.pi)


class Chain(NamedTuple):
    """A sampled chain.

    Attributes:
        states_BK: (B, K + 1, X...) from the noise x_K on to the sample x_0.
        log_prob_BK: (B, K) of each step, summed over the dimensions of a sample.
    """

    states_BK: Tensor
    log_prob_BK: Tensor

    @property
    def sample(self) -> Tensor:
        """(B, X...) where the chain ends."""
        return self.states_BK[:, -1]


def plan_chain(
    schedule: Schedule,
    steps: int,
    *,
    sigma_min: float,
    sigma_max: float,
    convention: Convention = "consistent",
    eta: float = 1.0,
    prediction: Prediction = "epsilon",
    clip: float | None = 1.0,
    rederive: bool = False,
) -> Plan:
    """Work out the numbers of every step of a stochastic chain.

    Args:
        schedule: The schedule trained on.
        steps: K.
        sigma_min: Floor of every step's standard deviation, above 0: without noise there is no likelihood.
        sigma_max: Its ceiling.
        convention: See the module's text.
        eta: Share of DDPM's noise before clipping.
        prediction: What the network's output means.
        clip: Clean samples lie within [-clip, clip]; None does not clip.
        rederive: Derive the noise from the clipped clean sample instead of using the network's.

    Raises:
        SpecError: Not 0 < sigma_min <= sigma_max.
    """
    if not 0 < sigma_min <= sigma_max:
        raise SpecError(
            f"A chain with a likelihood needs 0 < sigma_min <= sigma_max; found {sigma_min} and {sigma_max}. "
            "Use the sampler 'ddim' for one without noise."
        )
    updates: list[Update] = []
    for step, following, sigma in _steps(schedule, steps, eta):
        now, then = schedule.at(step), schedule.at(following)
        clipped = min(max(sigma, sigma_min), sigma_max)
        room = clipped if convention == "consistent" else sigma
        update = ddim_update(step, now, then, room, prediction=prediction, rederive=rederive)
        updates.append(unclipped(update._replace(sigma=clipped), clip))
    return Plan(tuple(updates), clip)


def chain_sigmas(schedule: Schedule, steps: int, eta: float = 1.0) -> list[float]:
    """The standard deviations of the schedule itself, before clipping, noisiest step first."""
    return [sigma for _, _, sigma in _steps(schedule, steps, eta)]


def _steps(schedule: Schedule, steps: int, eta: float) -> list[tuple[int, int, float]]:
    offset = 1 if schedule.steps // steps > 1 else 0
    pairs = visited(schedule, steps, "leading", offset)
    if offset:
        pairs[-1] = (pairs[-1][0], 0)
    found: list[tuple[int, int, float]] = []
    for step, following in pairs:
        now, then = schedule.at(step), 1.0 if following == CLEAN else schedule.at(following)
        found.append((step, following, eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """A plan's numbers as tensors, to look up steps by their place k in the chain (0 is the noisiest).

    Attributes:
        numbers_K6: (K, 6) p, q, a, b, c, sigma of `sampler.Update`.
        steps_K: (K,) the noising step of each.
        clip: Of the plan.
    """

    numbers_K6: Tensor
    steps_K: Tensor
    clip: float | None

    @classmethod
    def of(cls, plan: Plan, like: Tensor) -> StepTable:
        """The table on the device and in the precision of a tensor."""
        numbers = [tuple(update)[1:] for update in plan.updates]
        steps = torch.tensor([update.step for update in plan.updates], device=like.device)
        return cls(torch.tensor(numbers, dtype=like.dtype, device=like.device), steps, plan.clip)

    @property
    def length(self) -> int:
        """K."""
        return len(self.steps_K)


def step_means(denoise: Denoise, table: StepTable, x_P: Tensor, k_P: Tensor) -> tuple[Tensor, Tensor]:
    """Where one step leads from each sample, without its noise.

    Args:
        denoise: The network; for pairs of several rows it must know which row's condition belongs to which sample.
        table: The chain.
        x_P: (P, X...) samples before the step.
        k_P: (P,) int64, places in the chain.

    Returns:
        The mean (P, X...) and sigma (P,).
    """
    p, q, a, b, c, sigma = (n.view(-1, *[1] * (x_P.ndim - 1)) for n in table.numbers_K6[k_P].unbind(-1))
    output_P = denoise(x_P, table.steps_K[k_P])
    mean_P = a * x_P + b * output_P
    if table.clip is not None:
        mean_P = mean_P + c * (p * x_P + q * output_P).clamp(-table.clip, table.clip)
    return mean_P, sigma.flatten()


def sample_chain(
    denoise: Denoise,
    plan: Plan,
    noise: Tensor,
    generators: Generators | None = None,
    *,
    deterministic: bool = False,
) -> Chain:
    """Run the chain and keep it.

    Args:
        denoise: The network.
        plan: From `plan_chain`.
        noise: (B, X...) standard normal, where the chain starts.
        generators: Where the steps' noise is drawn from, one or one per row.
        deterministic: Follow the means, the noise-free path of the chain; the sample is then a function of `noise`,
            and the likelihoods are those of the means (the largest there are).

    Raises:
        SpecError: Not deterministic and nothing to draw from.
    """
    if generators is None and not deterministic:
        raise SpecError("A stochastic denoising chain needs generators to draw from.")
    table = StepTable.of(plan, noise)
    x_B, rows = noise, noise.shape[0]
    states, log_probs = [noise], list[Tensor]()
    for k in range(table.length):
        mean_B, sigma_B = step_means(denoise, table, x_B, torch.full((rows,), k, device=noise.device))
        x_B = mean_B
        if not deterministic and generators is not None:
            x_B = mean_B + table.numbers_K6[k, -1] * normals(noise.shape, generators, noise.device).to(noise.dtype)
        states.append(x_B)
        log_probs.append(_log_normal(x_B, mean_B, sigma_B))
    return Chain(torch.stack(states, 1), torch.stack(log_probs, 1))


def pair_log_prob(denoise: Denoise, table: StepTable, before_P: Tensor, after_P: Tensor, k_P: Tensor) -> Tensor:
    """(P,) log-probabilities of single stored steps, for minibatches of (decision, step) pairs; arguments as above."""
    mean_P, sigma_P = step_means(denoise, table, before_P, k_P)
    return _log_normal(after_P, mean_P, sigma_P)


def chain_log_prob(denoise: Denoise, plan: Plan, states_BK: Tensor) -> Tensor:
    """(B, K) log-probabilities of all steps of stored chains (B, K + 1, X...), with gradient.

    `denoise` sees the rows of one step at a time, in the order in which they were sampled.
    """
    table = StepTable.of(plan, states_BK)
    rows = states_BK.shape[0]
    found = [
        pair_log_prob(
            denoise, table, states_BK[:, k], states_BK[:, k + 1], torch.full((rows,), k, device=states_BK.device)
        )
        for k in range(table.length)
    ]
    return torch.stack(found, 1)


def _log_normal(x_P: Tensor, mean_P: Tensor, sigma_P: Tensor) -> Tensor:
    """Summed over all but the first axis."""
    size = x_P[0].numel()
    squares_P = (x_P - mean_P).flatten(1).square().sum(1) / sigma_P.square()
    return -0.5 * squares_P - size * (sigma_P.log() + 0.5 * LOG_2PI)
