"""`robolearn data edit`: edits of the manifest, instant and undoable; files of episodes never change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from robolearn.cli import say
from robolearn.data import edits
from robolearn.data.store import Recovery, Store
from robolearn.episode import Outcome
from robolearn.errors import StoreError, UnknownName

__all__ = ["Edit", "find_ids", "open_store", "run_edit"]

Change = Literal[
    "delete",
    "restore",
    "tag",
    "untag",
    "split",
    "relabel",
    "reorder",
    "rename-tag",
    "rename-split",
    "merge",
    "compact",
    "undo",
]


@dataclass(frozen=True)
class Edit:
    """Change what a store says about its episodes. undo takes the newest change back; only compact is final."""

    store: tyro.conf.Positional[Path]
    """Folder of the store."""
    change: tyro.conf.Positional[Change]
    """What to do. merge takes other stores in place of episodes; rename-tag and rename-split take old and new name;
    compact removes the files of deleted episodes, which nothing brings back."""
    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Episodes: ids or their numbers, such as 000012 or 12, or "all"."""
    name: str = ""
    """The tag or the split; an empty split takes episodes out of any."""
    instruction: str = ""
    """relabel: what the operator was really told."""
    task: str = ""
    """relabel: name of the task."""
    operator: str = ""
    """relabel: who demonstrated."""
    adversary: str = ""
    """relabel: who disturbed."""
    robot: str = ""
    """relabel: name of the robot."""
    source: str = ""
    """relabel: where the data came from."""
    outcome: Literal["", "success", "failure", "timeout", "aborted"] = ""
    """relabel: how the episodes really ended."""


def open_store(path: Path) -> Store:
    """Open a store, and say on stderr what opening recovered of recordings that somebody's death cut short."""
    store = Store.open(path)
    if store.recovery != Recovery():
        sys.stderr.write(f"{store.recovery}\n")
    return store


def find_ids(store: Store, words: Sequence[str]) -> list[str]:
    """Ids for ids, numbers and "all", deleted episodes too where they are named.

    Raises:
        UnknownName: No episode fits, or more than one.
    """
    if list(words) == ["all"]:
        return store.ids(include_recovered=True)
    every = store.ids(include_deleted=True, include_recovered=True)
    found: list[str] = []
    for word in words:
        number = word.zfill(6) if word.isdigit() else word
        fitting = [id for id in every if id == word or id.partition("-")[0] == number]
        if len(fitting) != 1:
            hint = f"{len(fitting)} episodes have that number; give the whole id." if fitting else 'Or "all".'
            raise UnknownName("episode", word, fitting or every[-20:], hint=hint)
        found += fitting
    return found


def run_edit(chosen: Edit) -> int:
    """Edit and say what was done."""
    with open_store(chosen.store) as store:
        if chosen.change == "undo":
            say(store.undo() or "There is no edit to take back.")
            return 0
        if chosen.change == "compact":
            if chosen.ids:
                raise StoreError("compact removes every deleted episode; delete those that may go, and name none here.")
            gone = len(store.ids(include_deleted=True, include_recovered=True)) - len(store.ids(include_recovered=True))
            freed = edits.compact(store)
            say(
                f"{gone} deleted episodes and all caches removed, {freed / 1e6:.1f} MB given back. It cannot be undone."
            )
            return 0
        if chosen.change == "merge":
            new = edits.merge(store, list(chosen.ids))
            say(f"{len(new)} episodes taken over; {store.path} now holds {len(store)}.")
            return 0
        if chosen.change in ("rename-tag", "rename-split"):
            if len(chosen.ids) != 2:
                raise StoreError(f"{chosen.change} needs the old and the new name; found {len(chosen.ids)} words.")
            (edits.rename_tag if chosen.change == "rename-tag" else edits.rename_split)(store, *chosen.ids)
            say(f"{chosen.ids[0]} is now {chosen.ids[1]}.")
            return 0
        if not chosen.ids:
            raise StoreError(f'{chosen.change} needs episodes: ids, numbers or "all" (see `robolearn data info`).')
        ids = find_ids(store, chosen.ids)
        _change(store, chosen, ids)
        say(f"{chosen.change}: {len(ids)} episodes. `robolearn data edit {chosen.store} undo` takes it back.")
    return 0


def _change(store: Store, chosen: Edit, ids: list[str]) -> None:
    if chosen.change in ("tag", "untag"):
        if not chosen.name:
            raise StoreError(f"{chosen.change} needs --name, the tag.")
        store.tag(ids, *(([chosen.name], []) if chosen.change == "tag" else ([], [chosen.name])))
    elif chosen.change == "split":
        store.split(ids, chosen.name)
    elif chosen.change == "relabel":
        texts = {name: text for name in edits.LABELS if (text := getattr(chosen, name))}
        edits.relabel(store, ids, outcome=Outcome[chosen.outcome.upper()] if chosen.outcome else None, **texts)
    elif chosen.change == "reorder":
        edits.reorder(store, ids)
    else:
        (store.delete if chosen.change == "delete" else store.restore)(ids)
