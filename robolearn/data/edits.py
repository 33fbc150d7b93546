"""Edits of a store beyond tags and splits: correct facts, order, rename, merge stores, reclaim space.

All but `compact` are one line in the journal and can be undone (`Store.undo`); files of episodes are never changed. A
merge announces its ids, places hard links to (or copies of) the sealed files, and counts only with its last line: a
kill before that leaves nothing behind that the next open does not remove.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robolearn.data.sealing import read_seal, room_named, sync_folder
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import DataFileError, StoreError, UnknownName
from robolearn.specs import first_difference, to_json

__all__ = ["LABELS", "compact", "merge", "relabel", "rename_split", "rename_tag", "reorder"]

LABELS = ("task", "instruction", "operator", "adversary", "robot", "source")
"""Texts that `relabel` can correct, beside the outcome."""


def relabel(store: Store, ids: str | Sequence[str], *, outcome: Outcome | None = None, **texts: str) -> None:
    """Correct what is said about episodes; what was recorded stays in their files.

    Args:
        store: Where.
        ids: Episodes.
        outcome: How they really ended.
        texts: New facts, of `LABELS`.

    Raises:
        UnknownName: Another fact, or an id that is not there.
        StoreError: Nothing to correct, or another writer has the store.
    """
    facts: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in LABELS:
            raise UnknownName("fact of an episode", name, (*LABELS, "outcome"))
        facts[name] = str(text)
    if outcome is not None:
        facts["outcome"] = Outcome(outcome).name
    if not facts:
        raise StoreError(f"Nothing to correct; give an outcome or one of {', '.join(LABELS)}.")
    store.edit("label", ids, facts=facts)


def reorder(store: Store, ids: Sequence[str]) -> None:
    """Put episodes in front of all others, in this order.

    Raises:
        UnknownName: An id that is not there.
        StoreError: An id twice, or another writer has the store.
    """
    if len(set(ids)) != len(ids):
        twice = sorted(id for id, count in Counter(ids).items() if count > 1)
        raise StoreError(f"Every episode can stand at one place only; found {', '.join(twice)} more than once.")
    store.edit("order", ids)


def rename_split(store: Store, old: str, new: str) -> None:
    """Give a split another name; into one that exists, they become one.

    Raises:
        UnknownName: No episode is in the split.
    """
    names = set(store.journal.state.splits.values())
    if old not in names:
        raise UnknownName("split", old, names)
    if not new:
        raise StoreError("A split needs a name; to take episodes out of a split use Store.split(ids, '').")
    store.edit("rename split", [], old=old, new=new)


def rename_tag(store: Store, old: str, new: str) -> None:
    """Give a tag another name; onto one that exists, they become one.

    Raises:
        UnknownName: No episode has the tag.
    """
    names = {tag for tags in store.journal.state.tags.values() for tag in tags}
    if old not in names:
        raise UnknownName("tag", old, names)
    if not new:
        raise StoreError("A tag needs a name; to take a tag away use Store.tag(ids, remove=[...]).")
    store.edit("rename tag", [], old=old, new=new)


def merge(store: Store, sources: Sequence[Store | Path | str], *, copy: bool = False) -> list[str]:
    """Take over all live episodes of other stores, with their tags, splits and corrections; returns the new ids.

    Episodes keep their ids and stand behind those that are there, source by source. One that is there already with the
    same content is left out, so merging twice is merging once.

    Args:
        store: Where to.
        sources: Stores that hold episodes of the same kind; they are not changed.
        copy: Copy files even where a hard link is possible.

    Raises:
        StoreError: Specs differ, an id means something else here, or another writer has the store.
        DataFileError: A source's files are not all there.
        StorageFull: No room; the store is as before.
    """
    store.lock()
    others = [source if isinstance(source, Store) else Store.open(source) for source in sources]
    state, entries, folders = store.journal.state, list[dict[str, Any]](), list[Path]()
    specs = store.specs
    for other in others:
        if other.specs is None:
            continue
        specs = specs or other.specs
        for kind, want, have in zip(("observation", "action"), specs, other.specs, strict=True):
            if (difference := first_difference(want, have)) is not None:
                raise StoreError(
                    f"Cannot merge {other.path} into {store.path}: the {kind} specs differ, {difference}. A store "
                    "holds episodes of one kind; train on both with a mixture that says which arrays correspond."
                )
        there = {entry["episode"]["id"]: entry["episode"]["content"] for entry in entries}
        for id in other.ids(include_recovered=True):
            sealed, theirs = other.journal.state.sealed(id), other.journal.state
            known = there.get(id, state.sealed(id).content if id in state.facts else None)
            if known == sealed.content:
                continue
            here = store.path / "episodes" / id
            if here.is_dir() and known is None:  # of a merge that was undone
                known = read_seal(here)[0].content
            if known not in (None, sealed.content):
                raise StoreError(
                    f"Cannot merge {other.path}: its episode {id} has the id of another one in {store.path}. Export "
                    "one of the two stores and import it again, which gives new ids."
                )
            if not (folder := other.folder(id)).is_dir():
                raise DataFileError(f"Cannot merge {other.path}: the files of episode {id} are missing in {folder}.")
            labels = theirs.labels.get(id, {})
            tags, split = sorted(theirs.tags[id]), theirs.splits.get(id, "")
            entries.append({"episode": sealed.to_json(), "tags": tags, "split": split, "labels": labels})
            if not here.is_dir():
                folders.append(folder)
    ids = [entry["episode"]["id"] for entry in entries]
    if not ids or specs is None:
        return []
    with room_named("merge stores", "The store is as before."):
        if store.specs is None:
            store.journal.append(
                {"op": "schema", "observation_spec": to_json(specs[0]), "action_spec": to_json(specs[1])}
            )
        store.journal.append({"op": "merging", "ids": ids})
        try:
            for folder in folders:
                _place(folder, store.path, copy=copy, durable=store.durable)
            if store.durable:
                sync_folder(store.path / "episodes")
            store.journal.append({"op": "merge", "ids": ids, "episodes": entries})
        except OSError:
            for folder in folders:
                shutil.rmtree(store.path / "episodes" / folder.name, ignore_errors=True)
            raise
    return ids


def _place(folder: Path, target: Path, *, copy: bool, durable: bool) -> None:
    """Make `episodes/<id>` of the target hold the same files, whole or not at all."""
    aside = target / "recording" / f"{folder.name}.merging"
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    for path in sorted(folder.iterdir()):
        if not copy:
            try:
                os.link(path, aside / path.name)
                continue
            except OSError:
                copy = True  # another disk, or a file system without links
        shutil.copy2(path, aside / path.name)
        if durable:
            with (aside / path.name).open("rb") as file:
                os.fsync(file.fileno())
    if durable:
        sync_folder(aside)
    aside.rename(target / "episodes" / folder.name)


def compact(store: Store) -> int:
    """Remove the files of deleted episodes, of merges that were undone, and all caches; returns the bytes given back.

    This cannot be undone, nor can any edit before it.

    Raises:
        StoreError: Another writer has the store.
    """
    store.lock()
    state = store.journal.state
    ids = sorted(state.deleted & state.facts.keys())
    undone = sorted(store.journal.announced() - state.facts.keys() - store.journal.abandoned())
    freed = 0
    with room_named("compact the store", "Nothing was removed."):
        store.journal.append({"op": "compact", "ids": [*ids, *undone]})
    for path in (store.path / "cache").glob("*"):
        freed += _bytes(path)
        shutil.rmtree(path)
    for id in (*ids, *undone):
        freed += _bytes(store.path / "episodes" / id)
    store.recover()
    return freed


def _bytes(folder: Path) -> int:
    """Bytes that only this folder holds."""
    facts = [path.stat() for path in folder.iterdir()] if folder.is_dir() else []
    return sum(fact.st_size for fact in facts if fact.st_nlink == 1)
