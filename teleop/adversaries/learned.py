"""The adversary that learns what pays: a contextual bandit over (phase of the pick, act), under the same budgets.

Source: Thompson sampling (Thompson 1933) with a normal reward per arm: of each pair a sum and a count are kept, a
value is drawn from N(mean, s^2 / count) and the act with the largest draw is done; "wait" is an act as well. The reward
goes to every pair that an episode used. By "density" it is the share of the episode's frames that no earlier episode of
this run was equivalent to (`robolearn.scene.density`); by "regret", how much more often the expert succeeds than what
just acted did. Learning couples the episodes by design; with `learn = False` rows are independent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Perturbation, Reading
from robolearn.errors import DataFileError
from robolearn.runs import write_json
from robolearn.scene.density import Net, units
from robolearn.scene.subtasks import Subtask
from robolearn.scene.view import Moment, SceneView, read_scene
from robolearn.specs import Array
from teleop.adversaries.hand import Hand

__all__ = ["LearnedAdversary", "LearnedConfig"]

ACTS = ("WAIT", "MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT", "SET_CMD", "SLIP")
"""What it chooses from, where the scene offers it."""
EVERY_S = 1.0
"""Pause between choices within one phase."""
# Coarse sub-tasks for the live embedding, which sees one frame at a time.
_SUBTASK = {Moment.BEFORE: Subtask.APPROACH, Moment.DURING: Subtask.GRASP, Moment.AFTER: Subtask.TRANSPORT}


@dataclass(frozen=True, slots=True)
class LearnedConfig:
    """Acts that have paid off before."""

    reward: Literal["density", "regret"] = "density"
    """What pays: new situations, or failures that the expert would have avoided."""
    learn: bool = True
    """Go on learning; False only plays what the table says."""
    table: str = ""
    """File to start from (see `write`); "" starts without experience."""
    expert_rate: float = 1.0
    """Success rate of the expert under such disturbances, for "regret"."""
    spread: float = 0.2
    """Standard deviation of an episode's reward around its mean."""
    commands: tuple[str, ...] = ()
    """Commands it may give; () allows all."""
    reach_m: tuple[float, float] = (0.05, 0.25)
    """Range of displacements."""
    turn_rad: float = 1.2
    """Largest turn of a moved thing."""

    def build(self, env: Env) -> LearnedAdversary:
        """The adversary of all rows of an environment."""
        return LearnedAdversary(self, env)


@dataclass
class _Episode:
    """What one row has done and shown in its episode."""

    used: list[tuple[int, int]] = field(default_factory=lambda: [])
    phi: list[Array] = field(default_factory=lambda: [])
    kind: list[int] = field(default_factory=lambda: [])
    phase: int = -1
    next_s: float = 0.0
    best: float = 0.0


