"""`robolearn deploy <policy> --bench <file>`: the one loop, on a bench.

Recording, a person who may take over and shadow mode are the loop's other arguments: a `Session`, `compose.Intervene`
and another bench. Whatever ends it, Ctrl-C and faults included, the arm stops first; videos are encoded afterwards.
A fault latches, ends the run and is told; nothing moves again until a person starts again.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from robolearn.bench.file import read_bench
from robolearn.bench.live import REAL, LiveBench, open_bench
from robolearn.cli import parse, say
from robolearn.clock import Clock, MonotonicClock
from robolearn.compose import Intervene
from robolearn.contracts import Attended, Env, Observer, Policy, Tick
from robolearn.data.session import Review, Session
from robolearn.data.store import Store
from robolearn.episode import EpisodeMeta, Outcome, Perturbation, Reading
from robolearn.errors import SafetyFault
from robolearn.rollout import EpisodeSummary, episode_seeds, rollout
from robolearn.verbs.policies import Chosen, Server, choose_policy

_SUCCESS_HOLD_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Run a policy on a bench, or in shadow on its twin. Ctrl-C stops the arm first and keeps what was recorded."""

    policy: tyro.conf.Positional[str]
    """A checkpoint, run or exported folder, ws://host:port, "expert", or "replay:STORE[:EPISODE]"."""
    bench: Path
    """The bench file, such as launch/benches/panda_twin.toml."""
    shadow: bool = False
    """Move the bench's twin; the bench's own arm only reports and gets no command."""
    record: Path | None = None
    """Store to record into; made when it is not there."""
    intervene: str = ""
    """Teleop plugin with which a person may take over, such as web; its fields follow as --intervene.<field>."""
    episodes: int = 1
    """How many."""
    seed: int = 2_000_000
    """Seed of a simulated bench's starts and of the policy's random choices."""
    ask: bool = True
    """Ask the person at the terminal to set the scene and to judge; a simulated bench does both itself."""
    token_file: Path | None = None
    """For ws://, file with the server's token."""
    certificate: str = ""
    """For wss://, file of the server's own certificate."""
    deadline_s: float = 0.5
    """For ws://, how long an answer may take before the arm holds."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    named = any(a == "--intervene" or a.startswith("--intervene=") for a in arguments)
    parts = {"intervene": "teleop"} if named else {}
    chosen: Any = parse(Arguments, arguments, prog="robolearn deploy", parts=parts)
    clock = MonotonicClock()
    file = read_bench(chosen.bench)
    token = chosen.token_file.read_text().strip() if chosen.token_file else ""
    asking = chosen.ask and sys.stdin.isatty()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end, the arm stops first, too
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(
            open_bench(file, clock, shadow=chosen.shadow, prepare=_ask_for_scene if asking else _no_scene, cue=_cue)
        )
        server = Server(token, chosen.deadline_s, chosen.certificate)
        made = choose_policy(chosen.policy, live.env, clock, stack, server)
        policy = made.policy
        observers: list[Observer] = []
        if named:
            operator = chosen.intervene_config.operator(live.env, clock)
            policy = Intervene(policy, operator)
            if isinstance(operator, Attended):
                observers += attend(operator, live, stack)
        if chosen.record is not None:
            store = stack.enter_context(Store.open_or_create(chosen.record))
            decide = _ask_for_verdict if asking and live.world is None else _proposed
            observers.append(stack.enter_context(recording(store, live, made, clock, decide)))
        say(f"{made.name} on {live.file.name} at {live.file.task.rate_hz:g} Hz. Ctrl-C stops the arm.")
        seeds = episode_seeds(chosen.episodes, chosen.seed)
        run(live, policy, seeds, clock, observers)
    return 0


def run(
    live: LiveBench, policy: Policy, seeds: Sequence[int], clock: Clock, observers: Sequence[Observer] = ()
) -> list[EpisodeSummary]:
    """Run episodes on a bench, one after the other; whatever ends it, the arm stops first.

    Raises:
        SafetyFault: The gate latched a fault; the episode is over and no other is begun.
    """
    warm_up(live.env, policy, seeds[0])
    watching: list[Observer] = [*observers]
    if live.world is not None:
        watching.insert(0, SceneVerdict(live))
    gauge = Gauge(clock)
    done: list[EpisodeSummary] = []
    try:
        for k, seed in enumerate(seeds):
            (summary,) = rollout(
                live.env,
                policy,
                seeds=[seed],
                rate_hz=live.file.task.rate_hz,
                clock=clock,
                observers=[*watching, gauge],
            )
            live.stop()
            done.append(summary)
            say(f"episode {k + 1} of {len(seeds)}: {summary.outcome.name.lower()} after {summary.steps} steps; {gauge}")
            if live.gate.fault:
                raise SafetyFault(f"The arm holds. {live.gate.fault}")
    finally:
        live.stop()
    return done


def attend(operator: Attended, live: LiveBench, stack: contextlib.ExitStack) -> list[Observer]:
    """Connect a person's device with the bench: stop said there stops the arm at once; its pages see it move."""
    stack.callback(operator.close)
    operator.on_stop(live.gate.emergency_stop)
    if operator.url:
        say(f"A person may take over, and anybody may stop the arm, at {operator.url}")
    return operator.observers


