"""From recorded episodes to decisions: a chunk of n actions is one decision, as it is one for the policy.

    reward = sum_{j<k} gamma^j r_{t+j},   y = reward + discount V(s_{t+k}),   k = min(n, T - t)

discount is gamma^k while the episode goes on or was only cut off (a timeout, an abort), and 0 where it really ended
inside the chunk. Nothing crosses an episode's end: a chunk that begins near it keeps its k real actions (the last one
repeated behind them, as in training), stops its reward there and, after a cut, bootstraps from the last observation.

Source: RL-100's chunk critics (specification 1.5); its own code takes only chunk-aligned transitions ("aligned");
"sliding" takes one for every step, n times as many from the same recordings.

Shapes: N rows of the cache, M decisions, C condition (the policy's encoded observations), n chunk, A action numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from robolearn.contracts import RewardModel
from robolearn.data.cache import Cache
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.episode import Outcome
from robolearn.errors import SpecError
from robolearn.learn.advantages import chunk_return
from robolearn.learn.ensemble import array, bootstrap_weights
from robolearn.learn.rewards import SparseSuccess, terminated
from robolearn.specs import Array, Spec

__all__ = ["ChunkEncoder", "Stride", "Transitions", "chunk_targets", "episode_rewards", "read_transitions"]

Stride = Literal["aligned", "sliding"]


class ChunkEncoder(Protocol):
    """What is needed of a policy to see recordings through its eyes; `policies.diffusion.DiffusionModel` is one."""

    observation_spec: Spec
    action_spec: Spec

    @property
    def history(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def encoder(self) -> Any:
        """{name: (B, history, ...)} -> (B, C), deterministic in evaluation mode."""
        ...

    @property
    def codec(self) -> Any:
        """`join` makes (B, n, A) normalised numbers of named actions."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """M decisions; a `learn.loop.Windows`.

    Attributes:
        condition: (M, C) float32, what the policy saw.
        chunk: (M, n * A) float32, what was done, normalised.
        reward: (M,) float32, discounted inside the chunk.
        discount: (M,) float32, gamma^k, or 0 after the end.
        following: (M, C) float32, what it saw after the chunk.
        episode: (M,) int64, which episode each belongs to.
        start: (M,) int64, the step of its episode at which it begins.
        weight: (M, members) float32, how often each member of an ensemble has drawn it.
        fingerprint: Of the content.
    """

    condition: Array
    chunk: Array
    reward: Array
    discount: Array
    following: Array
    episode: Array
    start: Array
    weight: Array
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.reward)

    def gather(self, indices: Array) -> dict[str, Array]:
        """A batch for the losses of `critics`, `dynamics` and `fitted_q`."""
        names = ("condition", "chunk", "reward", "discount", "following", "weight")
        return {name: getattr(self, name)[indices] for name in names}

    def only(self, chosen: Array) -> Transitions:
        """Some of them, by (M,) bool or numbers."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "fingerprint"]
        parts = {name: getattr(self, name)[chosen] for name in names}
        return Transitions(**parts, fingerprint=_hash(self.fingerprint, np.asarray(chosen).tobytes()))

    def bagged(self, members: int, seed: int) -> Transitions:
        """With bootstrap weights for so many members, drawn by episode."""
        weight = bootstrap_weights(len(self), members, seed, self.episode)
        return dataclasses.replace(
            self, weight=weight, fingerprint=_hash(self.fingerprint, f"{members} {seed}".encode())
        )


def chunk_targets(rewards: Array, ended: bool, chunk: int, gamma: float) -> tuple[Array, Array, Array]:
    """Reward, discount and number of real actions of the chunks that begin at every step of an episode.

    Args:
        rewards: (T,) of the steps.
        ended: Whether the episode really ended after its last action, not only was cut off.
        chunk: n.
        gamma: Discount per step.
    """
    steps = len(rewards)
    last = np.zeros(steps, bool)
    last[-1] = ended
    reward, discount = np.zeros(steps), np.zeros(steps)
    for offset in range(min(chunk, steps)):  # aligned chunks, seen from each possible beginning
        found = chunk_return(rewards[offset:], last[offset:], gamma, chunk)
        reward[offset::chunk] = found.reward
        discount[offset::chunk] = np.where(found.terminated, 0.0, found.discount)
    return reward, discount, np.minimum(chunk, steps - np.arange(steps))


