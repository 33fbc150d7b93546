"""The adversary of the paper: acts at fixed triggers of the pick, with fixed probabilities.

Source: Huang et al. 2025 (arXiv 2503.11646, section III). V1 positional dynamics: while the tool has not come near,
the thing is put elsewhere. V2 grasp disruption: once, when the tool is within 15 cm, the thing is moved and turned.
V3: once after the lift the container is moved. L1: another command, after the grasp (also before and during it, so
that these moments can be trained). Where we differ: the distance of V2 and the moments of L1 are drawn per episode
within the trigger's range, because a fixed one would only ever show one state; L2 (moving references) is left out,
as in the paper's own experiments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Perturbation, Reading
from robolearn.scene.view import Moment, SceneView
from teleop.adversaries.hand import Hand

__all__ = ["RuleAdversary", "RuleConfig"]


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """Acts at the paper's triggers."""

    visual: bool = True
    """Move things and containers (V1, V2, V3)."""
    language: bool = True
    """Give other commands (L1), where the task can be told several things."""
    commands: tuple[str, ...] = ()
    """Commands it may give; () allows all. Leave out what training must not see."""
    patience_s: float = 1.5
    """V1: how long the tool may stay away before the thing is put elsewhere."""
    near_m: tuple[float, float] = (0.04, 0.15)
    """V2: range of the distance at which the thing is pulled away, drawn per episode."""
    disrupt: float = 1.0
    """V2: probability per episode."""
    container: float = 1.0
    """V3: probability per episode."""
    told_after: float = 0.5
    """L1: probability of another command after the grasp."""
    told_early: float = 0.2
    """L1: probability of another command before the grasp, and again during it."""
    far_m: tuple[float, float] = (0.10, 0.25)
    """V1, V3: range of displacements."""
    away_m: tuple[float, float] = (0.05, 0.12)
    """V2: range of displacements."""
    turn_rad: float = 1.2
    """Largest turn of a moved thing."""

    def build(self, env: Env) -> RuleAdversary:
        """The adversary of all rows of an environment."""
        return RuleAdversary(self, env)


@dataclass
class _Plan:
    """What is left to happen in one row, drawn when its episode starts."""

    approach_from: float = math.nan
    disrupt_m: float = 0.0
    container_after_s: float = math.inf
    lifted_at: float = math.nan
    told_before_s: float = math.inf
    told_during_m: float = 0.0
    told_after_s: float = math.inf


class RuleAdversary:
    """An `Adversary`. Build it with `RuleConfig`."""

    def __init__(self, config: RuleConfig, env: Env):
        self._config = config
        self._hand = Hand(env, "rule", config.commands, stream=1)
        self._plans = [_Plan() for _ in range(env.n)]
        self.reset(range(env.n), range(env.n))

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._hand.reset(seeds, rows)
        c = self._config
        for row in rows:
            draw = self._hand.rows[row].random
            chance = draw.uniform(size=5)
            low, high = c.near_m
            self._plans[row] = _Plan(
                disrupt_m=draw.uniform(low, high) if chance[0] < c.disrupt else 0.0,
                container_after_s=draw.uniform(0.0, 0.8) if chance[1] < c.container else math.inf,
                told_before_s=draw.uniform(0.1, 1.0) if chance[2] < c.told_early else math.inf,
                told_during_m=draw.uniform(0.02, 0.05) if chance[3] < c.told_early else 0.0,
                told_after_s=draw.uniform(0.0, 1.0) if chance[4] < c.told_after else math.inf,
            )

    def propose(self, reading: Reading) -> list[tuple[int, Perturbation]]:
        seen = self._hand.look(reading)
        times = np.asarray(reading.time)
        proposed: list[tuple[int, Perturbation]] = []
        for row in range(len(times)):
            free = self._hand.settle(row, reading)
            self._clock(self._plans[row], seen, row, float(times[row]))
            act = self._act(row, seen, reading, float(times[row])) if free else None
            if act is not None:
                proposed.append((row, self._hand.ask(row, act, reading)))
        return proposed

    def _act(self, row: int, seen: SceneView, reading: Reading, now: float) -> Perturbation | None:
        hand, plan = self._hand, self._plans[row]
        refused = hand.rows[row].refused
        if refused is not None and refused.kind != "SET_CMD":  # the same with another displacement
            return self._pull(row, refused.kind, refused.target, seen, reading, str(refused.cause["trigger"]))
        trigger = self._trigger(plan, seen, row, now)
        thing, place = hand.told(seen, row)
        if trigger == "L1" and self._config.language and hand.may(row, "SET_CMD", now):
            self._done(plan, trigger, seen, row, now)
            return hand.command(row, int(seen.command[row]), hand.cause(seen, row, trigger))
        if not self._config.visual:
            return None
        if trigger == "V3" and place and hand.may(row, "MOVE_CONT", now):
            self._done(plan, trigger, seen, row, now)
            return self._pull(row, "MOVE_CONT", place, seen, reading, trigger)
        if trigger in ("V1", "V2") and hand.may(row, "MOVE_OBJ", now):
            spent = hand.rows[row].spent.get("object", 0)
            if trigger == "V1" and spent + 1 >= hand.limits["object"] and plan.disrupt_m:
                return None  # the last one is kept for V2
            self._done(plan, trigger, seen, row, now)
            return self._pull(row, "MOVE_OBJ", thing, seen, reading, trigger)
        return None

    def _clock(self, plan: _Plan, seen: SceneView, row: int, now: float) -> None:
        if seen.moment[row] == Moment.BEFORE:
            plan.approach_from = now if math.isnan(plan.approach_from) else plan.approach_from
        else:
            plan.approach_from = math.nan
        if seen.moment[row] == Moment.AFTER:
            plan.lifted_at = now if math.isnan(plan.lifted_at) else plan.lifted_at
        else:
            plan.lifted_at = math.nan

    def _trigger(self, plan: _Plan, seen: SceneView, row: int, now: float) -> str:
        c, distance = self._config, float(seen.distance[row])
        if seen.moment[row] == Moment.AFTER:
            held = now - plan.lifted_at
            if c.language and held >= plan.told_after_s:
                return "L1"
            return "V3" if held >= plan.container_after_s else ""
        if c.language and seen.moment[row] == Moment.BEFORE and now >= plan.told_before_s:
            return "L1"
        if c.language and distance < plan.told_during_m:
            return "L1"
        if distance < plan.disrupt_m:
            return "V2"
        return "V1" if now - plan.approach_from >= c.patience_s else ""

    def _done(self, plan: _Plan, trigger: str, seen: SceneView, row: int, now: float) -> None:
        """Each trigger once per episode, V1 again after another wait."""
        if trigger == "V1":
            plan.approach_from = now
        elif trigger == "V2":
            plan.disrupt_m = 0.0
        elif trigger == "V3":
            plan.container_after_s = math.inf
        elif seen.moment[row] == Moment.AFTER:
            plan.told_after_s = math.inf
        elif seen.moment[row] == Moment.BEFORE:
            plan.told_before_s = math.inf
        else:
            plan.told_during_m = 0.0

    def _pull(self, row: int, kind: str, target: str, seen: SceneView, reading: Reading, trigger: str) -> Perturbation:
        c = self._config
        reach = c.away_m if trigger == "V2" else c.far_m
        return self._hand.drag(row, kind, target, reading, reach, c.turn_rad, self._hand.cause(seen, row, trigger))
