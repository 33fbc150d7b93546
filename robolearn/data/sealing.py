"""Sealing an episode folder: sync its files, write down what they are, and publish the folder by one rename.

A sealed folder never changes again. `seal.json` holds size and SHA-256 of every file, row counts, the schema and the
facts a list of episodes needs, so that nothing else has to be opened to show, choose or check an episode.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zlib
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robolearn.episode import EpisodeMeta, Outcome
from robolearn.errors import DataFileError, StorageFull, StoreError
from robolearn.specs import Spec, fingerprint

__all__ = [
    "FULL",
    "SEAL_NAME",
    "EpisodeInfo",
    "Summary",
    "check_id",
    "damages",
    "read_seal",
    "room_named",
    "seal_text",
    "sync_folder",
    "write_file",
    "write_seal",
]

SEAL_NAME = "seal.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Summary:
    """What a writer or a reader of a log knows about the episode, before its files are hashed.

    Attributes:
        meta: The facts around it.
        observation_spec: Of its observations.
        action_spec: Of its actions.
        outcome: How it ended.
        started: Wall time of the start, ISO 8601 in UTC.
        steps: Whole steps T.
        duration_s: From the first to the last of T + 1 observations.
        observations: Records of this kind, perhaps more than T + 1.
        actions: Likewise, perhaps more than T.
        events: Likewise.
        degraded: Why its cameras are not to be trusted, "" when they are.
    """

    meta: EpisodeMeta
    observation_spec: Spec
    action_spec: Spec
    outcome: Outcome
    started: str
    steps: int
    duration_s: float
    observations: int
    actions: int
    events: int
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """Facts about a sealed episode, without reading it.

    Attributes:
        id: Its name in the store.
        status: "complete", or "recovered" when the recording process died or the disk filled up.
        outcome: How it ended.
        steps: Number of actions T.
        duration_s: From the first to the last observation.
        rate_hz: Nominal decisions per second.
        task: Name of the task.
        instruction: The command at the start.
        robot: Name of the robot.
        operator: Who demonstrated.
        adversary: Who disturbed.
        source: Where foreign data came from.
        seed: Of the start state.
        started: Wall time of the start, ISO 8601 in UTC.
        events: Number of events.
        schema: Fingerprint of both specs.
        content: SHA-256 over all of its files.
        size_bytes: Of all of its files.
        degraded: Why its cameras are not to be trusted (frames lost, a gap), "" when they are.
    """

    id: str
    status: str
    outcome: Outcome
    steps: int
    duration_s: float
    rate_hz: float
    task: str
    instruction: str
    robot: str
    operator: str
    adversary: str
    source: str
    seed: int | None
    started: str
    events: int
    schema: str
    content: str
    size_bytes: int
    degraded: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return asdict(self) | {"outcome": self.outcome.name}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> EpisodeInfo:
        """From `to_json`'s values."""
        plain: dict[str, Any] = dict(facts)
        plain["outcome"] = Outcome[plain["outcome"]]
        return cls(**plain)


