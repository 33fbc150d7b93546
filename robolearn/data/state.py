"""What the edits of a store add up to: a fold over the lines of its journal, without a file in sight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from robolearn.data.sealing import EpisodeInfo
from robolearn.episode import Outcome
from robolearn.errors import StoreError
from robolearn.specs import ArraySpec, from_json

__all__ = ["DEGRADED", "RECOVERED", "Edit", "State"]

RECOVERED = "recovered"
"""Tag of an episode that was cut short by a crash; training skips it until the tag is removed."""
DEGRADED = "degraded"
"""Tag of an episode whose cameras lost frames."""
Edit = Mapping[str, Any]


@dataclass(slots=True)
class State:
    """What the edits add up to.

    Attributes:
        facts: What was sealed by id, as plain values, deleted ones too (see `sealed`).
        tags: Tags by id.
        splits: Split by id; ids without one are not in it.
        deleted: Ids that are hidden.
        schema: Observation and action spec, None before the first episode.
        labels: Corrected facts by id, such as {"outcome": "FAILURE"}; `facts` has what was sealed.
        order: Ids that were put in front, in this order.
        batch: Number of the merge an id came with; recorded ones have none.
    """

    facts: dict[str, Mapping[str, Any]] = field(default_factory=lambda: {})
    tags: dict[str, frozenset[str]] = field(default_factory=lambda: {})
    splits: dict[str, str] = field(default_factory=lambda: {})
    deleted: set[str] = field(default_factory=lambda: set())
    schema: tuple[dict[str, ArraySpec], dict[str, ArraySpec]] | None = None
    labels: dict[str, dict[str, Any]] = field(default_factory=lambda: {})
    order: list[str] = field(default_factory=lambda: [])
    batch: dict[str, int] = field(default_factory=lambda: {})

    def sorted_ids(self) -> list[str]:
        """All ids: first those put in front, then in order of recording, then each merge in its own order."""
        place = {id: k for k, id in enumerate(self.order)}
        last = len(place)
        return sorted(self.facts, key=lambda id: (place.get(id, last), self.batch.get(id, 0), id))

    def sealed(self, id: str) -> EpisodeInfo:
        """Facts of an episode as it was sealed; made when asked for, since opening a store needs none."""
        return EpisodeInfo.from_json(self.facts[id])

    def info(self, id: str) -> EpisodeInfo:
        """Facts of an episode with its corrections."""
        labels = self.labels.get(id)
        if not labels:
            return self.sealed(id)
        outcome = {"outcome": Outcome[labels["outcome"]]} if "outcome" in labels else {}
        return replace(self.sealed(id), **{**labels, **outcome})

    def apply(self, edit: Edit) -> None:
        """One edit; an unknown one is refused.

        Raises:
            StoreError: The edit is from a newer version.
        """
        op, ids = edit["op"], edit.get("ids", [])
        if op == "add":
            id = edit["episode"]["id"]
            self.facts[id] = edit["episode"]
            self.tags[id] = frozenset(edit.get("tags", []))
        elif op == "schema":
            self.schema = (from_json(edit["observation_spec"]), from_json(edit["action_spec"]))
        elif op == "delete":
            self.deleted.update(ids)
        elif op == "restore":
            self.deleted.difference_update(ids)
        elif op == "tag":
            for id in ids:
                self.tags[id] = (self.tags[id] | set(edit["add"])) - set(edit["remove"])
        elif op == "split":
            for id in ids:
                self.splits[id] = edit["name"]
                if not edit["name"]:
                    del self.splits[id]
        elif op == "label":
            for id in ids:
                self.labels[id] = {**self.labels.get(id, {}), **edit["facts"]}
        elif op == "order":
            rest = set(ids)
            self.order = [*ids, *(id for id in self.order if id not in rest)]
        elif op == "rename split":
            self.splits = {id: edit["new"] if name == edit["old"] else name for id, name in self.splits.items()}
        elif op == "rename tag":
            swap = {edit["old"]}
            self.tags = {
                id: (tags - swap) | {edit["new"]} if edit["old"] in tags else tags for id, tags in self.tags.items()
            }
        elif op == "merge":
            for one in edit["episodes"]:
                id = one["episode"]["id"]
                self.facts[id] = one["episode"]
                self.tags[id] = frozenset(one["tags"])
                self.batch[id] = edit["n"]
                for kept, key in ((self.splits, "split"), (self.labels, "labels")):
                    if one[key]:
                        kept[id] = one[key]
        elif op == "compact":
            for id in ids:
                for facts in (self.facts, self.tags, self.splits, self.labels, self.batch):
                    facts.pop(id, None)
            self.deleted.difference_update(ids)
            self.order = [id for id in self.order if id in self.facts]
        elif op not in ("create", "undo", "merging"):
            raise StoreError(f"Unknown edit {op!r} in the journal; the store was written by a newer version.")
