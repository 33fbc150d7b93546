"""When a person moves the robot: the clutch, the dead-man, and release-and-press after every loss.

The robot follows only between a fresh press and the first doubt. Doubt is a released clutch, a person who has not been
heard of for 200 ms, a new episode, a stalled loop or a word from the console; each ends in a hold. A clutch that is
still down when the doubt is over means nothing: it has to be released and pressed again (a held button that re-arms
motion is how arms move when nobody expects it).
"""

from __future__ import annotations

__all__ = ["HEARTBEAT_S", "Engagement", "patience_s"]

HEARTBEAT_S = 0.2
"""A person who has not been heard of for longer is gone. Heartbeats come at 50 Hz; keep-alives do not count."""


REACT_S = 0.21
"""Longest time from the last word of a person to the first command of the hold."""
SHORTEST_S = 0.1
"""Patience is never less than this: a busy network and a busy machine have gaps of about this length."""


def patience_s(period_s: float) -> float:
    """How old a hand's newest word may be at a tick, so that the hold is commanded within `REACT_S`.

    A slow loop looks rarely, so it has to be stricter: at 20 Hz a silence of 160 ms is too long.
    """
    return float(min(HEARTBEAT_S, max(SHORTEST_S, REACT_S - period_s)))


class Engagement:
    """The state of one clutch.

    Attributes:
        engaged: Whether the robot follows now.
        reason: Why it does not, in words for the person, "" while it does.
    """

    def __init__(self) -> None:
        self.engaged = False
        self.reason = "press the clutch to move"
        self._released = False

    def update(self, enable: bool) -> bool:
        """Take the clutch of a fresh reading and say whether the robot follows.

        Returns:
            True on the first reading of an engagement, where references are to be taken.
        """
        if not enable:
            self._released = True
            if self.engaged or not self.reason.startswith("press"):
                self.reason = "press the clutch to move"
            self.engaged = False
            return False
        if self.engaged or not self._released:
            return False
        self.engaged, self._released, self.reason = True, False, ""
        return True

    def lose(self, reason: str) -> None:
        """Let go now; the person has to release and press again."""
        self.engaged, self._released = False, False
        self.reason = f"{reason}; release the clutch and press it again"
