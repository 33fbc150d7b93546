"""One writer at a time: an advisory lock on a file that names the process holding it.

The kernel drops the lock when its process dies, however it dies. A lock that outlives its owner in a forked child is
taken over when the process it names is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from robolearn.errors import StoreError

__all__ = ["WriterLock"]


class WriterLock:
    """Holds the lock from construction to `release`.

    Args:
        path: The lock file, made when missing.

    Raises:
        StoreError: Another process (or another `Store` of this one) holds it; the message names its pid.
        OSError: The disk is full or failing; the lock is not held.
    """

    def __init__(self, path: Path):
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
                os.close(self._fd)
                if owner.isdigit() and not _alive(int(owner)):
                    path.unlink(missing_ok=True)  # its owner is gone; a forked child keeps only the old file locked
                    continue
                raise StoreError(
                    f"Another writer has the store {path.parent} open: process {owner or 'unknown'} (this is "
                    f"{os.getpid()}). Reading is possible at any time; to write, close that writer first."
                ) from error
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(self._fd).st_ino == path.stat().st_ino:
                    break
            os.close(self._fd)  # the file was replaced while we took it: try the new one
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others write; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
