"""Two clocks, one truth: the server's monotonic time; what clients say is translated and never believed blindly.

Clients estimate their offset as NTP does (Mills 1991): a ping with client time c0, the server's answer s, and the
client time c1 at its arrival give offset = s - (c0 + c1) / 2, wrong by at most half of the round trip; of five pings
the one with the shortest round trip counts, and it is done again every 30 s. For the dead-man the server trusts
nobody: it measures how much later than usual each heartbeat arrived (`Delay`), so that a queue of old ones is worth
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ClientClock", "Delay"]

WINDOW_S = 30.0
"""The shortest delay is remembered for one to two of these; two clocks drift apart by a millisecond or so in it."""


@dataclass(frozen=True, slots=True)
class ClientClock:
    """What a client says about its clock.

    Attributes:
        offset_s: Server time minus client time.
        rtt_s: Round trip of the ping it was taken from.
    """

    offset_s: float
    rtt_s: float

    def to_server(self, client_s: float, *, now: float) -> float | None:
        """A client's time on the server's clock; None when that is in the future or more than 10 s ago."""
        time = client_s + self.offset_s
        return time if math.isfinite(time) and now - 10.0 <= time <= now + self.rtt_s else None


class Delay:
    """How much later than at best the messages of one sender arrive."""

    def __init__(self) -> None:
        self._best = [math.inf, math.inf]
        self._since = -math.inf

    def of(self, sent_s: float, received_s: float) -> float:
        """Seconds by which this message came later than the quickest of late; the clocks may differ by anything.

        Args:
            sent_s: When it was sent, on the sender's clock.
            received_s: When it came, on ours.
        """
        if received_s - self._since > WINDOW_S:
            self._best, self._since = [math.inf, self._best[0]], received_s
        passed = received_s - sent_s
        self._best[0] = min(self._best[0], passed)
        return passed - min(self._best)
