"""How far a run of online reinforcement learning has come: counts, rates and times, and what resuming needs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from robolearn.episode import Outcome
from robolearn.learn import checkpoint
from robolearn.learn.collection import Collected
from robolearn.learn.ppo import PpoLearner

__all__ = ["OnlineProgress"]


class OnlineProgress:
    """What is counted over a run."""

    def __init__(self, window: int, unsettled: int):
        self._unsettled = unsettled
        self.recent: deque[bool] = deque(maxlen=window)
        self.steps = self.decisions = self.episodes = self.starts = 0
        self.seconds = 0.0
        self.best = 0.0
        self.phases: dict[str, float] = {}
        self.reached: dict[str, dict[str, float]] = {}
        self._starts_before = 0
        self._last: dict[str, float] = {}

    @property
    def success(self) -> float:
        """Rate of the exploring policy over the last episodes, NaN when none counts yet."""
        return sum(self.recent) / len(self.recent) if self.recent else math.nan

    def add(self, collected: Collected, phases: Mapping[str, float], seconds: float) -> None:
        batch = collected.batch
        self.steps += batch.steps
        self.decisions += len(batch)
        self.episodes += len(batch.episodes)
        self.starts = self._starts_before + collected.starts
        self.seconds += seconds
        # All rows begin together, also after resuming, and short episodes end first: until every row had time for a
        # whole one, the rate of those that ended says little.
        self._unsettled -= batch.steps
        if self._unsettled < 0:
            self.recent.extend(outcome is Outcome.SUCCESS for outcome in collected.outcomes)
        times = dict(phases) | {
            "simulate_s": collected.simulate_s,
            "decide_s": collected.decide_s,
            "wait_s": collected.wait_s,
        }
        for name, value in times.items():
            self.phases[name] = self.phases.get(name, 0.0) + value
        good = sum(outcome is Outcome.SUCCESS for outcome in collected.outcomes)
        self._last = times | {
            "success": self.success,
            "batch_success": good / max(1, len(collected.outcomes)),
            "collected_ratio_deviation": collected.ratio_deviation,
            "decisions_per_s": len(batch) / max(seconds, 1e-9),
            "steps_per_s": batch.steps / max(seconds, 1e-9),
        }
        for mark in (0.9, 0.95, 0.99):
            full = len(self.recent) == self.recent.maxlen
            if full and self.success >= mark and str(mark) not in self.reached:
                self.reached[str(mark)] = {"steps": self.steps, "seconds": self.seconds, "episodes": self.episodes}

    def improved(self) -> bool:
        """Whether no whole window had a better rate than the last one has; then that is the best from now on."""
        if len(self.recent) < (self.recent.maxlen or 0) or self.success < self.best:
            return False
        self.best = self.success
        return True

    def numbers(self) -> dict[str, float]:
        """Of the last batch."""
        return self._last

    def summary(self) -> dict[str, Any]:
        """Of the run so far, for JSON."""
        return {
            "steps": self.steps,
            "decisions": self.decisions,
            "episodes": self.episodes,
            "starts": self.starts,
            "seconds": self.seconds,
            "phases": self.phases,
            "reached": self.reached,
            "best": self.best,
            "recent": [int(good) for good in self.recent],
        }

    def save(self, root: Path, learner: PpoLearner, described: Mapping[str, Any], keep: int) -> None:
        training = _optimizer_tensors("actor", learner.actor_optimizer, learner.trained())
        training |= _optimizer_tensors("critic", learner.critic_optimizer, dict(learner.critic.named_parameters()))
        training |= {f"critic/weight/{name}": tensor for name, tensor in learner.critic.state_dict().items()}
        state = {"online": self.summary(), "rate": learner.rate}
        checkpoint.save(root, learner.model, described, step=learner.batches, training=training, state=state, keep=keep)

    def restore(self, path: Path, learner: PpoLearner) -> None:
        found = checkpoint.load(path)
        checkpoint.install(learner.model, found)
        tensors = found.training()
        learner.critic.load_state_dict(
            {n.removeprefix("critic/weight/"): t for n, t in tensors.items() if n.startswith("critic/weight/")}
        )
        _restore_optimizer("actor", learner.actor_optimizer, learner.trained(), tensors)
        _restore_optimizer("critic", learner.critic_optimizer, dict(learner.critic.named_parameters()), tensors)
        learner.batches, learner.rate = found.step, float(found.state["rate"])
        data: dict[str, Any] = found.state["online"]
        self.steps, self.decisions, self.episodes = (int(data[n]) for n in ("steps", "decisions", "episodes"))
        self._starts_before = self.starts = int(data["starts"])
        self.seconds, self.phases, self.reached = data["seconds"], dict(data["phases"]), dict(data["reached"])
        self.best = float(data["best"])
        self.recent.extend(bool(good) for good in data["recent"])


def _optimizer_tensors(prefix: str, optimizer: Any, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"{prefix}/{key}/{name}": value
        for name, parameter in named.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(prefix: str, optimizer: Any, named: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in named.items():
        state = {key: tensors.get(f"{prefix}/{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in state.values()):
            optimizer.state[parameter] = state
