"""Run folders: atomic writes, a manifest of inputs, skip when finished, resume when half done.

Every stage's artefact holds `manifest.json`: the stage and its full config, fingerprints of what it read, code
version, seed, and whether it is finished. A finished stage whose manifest matches is skipped; a half-finished
one with the same inputs resumes; anything else in the folder is refused, never overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import robolearn
from robolearn.errors import ArtefactError, StorageFull

__all__ = ["Manifest", "code_version", "folder_hash", "open_run", "read_manifest", "run_stage", "write_json"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
State = Literal["new", "resumable", "finished"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run was made from.

    Attributes:
        stage: Name of the stage.
        config: Its full config, plain JSON values.
        inputs: Fingerprints of everything it read, by name.
        seed: The seed of its random choices.
        code: Version of the code that ran it.
        finished: Whether the artefact is complete.
        command: How it was started, for the reader.
    """

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int
    code: str
    finished: bool
    command: str = ""

    @property
    def identity(self) -> str:
        """Hash of what determines the result: stage, config, inputs and seed."""
        facts = json.dumps([self.stage, self.config, self.inputs, self.seed], sort_keys=True, default=str)
        return hashlib.sha256(facts.encode()).hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that the file is either the old or the new one, also after a crash.

    Raises:
        StorageFull: No room; the old file is intact.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary file beside `path` that takes its place, synced, when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(
                f"No room to write {path} ({error.strerror}). What was there before is intact."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_hash(folder: Path) -> str:
    """Hash of the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def code_version() -> str:
    """The package version with the git commit, "+changes" when the checkout differs from it."""
    root = Path(robolearn.__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD") if shutil.which("git") else ""
    changed = "+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{robolearn.__version__} ({commit}{changed})" if commit else robolearn.__version__


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run folder, or None when there is none.

    Raises:
        ArtefactError: The manifest cannot be read.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ArtefactError(
            f"{path} is not a manifest of this version ({error}). Delete the folder to start over."
        ) from error


def open_run(folder: Path, manifest: Manifest) -> State:
    """Claim a folder for a run.

    Returns:
        "finished" when the same run is already complete there, "resumable" when it was begun, else "new".

    Raises:
        ArtefactError: The folder holds another run, or files that are not ours.
    """
    found = read_manifest(folder)
    if found is None:
        if folder.exists() and any(folder.iterdir()):
            raise ArtefactError(f"{folder} is not empty and holds no run. Choose another folder, or empty this one.")
        write_json(folder / "manifest.json", _plain(manifest))
        return "new"
    if found.identity != manifest.identity:
        raise ArtefactError(
            f"{folder} holds a different run: {_difference(found, manifest)}. Choose another folder, or delete it."
        )
    return "finished" if found.finished else "resumable"


def run_stage(folder: Path, manifest: Manifest, work: Callable[[Path, bool], None]) -> Path:
    """Run `work(folder, resume)` unless the same run is finished there; mark it finished after.

    Raises:
        ArtefactError: The folder holds another run.
    """
    state = open_run(folder, manifest)
    if state != "finished":
        work(folder, state == "resumable")
        write_json(folder / "manifest.json", _plain(manifest) | {"finished": True})
    return folder


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__slots__}


def _difference(found: Manifest, wanted: Manifest) -> str:
    for name in ("stage", "seed"):
        if getattr(found, name) != getattr(wanted, name):
            return f"{name} {getattr(found, name)!r} there, {getattr(wanted, name)!r} here"
    for name in ("config", "inputs"):
        there, here = getattr(found, name), getattr(wanted, name)
        for key in sorted(there.keys() | here.keys()):
            # Through JSON, since tuples come back as lists.
            if json.dumps(there.get(key), default=str) != json.dumps(here.get(key), default=str):
                return f"{name}.{key} is {there.get(key)!r} there, {here.get(key)!r} here"
    return "it differs in its facts"
