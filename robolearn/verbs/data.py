"""`robolearn data`: get, import, describe and check demonstrations."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import tyro

from robolearn.cli import parse, say
from robolearn.data.facts import describe, validate
from robolearn.data.fetch import DATASETS, get
from robolearn.data.robomimic import import_robomimic
from robolearn.data.store import Store
from robolearn.errors import UnknownName


@dataclass(frozen=True)
class Get:
    """Fetch a published data set by package name, verify its hash and keep it. Prints the path."""

    name: tyro.conf.Positional[str]
    """Which data set, such as lift-ph."""
    folder: Path | None = None
    """Where to keep it; default data/downloads, or ROBOLEARN_DATA."""


@dataclass(frozen=True)
class Import:
    """Import demonstrations that others recorded: all of a file or nothing."""

    format: tyro.conf.Positional[Literal["robomimic"]]
    """What the file is."""
    file: tyro.conf.Positional[Path]
    """The file."""
    store: tyro.conf.Positional[Path]
    """Folder of the store; made when it is not there."""


@dataclass(frozen=True)
class Info:
    """Say what a store holds."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    json: bool = False
    """Print JSON for programs."""


@dataclass(frozen=True)
class Validate:
    """Look for damage and doubtful recordings. The exit code is 1 when something is found."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""


COMMANDS = {"get": Get, "import": Import, "info": Info, "validate": Validate}


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<9} {(cls.__doc__ or '').splitlines()[0]}" for name, cls in COMMANDS.items()]
        say("usage: robolearn data <command> [options]", "", *lines, "", f"data sets: {', '.join(DATASETS)}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UnknownName("data command", name, COMMANDS)
    chosen: Any = parse(COMMANDS[name], rest, prog=f"robolearn data {name}")
    return {"get": _get, "import": _import, "info": _info, "validate": _validate}[name](chosen)


def _get(chosen: Get) -> int:
    say(str(get(chosen.name, chosen.folder)))
    return 0


def _import(chosen: Import) -> int:
    with Store.open_or_create(chosen.store) as store:
        ids = import_robomimic(chosen.file, store)
        say(f"{len(ids)} episodes imported from {chosen.file}; {store.path} now holds {len(store)}.")
    return 0


def _info(chosen: Info) -> int:
    facts = describe(Store.open(chosen.store))
    if chosen.json:
        say(json.dumps(facts, indent=2))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            say(f"{name}:")
            say(*(f"  {key}: {one}" for key, one in cast("dict[str, Any]", value).items()))
        else:
            say(f"{name:<{width}}  {value}")
    return 0


def _validate(chosen: Validate) -> int:
    findings = validate(Store.open(chosen.store))
    say(*(str(finding) for finding in findings))
    sys.stderr.write(f"{len(findings)} findings\n" if findings else "nothing found\n")
    return 1 if findings else 0
