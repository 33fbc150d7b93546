"""What a learned reward and its policy are worth: the laboratory's metrics, transfer, and the audit.

LBA (learned behaviour accuracy, continuous) is the mean of 1 - |a_E - a_L| / |a_max - a_min| over states of the
recordings, without the 0.2 that the laboratory's code adds by mistake; ILE (inverse-learning error) is (demonstrations'
return - learner's return) / demonstrations' return under the learned reward. What was sorted or poured is counted by
`robolearn.keypoints.deeds`.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import torch

from robolearn.keypoints.actor import Actor, ActorConfig, improve, optimiser
from robolearn.keypoints.adversarial import Demonstrations, Reward, collect
from robolearn.keypoints.audit import Audit, auc, canonical, spearman, starc
from robolearn.keypoints.deeds import Decide
from robolearn.keypoints.domains import Domain
from robolearn.keypoints.onions import OnionLine
from robolearn.specs import Array

__all__ = [
    "audit_reward",
    "behaviour_accuracy",
    "inverse_error",
    "policy_of",
    "random_policy",
    "reoptimise",
]


def policy_of(actor: Actor, seed: int) -> Decide:
    """A policy's sampled decisions; its mean would look at an onion for good, since it is the mean of two plans."""
    generator = torch.Generator().manual_seed(seed)
    return lambda seen: actor.act(seen, generator)[0]


def random_policy(demonstrations: Demonstrations, seed: int) -> Decide:
    """Decisions drawn from the recorded ones, whatever is seen."""
    generator = np.random.default_rng(seed)
    return lambda seen: demonstrations.action[generator.integers(len(demonstrations.action), size=len(seen))]


def behaviour_accuracy(actor: Actor, demonstrations: Demonstrations, seed: int) -> float:
    """LBA over the recorded states, in percent; a decision's parts count by their largest values."""
    limits = demonstrations.domain.limits
    acted = np.clip(policy_of(actor, seed)(demonstrations.before), -limits, limits)
    gap = np.linalg.norm((demonstrations.action - acted) / (limits / limits[0]), axis=1)
    return float(100.0 * (1.0 - gap / (2.0 * limits[0] * np.sqrt(float(len(limits))))).mean())


def inverse_error(reward: Reward, actor: Actor, demonstrations: Demonstrations, seed: int) -> float:
    """ILE under the learned reward per step, whose constant is fixed by the random policy's mean at zero."""
    means: list[float] = []
    for decide in (policy_of(actor, seed), random_policy(demonstrations, seed)):
        before, action, _, _ = _run(demonstrations.domain, decide, seed, 40, 80)
        means.append(float(reward.values(before, action)[0].mean()))
    shown = float(reward.values(demonstrations.before, demonstrations.action)[0].mean())
    return (shown - means[0]) / (shown - means[1])


def reoptimise(
    reward: Reward, actor: Actor, *, rounds: int, reach_m: float, seed: int, rows: int = 48, steps: int = 80
) -> tuple[float, float]:
    """True return (80 steps of the endless line) where a hand is slower: of the policy as it is, and after PPO on
    frozen g.

    The policy is changed in place. g has an arbitrary zero, which here is its mean over the first batch.
    """
    generator, config = torch.Generator().manual_seed(seed), ActorConfig()
    line = OnionLine(rows, np.random.default_rng(seed), horizon=steps, reach_m=reach_m)
    step, first, zero = optimiser(actor, config.rate), 0.0, 0.0
    for k in range(rounds + 1):
        batch, true = collect(actor, line, steps, generator)
        before = batch.features[:-1].reshape(-1, batch.features.shape[-1])
        found = reward.values(before, batch.actions.reshape(-1, batch.actions.shape[-1]))[0].reshape(true.shape)
        if k == 0:
            first, zero = float(true.sum(axis=0).mean()), float(found.mean())
        if k < rounds:
            improve(actor, step, batch, found - zero, config, generator)
    line = OnionLine(4 * rows, np.random.default_rng(seed + 1), horizon=steps, reach_m=reach_m)
    return first, float(collect(actor, line, steps, generator)[1].sum(axis=0).mean())


def audit_reward(
    reward: Reward, actors: list[Actor], demonstrations: Demonstrations, held_out: Demonstrations, seed: int
) -> Audit:
    """Audit against the true reward, over trajectories of good, middling and bad workers that no learner saw.

    The learned reward is g: without shaping, which is not the reward.
    """
    features: list[Array] = []
    actions: list[Array] = []
    after: list[Array] = []
    true: list[Array] = []
    returns: list[Array] = []
    learned: list[Array] = []
    for k, decide in enumerate(_workers(actors, demonstrations, seed)):
        before, action, following, truth = _run(demonstrations.domain, decide, seed + k, 24, 80)
        mean, _ = reward.values(before, action)
        returns.append(truth.reshape(80, 24).sum(axis=0))
        learned.append(mean.reshape(80, 24).sum(axis=0))
        for kept, part in ((features, before), (actions, action), (after, following), (true, truth)):
            kept.append(part)
    total, guess = np.concatenate(returns), np.concatenate(learned)
    good, bad = guess[total >= np.quantile(total, 0.75)], guess[total <= np.quantile(total, 0.25)]
    before, action, following = np.concatenate(features), np.concatenate(actions), np.concatenate(after)
    truths = dict(zip(map(bytes, before), np.concatenate(true), strict=True))
    rows = np.random.default_rng(seed).choice(len(before), 3000, replace=False)
    truth = np.array([truths[bytes(before[r])] for r in rows])
    # The true reward needs no levelling: it is zero but at deeds; the learned one is levelled over the same samples.
    level = canonical(lambda s, a, t: reward.values(s, a)[0], before[rows], action[rows], following[rows], 0.99)
    mean, spread = reward.values(held_out.before, held_out.action)
    return Audit(
        starc=starc(level, truth),
        rank=spearman(total, guess),
        auc=auc(good, bad),
        spread=float(spread.mean() / (mean.std() + 1e-12)),
    )


def _workers(actors: list[Actor], demonstrations: Demonstrations, seed: int) -> list[Decide]:
    """From as learned to random: with a growing share of decisions replaced by random ones."""
    found: list[Decide] = []
    chance = random_policy(demonstrations, seed + 1)
    for share in (0.0, 0.1, 0.3, 0.6, 1.0):
        for actor in actors:
            own, coin = policy_of(actor, seed), np.random.default_rng(seed)

            def decide(seen: Array, own: Decide = own, coin: np.random.Generator = coin, share: float = share) -> Array:
                return np.where(coin.random((len(seen), 1)) < share, chance(seen), own(seen))

            found.append(decide)
    return found


def _run(domain: Domain, decide: Decide, seed: int, n: int, steps: int) -> tuple[Array, Array, Array, Array]:
    world = domain.start(n, np.random.default_rng(seed), steps)
    before: list[Array] = []
    actions: list[Array] = []
    after: list[Array] = []
    true: list[Array] = []
    for _ in range(steps):
        seen = world.observe()
        acted = decide(seen)
        true.append(world.step(acted))
        before.append(seen)
        actions.append(acted)
        after.append(world.observe())
    return np.concatenate(before), np.concatenate(actions), np.concatenate(after), np.concatenate(true)
