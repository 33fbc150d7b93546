"""The arms of the study of adversarial collection: who lays the table, who disturbs, and how much is recorded.

Huang et al. 2025 (arXiv 2503.11646) compare narrow undisturbed demonstrations (T) with wide disturbed ones (A), which
confounds where episodes start with what happens in them. Arm R starts as widely as A and is never disturbed; V and L
have one half of A's disturbances each, A-rand has them at random times, D shakes the arm instead of the scene (DART,
Laskey et al. 2017). All arms have the same number of frames, the same teacher and the same commands.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robolearn import plugins
from robolearn.compose import Wrapped
from robolearn.contracts import Adversary, Env
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import EmptyStore
from robolearn.recorder import Recorder
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import Manifest, code_version, run_stage, write_json
from robolearn.scene.density import density
from robolearn.scene.labels import act_rates
from robolearn.specs import Array, Arrays, bounds

__all__ = ["ARMS", "Arm", "Collect", "Shaken", "commands_for_training", "prefix"]

TASK = "pick_place"
HELD_OUT = ("Put the kiwi into the basket.",)
"""The composition that no demonstration shows; kiwi and basket occur in others."""
HEIGHTS_M = (0.0, 0.06, 0.12)
NARROW = {"spread_m": 0.015, "heights_m": (0.0,)}
SHAKE_M, SHAKE_RAD = 0.008, 0.04
COLLECTING = 10_000
"""Seeds of demonstrations; 77 is for tuning and another one for measuring (`adc_cells`)."""
ROWS = 32


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of collecting.

    Attributes:
        name: In reports.
        text: In plain words.
        start: Fields of the task's config.
        adversary: Dict form of the adversary's config, {} for none.
        shake: Whether the arm's actions are shaken.
        people: How many are busy while recording.
        label_s: Seconds of labelling per episode (as the paper measured).
        data: The arm whose demonstrations it has, "" for its own.
        policy: Fields of the policy's config that differ.
    """

    name: str
    text: str
    start: Mapping[str, Any] = field(default_factory=lambda: {})
    adversary: Mapping[str, Any] = field(default_factory=lambda: {})
    shake: bool = False
    people: int = 1
    label_s: float = 10.0
    data: str = ""
    policy: Mapping[str, Any] = field(default_factory=lambda: {})


def _disturbed(name: str, text: str, **adversary: Any) -> Arm:
    return Arm(name, text, {}, adversary, people=2, label_s=15.0)


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("T", "narrow starts, one height, undisturbed", NARROW),
        Arm("R", "wide starts, three heights, undisturbed"),
        _disturbed("V", "wide starts, things moved (V1-V3)", plugin="rule", language=False),
        _disturbed("L", "wide starts, commands changed (L1)", plugin="rule", visual=False),
        _disturbed("A", "wide starts, both, by the paper's rule", plugin="rule"),
        _disturbed("A-rand", "wide starts, both, at random times", plugin="random"),
        Arm("D", "wide starts, the arm shaken (DART)", shake=True),
        _disturbed("A-learn", "wide starts, acts chosen by a bandit", plugin="learned"),
        # The cheap rival of A7: no second person, but cameras that are dark at random in training.
        Arm("R-dark", "as R, cameras dark at random in training", data="R", policy={"camera_dropout": 0.2}),
    )
}


def commands_for_training(env: Env) -> tuple[str, ...]:
    """Every command but the held-out ones."""
    return tuple(text for text in env.observation_spec["task.command"].names if text not in HELD_OUT)


class Shaken(Wrapped):
    """An `Env` whose arm is shaken: Gaussian noise between what is requested and what is sent, seeded per row.

    Args:
        env: The environment.
        std: (k,) standard deviation per element of the action "arm.delta".
    """

    def __init__(self, env: Env, std: Array):
        super().__init__(env)
        self._std = std
        self._random = [np.random.default_rng(0) for _ in range(env.n)]

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self.inner.reset(seeds, rows)
        for seed, row in zip(seeds, rows, strict=True):
            self._random[row] = np.random.default_rng([seed, 6])

    def act(self, action: Arrays) -> Arrays:
        noise = np.stack([random.standard_normal(len(self._std)) for random in self._random]) * self._std
        low, high = bounds(self.action_spec["arm.delta"])
        return self.inner.act({**action, "arm.delta": np.clip(action["arm.delta"] + noise, low, high)})


