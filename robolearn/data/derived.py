"""Derived streams: what a program computed from a sealed episode, beside it and never in it.

    derived/<episode id>/<name>@<version>.npy     one value per row or step
    derived/<episode id>/<name>@<version>.json    what it was computed from: content hash of the episode, and the facts
                                                  the program gives (hashes of its model and calibration, ...)

A name says what and by which program ("keypoints.blazepose", "reward.airl_state"), a version is a hash of everything
the values depend on. The same name never gets other values: a better detector has another version. A stream whose
episode has changed hands is refused when it is read. (Streams that are computed on the fly and never stored are
`robolearn.scene.derived`.)
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.store import Store
from robolearn.errors import DataFileError, SpecError, UnknownName
from robolearn.runs import replacing
from robolearn.specs import Array

__all__ = ["Derived", "derived_names", "read_derived", "version_of", "write_derived"]

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*@[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """One derived stream.

    Attributes:
        name: With its version.
        values: (T, ...) or (T + 1, ...).
        facts: What the program said of it, beside "episode" and "content", which it was computed from.
    """

    name: str
    values: Array
    facts: Mapping[str, Any]


def version_of(facts: Mapping[str, Any]) -> str:
    """Twelve hex digits that change with any of these facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def write_derived(store: Store, id: str, name: str, values: Array, facts: Mapping[str, Any]) -> Path:
    """Keep a stream; writing the same again changes nothing.

    Args:
        store: Where the episode is.
        id: Of the episode.
        name: Such as "reward.airl_state@3fb2c1d0a9e4".
        values: One per action or one per observation.
        facts: Plain JSON values.

    Raises:
        SpecError: The name or the number of values does not fit.
        DataFileError: There are other values of this name already.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"A derived stream is called <words>@<hex version>, such as reward.airl@3fb2c1d0; found {name!r}."
        )
    steps = store.info(id).steps
    if len(values) not in (steps, steps + 1):
        raise SpecError(
            f"{name}: expected {steps} values or {steps + 1}, one per action or observation; found {len(values)}."
        )
    folder = store.path / "derived" / store.folder(id).name
    data, path = _bytes(values), folder / f"{name}.npy"
    if path.exists():
        if path.read_bytes() != data:
            raise DataFileError(
                f"{path} holds other values. A version names one result; give the new one a version of its own "
                "(a hash of everything it depends on)."
            )
        return path
    told = {"episode": id, "content": store.info(id).content} | dict(facts)
    with replacing(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(told, indent=2, allow_nan=False) + "\n")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def derived_names(store: Store, id: str) -> list[str]:
    """Names of an episode's derived streams, sorted."""
    folder = store.path / "derived" / store.folder(id).name
    return sorted(path.name.removesuffix(".npy") for path in folder.glob("*.npy"))


def read_derived(store: Store, id: str, name: str) -> Derived:
    """A stream of an episode.

    Raises:
        UnknownName: The episode has no such stream.
        DataFileError: It was computed from other content than the episode has.
    """
    known = derived_names(store, id)
    if name not in known:
        raise UnknownName(f"derived stream of episode {id}", name, known)
    path = store.path / "derived" / store.folder(id).name / f"{name}.npy"
    facts: dict[str, Any] = json.loads(path.with_name(f"{name}.json").read_text())
    if facts["content"] != store.info(id).content:
        raise DataFileError(f"{path} was computed from another episode {id}; compute it again for this one.")
    return Derived(name, np.load(path, allow_pickle=False), facts)


def _bytes(values: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return buffer.getvalue()
