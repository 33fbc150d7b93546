"""How well somebody sorts: the paper's metrics, and the laboratory's, over fresh layouts.

Precision and recall count a blemished onion in the bin as a hit; an onion that nobody sorted in time is a miss. LBA
(learned behaviour accuracy, continuous) is the mean of 1 - |a_E - a_L| / |a_max - a_min| over states of the recordings,
without the 0.2 that the laboratory's code adds by mistake; ILE (inverse-learning error) is (demonstrations' return -
learner's return) / demonstrations' return under the learned reward.
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from robolearn.intervals import Rate, wilson
from robolearn.keypoints.actor import Actor, ActorConfig, improve, optimiser
from robolearn.keypoints.adversarial import Demonstrations, Reward, collect
from robolearn.keypoints.audit import Audit, auc, canonical, spearman, starc
from robolearn.keypoints.onions import ACTION_M, OnionLine
from robolearn.specs import Array

__all__ = [
    "Sorting",
    "audit_reward",
    "behaviour_accuracy",
    "inverse_error",
    "policy_of",
    "random_policy",
    "reoptimise",
    "sort",
]

Decide = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Sorting:
    """What was sorted over many layouts.

    Attributes:
        layouts: How many.
        binned_bad: Blemished onions in the bin.
        binned_good: Good ones in the bin.
        bad: Blemished onions there were.
        right: Onions sorted right.
        onions: All.
        true_return: Mean true return of a layout.
        steps: Mean steps that a layout took.
    """

    layouts: int
    binned_bad: int
    binned_good: int
    bad: int
    right: int
    onions: int
    true_return: float
    steps: float

    @property
    def precision(self) -> Rate | None:
        """Of binned onions, the blemished; None when nothing was binned."""
        binned = self.binned_bad + self.binned_good
        return wilson(self.binned_bad, binned) if binned else None

    @property
    def recall(self) -> Rate:
        """Of blemished onions, the binned; one that was never sorted is a miss."""
        return wilson(self.binned_bad, max(1, self.bad))


def policy_of(actor: Actor, seed: int) -> Decide:
    """A policy's sampled decisions; its mean would look at an onion for good, since it is the mean of two plans."""
    generator = torch.Generator().manual_seed(seed)
    return lambda seen: actor.act(seen, generator)[0]


def random_policy(demonstrations: Demonstrations, seed: int) -> Decide:
    """Displacements drawn from the recorded ones, whatever is seen."""
    generator = np.random.default_rng(seed)
    return lambda seen: demonstrations.action[generator.integers(len(demonstrations.action), size=len(seen))]


def sort(decide: Decide, *, layouts: int, seed: int, noise_m: float = 0.0, horizon: int = 100) -> Sorting:
    """Let somebody sort fresh layouts of five onions."""
    line = OnionLine(layouts, np.random.default_rng(seed), horizon=horizon, endless=False, noise_m=noise_m)
    total, steps = np.zeros(layouts), np.zeros(layouts)
    while not line.over:
        steps += ~line.line.gone.all(axis=1)
        total += line.step(decide(line.observe()))
    deeds = line.deeds.sum(axis=0)
    bad = int((~line.line.good).sum())
    return Sorting(
        layouts,
        int(deeds[3]),
        int(deeds[2]),
        bad,
        int(deeds[1] + deeds[3]),
        5 * layouts,
        float(total.mean()),
        float(steps.mean()),
    )


def behaviour_accuracy(actor: Actor, demonstrations: Demonstrations, seed: int) -> float:
    """LBA over the recorded states, in percent."""
    acted = policy_of(actor, seed)(demonstrations.before)
    gap = np.linalg.norm(demonstrations.action - np.clip(acted, -ACTION_M, ACTION_M), axis=1)
    return float(100.0 * (1.0 - gap / (2.0 * ACTION_M * np.sqrt(3.0))).mean())


def inverse_error(reward: Reward, actor: Actor, demonstrations: Demonstrations, seed: int) -> float:
    """ILE under the learned reward per step, whose constant is fixed by the random policy's mean at zero."""
    means: list[float] = []
    for decide in (policy_of(actor, seed), random_policy(demonstrations, seed)):
        before, action, _, _ = _run(decide, seed, 40, 80)
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
        found = reward.values(before, batch.actions.reshape(-1, 3))[0].reshape(true.shape)
        if k == 0:
            first, zero = float(true.sum(axis=0).mean()), float(found.mean())
        if k < rounds:
            improve(actor, step, batch, found - zero, config, generator)
    line = OnionLine(4 * rows, np.random.default_rng(seed + 1), horizon=steps, reach_m=reach_m)
    return first, float(collect(actor, line, steps, generator)[1].sum(axis=0).mean())


def audit_reward(
    reward: Reward, actors: list[Actor], demonstrations: Demonstrations, held_out: Demonstrations, seed: int
) -> Audit:
    """Audit against the true reward, over trajectories of good, middling and bad sorters that no learner saw.

    The learned reward is g: without shaping, which is not the reward.
    """
    features: list[Array] = []
    actions: list[Array] = []
    after: list[Array] = []
    true: list[Array] = []
    returns: list[Array] = []
    learned: list[Array] = []
    for k, decide in enumerate(_sorters(actors, demonstrations, seed)):
        before, action, following, truth = _run(decide, seed + k, 24, 80)
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


def _sorters(actors: list[Actor], demonstrations: Demonstrations, seed: int) -> list[Decide]:
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


def _run(decide: Decide, seed: int, n: int, steps: int) -> tuple[Array, Array, Array, Array]:
    line = OnionLine(n, np.random.default_rng(seed), horizon=steps)
    before: list[Array] = []
    actions: list[Array] = []
    after: list[Array] = []
    true: list[Array] = []
    for _ in range(steps):
        seen = line.observe()
        acted = decide(seen)
        true.append(line.step(acted))
        before.append(seen)
        actions.append(acted)
        after.append(line.observe())
    return np.concatenate(before), np.concatenate(actions), np.concatenate(after), np.concatenate(true)
