"""Decisions as a learner wants them, collected by watching the one loop.

`Decisions` is an observer. The policy in the loop is an `Exploring` one, whose notes hold the condition it decided on
and the chain it drew. A decision is finished when its row decides again or its episode ends; `take` hands over
all that are finished and leaves the open ones for the next time, so rows never wait for each other.

Rewards: 1 at the step that succeeds and 0 elsewhere (failure and time-out bring nothing), and as options a penalty per
step and potential-based shaping with the task's own measure (Ng et al. 1999: it does not change what is best):

    r = success - penalty + shaping (gamma potential(s') - potential(s)),      potential(terminal) = 0

Shapes: T decisions, B = 1 (they are kept row after row, each row's in time), C, K, H, A as in `chain_policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from robolearn.contracts import Env, Tick
from robolearn.episode import Outcome, Reading
from robolearn.errors import SpecError
from robolearn.specs import Array, Arrays

__all__ = ["Batch", "Decisions", "Reward"]

POTENTIAL = "task.reward"


@dataclass(frozen=True)
class Reward:
    """How episodes are rewarded."""

    gamma: float = 0.99
    """Discount of a control step."""
    step_penalty: float = 0.0
    """Subtracted at every control step, so that fast successes are worth more than slow ones."""
    shaping: float = 0.0
    """Weight of potential-based shaping by the observation "task.reward"; 0 is sparse."""
    finite: bool = False
    """A time limit ends the task too, and brings nothing. Otherwise what might have followed has its value; then only
    the discount tells a hand that is stuck from one that is not, and a discount that tells them apart soon makes
    haste worth failures: at 0.998, five control steps saved weigh as much as one failure in a hundred."""


@dataclass(frozen=True)
class Batch:
    """Finished decisions, row after row, each row's in time.

    Attributes:
        condition: (T, C).
        chain: (T, K + 1, H, A).
        log_prob: (T, K), as the policy that decided said it.
        version: (T,) of that policy's weights.
        reward: (T,) discounted over the chunk.
        discount: (T,) gamma to the number of steps made.
        terminated: (T,) the world ended in this chunk.
        cut: (T,) the next entry does not follow this one: end of an episode, or of what is handed over.
        next_condition: (T, C) where `cut`, what the policy would have seen next; elsewhere it is the next entry's.
        steps: Control steps made.
        episodes: Outcomes of the episodes that ended since the last time.
    """

    condition: Array
    chain: Array
    log_prob: Array
    version: Array
    reward: Array
    discount: Array
    terminated: Array
    cut: Array
    next_condition: Array
    steps: int
    episodes: tuple[Outcome, ...]

    def __len__(self) -> int:
        return len(self.reward)


@dataclass
class _Open:
    """One decision of one row."""

    notes: dict[str, Array]
    rewards: list[float] = field(default_factory=lambda: [])
    terminated: bool = False
    last: Array | None = None  # the condition after it, where the episode ended


class Decisions:
    """The observer; see the module's text.

    Args:
        reward: How to reward.
        condition: Makes conditions (rows, C) of observations per name (rows, history, ...); an episode's last
            observation is never decided on, but has a value.
        history: How many observations a condition needs.
        names: Which observations.
    """

    def __init__(self, reward: Reward, condition: Callable[[Arrays], Array], history: int, names: Sequence[str]):
        self._reward, self._condition, self._names = reward, condition, tuple(names)
        self._ends = (Outcome.SUCCESS, Outcome.FAILURE, *((Outcome.TIMEOUT,) if reward.finite else ()))
        self._history = history
        self._open: dict[int, _Open] = {}
        self._finished: dict[int, list[_Open]] = {}
        self._recent: list[Arrays] = []  # whole readings, newest last
        self._age: dict[int, int] = {}  # how many of them belong to a row's running episode
        self._potential: dict[int, float] = {}
        self._episodes: list[Outcome] = []
        self._steps = self._count = 0

    def __len__(self) -> int:
        """Finished decisions."""
        return self._count

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        if self._reward.shaping and POTENTIAL not in env.observation_spec:
            raise SpecError(
                f"Shaping needs the observation {POTENTIAL!r}; the environment {env.task.name!r} has: "
                f"{', '.join(env.observation_spec)}. Use --reward.shaping 0."
            )
        for row in rows:
            self._age[row] = 0
            self._open.pop(row, None)
            self._potential.pop(row, None)

    def step(self, tick: Tick) -> None:
        notes, arrays = tick.notes, tick.reading.arrays
        potential = arrays[POTENTIAL][:, 0] if self._reward.shaping else None
        decided = notes["decision"]
        self._remember(arrays)
        for row in self._age:
            self._age[row] += 1
            before = self._open.get(row)
            if before is not None and potential is not None:
                before.rewards[-1] += self._shaped(row, float(potential[row]))
            if potential is not None:
                self._potential[row] = float(potential[row])
            if decided[row]:
                if before is not None:
                    self._finish(row, before)
                kept = {name: notes[name][row] for name in ("condition", "chain", "log_prob", "version")}
                self._open[row] = _Open(kept)
            self._open[row].rewards.append(-self._reward.step_penalty)
        self._steps += len(self._age)

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        if not rows:
            return
        for row, outcome in zip(rows, outcomes, strict=True):
            decision = self._open[row]
            # A time limit, or a person's stop, says nothing about what would have followed.
            decision.terminated = outcome in self._ends
            if self._reward.shaping:
                after = 0.0 if decision.terminated else float(reading.arrays[POTENTIAL][row, 0])
                decision.rewards[-1] += self._shaped(row, after)
            decision.rewards[-1] += float(outcome is Outcome.SUCCESS)
        last = self._last(rows, reading.arrays)
        for row, outcome, condition in zip(rows, outcomes, last, strict=True):
            decision = self._open.pop(row)
            decision.last = condition
            del self._age[row]
            self._finish(row, decision)
            self._episodes.append(outcome)

    def take(self) -> Batch:
        """All finished decisions; they are forgotten here."""
        gamma = self._reward.gamma
        parts: list[tuple[_Open, bool, Array]] = []
        for row, done in self._finished.items():
            for decision, following in zip(done, [*done[1:], None], strict=True):
                after = decision.last
                if after is None:
                    after = (following or self._open[row]).notes["condition"]
                parts.append((decision, decision.last is not None or following is None, after))
        made = [decision for decision, _, _ in parts]
        batch = Batch(
            **{name: np.stack([d.notes[name] for d in made]) for name in ("condition", "chain", "log_prob", "version")},
            reward=np.array([float(np.asarray(d.rewards) @ gamma ** np.arange(len(d.rewards))) for d in made]),
            discount=np.array([gamma ** len(d.rewards) for d in made]),
            terminated=np.array([d.terminated for d in made]),
            cut=np.array([cut for _, cut, _ in parts]),
            next_condition=np.stack([after for _, _, after in parts]),
            steps=self._steps,
            episodes=tuple(self._episodes),
        )
        self._finished, self._episodes, self._steps, self._count = {}, [], 0, 0
        return batch

    def _finish(self, row: int, decision: _Open) -> None:
        self._finished.setdefault(row, []).append(decision)
        self._count += 1

    def _remember(self, arrays: Arrays) -> None:
        self._recent.append({name: arrays[name] for name in self._names})
        del self._recent[: -self._history]

    def _last(self, rows: Sequence[int], arrays: Arrays) -> Array:
        """(rows, C) conditions of observations after the last action; a short history repeats its first one."""
        readings = [*self._recent, {name: arrays[name] for name in self._names}]
        ages = np.array([self._age[row] + 1 for row in rows])
        places = [np.maximum(len(readings) - np.minimum(ages, len(readings)), k) for k in range(len(readings))]
        index = np.array(rows)
        stacked = {
            name: np.stack(
                [np.stack([r[name][index] for r in readings])[place, np.arange(len(rows))] for place in places], 1
            )[:, -self._history :]
            for name in self._names
        }
        return self._condition(stacked)

    def _shaped(self, row: int, after: float) -> float:
        return self._reward.shaping * (self._reward.gamma * after - self._potential[row])