def recording(
    store: Store, live: LiveBench, made: Chosen, clock: Clock, decide: Callable[[Review], Outcome | None]
) -> Session:
    """The session that records a bench's episodes, with calibrations and the policy's hash in their facts."""
    task = live.file.task
    extra = {**live.facts, "policy": made.name, "policy_hash": made.fingerprint}
    meta = EpisodeMeta(
        task.name,
        task.instruction,
        task.rate_hz,
        robot=task.robot,
        operator=made.name,
        bench=live.file.name,
        extra=extra,
    )
    longest_s = (task.horizon + 1) / task.rate_hz
    return Session(
        store, meta, live.env.observation_spec, live.env.action_spec, clock, longest_s=longest_s, decide=decide
    )


def warm_up(env: Env, policy: Policy, seed: int) -> None:
    """Ask the policy once before anything depends on the answer: the first one is slow. Nothing is sent."""
    env.reset([seed], [0])
    policy.reset([seed], [0])
    arrays = env.observe().arrays
    policy.act({name: arrays[name] for name in policy.observation_spec})


class SceneVerdict:
    """Says what a person beside a simulated bench would say: success, when the goal has held for a moment."""

    def __init__(self, live: LiveBench):
        self._live, self._held = live, 0
        self._needed = max(1, round(_SUCCESS_HOLD_S * live.file.task.rate_hz))

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._held = 0

    def step(self, tick: Tick) -> None:
        assert self._live.world is not None
        self._held = self._held + 1 if self._live.world.success() else 0
        if self._held >= self._needed:
            self._live.bench.mark(Outcome.SUCCESS)

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        pass


class Gauge:
    """Measures an episode: rate reached, longest tick, decisions, and in shadow the distance from the real arm."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._ticks: list[float] = []
        self._decisions: list[float] = []
        self._apart = 0.0

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._ticks.clear()
        self._decisions.clear()
        self._apart = 0.0

    def step(self, tick: Tick) -> None:
        self._ticks.append(self._clock.now())
        self._decisions.append(tick.decision_s)
        arrays = tick.reading.arrays
        if f"{REAL}arm.q" in arrays:
            self._apart = max(self._apart, float(np.abs(arrays["arm.q"] - arrays[f"{REAL}arm.q"]).max()))

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        pass

    def __str__(self) -> str:
        if len(self._ticks) < 2:
            return "too short to measure"
        gaps = np.diff(self._ticks)
        p50, p99 = np.percentile(np.array(self._decisions) * 1e3, [50, 99])
        text = f"{1 / gaps.mean():.1f} Hz, longest tick {gaps.max() * 1e3:.1f} ms, decisions {p50:.1f} / {p99:.1f} ms"
        return text + (f", twin and arm up to {self._apart:.3f} rad apart" if self._apart else "")


def _ask_for_scene(seed: int) -> None:
    say("Set the scene, stand clear of the arm, and press Enter.")
    sys.stdin.readline()


def _no_scene(seed: int) -> None:
    """Nobody is there to set it."""


def _cue(act: Perturbation) -> None:
    say(f"Please: {act.kind} {act.target} {dict(act.params)} {act.instruction}".rstrip())


def _proposed(review: Review) -> Outcome | None:
    return review.proposed


def _ask_for_verdict(review: Review) -> Outcome | None:
    say(
        f"{review.duration_s:.1f} s recorded{f', degraded: {review.degraded}' if review.degraded else ''}. "
        "Success, failure or discard? [s/f/d, Enter keeps " + review.proposed.name.lower() + "]"
    )
    answers = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE, "d": None}
    return answers.get(sys.stdin.readline().strip().lower()[:1], review.proposed)