@contextlib.contextmanager
def room_named(what: str, kept: str) -> Generator[None]:
    """Turn a full disk into `StorageFull` that says what is safe; other faults pass unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageFull(
            f"No room to {what} ({os.strerror(error.errno)}). {kept} Free some space and go on; nothing has to be "
            "restarted."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: bytes, *, sync: bool) -> None:
    """Make or replace a file in place; an error leaves a part of it, so write aside and rename.

    Raises:
        OSError: The disk is full or failing.
    """
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, data[written:])
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _hash(path: Path, *, sync: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        if sync:
            os.fsync(file.fileno())
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def write_seal(folder: Path, id: str, status: str, summary: Summary, *, durable: bool) -> EpisodeInfo:
    """Sync every file of a folder and write its seal last.

    Args:
        folder: The finished files of one episode.
        id: Its name in the store.
        status: "complete" or "recovered".
        summary: What is in them.
        durable: Wait for the disk.

    Returns:
        The facts as sealed.
    """
    (folder / SEAL_NAME).unlink(missing_ok=True)  # of a sealing that was killed
    files = {
        path.name: _hash(path, sync=durable)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.endswith(".tmp")
    }
    lines = "".join(f"{name} {file['sha256']}\n" for name, file in files.items())
    meta = summary.meta
    info = EpisodeInfo(
        id=id,
        status=status,
        outcome=summary.outcome,
        steps=summary.steps,
        duration_s=summary.duration_s,
        rate_hz=meta.rate_hz,
        task=meta.task,
        instruction=meta.instruction,
        robot=meta.robot,
        operator=meta.operator,
        adversary=meta.adversary,
        source=meta.source,
        seed=meta.seed,
        started=summary.started,
        events=summary.events,
        schema=fingerprint(summary.observation_spec) + fingerprint(summary.action_spec),
        content=hashlib.sha256(lines.encode()).hexdigest(),
        size_bytes=sum(file["bytes"] for file in files.values()),
        degraded=summary.degraded,
    )
    rows = {"observations": summary.observations, "actions": summary.actions, "events": summary.events}
    text = seal_text({"version": 2, "episode": info.to_json(), "rows": rows, "files": files})
    temporary = folder / f"{SEAL_NAME}.tmp"
    write_file(temporary, text.encode(), sync=durable)
    temporary.replace(folder / SEAL_NAME)
    if durable:
        sync_folder(folder)
    return info


def seal_text(facts: Mapping[str, Any]) -> str:
    """The text of a seal: its facts with a checksum over them."""
    return json.dumps({**facts, "check": _check(facts)}, indent=1)


def _check(facts: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in facts.items() if key != "check"}
    return f"{zlib.crc32(json.dumps(rest, sort_keys=True).encode()):08x}"


def read_seal(folder: Path) -> tuple[EpisodeInfo, dict[str, Any]]:
    """The facts of a sealed folder and its files with size and hash.

    Raises:
        DataFileError: The seal is missing or damaged.
    """
    path = folder / SEAL_NAME
    try:
        seal = json.loads(path.read_text())
        if seal["version"] != 1 and seal["check"] != _check(seal):  # the first version had no checksum
            raise ValueError("its checksum does not fit, it was changed or damaged")
        return EpisodeInfo.from_json(seal["episode"]), dict(seal["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            f"Expected the seal of an episode at {path}; found {type(error).__name__}: {error}. Restore the folder "
            "from a copy or delete the episode."
        ) from error


def damages(folder: Path) -> list[str]:
    """What differs between a sealed folder and its seal, one sentence each; empty when it is intact."""
    try:
        info, files = read_seal(folder)
    except DataFileError as error:
        return [str(error)]
    found: list[str] = []
    lines = ""
    for name, expected in sorted(files.items()):
        path = folder / name
        lines += f"{name} {expected['sha256']}\n"
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != expected["bytes"]:
            found.append(f"{path} has {path.stat().st_size} bytes; expected {expected['bytes']}")
        elif _hash(path, sync=False)["sha256"] != expected["sha256"]:
            found.append(f"{path} has other content than when it was sealed (SHA-256 differs)")
    if hashlib.sha256(lines.encode()).hexdigest() != info.content:
        found.append(f"{folder / SEAL_NAME} was changed (its hashes do not fit its content hash)")
    extra = {path.name for path in folder.iterdir()} - files.keys() - {SEAL_NAME}
    found.extend(f"{folder / name} was not there when the episode was sealed" for name in sorted(extra))
    return found


def check_id(id: str) -> str:
    """Refuse an id that could lead out of the store's folder."""
    if not id.replace("-", "").isalnum() or not id.isascii():
        raise StoreError(f"Expected an episode id such as '000012-3fa9c1'; found {id!r}. See Store.ids().")
    return id
