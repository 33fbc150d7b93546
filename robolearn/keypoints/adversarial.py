"""Adversarial inverse reinforcement learning: a reward that a person's recordings maximise, and a policy for it.

AIRL (Fu, Luo and Levine 2018, arXiv 1710.11248, eq. 4 and algorithm 1):

    f(s, a, s') = g(s[, a]) + gamma h(s') - h(s),     D = exp f / (exp f + pi(a|s)^t),     logit D = f - t log pi(a|s)

D learns to tell recordings from the policy (binary cross-entropy); the policy maximises log D - log(1 - D) = f -
t log pi. With g on states alone the reward is the one that transfers (their section 6). GAIL (Ho and Ermon 2016) is the
simple baseline: logit D = d(s, a), reward -log(1 - D), nothing to reuse.

Differences: a temperature t below one (theirs is 1; a person who holds still has a density so high that nothing else
in f would count), with densities in units in which the cloned policy's mean log pi is zero; a gradient penalty on the
discriminator's inputs (Gulrajani et al. 2017, on the logit, around zero as in Mescheder et al. 2018), on by default;
a little noise on its inputs, because a tracker's error must not be what tells recording from simulation; several g
and h on other halves of the recordings, whose spread is the reward's uncertainty; policies may start from cloning.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.keypoints.actor import Actor, ActorConfig, Batch, clone, improve, mlp, optimiser
from robolearn.keypoints.domains import Domain, World
from robolearn.specs import Array

__all__ = ["AdversarialConfig", "Demonstrations", "Reward", "Trained", "collect", "gradient_penalty", "train"]

_LAZY = 4
Method = Literal["airl_state", "airl_state_action", "gail"]


@dataclass(frozen=True, slots=True)
class AdversarialConfig:
    """How to learn a reward."""

    method: Method = "airl_state"
    """AIRL with a reward on states, or on states and actions; or GAIL."""
    rounds: int = 45
    """Rounds of collecting, telling apart and improving."""
    rows: int = 48
    """Episodes per round."""
    horizon: int = 80
    """Steps of an episode."""
    width: int = 64
    """Neurons per layer of g and h (the laboratory has 32)."""
    members: int = 2
    """How many rewards; their spread is the uncertainty."""
    updates: int = 32
    """Discriminator steps per round."""
    batch: int = 256
    """Transitions of each side per discriminator step."""
    rate: float = 3e-3
    """Learning rate of the discriminator."""
    penalty: float = 0.02
    """Weight of the gradient penalty; 0 turns it off. It is taken at every fourth step, four times as heavy."""
    temperature: float = 0.02
    """t: how much of the policy's log-probability counts; the reward's unit."""
    noise: float = 0.05
    """Noise on the discriminator's inputs, in units of features."""
    warm_rounds: int = 6
    """First rounds in which only the discriminator and the value learn."""
    memory: int = 4
    """Rounds of the policy's transitions that the discriminator sees."""


@dataclass(frozen=True, slots=True, eq=False)
class Demonstrations:
    """Transitions of recordings.

    Attributes:
        domain: The task that they are of.
        before: (N, f) features.
        action: (N, k) decisions.
        after: (N, f) features.
        recording: (N,) which recording each belongs to.
    """

    domain: Domain
    before: Array
    action: Array
    after: Array
    recording: Array


