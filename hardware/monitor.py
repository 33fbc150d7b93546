"""A streaming monitor of a UR3's own signals: has the arm gone into a protective stop, has the gripper lost its part?

Each row of currents, speeds, tool current and temperatures (one a second in the data it was developed on) becomes a
vector of the row, the three rows before and a few plain summaries (how long at rest, how long since the gripper last
drew current); boosted trees of depth three (`hardware.boosting`) turn it into one probability per fault, and an alarm
names the signals that stand out most from normal running (robust z-scores). Temperatures stay out of the trees, for
within one day they tell the hour rather than the fault; they only feed a rule of their own ("hot").

It watches and never commands. It is no safety function: it misses faults and raises false alarms, as
`benchmarks/ur3_monitor.py` prints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware.boosting import BoostedTrees, fit_trees
from hardware.robot_recording import FAULTS, SIGNALS, Recording
from robolearn.specs import Array

__all__ = ["FEATURES", "Alarm", "FaultMonitor", "MonitorConfig", "fit_monitor"]

HISTORY = 3
"""Rows before the newest one that the monitor looks at."""
RESTING_RAD_S = 0.02
GRIPPING_A = 0.13
"""Above this the tool's current is that of a gripper that moves or holds (at rest it draws 0.08 A)."""
LONGEST = 60.0
"""Counts of rows at rest or since gripping end here."""
FEATURES = (
    *(f"{signal}@-{k}" if k else signal for k in range(HISTORY + 1) for signal in SIGNALS),
    "speed_sum",
    "rows_at_rest",
    "rows_since_gripping",
    "largest_tool_current",
    *(f"spread_{signal}" for signal in SIGNALS[:12]),
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One fault seen in one row.

    Attributes:
        fault: "protective_stop", "grip_lost" or "hot".
        time: Of the row, seconds.
        score: Probability by the model; degrees Celsius for "hot".
        reasons: What stands out most, such as "current_3 2.9 (4.1 spreads from normal)".
    """

    fault: str
    time: float
    score: float
    reasons: tuple[str, ...]


class _Window:
    """Turns rows into feature vectors, one by one; a gap in time or an incomplete row starts over."""

    def __init__(self, longest_gap_s: float):
        self._gap_s = longest_gap_s
        self._reset()

    def _reset(self) -> None:
        self._rows: deque[Array] = deque(maxlen=HISTORY + 1)
        self._tool: deque[float] = deque(maxlen=6)
        self._last, self._resting, self._since = -np.inf, 0.0, LONGEST

    def push(self, time: float, signals: Array) -> Array | None:
        """(features,) or None while there is not enough history."""
        if not np.all(np.isfinite(signals)) or not 0 < time - self._last <= self._gap_s:
            self._reset()
            if not np.all(np.isfinite(signals)):
                return None
        self._last = time
        self._rows.append(signals)
        self._tool.append(signals[12])
        moving = np.abs(signals[6:12]).max() > RESTING_RAD_S
        self._resting = 0.0 if moving else min(self._resting + 1, LONGEST)
        self._since = 0.0 if signals[12] > GRIPPING_A else min(self._since + 1, LONGEST)
        if len(self._rows) <= HISTORY:
            return None
        recent = np.stack(self._rows)[::-1]
        summary = [np.abs(signals[6:12]).sum(), self._resting, self._since, max(self._tool)]
        return np.concatenate([recent.ravel(), summary, recent[:, :12].std(axis=0)])


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """How the monitor is fitted. The values were chosen by cross-validation inside the first 60 % of the data."""

    trees: int = 120
    """Trees per fault."""
    depth: int = 3
    """Questions per tree."""
    rate: float = 0.1
    """Share of each tree's answer that is used."""
    folds: int = 4
    """Blocks of time for choosing thresholds: each is scored by a model of the others."""
    longest_gap_s: float = 2.5
    """A longer pause between rows starts the history over."""
    hot_margin_c: float = 5.0
    """A joint warmer than any was during fitting by this much is called hot."""


class FaultMonitor:
    """Judges rows as they come. Made by `fit_monitor`.

    Args:
        models: Per fault.
        thresholds: Probability from which on there is an alarm, per fault.
        center: (13,) median of each signal in normal running.
        spread: (13,) its scaled median absolute deviation.
        hot_c: (6,) temperature limit of each joint.
        longest_gap_s: See `MonitorConfig`.
    """

    def __init__(
        self,
        models: Mapping[str, BoostedTrees],
        thresholds: Mapping[str, float],
        center: Array,
        spread: Array,
        hot_c: Array,
        longest_gap_s: float,
    ):
        self.models, self.thresholds = dict(models), dict(thresholds)
        self._center, self._spread, self._hot_c = center, spread, hot_c
        self._gap_s = longest_gap_s
        self.reset()

    def reset(self) -> None:
        """Forget the rows seen so far."""
        self._window = _Window(self._gap_s)

    def update(self, time: float, signals: Array, temperatures: Array | None = None) -> list[Alarm]:
        """Judge the newest row.

        Args:
            time: Seconds, growing.
            signals: (13,) in the order of `SIGNALS`; a row with NaN is not judged.
            temperatures: (6,) degrees Celsius, None when not measured.
        """
        alarms: list[Alarm] = []
        features = self._window.push(time, signals)
        if features is not None:
            for fault, model in self.models.items():
                score = float(model.probability(features[None])[0])
                if score >= self.thresholds[fault]:
                    alarms.append(Alarm(fault, time, score, self._reasons(signals)))
        if temperatures is not None:
            for joint in np.flatnonzero(temperatures > self._hot_c):
                reason = f"joint {joint} is at {temperatures[joint]:.1f} C, limit {self._hot_c[joint]:.1f} C"
                alarms.append(Alarm("hot", time, float(temperatures[joint]), (reason,)))
        return alarms

    def scores(self, recording: Recording) -> dict[str, Array]:
        """Probability per fault of every row of a recording, NaN where it cannot be judged; starts without history."""
        features = _features(recording, self._gap_s)
        judged = np.isfinite(features).all(axis=1)
        result = {fault: np.full(len(features), np.nan) for fault in self.models}
        for fault, model in self.models.items():
            result[fault][judged] = model.probability(features[judged])
        return result

    def influence(self, fault: str, most: int = 6) -> list[tuple[str, float]]:
        """The features that a fault's trees ask about most, with their share of the questions."""
        share = self.models[fault].influence(len(FEATURES))
        return [(FEATURES[k], float(share[k])) for k in np.argsort(-share)[:most]]

    def _reasons(self, signals: Array) -> tuple[str, ...]:
        z = (signals - self._center) / self._spread
        most = np.argsort(-np.abs(z))[:3]
        return tuple(f"{SIGNALS[k]} {signals[k]:.2f} ({abs(z[k]):.1f} spreads from normal)" for k in most)


def fit_monitor(recording: Recording, config: MonitorConfig | None = None) -> FaultMonitor:
    """Fit models and thresholds to a recording, looking at nothing else.

    The threshold of each fault is the one with the best F1 over rows that were scored by a model fitted to other blocks
    of time, so it is not flattered by rows the model knows.

    Raises:
        TrainingFault: A fault never occurs in the recording.
    """
    config = config or MonitorConfig()
    features = _features(recording, config.longest_gap_s)
    rows = np.flatnonzero(np.isfinite(features).all(axis=1))
    x = features[rows]
    normal = ~np.any([recording.faults[fault][rows] for fault in FAULTS], axis=0)
    models: dict[str, BoostedTrees] = {}
    thresholds: dict[str, float] = {}
    fold = np.arange(len(rows)) * config.folds // max(len(rows), 1)
    for fault in FAULTS:
        y = recording.faults[fault][rows]
        held_out = np.full(len(rows), np.nan)
        for k in range(config.folds):
            model = fit_trees(x[fold != k], y[fold != k], trees=config.trees, depth=config.depth, rate=config.rate)
            held_out[fold == k] = model.probability(x[fold == k])
        thresholds[fault] = _best_threshold(y, held_out)
        models[fault] = fit_trees(x, y, trees=config.trees, depth=config.depth, rate=config.rate)
    signals = x[normal, : len(SIGNALS)]
    center = np.median(signals, axis=0)
    # 1.4826 makes the median absolute deviation of a normal distribution its standard deviation.
    spread = np.maximum(1.4826 * np.median(np.abs(signals - center), axis=0), 1e-3)
    hot = np.nanmax(recording.temperatures, axis=0) + config.hot_margin_c
    return FaultMonitor(models, thresholds, center, spread, hot, config.longest_gap_s)


def _features(recording: Recording, longest_gap_s: float) -> Array:
    """(n, features), NaN where a row cannot be judged; the very path that streaming takes."""
    window = _Window(longest_gap_s)
    nothing = np.full(len(FEATURES), np.nan)
    found = [window.push(float(t), row) for t, row in zip(recording.times, recording.signals, strict=True)]
    return np.stack([nothing if row is None else row for row in found])


def _best_threshold(y: Array, scores: Array) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(y[order])
    f1 = 2 * hits / (np.arange(1, len(y) + 1) + y.sum())
    return float(scores[order][np.argmax(f1)])
