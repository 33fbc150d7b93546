"""Maximum-causal-entropy inverse reinforcement learning on tables: the exact oracle for the learned rewards.

Ziebart, Bagnell and Dey 2010 ("Modeling interaction via the principle of maximum causal entropy"), finite horizon H:

    Q_t(s, a) = r(s) + gamma sum_s' P(s'|s, a) V_{t+1}(s'),  V_t(s) = log sum_a exp Q_t(s, a),  V_H = 0
    pi_t(a|s) = exp(Q_t(s, a) - V_t(s)),                        dL/dr(s) = D_demonstrations(s) - D_pi(s)

with D(s) = sum_t gamma^t P(s_t = s) the discounted visits over the H decisions, and L the causal log-likelihood of the
demonstrations, E sum_t gamma^t log pi_t(a_t|s_t), discounted likewise: only then do the terms telescope to this
gradient. The transition table is exact, so the gradient is too. `sorting_table` is the onion task with places instead
of metres (the laboratory's discrete sibling of it, reduced to five actions).
"""

# Types of torch and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from robolearn.specs import Array

__all__ = ["Table", "fit_reward", "likelihood", "soft_policy", "sorting_table", "visits"]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A small decision process.

    Attributes:
        transitions: (S, A, S) probabilities.
        initial: (S,) probabilities of the first state.
        horizon: Decisions per episode.
        states: Names, for people.
        actions: Likewise.
        discount: gamma; 1 counts all decisions of an episode alike.
    """

    transitions: Array
    initial: Array
    horizon: int
    states: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    discount: float = 1.0

    def __post_init__(self) -> None:
        sums = self.transitions.sum(axis=-1)
        if np.abs(sums - 1.0).max() > 1e-9 or abs(self.initial.sum() - 1.0) > 1e-9 or self.horizon < 1:
            raise ValueError("Probabilities must sum to one, and there must be at least one decision.")


def soft_policy(table: Table, reward: Array) -> tuple[Array, Array]:
    """pi (H, S, A) and V (H, S) of a reward (S,)."""
    horizon, (states, actions, _) = table.horizon, table.transitions.shape
    policy, value = np.empty((horizon, states, actions)), np.empty((horizon, states))
    following = np.zeros(states)
    for t in reversed(range(horizon)):
        q = reward[:, None] + table.discount * table.transitions @ following
        top = q.max(axis=1, keepdims=True)
        following = (top + np.log(np.exp(q - top).sum(axis=1, keepdims=True)))[:, 0]
        policy[t], value[t] = np.exp(q - following[:, None]), following
    return policy, value


def visits(table: Table, policy: Array) -> tuple[Array, Array]:
    """Expected visits (H, S) of states and (H, S, A) of decisions under a policy (H, S, A)."""
    states, decisions = np.empty(policy.shape[:2]), np.empty(policy.shape)
    now = table.initial
    for t in range(table.horizon):
        states[t], decisions[t] = now, now[:, None] * policy[t]
        now = np.einsum("sa,sax->x", decisions[t], table.transitions)
    return states, decisions


def likelihood(table: Table, reward: Array, decisions: Array) -> float:
    """Causal log-likelihood of demonstrations given as expected decisions (H, S, A)."""
    policy, _ = soft_policy(table, reward)
    return float((_weights(table) * decisions * np.log(np.maximum(policy, 1e-300))).sum())


def fit_reward(
    table: Table, decisions: Array, *, features: Array | None = None, steps: int = 800, rate: float = 0.5
) -> tuple[Array, list[float]]:
    """The reward (S,) that makes demonstrations most likely, by gradient ascent; and the gradient's norm per step.

    Args:
        table: The process.
        decisions: (H, S, A) expected decisions of the demonstrations.
        features: (S, F) the reward is linear in these; by default one per state.
        steps: Of ascent.
        rate: Size of a step.
    """
    basis = np.eye(len(table.initial)) if features is None else features
    weights, momentum, norms = np.zeros(basis.shape[1]), np.zeros(basis.shape[1]), []
    gammas = _weights(table)
    wanted = (gammas * decisions).sum(axis=(0, 2))
    for _ in range(steps):
        policy, _ = soft_policy(table, basis @ weights)
        gradient = basis.T @ (wanted - (gammas[..., 0] * visits(table, policy)[0]).sum(axis=0))
        momentum = 0.9 * momentum + 0.1 * gradient
        weights = weights + rate * momentum
        norms.append(float(np.linalg.norm(gradient)))
    return basis @ weights, norms


def _weights(table: Table) -> Array:
    """(H, 1, 1) what a decision counts for."""
    return table.discount ** np.arange(table.horizon)[:, None, None]


def sorting_table(horizon: int = 12, fail: float = 0.05) -> tuple[Table, Array]:
    """Onion sorting with places, and its true reward (S,).

    A state is where the onion is (belt, eye, bin, conveyor), what is known of it (unknown, good, bad) and where the
    hand is (belt, eye, bin, conveyor); an act fails with a small probability and changes nothing; an act that makes
    no sense leads to a sink for good. A new onion is claimed once the last one is sorted.
    """
    places, known = ("belt", "eye", "bin", "conveyor"), ("unknown", "good", "bad")
    names = [f"{o}/{k}/{h}" for o, k, h in product(places, known, places)] + ["sink"]
    index = {name: i for i, name in enumerate(names)}
    actions = ("pick_and_inspect", "look", "place_in_bin", "place_on_conveyor", "claim")
    size = len(names)
    table = np.zeros((size, len(actions), size))
    for onion, label, hand in product(places, known, places):
        here = index[f"{onion}/{label}/{hand}"]
        for a, act in enumerate(actions):
            if act == "pick_and_inspect" and onion == "belt":
                ends = (
                    {f"eye/{k}/eye": 0.5 for k in ("good", "bad")} if label == "unknown" else {f"eye/{label}/eye": 1.0}
                )
            elif act == "look" and onion == "eye":
                ends = {f"eye/{label}/eye": 1.0}
            elif act == "place_in_bin" and onion == "eye":
                ends = {f"bin/{label}/bin": 1.0}
            elif act == "place_on_conveyor" and onion == "eye":
                ends = {f"conveyor/{label}/conveyor": 1.0}
            elif act == "claim" and onion in ("bin", "conveyor"):
                ends = {f"belt/unknown/{hand}": 1.0}
            else:
                ends = {"sink": 1.0}
            for name, probability in ends.items():
                table[here, a, index[name]] += probability * (1.0 - fail)
            table[here, a, here] += fail
    table[-1, :, -1] = 1.0
    reward = np.full(size, -0.01)
    for hand in places:
        for label, right in (("good", "conveyor"), ("bad", "bin")):
            wrong = "bin" if right == "conveyor" else "conveyor"
            reward[index[f"{right}/{label}/{hand}"]] = 1.0
            reward[index[f"{wrong}/{label}/{hand}"]] = -1.0
    reward[-1] = -1.0
    initial = np.zeros(size)
    initial[index["belt/unknown/belt"]] = 1.0
    return Table(table, initial, horizon, tuple(names), actions), reward