def episode_rewards(store: Store, ids: Sequence[str], model: RewardModel) -> list[Array]:
    """(T,) rewards of each episode; pictures are decoded only for models that may look at them."""
    if isinstance(model, SparseSuccess):
        return [model.rewards(store.info(id).steps, Outcome(store.info(id).outcome)) for id in ids]
    return [np.asarray(model(store[id]), np.float64) for id in ids]


def read_transitions(
    store: Store,
    cache: Cache,
    policy: ChunkEncoder,
    reward: RewardModel,
    *,
    gamma: float,
    stride: Stride = "sliding",
    batch: int = 512,
) -> Transitions:
    """All decisions of a cache as a policy sees them.

    Args:
        store: Where the episodes' outcomes are.
        cache: Their rows.
        policy: Its encoder (in evaluation mode) and action codec are applied once to everything.
        reward: One number per step.
        gamma: Discount per step.
        stride: "aligned" takes steps 0, n, 2n, ... of each episode, "sliding" every step.
        batch: How many rows are encoded at a time.

    Raises:
        SpecError: The rewards do not fit the cache's steps.
        EmptyStore: No decision is left.
    """
    n = policy.chunk
    windows = Windows(cache, policy.history, n, list(policy.observation_spec), list(policy.action_spec))
    start = windows.rows - cache.starts[windows.episodes]
    chosen = np.arange(len(windows)) if stride == "sliding" else np.flatnonzero(start % n == 0)
    rewards = episode_rewards(store, cache.ids, reward)
    totals = {name: np.zeros(len(windows)) for name in ("reward", "discount", "real")}
    for k, (id, values) in enumerate(zip(cache.ids, rewards, strict=True)):
        if len(values) != cache.lengths[k]:
            raise SpecError(
                f"Expected {cache.lengths[k]} rewards of episode {id}, one per step; found {len(values)}. "
                "Use a cache at the recorded rate with this reward."
            )
        here = windows.episodes == k
        ended = terminated(Outcome(store.info(id).outcome))
        for name, value in zip(totals, chunk_targets(values, ended, n, gamma), strict=True):
            totals[name][here] = value[start[here]]
    condition = _encode(cache, policy, batch)
    parts = [windows.gather(chosen[i : i + batch]) for i in range(0, len(chosen), batch)]
    chunk = np.concatenate([_chunks(policy, part) for part in parts])
    rows = windows.rows[chosen]
    facts = f"{cache.key} {gamma} {stride} {n} {reward!r}"
    return Transitions(
        condition=condition[rows],
        chunk=chunk,
        reward=totals["reward"][chosen].astype(np.float32),
        discount=totals["discount"][chosen].astype(np.float32),
        following=condition[rows + totals["real"][chosen].astype(np.int64)],
        episode=windows.episodes[chosen],
        start=start[chosen],
        weight=np.ones((len(chosen), 1), np.float32),
        fingerprint=_hash(facts, condition.tobytes()),
    )


@torch.inference_mode()
def _encode(cache: Cache, policy: ChunkEncoder, batch: int) -> Array:
    """(N, C) float32 conditions of all rows, the final ones too; history repeats an episode's first observation."""
    first = np.repeat(cache.starts, cache.lengths + 1)
    parts: list[Array] = []
    for begin in range(0, cache.rows, batch):
        rows = np.arange(begin, min(begin + batch, cache.rows))[:, None]
        seen = np.maximum(rows + np.arange(1 - policy.history, 1), first[rows])
        observation = {name: torch.as_tensor(np.asarray(cache.arrays[name][seen])) for name in policy.observation_spec}
        encoded: Tensor = policy.encoder(observation)
        parts.append(array(encoded.to(torch.float32)))
    return np.concatenate(parts)


@torch.inference_mode()
def _chunks(policy: ChunkEncoder, part: dict[str, Array]) -> Array:
    actions = {name: torch.as_tensor(part[f"action.{name}"]) for name in policy.action_spec}
    joined: Tensor = policy.codec.join(actions)
    return array(joined.flatten(1))


def _hash(text: str, data: bytes) -> str:
    return hashlib.sha256(text.encode() + b"\0" + data).hexdigest()[:32]
