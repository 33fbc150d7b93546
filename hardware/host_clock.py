"""A device's timestamps on the host's monotonic clock, estimated from nothing but arrivals."""

from __future__ import annotations

from collections import deque

import numpy as np

__all__ = ["HostClockMap"]


class HostClockMap:
    """Device timestamps on the host's clock, by the smallest delay seen.

    arrival - device = offset + delay with delay > 0, so the smallest difference over a sliding window estimates the
    offset best (a queued or late frame only makes the difference larger). The result is late by the smallest delay of
    the window (exposure and transport, typically 5 to 30 ms), which cannot be seen from the host, and follows drift
    between the clocks within one window (50 ppm and 10 s: 0.5 ms). Device time that falls (a restart, a 32-bit
    counter that wraps, a recording that starts over) begins a new window.

    Args:
        window_s: Length of the window in seconds of arrival time.
    """

    def __init__(self, window_s: float = 10.0):
        self._window_s = window_s
        self._smallest: deque[tuple[float, float]] = deque()  # (arrival, difference), differences growing
        self._last = -np.inf

    def to_host(self, device_s: float, arrival_s: float) -> float:
        """Capture time in host seconds of a frame stamped `device_s` that arrived at `arrival_s`; never after it."""
        if device_s < self._last:
            self._smallest.clear()
        self._last = device_s
        difference = arrival_s - device_s
        while self._smallest and self._smallest[-1][1] >= difference:
            self._smallest.pop()
        self._smallest.append((arrival_s, difference))
        while self._smallest[0][0] < arrival_s - self._window_s:
            self._smallest.popleft()
        return device_s + self._smallest[0][1]
