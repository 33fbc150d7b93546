"""The one loop. Recording, replay, intervention, evaluation, RL data collection and deployment are this call.

    observe -> (adversary proposes, environment disposes) -> policy decides -> environment acts -> observers look

It is always batched: `env.n` rows, each working through its own episode, refilled with the next seed as soon
as it ends. A real bench is a batch of one. A human operator is a policy. With `rate_hz` the loop holds absolute
deadlines on the given clock (a bench, a person); without, it runs as fast as the machine goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robolearn.clock import Clock, MonotonicClock, Rate
from robolearn.contracts import Adversary, Env, Eventful, Observer, Policy, Tick
from robolearn.episode import Actor, Event, Outcome, Perturbation
from robolearn.errors import CheckpointMismatch
from robolearn.specs import Array, Arrays, first_difference

__all__ = ["EpisodeSummary", "episode_seeds", "rollout"]


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """One finished episode.

    Attributes:
        index: Its number in the order of seeds.
        seed: Seed of its start.
        row: The row it ran in.
        outcome: How it ended.
        steps: Number of actions.
    """

    index: int
    seed: int
    row: int
    outcome: Outcome
    steps: int


def episode_seeds(episodes: int, seed: int) -> list[int]:
    """Seeds of `episodes` starts; the first k are the same however many are asked for.

    Different base seeds give unrelated lists, so that no start of one purpose turns up in another.
    """
    return [int(np.random.SeedSequence((seed, k)).generate_state(1)[0]) for k in range(episodes)]


def rollout(
    env: Env,
    policy: Policy,
    *,
    seeds: Sequence[int],
    rate_hz: float | None = None,
    clock: Clock | None = None,
    adversary: Adversary | None = None,
    observers: Sequence[Observer] = (),
) -> list[EpisodeSummary]:
    """Run episodes and return their summaries in the order of their seeds.

    Args:
        env: n rows of a task.
        policy: Decides for all rows at once.
        seeds: One per episode, usually from `episode_seeds`; each fixes the start and every random choice of
            policy and adversary in its episode.
        rate_hz: Hold this many ticks per second on absolute deadlines; None runs unpaced.
        clock: The clock of the pacing; the machine's monotonic clock by default.
        adversary: Proposes disturbances before each decision.
        observers: Called at begin, step and end of episodes, in this order.

    Raises:
        CheckpointMismatch: The environment lacks an observation the policy needs, or takes other actions.
    """
    _require_fit(env, policy)
    clock = clock or MonotonicClock()
    episodes = len(seeds)
    running = np.full(env.n, -1)  # the episode each row works on, -1 for none
    steps = np.zeros(env.n, int)
    done: dict[int, EpisodeSummary] = {}
    wanted = list(policy.observation_spec)
    eventful = env if isinstance(env, Eventful) else None
    next_episode = 0
    rate: Rate | None = None
    while len(done) < episodes:
        free = [int(row) for row in np.flatnonzero(running < 0)][: episodes - next_episode]
        if free:
            starts = [seeds[next_episode + k] for k in range(len(free))]
            running[free] = np.arange(next_episode, next_episode + len(free))
            steps[free] = 0
            next_episode += len(free)
            env.reset(starts, free)
            policy.reset(starts, free)
            if adversary is not None:
                adversary.reset(starts, free)
            for observer in observers:
                observer.begin(env, free, starts)
        active = running >= 0
        if rate_hz is not None and rate is None:
            rate = Rate(rate_hz, clock)

        reading = env.observe()
        events: list[tuple[int, Event]] = []
        if adversary is not None:
            proposed = [(row, act) for row, act in adversary.propose(reading) if active[row]]
            events = [(row, _attributed(env.apply(row, act), act)) for row, act in proposed]
        before = clock.now()
        decision = policy.act({name: reading.arrays[name] for name in wanted})
        decision_s = clock.now() - before
        requested = {name: decision[name] for name in env.action_spec}
        notes = _notes(decision, env.n)
        sent = env.act(requested)
        if eventful is not None:
            events += eventful.events()
        tick = Tick(active.copy(), reading, requested, sent, notes, events, decision_s)
        steps[active] += 1
        for observer in observers:
            observer.step(tick)

        outcomes = env.outcomes()
        if "outcome" in notes:  # the policy may end what the environment has not ended: a person, a replay at its end
            outcomes = np.where(outcomes == Outcome.RUNNING, notes["outcome"], outcomes)
        ended = [int(row) for row in np.flatnonzero(active & (outcomes != Outcome.RUNNING))]
        if rate is not None:
            rate.wait()
        if ended:
            last = env.observe()
            results = [Outcome(int(outcomes[row])) for row in ended]
            for observer in observers:
                observer.end(ended, results, last)
            for row, outcome in zip(ended, results, strict=True):
                k = int(running[row])
                done[k] = EpisodeSummary(k, seeds[k], row, outcome, int(steps[row]))
            running[ended] = -1
    return [done[k] for k in range(episodes)]


def _require_fit(env: Env, policy: Policy) -> None:
    needed = policy.observation_spec
    offered = {name: spec for name, spec in env.observation_spec.items() if name in needed}
    for what, difference in (
        ("observations", first_difference(needed, offered, limits=False)),
        ("actions", first_difference(policy.action_spec, env.action_spec)),
    ):
        if difference:
            raise CheckpointMismatch(
                f"The policy does not fit the environment {env.task.name!r}: of its {what}, {difference}. "
                "Use the environment it was made for, or train it on data of this one."
            )


def _attributed(event: Event, act: Perturbation) -> Event:
    """The event with who wanted it and why, beside what was done."""
    return replace(event, source=event.source or act.source, params={**act.cause, **event.params})


def _notes(decision: Arrays, n: int) -> dict[str, Array]:
    notes = {k.removeprefix("note."): v for k, v in decision.items() if k.startswith("note.")}
    notes.setdefault("actor", np.full(n, Actor.POLICY, np.int8))
    return notes
