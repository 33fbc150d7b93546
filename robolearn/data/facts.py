"""What is in a store, and what is wrong with it, for people and for `robolearn data info` and `validate`.

A finding says where it is, how sure we are and what to do; nothing is repaired here. `describe` reads only the journal,
`validate` reads everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robolearn.data.log_reader import Log
from robolearn.data.store import RECOVERED, Store
from robolearn.episode import Episode
from robolearn.errors import DataFileError
from robolearn.specs import Array, bounds, to_json

__all__ = ["Finding", "describe", "validate"]

Certainty = Literal["certain", "likely", "possible"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may be wrong.

    Attributes:
        kind: Short name, such as "damaged" or "frozen camera".
        where: Episode, array and rows.
        certainty: "certain", "likely" or "possible".
        message: What was expected and found.
        cure: What to do.
    """

    kind: str
    where: str
    certainty: Certainty
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind} ({self.certainty}). {self.message} {self.cure}"


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


def validate(store: Store, ids: Sequence[str] | None = None) -> list[Finding]:
    """Check files and contents of episodes.

    Args:
        store: Where they are.
        ids: Which; by default all that are not deleted.
    """
    findings: list[Finding] = []
    for id in store.ids(include_recovered=True) if ids is None else ids:
        damaged = store.verify([id]).get(id, [])
        cure = "Restore the folder from a copy, or delete the episode."
        findings.extend(Finding("damaged", id, "certain", f"{text}.", cure) for text in damaged)
        try:
            log = store.log(id)
        except DataFileError as error:
            if not damaged:
                findings.append(Finding("damaged", id, "certain", str(error), cure))
            continue
        if log.episode is not None:
            findings.extend(_content(id, log, log.episode))
    return findings


def _content(id: str, log: Log, episode: Episode) -> Iterator[Finding]:
    yield from _gaps(id, episode)
    for name, spec in episode.observation_spec.items():
        values = episode.observations[name]
        if spec.is_image:
            yield from _camera(id, name, values, log.captured[name])
        else:
            yield from _limits(id, f"observation {name}", values, *bounds(spec))
    for kind, arrays in (("sent action", episode.actions), ("requested action", episode.requested)):
        for name, spec in episode.action_spec.items():
            yield from _limits(id, f"{kind} {name}", arrays[name], *bounds(spec))
    if episode.steps >= 10 and all(np.all(values == values[0]) for values in episode.actions.values()):
        yield Finding(
            "constant action",
            f"{id}, all sent actions",
            "likely",
            f"All {episode.steps} actions are equal: nobody moved the robot, or the device was not connected.",
            "Look at the episode; delete it if it shows nothing.",
        )


def _gaps(id: str, episode: Episode) -> Iterator[Finding]:
    period_s = 1 / episode.meta.rate_hz
    steps_s = np.diff(episode.times)
    if len(rows := np.flatnonzero(steps_s > 2 * period_s)):
        yield Finding(
            "gap in time",
            f"{id}, rows {_few(rows)}",
            "certain",
            f"Expected a row every {period_s * 1e3:.1f} ms; the longest gap is {steps_s.max() * 1e3:.1f} ms.",
            "A stall of the recorder or a device: leave out the episode if the motion did not pause, and check the "
            "load of the machine.",
        )


def _limits(id: str, what: str, values: Array, low: Array, high: Array) -> Iterator[Finding]:
    numbers = np.asarray(values, np.float64).reshape(len(values), -1)
    flat_low, flat_high = low.reshape(-1), high.reshape(-1)
    if len(rows := np.flatnonzero(~np.isfinite(numbers).all(axis=1))):
        yield Finding(
            "not finite", f"{id}, {what}, rows {_few(rows)}", "certain", "NaN or infinity.", "Delete the episode."
        )
    if len(rows := np.flatnonzero(((numbers < flat_low) | (numbers > flat_high)).any(axis=1))):
        worst = numbers[rows]
        yield Finding(
            "out of spec",
            f"{id}, {what}, rows {_few(rows)}",
            "certain",
            f"Expected values within {flat_low.tolist()} and {flat_high.tolist()}; found from {worst.min():.6g} to "
            f"{worst.max():.6g}.",
            "Correct the limits in the spec if the robot can do this, else check the device and delete the episode.",
        )


def _camera(id: str, name: str, frames: Array, captured: Array) -> Iterator[Finding]:
    if len(frames) >= 5 and int(frames.max()) <= 8:
        yield Finding(
            "black camera",
            f"{id}, {name}",
            "likely",
            f"No pixel of {len(frames)} pictures is brighter than {int(frames.max())} of 255.",
            "Check lens cap, exposure and light.",
        )
        return
    same: Array = np.array([np.array_equal(a, b) for a, b in zip(frames[1:], frames[:-1], strict=True)], bool)
    repeated: Array = np.diff(captured) == 0
    run = _longest_run(same & ~repeated)
    if run >= 5:
        yield Finding(
            "frozen camera",
            f"{id}, {name}",
            "possible" if run < 20 else "likely",
            f"{run} pictures in a row are equal to the last bit although their capture times differ.",
            "A real camera always has some noise: check its driver. In a simulation nothing may have moved.",
        )
    share = float(np.mean(repeated)) if len(repeated) else 0.0
    if share > 0.01:
        yield Finding(
            "repeated pictures",
            f"{id}, {name}",
            "certain",
            f"{share:.0%} of the rows repeat the picture before (the camera is slower than the control rate).",
            "Fine if intended; else raise the camera's rate or lower the control rate.",
        )


def _longest_run(flags: Array) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _few(rows: Array) -> str:
    shown = ", ".join(str(int(row)) for row in rows[:5])
    return shown if len(rows) <= 5 else f"{shown} and {len(rows) - 5} more"
