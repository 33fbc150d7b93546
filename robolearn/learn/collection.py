"""Collecting decisions in a thread of its own while the learner works on the batch before.

One endless `rollout` runs in the collector's thread: the one loop, with an exploring policy and `Decisions` watching.
When enough decisions are finished it hands them over and goes on with the newest weights. It may be one batch ahead,
never more. Simulation and network both release Python's lock, so both cores stay busy.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.clock import Clock
from robolearn.compose import Chunked
from robolearn.contracts import Env, Tick
from robolearn.episode import Outcome, Reading
from robolearn.errors import TrainingFault
from robolearn.learn.chain_policy import Exploring, pairs_log_prob, to_numpy
from robolearn.learn.clipped import require_unit_ratio
from robolearn.learn.decisions import Batch, Decisions, Reward
from robolearn.rollout import rollout
from robolearn.specs import Array, Arrays

__all__ = ["Collected", "Collector", "Starts"]


class Starts(Sequence[int]):
    """The seeds of `rollout.episode_seeds(..., seed)` from the `first` on, without end and drawn when needed.

    Args:
        seed: Base of the list.
        first: How many of it to leave out.
        again: Share of episodes that begin where one has failed before. When nearly everything succeeds, fresh
            starts teach little.
        remembered: How many failed starts to choose from, the newest.
    """

    def __init__(self, seed: int, first: int = 0, *, again: float = 0.0, remembered: int = 500):
        self._seed, self._first, self._again = seed, first, again
        self._failed: deque[int] = deque(maxlen=remembered)
        self._draw = np.random.default_rng([seed, first, 0xFA11])
        self._given: dict[int, int] = {}
        self.used = 0

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: Any) -> Any:
        """The seed of an episode; asking again gives the same."""
        if index not in self._given:
            if self._failed and self._draw.uniform() < self._again:
                seed = self._failed[int(self._draw.uniform() * len(self._failed))]
            else:
                seed = int(np.random.SeedSequence((self._seed, self._first + self.used)).generate_state(1)[0])
                self.used += 1
            self._given[index] = seed
        return self._given[index]

    def __iter__(self) -> Iterator[int]:
        raise TypeError("There is no end of these seeds; take them by number.")

    def finished(self, seed: int, good: bool) -> None:
        """An episode from this start has ended."""
        if not good:
            self._failed.append(seed)
        elif seed in self._failed:
            self._failed.remove(seed)


@dataclass(frozen=True)
class Collected:
    """A batch and how long its parts took, in seconds.

    Attributes:
        batch: The decisions.
        simulate_s: Stepping, observing and bookkeeping.
        decide_s: The network.
        wait_s: Waiting for the learner.
        outcomes: Of the episodes that ended and began where none had begun before.
        starts: How many starts were used so far.
        ratio_deviation: How far the ratio of collected to recomputed likelihood is from 1, at most.
    """

    batch: Batch
    simulate_s: float
    decide_s: float
    wait_s: float
    outcomes: tuple[Outcome, ...]
    starts: int
    ratio_deviation: float


class _Stop(Exception):
    """Ends the endless rollout."""


class Collector:
    """A context manager: entering starts the thread, leaving ends it and closes the environment.

    Args:
        env: Its rows; used by this thread only from now on.
        model: A `ChainModel` with weights of its own.
        reward: How to reward.
        decisions: How many finished decisions make a batch, at least.
        starts: Where episodes begin.
        generator: Noise of exploration.
        clock: For the timing.
        ahead: Collect the next batch while the learner works on this one; otherwise wait for it.
    """

    def __init__(
        self,
        env: Env,
        model: Any,
        reward: Reward,
        decisions: int,
        starts: Starts,
        generator: torch.Generator,
        clock: Clock,
        *,
        ahead: bool = True,
    ):
        self._env, self._wanted, self._starts, self._clock, self._ahead = env, decisions, starts, clock, ahead
        self._policy = Exploring(model, generator)
        self._decisions = Decisions(reward, self._condition, model.history, list(model.observation_spec))
        self._queue: queue.Queue[Collected | BaseException] = queue.Queue(1)
        self._weights: tuple[int, Mapping[str, Tensor]] | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._last = self._decide_s = self._wait_s = 0.0
        self._episode: dict[int, tuple[int, bool]] = {}  # seed of a row's start, and whether it is fresh
        self._begun: set[int] = set()
        self._outcomes: list[Outcome] = []

    def __enter__(self) -> Collector:
        self._last = self._clock.now()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            while self._queue.unfinished_tasks:
                self._queue.task_done()
            self._thread.join(0.02)
        self._env.close()

    def take(self) -> Collected:
        """Wait for the next batch.

        Raises:
            TrainingFault: The thread has died; its own error is the cause.
        """
        found = self._queue.get()
        if isinstance(found, BaseException):
            raise TrainingFault(f"Collecting has failed: {found}") from found
        if self._ahead:
            self._queue.task_done()
        return found

    def give(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """Hand over the weights to collect with from the next batch on (copied here)."""
        copied = {name: tensor.detach().clone() for name, tensor in weights.items()}
        with self._lock:
            self._weights = (version, copied)
        if not self._ahead and version:
            self._queue.task_done()

    # The observer: called by the loop, in the collector's thread.

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self._episode[row] = (seed, seed not in self._begun)
            self._begun.add(seed)
        self._decisions.begin(env, rows, seeds)

    def step(self, tick: Tick) -> None:
        self._decide_s += tick.decision_s
        self._decisions.step(tick)
        if self._over.is_set():
            raise _Stop

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self._decisions.end(rows, outcomes, reading)
        for row, outcome in zip(rows, outcomes, strict=True):
            seed, fresh = self._episode[row]
            self._starts.finished(seed, outcome is Outcome.SUCCESS)
            if fresh:
                self._outcomes.append(outcome)
        if len(self._decisions) >= self._wanted:
            self._hand_over()

    def _hand_over(self) -> None:
        batch = self._decisions.take()
        deviation = self._checked(batch)
        now = self._clock.now()
        spent = now - self._last
        self._queue.put(
            Collected(
                batch,
                spent - self._decide_s - self._wait_s,
                self._decide_s,
                self._wait_s,
                tuple(self._outcomes),
                self._starts.used,
                deviation,
            )
        )
        self._outcomes.clear()
        self._queue.join()  # until the learner has taken it (or, not ahead, has learned from it)
        with self._lock:
            weights, self._weights = self._weights, None
        if weights is not None:
            self._policy.version = weights[0]
            self._policy.model.load_state_dict(weights[1])  # type: ignore[attr-defined]
        self._last, self._decide_s = now, 0.0
        self._wait_s = self._clock.now() - now

    def _checked(self, batch: Batch) -> float:
        """Likelihoods recomputed by the policy that collected must be those it noted, for every step."""
        fresh = np.flatnonzero(batch.version == self._policy.version)[:64]
        chain, noted = torch.as_tensor(batch.chain[fresh]), torch.as_tensor(batch.log_prob[fresh])
        condition = torch.as_tensor(batch.condition[fresh])
        worst = 0.0
        with torch.inference_mode():
            for k in range(noted.shape[1]):
                at = torch.full((len(fresh),), k)
                again = pairs_log_prob(self._policy.model, condition, chain[:, k], chain[:, k + 1], at)
                worst = max(worst, require_unit_ratio(again - noted[:, k])) if len(fresh) else worst
        return worst

    def _condition(self, observations: Arrays) -> Array:
        with torch.inference_mode():
            return to_numpy(self._policy.model.condition(observations))

    def _run(self) -> None:
        try:
            rollout(self._env, Chunked(self._policy, self._env.n), seeds=self._starts, observers=[self])
        except _Stop:
            return
        except BaseException as error:  # told to the learner, whatever it is
            self._queue.put(error)
