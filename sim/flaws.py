"""Demonstrations as unlike in quality as people's: what may go wrong in a scripted teacher's hand, as declared numbers.

Every teacher's config is a `TeacherConfig`: rows draw their quality q from a range, and a row suffers 1 - q of every
flaw. Quality 1 changes no bit of what the teacher does; quality 0 mostly fails. A flaw is put on top of the teacher's
own decision, and the teacher, which sees only observations, has to cope with what comes of it: so even bad
demonstrations hold recoveries. Offline learning needs such data, and the note "quality" says how each step came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from robolearn.errors import SpecError
from robolearn.specs import Array

__all__ = ["Flawed", "Flaws", "TeacherConfig"]

LARGEST_M, LARGEST_RAD = 0.05, 0.5
"""Largest displacement of one control step of our own robots, and largest turn."""
TREMOR_S = 0.3
"""How long an unsteady hand keeps its direction."""
_BLOCK = 64  # random numbers are drawn for so many steps at once


@dataclass(frozen=True, slots=True)
class Flaws:
    """What a row of quality 0 suffers."""

    tremor: float = 0.35
    """Standard deviation of an unsteady hand's displacement, as a share of the largest; it turns a tenth as much."""
    hesitations_hz: float = 0.4
    """How often it stops to think."""
    hesitation_s: tuple[float, float] = (0.3, 1.2)
    """Range of lengths of that."""
    fumbles_hz: float = 0.12
    """How often the fingers do the opposite of what they should."""
    fumble_s: tuple[float, float] = (0.1, 0.4)
    """Range of lengths of that."""
    surrender: float = 0.5
    """Probability of stopping for good, and so failing, within the first `surrender_s`."""
    surrender_s: float = 6.0
    """See above."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """What every scripted teacher can be told."""

    quality: tuple[float, float] = (1.0, 1.0)
    """Range that rows draw their quality from: 1 does as well as it can, 0 suffers all of `flaws`."""
    flaws: Flaws = field(default_factory=Flaws)
    """What a row of quality 0 suffers."""


class Flawed:
    """Puts the flaws of n rows on top of their decisions.

    Args:
        config: Ranges and numbers.
        n: Rows.
        period_s: Control period.
        largest_m: Largest displacement of one control step.

    Raises:
        SpecError: The range of qualities is not one within [0, 1].
    """

    def __init__(self, config: TeacherConfig, n: int, period_s: float, largest_m: float = LARGEST_M):
        low, high = config.quality
        if not 0.0 <= low <= high <= 1.0:
            raise SpecError(
                f"`quality` is a range of numbers from 0 (worst) to 1 (best), the lower first; found ({low}, {high})."
            )
        self._config, self._flaws, self._period_s = config, config.flaws, period_s
        self._largest_m = largest_m
        self.perfect = low == 1.0
        """Whether nothing ever goes wrong, in any row."""
        self.quality = np.ones(n)
        self._random = [np.random.default_rng(0)] * n
        self._normals, self._uniforms = np.zeros((n, _BLOCK, 6)), np.zeros((n, _BLOCK, 4))
        self._step, self._end = np.zeros(n, int), np.zeros(n, int)
        self._tremor, self._still, self._fumble = np.zeros((n, 6)), np.zeros(n, int), np.zeros(n, int)

    def reset(self, row: int, seed: int) -> None:
        """Draw a row's quality and its luck from a stream of their own."""
        if self.perfect:
            return
        random = self._random[row] = np.random.default_rng([seed, 5])
        self.quality[row] = random.uniform(*self._config.quality)
        gives_up = random.uniform() < (1.0 - self.quality[row]) * self._flaws.surrender
        moment = random.uniform(0.0, self._flaws.surrender_s)
        self._end[row] = round(moment / self._period_s) if gives_up else np.iinfo(np.int64).max
        self._step[row] = self._still[row] = self._fumble[row] = 0
        self._tremor[row] = 0.0

    def spoil(self, move: Array, turn: Array, closed: Array) -> tuple[Array, Array, Array]:
        """What becomes of displacements (n, 3) in metres, rotation vectors (n, 3) and grips (n,) in [-1, 1]."""
        if self.perfect:
            return move, turn, closed
        draw = self._next()
        lack = 1.0 - self.quality
        keep = np.exp(-self._period_s / TREMOR_S)
        self._tremor = keep * self._tremor + np.sqrt(1.0 - keep**2) * draw[0]
        self._still = self._count(
            self._still, draw[1][:, :2], lack * self._flaws.hesitations_hz, self._flaws.hesitation_s
        )
        self._fumble = self._count(self._fumble, draw[1][:, 2:], lack * self._flaws.fumbles_hz, self._flaws.fumble_s)
        moving = ((self._still == 0) & (self._step < self._end))[:, None]
        size = (lack * self._flaws.tremor)[:, None] * self._tremor
        move = np.where(moving, np.clip(move + self._largest_m * size[:, :3], -self._largest_m, self._largest_m), 0.0)
        turn = np.where(moving, np.clip(turn + 0.1 * LARGEST_RAD * size[:, 3:], -LARGEST_RAD, LARGEST_RAD), 0.0)
        self._step += 1
        return move, turn, np.where(self._fumble > 0, -closed, closed)

    def _next(self) -> tuple[Array, Array]:
        """The coming step's random numbers; per row, so that no row depends on its neighbours."""
        place = self._step % _BLOCK
        for row in np.flatnonzero((place == 0) & (self.quality < 1.0)):
            self._normals[row] = self._random[row].standard_normal((_BLOCK, 6))
            self._uniforms[row] = self._random[row].random((_BLOCK, 4))
        rows = np.arange(len(place))
        return self._normals[rows, place], self._uniforms[rows, place]

    def _count(self, left: Array, uniforms: Array, rate_hz: Array, range_s: Sequence[float]) -> Array:
        """Steps (n,) that something still lasts, which begins at a rate and lasts for a time drawn from a range."""
        begins = (left == 0) & (uniforms[:, 0] < rate_hz * self._period_s)
        lasts = np.ceil((range_s[0] + (range_s[1] - range_s[0]) * uniforms[:, 1]) / self._period_s).astype(int)
        return np.where(begins, lasts, np.maximum(left - 1, 0))
