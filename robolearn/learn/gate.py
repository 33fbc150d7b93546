"""The gate: a candidate policy replaces the incumbent only when recordings say that it is better.

Source: RL-100's off-policy evaluation gate (specification 1.5 and 3.5). "paper" is what the paper describes: AM-Q, the
sum of Q along an imagined rollout, as point estimates, accepted when it grows by 5 % of its size. "robust" differs
where a gate that accepts a regression would be built otherwise: held-out states are the same for both policies, and so
are all random numbers; two estimators that go wrong in different ways (`estimators`) must agree; each must be above
the margin with its bootstrap lower bound, over episodes and ensemble members, instead of on average; critics that left
the reachable range, and candidates that moved too far, are vetoed; and a short trial on the bench may have the last
word. A gate is only as good as its critics: it says no when they are not good enough.

Every decision is one JSON line with its inputs, so that it can be read, counted and disputed later.

Shapes: E members, S states.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robolearn.errors import ArtefactError, SpecError
from robolearn.learn.actors import Actor
from robolearn.learn.estimators import Estimate, Estimator
from robolearn.learn.rewards import Reach
from robolearn.learn.sequential import TrialResult
from robolearn.learn.transitions import Transitions
from robolearn.specs import Array

__all__ = ["Decision", "Gate", "GateConfig", "HeldOut", "bootstrap_bounds", "held_out_states", "read_log"]

Mode = Literal["robust", "paper"]


@dataclass(frozen=True)
class GateConfig:
    """When a candidate may replace the incumbent."""

    mode: Mode = "robust"
    """"robust", or "paper": AM-Q point estimates and a relative margin."""
    margin: float = 0.01
    """Robust: what the lower bound of the improvement must exceed, in units of return (a success is worth about 1).
    At 0, weights with 2 to 10 % of noise passed in docs/results/gate.md, for gains that no measurement confirmed."""
    paper_margin: float = 0.05
    """Paper: how much of the incumbent's value the improvement must reach."""
    confidence: float = 0.95
    """Robust: one-sided confidence of the lower bound."""
    bootstraps: int = 1000
    """Resamples of episodes and members."""
    kl_maximum: float = 1.0
    """Veto candidates whose KL divergence from the incumbent (`improve.chain_kl`) is larger; 0 for no veto. At 1 the
    two differ by 1.4 standard deviations of their exploration in every number: recordings say little about what is
    further away, and all estimators extrapolate alike there."""
    outside_maximum: float = 0.01
    """Divergence alarm: veto when more than this share of critic values is outside of the reachable range."""
    seed: int = 0
    """Of all random numbers of both policies and of the bootstrap."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """States that no candidate was improved on.

    Attributes:
        condition: (S, C) float32.
        group: (S,) int64, the episode each is from; episodes are what the bootstrap resamples.
    """

    condition: Array
    group: Array

    @property
    def fingerprint(self) -> str:
        """Of the states."""
        return hashlib.sha256(self.condition.tobytes() + self.group.tobytes()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Bounds:
    """An improvement and its uncertainty, in units of return.

    Attributes:
        mean: Over states and members.
        low: One-sided lower confidence bound.
        high: One-sided upper confidence bound.
        candidate: Mean value of the candidate.
        incumbent: Mean value of the incumbent.
        outside: Share of critic values outside of the reachable range.
        critic_low: Smallest critic value.
        critic_high: Largest.
    """

    mean: float
    low: float
    high: float
    candidate: float
    incumbent: float
    outside: float
    critic_low: float
    critic_high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate decided, and from what.

    Attributes:
        label: The candidate's name.
        accepted: Whether it may replace the incumbent.
        reasons: Why not; () when accepted.
        mode: Of the gate.
        candidate: Key of the candidate.
        incumbent: Key of the incumbent.
        estimates: Improvement by estimator.
        kl: KL divergence as measured by the caller, None when unknown.
        trial: What a trial on the bench saw, None when there was none.
        states: Fingerprint of the held-out states.
        count: How many states, of how many episodes.
        config: The gate's config.
        facts: Anything else the caller wants to be in the log.
    """

    label: str
    accepted: bool
    reasons: tuple[str, ...]
    mode: Mode
    candidate: str
    incumbent: str
    estimates: Mapping[str, Bounds]
    kl: float | None
    trial: TrialResult | None
    states: str
    count: tuple[int, int]
    config: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=lambda: {})

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite become null."""
        return _finite(dataclasses.asdict(self))


class Gate:
    """Decides; see the module's text.

    Args:
        config: When to accept.
        estimators: Robust: at least two that must agree. Paper: one.
        states: Held out, paired.
        reach: What values are possible.
        log: A JSON-lines file that every decision is appended to; None keeps none.

    Raises:
        SpecError: Too few estimators for the mode, or no states.
    """

    def __init__(
        self,
        config: GateConfig,
        estimators: Sequence[Estimator],
        states: HeldOut,
        reach: Reach,
        log: Path | None = None,
    ):
        needed = 2 if config.mode == "robust" else 1
        if len(estimators) < needed or not len(states.condition):
            raise SpecError(
                f"A gate in the mode {config.mode!r} needs at least {needed} estimators and one held-out state; found "
                f"{len(estimators)} and {len(states.condition)}."
            )
        self.config, self.estimators, self.states, self.reach, self.log = config, tuple(estimators), states, reach, log

    def judge(
        self,
        candidate: Actor,
        incumbent: Actor,
        *,
        label: str = "",
        kl: float | None = None,
        trial: Callable[[], TrialResult] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Compare two policies and log the decision.

        Args:
            candidate: The new one.
            incumbent: The one it would replace.
            label: The candidate's name in the log.
            kl: Its KL divergence from the incumbent, needed for the veto.
            trial: Plays both on the bench; only called when everything else says yes.
            facts: More inputs for the log.

        Raises:
            SpecError: A KL veto is configured (robust mode) and no KL was given.
        """
        config = self.config
        limit = config.kl_maximum if config.mode == "robust" else 0.0
        if limit > 0 and kl is None:
            raise SpecError(
                f"The gate vetoes candidates whose KL divergence from the incumbent is above {limit:.4g}, but was "
                "given none: pass kl=, or set kl_maximum=0 where it cannot be computed."
            )
        estimates = {e.name: self._improvement(e, candidate, incumbent) for e in self.estimators}
        reasons = [reason for name, bounds in estimates.items() for reason in self._objections(name, bounds)]
        if kl is not None and limit > 0 and not kl <= limit:
            reasons.append(f"KL {kl:.4g} from the incumbent is above {limit:.4g}")
        seen: TrialResult | None = None
        if trial is not None and not reasons:
            seen = trial()
            if seen.verdict != "better":
                reasons.append(
                    f"trial: {seen.verdict} after {seen.starts} starts ({seen.wins} won, {seen.losses} lost)"
                )
        decision = Decision(
            label=label,
            accepted=not reasons,
            reasons=tuple(reasons),
            mode=config.mode,
            candidate=candidate.key,
            incumbent=incumbent.key,
            estimates=estimates,
            kl=kl,
            trial=seen,
            states=self.states.fingerprint,
            count=(len(self.states.condition), len(np.unique(self.states.group))),
            config=dataclasses.asdict(config),
            facts=dict(facts or {}),
        )
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(decision.to_json(), allow_nan=False) + "\n")
        return decision

    def _improvement(self, estimator: Estimator, candidate: Actor, incumbent: Actor) -> Bounds:
        new = estimator(candidate, self.states.condition, self.config.seed)
        old = estimator(incumbent, self.states.condition, self.config.seed)
        said = np.concatenate([new.critic.ravel(), old.critic.ravel()])
        low, high = bootstrap_bounds(new, old, self.states.group, self.config)
        return Bounds(
            mean=float(np.mean(new.values - old.values)),
            low=low,
            high=high,
            candidate=float(np.mean(new.values)),
            incumbent=float(np.mean(old.values)),
            outside=float(np.mean(self.reach.outside(said))),
            critic_low=float(np.min(said)),
            critic_high=float(np.max(said)),
        )

    def _objections(self, name: str, found: Bounds) -> list[str]:
        config, wrong = self.config, list[str]()
        # Comparisons are written so that a value that is not a number is an objection.
        if config.mode == "paper":
            needed = config.paper_margin * abs(found.incumbent)
            if not (found.mean >= needed and found.mean > 0):
                wrong.append(f"{name}: improvement {found.mean:.4g} is below {needed:.4g}")
            return wrong
        if not found.outside <= config.outside_maximum:
            wrong.append(
                f"{name}: divergence alarm, {found.outside:.1%} of critic values in [{found.critic_low:.3g}, "
                f"{found.critic_high:.3g}] are outside of the reachable [{self.reach.low:.3g}, {self.reach.high:.3g}]"
            )
        if not found.low > config.margin:
            wrong.append(f"{name}: lower bound {found.low:.4g} of the improvement is not above {config.margin:.4g}")
        return wrong


