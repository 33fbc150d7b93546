"""A folder that appears whole or not at all.

Written under another name, every file and the folder fsynced, renamed, the parent fsynced. What is removed goes out
of sight first. A crash at any moment leaves whole folders and perhaps hidden remains, which `sweep` clears.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from robolearn.errors import ArtefactError, StorageFull

__all__ = ["remove", "sweep", "write"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ASIDE = ".aside-"


def sweep(root: Path) -> None:
    """Remove what killed processes left half-written or half-removed; call it when nobody else writes here."""
    for path in root.glob(f"{_ASIDE}*"):
        shutil.rmtree(path, ignore_errors=True)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` with these files; an older one of the name is replaced.

    Raises:
        StorageFull: No space; nothing half-written is left.
        ArtefactError: The disk failed in another way, likewise.
    """
    aside = folder.parent / f"{_ASIDE}{folder.name}-{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        for name, data in files.items():
            with (aside / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(aside)
        if folder.exists():  # incomplete, or this step would not be written again
            remove(folder)
        aside.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"No space is left for the checkpoint {folder} ({sum(map(len, files.values())) / 1e6:.1f} MB): "
                f"{error.strerror}. Older checkpoints are intact. Free some space and start the run again to resume."
            ) from error
        raise ArtefactError(
            f"The checkpoint {folder} could not be written: {error}. Older checkpoints are intact. "
            "Check the disk and start the run again to resume."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove(folder: Path) -> None:
    """Out of sight first, so that no half-removed folder is ever listed."""
    hidden = folder.parent / f"{_ASIDE}removed-{folder.name}-{os.getpid()}"
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
