"""Doubtful motion in one episode: jumps of an encoder, and long idle times at its ends.

A jump is a step far beyond everything else this signal does: more than `_FACTOR` robust standard deviations (1.4826 x
the median absolute deviation of its steps), several times its 90th percentile and the steps around it, because a fast
motion has fast neighbours and a lost count has none. Only joints are judged (radians, or the unit-less state of foreign
data): objects do jump when they are hit. Steps beside an accepted event are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robolearn.data.findings import Finding, few
from robolearn.episode import Episode
from robolearn.specs import Array

__all__ = ["idle_ends", "jumps"]

_FACTOR = 12.0
_BESIDE = 4  # rows on each side that a step is compared with
_FLOOR_RAD = 0.02  # smaller steps are never called a jump
_FLOOR_SHARE = 0.1  # likewise, of the range of a signal without unit
_VARIED = 0.5  # share of steps that are not zero, below which a signal without unit is a switch
_POSITIONS = ("rad", "m", "")
_IDLE_S = 1.0
_STILL = 0.01  # of a signal's range


def _signals(episode: Episode) -> Iterator[tuple[str, int, Array, str]]:
    """Array, element, values and unit of every continuous signal that tells a position."""
    for name, spec in episode.observation_spec.items():
        if (
            np.dtype(spec.dtype).kind == "f"
            and len(spec.shape) == 1
            and spec.shape[0] <= 128
            and spec.unit in _POSITIONS
        ):
            if name.startswith("task."):
                continue
            for element in range(spec.shape[0]):
                label = spec.names[element] if spec.names else str(element)
                yield (
                    f"{name}[{label}]",
                    element,
                    np.asarray(episode.observations[name][:, element], np.float64),
                    spec.unit,
                )


def jumps(id: str, episode: Episode) -> Iterator[Finding]:
    """Steps of a position signal that no motion explains."""
    if episode.steps < 12:
        return
    disturbed = np.zeros(episode.steps, bool)
    for event in episode.events:
        if event.accepted:
            first, last = np.searchsorted(episode.times, [event.time, event.end])
            disturbed[max(0, int(first) - 2) : int(last) + 2] = True
    for label, _, values, unit in _signals(episode):
        steps = np.abs(np.diff(values))
        spread = 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
        usual = float(np.quantile(steps, 0.9))
        if (
            unit == "m"
            or (unit == "" and not label.startswith("robot."))
            or (not unit and np.mean(steps > 0) < _VARIED)
        ):
            continue
        reach = float(np.quantile(values, 0.99) - np.quantile(values, 0.01))
        floor = _FLOOR_RAD if unit else _FLOOR_SHARE * reach
        limit = max(_FACTOR * spread, 4 * usual, floor)
        rows = [k for k in np.flatnonzero((steps > limit) & ~disturbed) if _alone(steps, int(k))]
        if rows:
            worst = max(rows, key=lambda k: steps[k])
            back = worst + 1 < len(steps) and abs(values[worst + 2] - values[worst]) < 0.3 * steps[worst]
            what = "jumps and comes back" if back else "jumps and stays"
            yield Finding(
                "encoder jump",
                f"{id}, {label}, rows {few(np.array(rows) + 1)}",
                "likely",
                f"It {what} by {steps[worst]:.4g} {unit or '(no unit)'} in one row; {limit:.4g} is the most that its "
                "other steps explain.",
                "Look at the episode; check the cable, the encoder or the pose estimate, and delete the episode if the "
                "value is wrong.",
            )


def _alone(steps: Array, k: int) -> bool:
    """Whether a step stands out from those beside it; the two steps of a spike count as one."""
    beside = np.concatenate([steps[max(0, k - _BESIDE) : max(0, k - 1)], steps[k + 2 : k + 2 + _BESIDE]])
    return len(beside) > 0 and steps[k] > 5 * float(beside.max())


def idle_ends(id: str, episode: Episode) -> Iterator[Finding]:
    """Long times at the start or the end in which nothing moves."""
    still = np.ones(episode.steps + 1, bool), np.ones(episode.steps + 1, bool)
    moving = False
    for _, _, values, _ in _signals(episode):
        reach = float(np.ptp(values))
        if reach < 1e-6:
            continue
        moving = True
        for flags, end in zip(still, (values[0], values[-1]), strict=True):
            flags &= np.abs(values - end) < _STILL * reach
    if not moving:
        return
    head, tail = int(np.argmin(still[0])), int(np.argmin(still[1][::-1]))
    for kind, rows, cure in (
        ("idle head", head, "The operator waited: a policy would learn to wait too. Leave those rows out of training."),
        ("idle tail", tail, "Stop recording earlier, or leave those rows out of training."),
    ):
        duration_s = float(episode.times[rows] - episode.times[0]) if kind == "idle head" else 0.0
        if kind == "idle tail":
            duration_s = float(episode.times[-1] - episode.times[-1 - rows])
        if duration_s >= _IDLE_S and rows >= 5:
            where = (
                f"rows 0 to {rows - 1}"
                if kind == "idle head"
                else f"rows {episode.steps + 1 - rows} to {episode.steps}"
            )
            yield Finding(
                kind,
                f"{id}, {where}",
                "likely",
                f"Nothing moves for {duration_s:.1f} s of {episode.times[-1] - episode.times[0]:.1f} s.",
                cure,
            )