class Reward(nn.Module):
    """Members of g and h (or of GAIL's d), in one module.

    Args:
        config: The method and sizes.
        domain: The task.
        discount: Of the shaping.
    """

    def __init__(self, config: AdversarialConfig, domain: Domain, discount: float):
        super().__init__()
        self.domain, features = domain, len(domain.features)
        self.method, self.discount, self.temperature = config.method, discount, config.temperature
        self.density: Tensor
        self.register_buffer("density", torch.zeros(()))
        self.limits: Tensor
        self.register_buffer("limits", torch.as_tensor(domain.limits, dtype=torch.float32), persistent=False)
        inputs = features + (0 if config.method == "airl_state" else len(domain.limits))
        self.g = nn.ModuleList([mlp(inputs, 1, config.width) for _ in range(config.members)])
        self.h = nn.ModuleList([mlp(features, 1, config.width) for _ in range(config.members)])

    def base(self, member: int, before: Tensor, action: Tensor) -> Tensor:
        """g (B,): the reward itself, without shaping."""
        x = before if self.method == "airl_state" else torch.cat([before, action / self.limits], dim=-1)
        return self.g[member](x)[..., 0]

    def shaped(self, member: int, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """f (B,) of AIRL; GAIL's d."""
        base = self.base(member, before, action)
        if self.method == "gail":
            return base
        h = self.h[member]
        return base + self.discount * h(after)[..., 0] - h(before)[..., 0]

    def logit(self, member: int, before: Tensor, action: Tensor, after: Tensor, log_probability: Tensor) -> Tensor:
        """logit of "this was recorded" (B,)."""
        f = self.shaped(member, before, action, after)
        return f if self.method == "gail" else f - self.temperature * (log_probability - self.density)

    @torch.no_grad()
    def values(self, before: Array, action: Array, after: Array | None = None) -> tuple[Array, Array]:
        """Mean and spread over members (B,) of g, or of f where `after` is given."""
        x, a = (torch.tensor(v, dtype=torch.float32) for v in (before, action))
        members = range(len(self.g))
        if after is None:
            found = torch.stack([self.base(k, x, a) for k in members])
        else:
            y = torch.as_tensor(after, dtype=torch.float32)
            found = torch.stack([self.shaped(k, x, a, y) for k in members])
        return found.mean(dim=0).numpy().astype(float), found.std(dim=0, unbiased=False).numpy().astype(float)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of it.

    Attributes:
        reward: The learned reward.
        actor: The policy that was learned with it.
        history: Numbers of each round.
    """

    reward: Reward
    actor: Actor
    history: list[dict[str, float]] = field(default_factory=list)


def collect(actor: Actor, world: World, steps: int, generator: torch.Generator | None) -> tuple[Batch, Array]:
    """Run the policy from fresh starts: what it did, and the true reward (T, n), which no learner here sees."""
    world.reset()
    seen, actions, logs, true = [world.observe()], [], [], []
    for _ in range(steps):
        action, log, _ = actor.act(seen[-1], generator)
        true.append(world.step(action))
        actions.append(action)
        logs.append(log)
        seen.append(world.observe())
    return Batch(np.stack(seen), np.stack(actions), np.stack(logs)), np.stack(true)


def train(
    demonstrations: Demonstrations,
    config: AdversarialConfig,
    actor_config: ActorConfig,
    seed: int,
    *,
    watch: Callable[[int, dict[str, float]], None] | None = None,
) -> Trained:
    """Learn reward and policy from recordings, in the simulated task that they are of.

    Args:
        demonstrations: Of people.
        config: Of the reward.
        actor_config: Of the policy.
        seed: Of everything.
        watch: Told the numbers of every round.
    """
    domain = demonstrations.domain
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reward = Reward(config, domain, actor_config.discount)
        actor = Actor(len(domain.features), demonstrations.action.std(axis=0) + 0.02, actor_config.width)
    generator = torch.Generator().manual_seed(seed)
    clone(actor, demonstrations.before, demonstrations.action, actor_config, seed)
    seen, acted = (torch.as_tensor(v, dtype=torch.float32) for v in (demonstrations.before, demonstrations.action))
    with torch.no_grad():
        reward.density.copy_(actor.log_probability(seen, acted).mean())
    world = domain.start(config.rows, np.random.default_rng(seed), config.horizon)
    policy_step, reward_step = optimiser(actor, actor_config.rate), optimiser(reward, config.rate, 1e-4)
    shares = _shares(demonstrations, config.members, np.random.default_rng(seed))
    recent: list[tuple[Tensor, Tensor, Tensor]] = []
    history: list[dict[str, float]] = []
    for round_ in range(config.rounds):
        batch, true = collect(actor, world, config.horizon, generator)
        recent = [*recent, _flat(batch)][-config.memory :]
        facts = _discriminate(reward, reward_step, actor, shares, recent, config, generator)
        learned = _policy_reward(reward, batch)
        for group in policy_step.param_groups:  # smaller steps towards the end, or the last round decides by chance
            group["lr"] = actor_config.rate * (1.0 - 0.9 * round_ / config.rounds)
        facts |= improve(
            actor, policy_step, batch, learned, actor_config, generator, policy=round_ >= config.warm_rounds
        )
        facts["true_return"] = float(true.sum(axis=0).mean())
        history.append(facts)
        if watch is not None:
            watch(round_, facts)
    return Trained(reward, actor, history)


def gradient_penalty(reward: Reward, member: int, real: Transitions, fake: Transitions, mix: Tensor) -> Tensor:
    """Mean squared gradient of f at points between recorded and simulated transitions."""
    points = [(mix * a + (1.0 - mix) * b).requires_grad_() for a, b in zip(real, fake, strict=True)]
    value = reward.shaped(member, points[0], points[1] * reward.limits, points[2])
    slopes = torch.autograd.grad(value.sum(), points, create_graph=True, allow_unused=True)
    found: list[Tensor | None] = list(slopes)  # a reward on states has no slope in actions
    return sum((s.square().sum(dim=-1).mean() for s in found if s is not None), torch.zeros(()))


Transitions = tuple[Tensor, Tensor, Tensor]
"""Features before (B, f), decisions (B, k), features after (B, f)."""


def _shares(demonstrations: Demonstrations, members: int, generator: np.random.Generator) -> list[Transitions]:
    """Per member its recordings: all of them for the first, a bootstrap of recordings for the others."""
    known = np.unique(demonstrations.recording)
    shares: list[Transitions] = []
    for member in range(members):
        chosen = known if member == 0 else generator.choice(known, len(known))
        rows = np.concatenate([np.flatnonzero(demonstrations.recording == k) for k in chosen])
        arrays = (demonstrations.before[rows], demonstrations.action[rows], demonstrations.after[rows])
        before, action, after = (torch.as_tensor(a, dtype=torch.float32) for a in arrays)
        shares.append((before, action, after))
    return shares


def _flat(batch: Batch) -> Transitions:
    arrays = (batch.features[:-1], batch.actions, batch.features[1:])
    before, action, after = (torch.as_tensor(a.reshape(-1, a.shape[-1]), dtype=torch.float32) for a in arrays)
    return before, action, after


def _discriminate(
    reward: Reward,
    step: torch.optim.Optimizer,
    actor: Actor,
    shares: list[Transitions],
    recent: list[Transitions],
    config: AdversarialConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    pool = [torch.cat(parts) for parts in zip(*recent, strict=True)]
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    facts: dict[str, float] = {}

    def draw(transitions: Transitions | list[Tensor]) -> Transitions:
        rows = torch.randint(len(transitions[0]), (config.batch,), generator=generator)
        before, action, after = (t[rows] for t in transitions)
        # The same error before and after: a tracker's bias does not change between two frames' features.
        error = config.noise * torch.randn(before.shape, generator=generator)
        return before + error, action, after + error

    for update in range(config.updates):
        loss, right = torch.zeros(()), 0.0
        for member, share in enumerate(shares):
            real, fake = draw(share), draw(pool)
            with torch.no_grad():
                logs = [actor.log_probability(s, a) for s, a, _ in (real, fake)]
            a, b = reward.logit(member, *real, logs[0]), reward.logit(member, *fake, logs[1])
            loss = loss + cross_entropy(a, torch.ones_like(a)) + cross_entropy(b, torch.zeros_like(b))
            right += float(((a > 0).float().mean() + (b < 0).float().mean()) / 2) / len(shares)
            if config.penalty and update % _LAZY == 0:
                mix = torch.rand((config.batch, 1), generator=generator)
                unit = [(s, u / reward.limits, t) for s, u, t in (real, fake)]
                loss = loss + _LAZY * config.penalty * gradient_penalty(reward, member, unit[0], unit[1], mix)
        step.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        step.step()
        facts = {"discriminator_loss": loss.item() / len(shares), "discriminator_accuracy": right}
    return facts


def _policy_reward(reward: Reward, batch: Batch) -> Array:
    before, action, after = _flat(batch)
    shape = batch.actions.shape[:2]
    logs = torch.as_tensor(batch.log_probability.reshape(-1), dtype=torch.float32)
    with torch.no_grad():
        logits = torch.stack([reward.logit(k, before, action, after, logs) for k in range(len(reward.g))]).mean(dim=0)
        found = nn.functional.softplus(logits) if reward.method == "gail" else logits
    return found.numpy().astype(float).reshape(shape).clip(-20.0, 20.0)
