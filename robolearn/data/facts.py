"""What is in a store, for people and for `robolearn data info`: read from its journal alone, so it is quick."""

from __future__ import annotations

from collections import Counter
from typing import Any

from robolearn.data.store import RECOVERED, Store
from robolearn.specs import to_json

__all__ = ["describe"]


def describe(store: Store) -> dict[str, Any]:
    """Facts about a store as plain JSON values, from its journal alone."""
    everything = store.ids(include_deleted=True, include_recovered=True)
    live = store.ids(include_recovered=True)
    usable = store.ids()
    infos = [store.info(id) for id in live]
    return {
        "path": str(store.path),
        "episodes": len(usable),
        "recovered": sum(RECOVERED in store.tags_of(id) for id in live),
        "deleted": len(everything) - len(live),
        "steps": sum(info.steps for info in infos),
        "frames": sum(info.steps + 1 for info in infos),
        "duration_s": sum(info.duration_s for info in infos),
        "rates_hz": sorted({info.rate_hz for info in infos}),
        "tasks": dict(Counter(info.task for info in infos)),
        "instructions": dict(Counter(info.instruction for info in infos)),
        "robots": dict(Counter(info.robot for info in infos)),
        "operators": dict(Counter(info.operator for info in infos)),
        "sources": dict(Counter(info.source.partition(":")[0] for info in infos)),
        "outcomes": dict(Counter(info.outcome.name for info in infos)),
        "splits": dict(Counter(store.split_of(id) or "none" for id in live)),
        "tags": dict(Counter(tag for id in live for tag in sorted(store.tags_of(id)))),
        "events": sum(info.events for info in infos),
        "size_bytes": sum(store.info(id).size_bytes for id in everything),
        "fingerprint": store.fingerprint(),
        "observation_spec": to_json(store.specs[0]) if store.specs else {},
        "action_spec": to_json(store.specs[1]) if store.specs else {},
    }
