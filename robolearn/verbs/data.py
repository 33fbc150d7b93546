"""`robolearn data`: get, import, export, describe, check, edit, watch and measure demonstrations."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tyro

from robolearn.cli import parse, say
from robolearn.data.facts import describe
from robolearn.data.fetch import DATASETS, get
from robolearn.data.findings import Finding
from robolearn.data.lerobot_check import check_lerobot
from robolearn.data.statistics import QUANTILES, Counted, array_statistics, to_json
from robolearn.data.store import Store
from robolearn.data.validate import validate
from robolearn.data.video import is_filmed
from robolearn.errors import EmptyStore, UnknownName
from robolearn.scene.density import RECENT, Density, density
from robolearn.scene.view import has_scene
from robolearn.specs import Array
from robolearn.verbs.data_edit import Edit, find_ids, open_store, run_edit
from robolearn.verbs.data_exchange import Export, Import, run_export, run_import


@dataclass(frozen=True)
class Get:
    """Fetch a published data set by package name, verify its hash and keep it. Prints the path."""

    name: tyro.conf.Positional[str]
    """Which data set, such as lift-ph."""
    folder: Path | None = None
    """Where to keep it; default data/downloads, or ROBOLEARN_DATA."""


@dataclass(frozen=True)
class Info:
    """Say what a store holds, or what is known of some of its episodes."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Episodes to list: ids, numbers or "all"."""
    json: bool = False
    """Print JSON for programs."""


@dataclass(frozen=True)
class Validate:
    """Look for damage and doubtful recordings. The exit code is 1 when something is found, or was lost by a crash."""

    store: tyro.conf.Positional[Path]
    """Folder of the store, or of a LeRobotDataset v3.0."""
    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Only these episodes: ids or numbers; default all."""
    json: bool = False
    """Print JSON for programs."""


@dataclass(frozen=True)
class View:
    """Open an episode in rerun, or save it for rerun."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    id: tyro.conf.Positional[str] = ""
    """Which episode: id or number; default the newest."""
    save: Path | None = None
    """Write this .rrd file and open no window."""