@dataclass(frozen=True)
class Collect:
    """The stage: demonstrations of one arm until there are so many frames, and how dense they are."""

    arm: str
    """Which of `ARMS`."""
    frames: int
    """At least so many; `prefix` says how many episodes make exactly the share one wants."""
    seed: int
    """Number of the collection."""
    cameras: tuple[tuple[str, int, int], ...] = ()
    """Cameras to record."""
    matched: str = ""
    """Store whose rates a random adversary matches."""

    def run(self, out: Path) -> Path:
        """Record into `out`/store and write `collected.json`."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"matched": bool(self.matched)}
        manifest = Manifest("adc_collect", json.loads(json.dumps(config)), {}, self.seed, code_version(), False)
        return run_stage(out, manifest, self._work)

    def _work(self, out: Path, resume: bool) -> None:
        arm = ARMS[self.arm]
        # Twice the usual time: disturbed episodes take longer, and the teacher shall finish what it began.
        rows = max(2, min(ROWS, self.frames // 100))
        config: dict[str, Any] = {"plugin": TASK, "n": rows, "horizon": 480, "cameras": self.cameras, **arm.start}
        base: Env = plugins.from_dict("env", config).build()
        commands = commands_for_training(base)
        base.close()
        env: Env = plugins.from_dict("env", {**config, "commands": commands}).build()
        std = np.array([SHAKE_M] * 3 + [SHAKE_RAD] * 3)
        shaken: Env = Shaken(env, std) if arm.shake else env
        expert = plugins.load("expert", TASK)().build(env)
        # Every arm but the narrow one starts from the same places, in the same order.
        seeds = iter(episode_seeds(100 * ROWS, COLLECTING + self.seed))
        shutil.rmtree(out / "store", ignore_errors=True)  # of an interrupted run; its seeds would come twice
        try:
            with Store.open_or_create(out / "store") as store:
                adversary = self._adversary(env, commands)
                while sum(store.info(id).steps for id in store.ids()) < self.frames:
                    extra = {"subtasks": list(expert.subtasks), "arm": arm.name}
                    recorder = Recorder(
                        store,
                        keep=lambda outcome: outcome is Outcome.SUCCESS,
                        operator="expert",
                        adversary=str(arm.adversary.get("plugin", "")),
                        bench="simulation",
                        extra=extra,
                    )
                    with recorder:
                        batch = [next(seeds) for _ in range(2 * rows)]
                        rollout(shaken, expert, seeds=batch, adversary=adversary, observers=[recorder])
        finally:
            env.close()
        write_json(out / "collected.json", _facts(out / "store", self.frames, env.task.rate_hz, arm))

    def _adversary(self, env: Env, commands: tuple[str, ...]) -> Adversary | None:
        chosen = dict(ARMS[self.arm].adversary)
        if not chosen:
            return None
        if chosen["plugin"] == "random" and self.matched:
            rates = act_rates([store[id] for store in [Store.open(self.matched)] for id in store.ids()])
            names = {"MOVE_OBJ": "object_hz", "MOVE_CONT": "container_hz", "SET_CMD": "language_hz"}
            chosen |= {names[kind]: rate for kind, rate in rates.items() if kind in names}
        return plugins.from_dict("adversary", {**chosen, "commands": commands}).build(env)


def prefix(store: Store, frames: int) -> list[str]:
    """The first episodes that together have at least so many frames.

    Raises:
        EmptyStore: There are fewer.
    """
    chosen: list[str] = []
    total = 0
    for id in store.ids():
        if total >= frames:
            break
        chosen.append(id)
        total += store.info(id).steps
    if total < frames:
        raise EmptyStore(f"Expected {frames} frames in {store.path}; found {total}. Collect more.")
    return chosen


def _facts(path: Path, frames: int, rate_hz: float, arm: Arm) -> dict[str, Any]:
    store = Store.open(path)
    ids = prefix(store, frames)
    episodes = [store.log(id, pictures=False).episode for id in ids]
    found = density([e for e in episodes if e is not None])
    seconds = found.frames / rate_hz
    accepted = [e for one in episodes if one is not None for e in one.events if e.accepted]
    kinds = sorted({event.kind for event in accepted})
    return {
        "episodes": found.episodes,
        "frames": found.frames,
        "situations": found.situations,
        "per_episode": found.per_episode,
        "per_1000": found.per_1000,
        "redundancy": found.redundancy,
        "acts": {kind: sum(event.kind == kind for event in accepted) for kind in kinds},
        "person_seconds": arm.people * seconds + arm.label_s * found.episodes,
    }