class LearnedAdversary:
    """An `Adversary`. Build it with `LearnedConfig`.

    Attributes:
        sums: (phases, acts) rewards so far.
        counts: (phases, acts) how often they were tried.
    """

    def __init__(self, config: LearnedConfig, env: Env):
        self._config, self._n = config, env.n
        self._hand = Hand(env, "learned", config.commands, stream=3)
        self._scene = read_scene(env.observation_spec)
        self.acts = tuple(kind for kind in ACTS if kind == "WAIT" or kind in self._hand.acts)
        self.sums = np.zeros((len(Moment), len(self.acts)))
        self.counts = np.zeros((len(Moment), len(self.acts)))
        if config.table:
            self._read(Path(config.table))
        self._net = Net()
        self._episodes = [_Episode() for _ in range(env.n)]
        self.reset(range(env.n), range(env.n))

    @property
    def values(self) -> Array:
        """(phases, acts) mean reward, 0 where nothing was tried."""
        return self.sums / np.maximum(self.counts, 1)

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        for row in rows:
            self._learn(self._episodes[row])
            self._episodes[row] = _Episode()
        self._hand.reset(seeds, rows)

    def propose(self, reading: Reading) -> list[tuple[int, Perturbation]]:
        seen = self._hand.look(reading)
        times = np.asarray(reading.time)
        if self._config.learn:
            self._watch(reading, seen)
        proposed: list[tuple[int, Perturbation]] = []
        for row in range(self._n):
            episode, now, phase = self._episodes[row], float(times[row]), int(seen.moment[row])
            free = self._hand.settle(row, reading)
            if not free or (phase == episode.phase and now < episode.next_s):
                continue
            episode.phase, episode.next_s = phase, now + EVERY_S
            act = self._choose(row, phase, seen, reading, now)
            if act is not None:
                proposed.append((row, self._hand.ask(row, act, reading)))
        return proposed

    def write(self, path: Path) -> None:
        """Keep what was learned, as JSON."""
        table = {"acts": list(self.acts), "sums": self.sums.tolist(), "counts": self.counts.tolist()}
        write_json(path, table)

    def _read(self, path: Path) -> None:
        try:
            table = json.loads(path.read_text())
            acts, sums, counts = tuple(table["acts"]), np.array(table["sums"]), np.array(table["counts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataFileError(f"Expected a table of a learned adversary at {path}; found {error}.") from error
        if acts != self.acts or sums.shape != self.sums.shape or counts.shape != sums.shape:
            raise DataFileError(
                f"{path} is a table of the acts {', '.join(acts)}; this scene offers {', '.join(self.acts)}. Learn "
                "another one here."
            )
        self.sums, self.counts = sums, counts

    def _choose(self, row: int, phase: int, seen: SceneView, reading: Reading, now: float) -> Perturbation | None:
        hand, random = self._hand, self._hand.rows[row].random
        count = self.counts[phase]
        drawn = self.values[phase] + self._config.spread * random.standard_normal(len(self.acts)) / np.sqrt(
            np.maximum(count, 0.25)
        )
        thing, place = hand.told(seen, row)
        for choice in np.argsort(-drawn):
            kind = self.acts[choice]
            if kind == "WAIT":
                self._episodes[row].used.append((phase, int(choice)))
                return None
            if not hand.may(row, kind, now) or (kind == "MOVE_CONT" and not place):
                continue
            cause = hand.cause(seen, row, "bandit")
            act = self._make(row, kind, thing, place, seen, reading, cause)
            if act is not None:
                self._episodes[row].used.append((phase, int(choice)))
                return act
        return None

    def _make(
        self, row: int, kind: str, thing: str, place: str, seen: SceneView, reading: Reading, cause: dict[str, object]
    ) -> Perturbation | None:
        hand, c = self._hand, self._config
        if kind == "SET_CMD":
            return hand.command(row, int(seen.command[row]), cause)
        if kind == "ROTATE_OBJ":
            return hand.turn(row, thing, c.turn_rad, cause)
        if kind == "SLIP":
            return Perturbation("SLIP", "", {"for_s": 0.15}, source=hand.source, cause=cause)
        return hand.drag(row, kind, thing if kind == "MOVE_OBJ" else place, reading, c.reach_m, c.turn_rad, cause)

    def _watch(self, reading: Reading, seen: SceneView) -> None:
        codes = np.array([_SUBTASK[Moment(int(m))] for m in seen.moment])
        found = units(self._scene, reading.arrays, codes, seen.command)
        reward = reading.arrays.get("task.reward")
        for row, episode in enumerate(self._episodes):
            episode.phi.append(found.phi[row])
            episode.kind.append(int(found.kind[row]))
            if reward is not None:
                episode.best = max(episode.best, float(reward[row, 0]))

    def _learn(self, episode: _Episode) -> None:
        """Credit an ended episode's reward to every pair it used."""
        if not self._config.learn or not episode.phi:
            return
        if self._config.reward == "density":
            new = [self._net.add_one(phi, kind) for phi, kind in zip(episode.phi, episode.kind, strict=True)]
            reward = float(np.mean(new))
        else:
            # A native task's reward reaches 1 exactly when it is done (`sim.task`).
            reward = self._config.expert_rate - float(episode.best >= 1.0)
        for phase, act in set(episode.used):
            self.sums[phase, act] += reward
            self.counts[phase, act] += 1