@dataclass(frozen=True)
class Stats:
    """Exact statistics of every array over all live episodes, as normalisers use them."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    split: str = ""
    """Only episodes of this split."""
    json: bool = False
    """Print JSON for programs."""


@dataclass(frozen=True)
class Serve:
    """A web page of the store for this machine only: look at episodes, accept, reject and tag them."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    port: int = 8787
    """Port on 127.0.0.1; 0 takes a free one."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<9} {(cls.__doc__ or '').splitlines()[0]}" for name, (cls, _) in COMMANDS.items()]
        say("usage: robolearn data <command> [options]", "", *lines, "", f"data sets: {', '.join(DATASETS)}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UnknownName("data command", name, COMMANDS)
    cls, run = COMMANDS[name]
    return int(run(parse(cls, rest, prog=f"robolearn data {name}")))


def _get(chosen: Get) -> int:
    say(str(get(chosen.name, chosen.folder)))
    return 0


def _info(chosen: Info) -> int:
    store = open_store(chosen.store)
    if chosen.ids:
        rows = [_row(store, id) for id in find_ids(store, chosen.ids)]
        say(json.dumps(rows, indent=2) if chosen.json else "\n".join("  ".join(map(str, r.values())) for r in rows))
        return 0
    facts = describe(store)
    if chosen.json:
        say(json.dumps(facts, indent=2))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            say(f"{name}:")
            say(*(f"  {key}: {one}" for key, one in cast(dict[str, Any], value).items()))
        else:
            say(f"{name:<{width}}  {value}")
    return 0


def _row(store: Store, id: str) -> dict[str, Any]:
    info = store.info(id)
    return {
        "id": id,
        "outcome": info.outcome.name.lower(),
        "steps": info.steps,
        "duration_s": round(info.duration_s, 3),
        "split": store.split_of(id) or "-",
        "tags": ",".join(sorted(store.tags_of(id))) or "-",
        "instruction": info.instruction,
    }


def _validate(chosen: Validate) -> int:
    lossy = False
    if (chosen.store / "meta" / "info.json").is_file():
        findings = check_lerobot(chosen.store)
    else:
        store = open_store(chosen.store)
        findings = validate(store, find_ids(store, chosen.ids) if chosen.ids else None, progress=_progress)
        lossy = store.recovery.lossy
    _tell(findings, as_json=chosen.json)
    return 1 if findings or lossy else 0


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done + 1} of {total} episodes" + ("\n" if done + 1 == total else ""))


def _tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        names = ("kind", "where", "certainty", "message", "cure")
        say(json.dumps([{name: getattr(one, name) for name in names} for one in findings], indent=2))
    elif findings:
        say(*(str(finding) for finding in findings))
    sys.stderr.write(f"{len(findings)} findings\n" if findings else "nothing found\n")


def _view(chosen: View) -> int:
    from robolearn.data.view import view_episode

    store = open_store(chosen.store)
    ids = find_ids(store, [chosen.id]) if chosen.id else store.ids()
    if not ids:
        raise EmptyStore(f"Nothing to view: {store.path} has no live episode.")
    path = view_episode(store, ids[-1], chosen.save)
    say(f"{ids[-1]} saved to {path}; open it with: rerun {path}" if path else f"{ids[-1]} is open in rerun.")
    return 0


def _stats(chosen: Stats) -> int:
    store = open_store(chosen.store)
    ids = store.ids(split=chosen.split or None)
    if not ids:
        raise EmptyStore(f"No live episode{f' in split {chosen.split!r}' if chosen.split else ''} in {store.path}.")
    columns: dict[str, list[Array]] = {}
    filmed: dict[str, Counted] = {}
    frames = 0
    for id in ids:  # pictures are counted episode by episode, so memory holds those of one
        episode = store[id]
        frames += episode.steps + 1
        for name, value in episode.observations.items():
            if is_filmed(spec := episode.observation_spec[name]):
                filmed.setdefault(name, Counted(depth=not spec.is_image)).add(value)
            else:
                columns.setdefault(name, []).append(value)
        for name, value in episode.actions.items():
            columns.setdefault(f"action.{name}", []).append(value)
    found = {name: one.statistics() for name, one in filmed.items()}
    found |= {name: array_statistics(name, np.concatenate(parts)) for name, parts in columns.items()}
    dense = _density(store, ids)
    if chosen.json:
        facts = {"density": dataclasses.asdict(dense) | {"per_1000": dense.per_1000}} if dense else {}
        say(json.dumps({**to_json(found), **facts}, indent=2))
        return 0
    heads = ("min", *(f"q{round(share * 100):02d}" for share in QUANTILES), "max", "mean", "std")
    say(f"{'array':<28}" + "".join(f"{head:>11}" for head in heads))
    for name, one in found.items():
        rows = np.stack([one.low, *one.quantiles, one.high, one.mean, one.std]).reshape(len(heads), -1).T
        for k, row in enumerate(rows):
            label = name if len(rows) == 1 else f"{name}[{k}]"
            say(f"{label:<28}" + "".join(f"{number:>11.4g}" for number in row))
    say(f"{len(ids)} episodes, {frames} rows")
    if dense:
        say(
            f"{dense.situations} situations that differ: {dense.per_episode:.1f} per episode, {dense.per_1000:.0f} "
            f"per 1000 frames; {dense.redundancy:.1%} of the frames repeat one of the {RECENT} before "
            "(robolearn.scene.density)"
        )
    return 0


def _density(store: Store, ids: Sequence[str]) -> Density | None:
    """How much the episodes say, where they hold a scene of things with poses."""
    if store.specs is None or not has_scene(store.specs[0]):
        return None
    logs = (store.log(id, pictures=False).episode for id in ids)
    return density(episode for episode in logs if episode is not None)


def _serve(chosen: Serve) -> int:
    from robolearn.data.serve import serve

    store = open_store(chosen.store)
    serve(store, port=chosen.port, ready=lambda url: say(f"{store.path} is shown at {url} (Ctrl-C ends it)."))
    return 0


COMMANDS: dict[str, tuple[type[Any], Any]] = {
    "get": (Get, _get),
    "import": (Import, run_import),
    "export": (Export, run_export),
    "info": (Info, _info),
    "validate": (Validate, _validate),
    "view": (View, _view),
    "edit": (Edit, run_edit),
    "stats": (Stats, _stats),
    "serve": (Serve, _serve),
}
