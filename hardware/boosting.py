"""Gradient boosting of shallow trees for a yes or no, in numpy.

Friedman, "Greedy function approximation" (2001), with second-order leaf values: each tree splits on quantile bins so as
to gain most of sum(g)^2 / (sum(h) + penalty), where g = y - p and h = p (1 - p) are the slope and curvature of the
log-loss, and adds rate * sum(g) / (sum(h) + penalty) to the log-odds. Depth 1 gives stumps. All choices are
deterministic. Written here because a few thousand rows do not justify a machine-learning package on the robot's PC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.errors import TrainingFault
from robolearn.specs import Array

__all__ = ["BoostedTrees", "fit_trees"]

BINS = 24


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Log-odds as a sum of complete binary trees of one depth.

    Attributes:
        start: Log-odds before the first tree.
        features: (trees, 2^depth - 1) int64, what each inner node looks at; node k has children 2k + 1 and 2k + 2.
        thresholds: (trees, 2^depth - 1), go right when the feature is above; infinite where a node does not split.
        leaves: (trees, 2^depth) log-odds added.
    """

    start: float
    features: Array
    thresholds: Array
    leaves: Array

    def log_odds(self, x: Array) -> Array:
        """(n,) log-odds of rows (n, features)."""
        rows, trees = np.arange(len(x)), np.arange(len(self.leaves))[:, None]
        inner = self.features.shape[1]
        node = np.zeros((len(self.leaves), len(x)), np.int64)
        for _ in range(int(np.log2(inner + 1))):
            node = 2 * node + 1 + (x[rows, self.features[trees, node]] > self.thresholds[trees, node])
        return self.start + self.leaves[trees, node - inner].sum(axis=0)

    def probability(self, x: Array) -> Array:
        """(n,) probability of yes for rows (n, features)."""
        return 1.0 / (1.0 + np.exp(-self.log_odds(x)))

    def influence(self, count: int) -> Array:
        """(count,) share of all splits made on each of `count` features."""
        used = self.features[np.isfinite(self.thresholds)]
        return np.bincount(used, minlength=count) / max(len(used), 1)


def fit_trees(
    x: Array, y: Array, *, trees: int, depth: int, rate: float = 0.1, penalty: float = 2.0, smallest: float = 1.0
) -> BoostedTrees:
    """Fit to rows and answers.

    Args:
        x: (n, features), finite.
        y: (n,) bool.
        trees: How many.
        depth: Questions per tree.
        rate: Share of each tree's answer that is used.
        penalty: Pulls leaves towards zero.
        smallest: Least curvature (about: undecided rows) on each side of a split.

    Raises:
        TrainingFault: Non-finite rows, or only one kind of answer.
    """
    if not np.all(np.isfinite(x)):
        raise TrainingFault("Expected finite features; found NaN or infinity. Leave incomplete rows out.")
    if not 0 < int(y.sum()) < len(y):
        raise TrainingFault(f"Expected both answers among the rows; found {int(y.sum())} yes of {len(y)}.")
    n, width = x.shape
    edges = [np.unique(np.quantile(x[:, j], np.linspace(0, 1, BINS + 1)[1:-1])) for j in range(width)]
    binned = np.stack([np.searchsorted(edges[j], x[:, j]) for j in range(width)], axis=1)  # (n, width) in 0..BINS-1
    flat = binned + BINS * np.arange(width)
    inner = 2**depth - 1
    start = float(np.log(y.mean() / (1 - y.mean())))
    total = np.full(n, start)
    grown: list[tuple[Array, Array, Array]] = []
    for _ in range(trees):
        p = 1.0 / (1.0 + np.exp(-total))
        g, h = y - p, p * (1 - p)
        node = np.zeros(n, np.int64)
        features, thresholds = np.zeros(inner, np.int64), np.full(inner, np.inf)
        for k in range(inner):
            members = np.flatnonzero(node == k)
            j, split = _best_split(flat[members], g[members], h[members], width, penalty, smallest)
            if j >= 0 and split < len(edges[j]):
                features[k], thresholds[k] = j, edges[j][split]
            node[members] = 2 * k + 1 + (x[members, features[k]] > thresholds[k])
        sums = [np.bincount(node - inner, weights=w, minlength=inner + 1) for w in (g, h)]
        leaves = rate * sums[0] / (sums[1] + penalty)
        total += leaves[node - inner]
        grown.append((features, thresholds, leaves))
    return BoostedTrees(start, *(np.stack(part) for part in zip(*grown, strict=True)))


def _best_split(flat: Array, g: Array, h: Array, width: int, penalty: float, smallest: float) -> tuple[int, int]:
    """Feature and bin after which to split, (-1, 0) when nothing is gained."""
    if len(flat) < 2:
        return -1, 0
    shape = (width, BINS)
    sum_g, sum_h = (
        np.bincount(flat.ravel(), weights=np.repeat(w, width), minlength=width * BINS).reshape(shape).cumsum(axis=1)
        for w in (g, h)
    )
    all_g, all_h = g.sum(), h.sum()
    left, right = sum_h, all_h - sum_h
    gain = sum_g**2 / (left + penalty) + (all_g - sum_g) ** 2 / (right + penalty) - all_g**2 / (all_h + penalty)
    gain[(left < smallest) | (right < smallest)] = -np.inf
    gain[:, -1] = -np.inf
    best = int(np.argmax(gain))
    return (best // BINS, best % BINS) if gain.flat[best] > 1e-9 else (-1, 0)