def bootstrap_bounds(new: Estimate, old: Estimate, group: Array, config: GateConfig) -> tuple[float, float]:
    """One-sided lower and upper bound of the mean paired difference over states and members.

    Episodes are resampled as wholes, since states of one episode are alike, and so are members, since their
    disagreement is the part of the error that more states would not make smaller.
    """
    difference_ES = new.values - old.values
    if not np.all(np.isfinite(difference_ES)):
        return float("nan"), float("nan")
    generator = np.random.default_rng([config.seed, 0x6A7E])
    _, index = np.unique(group, return_inverse=True)
    groups, members = int(index.max()) + 1, len(difference_ES)
    count_G = np.bincount(index, minlength=groups).astype(np.float64)
    sum_EG = np.stack([np.bincount(index, row, minlength=groups) for row in difference_ES])
    drawn_RG = generator.multinomial(groups, np.full(groups, 1 / groups), size=config.bootstraps)
    share_RE = generator.multinomial(members, np.full(members, 1 / members), size=config.bootstraps) / members
    means_RE = (drawn_RG @ sum_EG.T) / (drawn_RG @ count_G)[:, None]
    means_R = (means_RE * share_RE).sum(1)
    quantile: Any = np.quantile  # its overloads are too open for strict checking
    low, high = quantile(means_R, [1 - config.confidence, config.confidence])
    return float(low), float(high)


def held_out_states(data: Transitions, most: int, seed: int) -> HeldOut:
    """At most so many states of held-out decisions; the beginnings of episodes always, others drawn by `seed`."""
    first = np.flatnonzero(data.start == 0)
    rest = np.flatnonzero(data.start != 0)
    chosen = np.random.default_rng([seed, 0x51A7]).permutation(rest)[: max(0, most - len(first))]
    index = np.sort(np.concatenate([first[:most], chosen]))
    return HeldOut(np.ascontiguousarray(data.condition[index]), np.ascontiguousarray(data.episode[index]))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The decisions of a gate's log, oldest first; none when there is no log.

    Raises:
        ArtefactError: A line is not JSON.
    """
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ArtefactError(
                f"Line {number} of the gate's log {path} is not JSON: {error}. Was a run killed while writing it? "
                "Remove that line; the others are whole."
            ) from error
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not np.isfinite(value) else value
