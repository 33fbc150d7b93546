"""What became of every frame: fresh, repeated or missing on each row, and whether a camera's stream can be trusted.

Devices may hand out the same frame twice by design, so a frame is told by its counter, or by its capture time where the
device has no counter; never by its pixels. Nothing is moved or filled in: a row shows the newest frame that was really
recorded before it, and says how old that one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robolearn.specs import Array

__all__ = ["GAP_S", "LOST_SHARE", "NO_COUNTER", "FrameRows", "FrameTrack", "Freshness", "doubt"]

LOST_SHARE = 0.01
"""A camera that lost a larger share of its frames makes the episode degraded."""
GAP_S = 0.1
"""So does a longer time without a frame (or 2.5 periods of a camera slower than 25 Hz)."""
NO_COUNTER = -1
_PERIODS = 2.5


class Freshness(IntEnum):
    """What the picture of a row is."""

    FRESH = 0
    """A frame the row before did not show."""
    REPEATED = 1
    """The frame of the row before; no newer one was there."""
    MISSING = 2
    """A newer frame was made and lost, or none came for too long; the row shows an old one."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameRows:
    """One camera's frames, row by row.

    Attributes:
        state: (T + 1,) int8, `Freshness` codes.
        counter: (T + 1,) int64, the device's frame counters, `NO_COUNTER` where it has none.
        age_ns: (T + 1,) int64, time of the row minus capture time of the frame it shows.
    """

    state: Array
    counter: Array
    age_ns: Array


class FrameTrack:
    """Follows one camera while it is recorded."""

    def __init__(self) -> None:
        self.captured_ns: list[int] = []
        self.counters: list[int] = []
        self._lost = False
        self._before: tuple[int, int] | None = None

    def is_repeat(self, captured_ns: int, counter: int) -> bool:
        """Whether this is the newest recorded frame once more, or an older one."""
        if not self.captured_ns:
            return False
        if counter != NO_COUNTER and self.counters[-1] != NO_COUNTER:
            return counter == self.counters[-1]
        return captured_ns <= self.captured_ns[-1]

    def add(self, captured_ns: int, counter: int) -> None:
        """A frame was recorded."""
        self.captured_ns.append(captured_ns)
        self.counters.append(counter)
        self._lost = False

    def lose(self) -> None:
        """A frame was made and could not be recorded."""
        self._lost = True

    def row(self, time_ns: int, shown_ns: int) -> tuple[Freshness, int, int]:
        """State, counter and age of the frame that a row shows.

        Args:
            time_ns: Time of the row.
            shown_ns: Capture time of the frame it shows.
        """
        counter = NO_COUNTER
        for at, number in zip(reversed(self.captured_ns), reversed(self.counters), strict=True):
            if at <= shown_ns:
                counter = number if at == shown_ns else NO_COUNTER
                break
        age_ns = time_ns - shown_ns
        shown = (shown_ns, counter)
        if self._lost or age_ns > _longest_gap_ns(self.captured_ns, self.counters):
            state = Freshness.MISSING
        else:
            state = Freshness.REPEATED if shown == self._before else Freshness.FRESH
        self._before = shown
        return state, counter, age_ns


def doubt(name: str, captured_ns: Sequence[int], counters: Sequence[int], end_ns: int) -> str | None:
    """Why a camera's stream is degraded, one sentence; None when it is fine.

    Args:
        name: The camera's array.
        captured_ns: Capture times of its recorded frames, growing.
        counters: Their counters, `NO_COUNTER` where the device has none.
        end_ns: Time of the last row; the stream must reach it.
    """
    if not captured_ns:
        return f"{name} has no frame."
    made = _made(captured_ns, counters)
    lost = made - len(captured_ns)
    if lost > LOST_SHARE * made:
        return f"{name} lost {lost} of {made} frames."
    gaps = np.diff([*captured_ns, max(end_ns, captured_ns[-1])])
    worst = int(np.argmax(gaps))
    if gaps[worst] > _longest_gap_ns(captured_ns, counters):
        return f"{name} shows nothing new for {gaps[worst] / 1e9:.3f} s after frame {worst}."
    return None


def _made(captured_ns: Sequence[int], counters: Sequence[int]) -> int:
    """How many frames the device made: from its counters, else from the usual gap between frames."""
    if counters[0] != NO_COUNTER and counters[-1] >= counters[0]:
        return max(counters[-1] - counters[0] + 1, len(counters))
    if len(captured_ns) < 3:
        return len(captured_ns)
    gaps = np.diff(captured_ns)
    return 1 + int(np.maximum(np.round(gaps / np.median(gaps)), 1).sum())


def _longest_gap_ns(captured_ns: Sequence[int], counters: Sequence[int]) -> float:
    """How long a camera may be silent: 100 ms, or 2.5 of its periods when it is slow."""
    made = len(captured_ns)
    if counters and counters[0] != NO_COUNTER:
        made = max(made, counters[-1] - counters[0] + 1)
    period_ns = (captured_ns[-1] - captured_ns[0]) / (made - 1) if made > 1 else 0.0
    return max(GAP_S * 1e9, _PERIODS * period_ns)
