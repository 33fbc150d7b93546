"""Against power loss: everything written is on the disk soon, without the control thread ever waiting for a disk.

A thread calls `fdatasync` on every open file of a live recording each 100 ms. What a power loss can take is what was
written since the start of the last sync but one: 200 ms.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Self

__all__ = ["SYNC_PERIOD_S", "DiskSync"]

SYNC_PERIOD_S = 0.1


class DiskSync:
    """Syncs files from a thread of its own until `stop`.

    Args:
        descriptors: Gives the files that are open now; called before each sync under `lock`.
        lock: Held while descriptors are duplicated, so that none is closed and reused in between.
        period_s: From one sync to the next.
    """

    def __init__(
        self,
        descriptors: Callable[[], Iterable[int]],
        lock: threading.RLock,
        period_s: float = SYNC_PERIOD_S,
    ):
        self.fault: OSError | None = None
        self.count = 0
        self._descriptors, self._lock, self._period_s = descriptors, lock, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="disk sync")

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def sync(self) -> None:
        """Wait until everything written so far is on the disk.

        Raises:
            OSError: The disk is failing.
        """
        with self._lock:
            copies = [os.dup(fd) for fd in self._descriptors()]
        try:
            for fd in copies:
                os.fdatasync(fd)
        finally:
            for fd in copies:
                os.close(fd)
        self.count += 1

    def stop(self) -> None:
        """End the thread; safe to call twice."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self.sync()
            except OSError as error:  # told by the next record; the recorder must not die in a thread
                self.fault = error
                return
