"""Who is still there: ages of streams, and the switch that an operator must keep pressed.

All ages are on the gate's clock, from when something was received or captured, never from a sender's clock. A sender's
own time serves only to notice what was long under way: it is compared with the quickest message of the same sender.
"""

from __future__ import annotations

from collections.abc import Mapping

from robolearn.safety.limits import OPERATOR

__all__ = ["Operator", "Streams"]

HANDOVER_S = 2.0
"""After this long without a sign of life another operator may take over."""


class Streams:
    """Capture times of what arrives, by stream.

    Args:
        stale_s: Oldest allowed age by stream, s.
    """

    def __init__(self, stale_s: Mapping[str, float]):
        self._stale_s = dict(stale_s)
        self._times: dict[str, float] = {}

    def heard(self, stream: str, time: float) -> None:
        """Something captured at `time` has arrived; what is older than the last one counts for nothing."""
        if time > self._times.get(stream, -float("inf")):
            self._times[stream] = time

    def age(self, stream: str, now: float) -> float:
        """Seconds since the last one; infinite when there was none."""
        return now - self._times.get(stream, -float("inf"))

    def why_stale(self, stream: str, now: float, time: float | None = None) -> str:
        """What is wrong with a stream (or with what it delivered at `time`), "" when fresh or not limited."""
        limit, age = self._stale_s.get(stream), self.age(stream, now) if time is None else now - time
        if limit is None or age <= limit:
            return ""
        if age == float("inf"):
            return f"{stream!r} has not delivered anything yet; at most {limit} s are allowed"
        return f"{stream!r} is {age:.3f} s old; at most {limit} s are allowed"


class Operator:
    """The enabling switch: one person holds it at a time, and only a fresh press enables.

    Args:
        stale_s: How long a sign of life counts, s.
    """

    def __init__(self, stale_s: float):
        self._stale_s = stale_s
        self.holder = ""
        self._sequence: dict[str, int] = {}
        self._quickest: dict[str, float] = {}
        self._heard = -float("inf")
        self._released = self._pressed = False

    def beat(self, by: str, pressed: bool, sequence: int, now: float, sent_s: float | None = None) -> str:
        """A sign of life of `by`; returns why it was ignored, or "".

        Args:
            by: Who.
            pressed: Whether the switch is pressed.
            sequence: Grows with every message of this sender.
            now: When it was received, on the gate's clock.
            sent_s: When it was sent, on the sender's clock, which may stand anywhere but must run.
        """
        if sequence <= self._sequence.get(by, -1):
            return f"message {sequence} of {by!r} came after {self._sequence[by]}"
        self._sequence[by] = sequence
        if sent_s is not None:
            way = now - sent_s
            late = way - min(way, self._quickest.get(by, way))
            if not late <= self._stale_s:
                return f"message {sequence} of {by!r} was {late:.3f} s under way"
            self._quickest[by] = way - late
        if self.holder and by != self.holder:
            if now - self._heard <= HANDOVER_S and self._pressed:
                return f"{self.holder!r} holds the switch; {by!r} can take it when it is released"
            self._forget()
        if now - self._heard > self._stale_s:
            self.revoke()  # a gap in between was a lapse, whoever looked
        self.holder = by
        self._heard = now
        if not pressed:
            self._released = True
        self._pressed = pressed
        return ""

    def leave(self, by: str) -> None:
        """`by` has gone on purpose; its next message may start counting anew."""
        self._sequence.pop(by, None)
        self._quickest.pop(by, None)
        if by == self.holder:
            self._forget()

    def revoke(self) -> None:
        """Whatever is pressed now no longer counts: it takes a release and a new press."""
        self._released = False

    def why_not(self, now: float) -> str:
        """Why the arm may not move for this operator, or ""."""
        age = now - self._heard
        if not age <= self._stale_s:
            self.revoke()
            return f"{OPERATOR!r} gave no sign of life for {age:.3f} s; at most {self._stale_s} s are allowed"
        if not self._pressed:
            return f"{self.holder or OPERATOR!r} does not press the enabling switch"
        if not self._released:
            return f"{self.holder!r} must release the enabling switch and press it again"
        return ""

    def _forget(self) -> None:
        self.holder, self._heard, self._pressed = "", -float("inf"), False
        self.revoke()
