"""Onion sorting as a person does it, in points: a batched domain whose state is what a camera tracks.

After the laboratory's public environment for Visual IRL (thinclab/imitation, branch robust_online_airl; MIT): 29
numbers (right shoulder, elbow, wrist; five onions with x, y, z and label), a decision is the wrist's displacement,
good onions belong onto the conveyor and blemished ones into the bin. Rewritten from its description, with these
differences:

- A label is hidden until the held onion has been at the eye; what was seen is remembered.
- The tracked point is the wrist, and what grasps is the hand, 0.19 m further on: the median distance over the 50
  recorded picks. Bin and conveyor begin where the recorded wrists let go, not at the laboratory's y = 0.45 m.
- Picking and letting go happen to what is *seen*: a hand that is seen at an onion leaves with it, one that is seen over
  a place leaves without. So a reward on states alone can tell a good deed from a bad one.
- Elbow and shoulder follow the wrist by a linear fit (`fit_arm`); they serve the posture and not the reward, because a
  tracker's noise in them would tell a recording from a simulation.
- For learning, the line is endless: a sorted onion is replaced by a new one. Every episode then has the same length,
  and a reward cannot prefer long or short ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robolearn.keypoints.tracks import Tracks
from robolearn.specs import Array

__all__ = [
    "ACTION_M",
    "EYE_M",
    "FEATURES",
    "HAND_M",
    "Line",
    "OnionLine",
    "features",
    "fit_arm",
    "in_bin",
    "on_conveyor",
    "replay",
    "step_line",
]

HAND_M = np.array([0.13, 0.05, -0.13])
"""From the wrist to what it grasps: median over the recorded picks."""
EYE_M, EYE_RADIUS_M = np.array([0.50, -0.10, 1.17]), 0.15
"""The wrist's place for a look at the onion: median over the recorded looks."""
GRASP_M = 0.10
TABLE_M = 0.77
LOW_M, HIGH_M = np.array([0.25, -0.65, 0.78]), np.array([0.85, 0.70, 1.40])
"""Where a wrist can be."""
SLOTS_M = np.array([-0.16, -0.08, 0.01, 0.10, 0.18])
"""y of the five onions; x is drawn between 0.61 and 0.87 m. Both as recorded."""
ACTION_M = 0.75
"""Largest displacement in one step and direction, as recorded."""
LOOKS = 8
"""Frames at the eye that count as a long look: what people took."""
FEATURES = ("hand x", "hand y", "hand z", "onion dx", "onion dy", "onion dz", "held", "label", "looked")
_CENTRE, _SCALE = np.array([0.6, 0.0, 0.95]), 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The state of n rows.

    Attributes:
        wrist: (n, 3) m.
        onions: (n, 5, 3) m.
        good: (n, 5) bool.
        gone: (n, 5) bool, sorted.
        held: (n,) index of the onion in the hand, -1 for none.
        looked: (n,) frames that the held onion has been at the eye.
    """

    wrist: Array
    onions: Array
    good: Array
    gone: Array
    held: Array
    looked: Array


def in_bin(wrist: Array) -> Array:
    """Whether a wrist (..., 3) is over the bin."""
    return (wrist[..., 1] > 0.22) & (wrist[..., 2] > 0.95) & (wrist[..., 0] < 0.70)


def on_conveyor(wrist: Array) -> Array:
    """Whether a wrist (..., 3) is down at the conveyor."""
    return (wrist[..., 1] < -0.24) & (wrist[..., 2] < 1.05) & (wrist[..., 0] > 0.40)


def focus(line: Line) -> Array:
    """(n,) the onion in the hand, else the nearest one that waits; 0 where none does."""
    gap = np.linalg.norm(line.onions - (line.wrist + HAND_M)[:, None], axis=-1)
    return np.where(line.held >= 0, line.held, np.argmin(np.where(line.gone, np.inf, gap), axis=1))


def features(line: Line) -> Array:
    """(n, 9) what policy and reward see (`FEATURES`): lengths in units of 0.3 m, the label only once it was seen."""
    rows, chosen = np.arange(len(line.wrist)), focus(line)
    hand, held = line.wrist + HAND_M, line.held >= 0
    waiting = ~line.gone.all(axis=1)
    gap = np.where((held | ~waiting)[:, None], 0.0, line.onions[rows, chosen] - hand)
    label = np.where(held & (line.looked > 0), np.where(line.good[rows, chosen], 1.0, -1.0), 0.0)
    looked = np.minimum(line.looked, LOOKS) / LOOKS * held
    return np.column_stack([(hand - _CENTRE) / _SCALE, gap / _SCALE, held, label, looked])


def step_line(line: Line, action: Array, generator: np.random.Generator | None = None) -> tuple[Line, Array, Array]:
    """One step of all rows.

    Args:
        line: Now.
        action: (n, 3) displacements of the wrist, m; clipped to `ACTION_M`.
        generator: Replaces sorted onions by new ones; None lets the line run empty.

    Returns:
        The next state, the true reward (n,), and (n,) which kind of sorting happened: 0 none, 1 good conveyed, 2 good
        binned, 3 blemished binned, 4 blemished conveyed.
    """
    rows = np.arange(len(line.wrist))
    holding = line.held >= 0
    binned, conveyed = holding & in_bin(line.wrist), holding & on_conveyor(line.wrist)
    sorted_now = binned | conveyed
    good = line.good[rows, line.held] & holding
    deed = np.select(
        [conveyed & good, binned & good, binned & ~good, conveyed & ~good], [1, 2, 3, 4], default=0
    )  # of a hand seen over a place
    reward = np.where((deed == 1) | (deed == 3), 1.0, np.where(deed > 0, -1.0, 0.0)) - 0.001

    onions, labels, gone = line.onions.copy(), line.good.copy(), line.gone.copy()
    gone[rows[sorted_now], line.held[sorted_now]] = True
    if generator is not None and sorted_now.any():
        fresh = rows[sorted_now], line.held[sorted_now]
        gone[fresh], labels[fresh] = False, generator.random(len(fresh[0])) < 0.5
        onions[fresh] = np.column_stack(
            [generator.uniform(0.61, 0.87, len(fresh[0])), SLOTS_M[fresh[1]], np.full(len(fresh[0]), TABLE_M)]
        )
    hand = line.wrist + HAND_M
    gap = np.where(gone, np.inf, np.linalg.norm(onions - hand[:, None], axis=-1))
    near = np.argmin(gap, axis=1)
    grasped = ~holding & (gap[rows, near] < GRASP_M)
    held = np.where(sorted_now, -1, np.where(grasped, near, line.held))
    wrist = np.clip(line.wrist + np.clip(action, -ACTION_M, ACTION_M), LOW_M, HIGH_M)
    carrying = held >= 0
    onions[rows[carrying], held[carrying]] = wrist[carrying] + HAND_M
    at_eye = carrying & (np.linalg.norm(wrist - EYE_M, axis=1) < EYE_RADIUS_M)
    looked = np.where(carrying & (held == line.held), line.looked, 0) + at_eye
    return Line(wrist, onions, labels, gone, held, looked), reward, deed


class OnionLine:
    """n rows of the domain with their own time limit.

    Args:
        n: Rows.
        generator: Of layouts.
        horizon: Steps of an episode.
        endless: Replace sorted onions.
        reach_m: Largest displacement in one step; a robot that is slower than a person has a smaller one (claim I9).
        noise_m: Standard deviation of the tracker's error in every point seen, m (claim I3).
    """

    def __init__(
        self,
        n: int,
        generator: np.random.Generator,
        *,
        horizon: int = 100,
        endless: bool = True,
        reach_m: float = ACTION_M,
        noise_m: float = 0.0,
    ):
        self._reach = reach_m
        self.n, self.horizon, self._endless, self._noise = n, horizon, endless, noise_m
        self._generator = generator
        self.line, self.deeds = start_line(n, generator), np.zeros((n, 5), int)
        self.steps = 0

    def observe(self) -> Array:
        """(n, 9) features, with the tracker's error."""
        return features(noisy(self.line, self._noise, self._generator))

    def step(self, action: Array) -> Array:
        """Move on and return the true reward (n,)."""
        action = np.clip(action, -self._reach, self._reach)
        self.line, reward, deed = step_line(self.line, action, self._generator if self._endless else None)
        self.deeds[np.arange(self.n), deed] += 1
        self.steps += 1
        return reward

    @property
    def over(self) -> bool:
        """Whether the time is up or nothing is left to sort."""
        return self.steps >= self.horizon or bool(self.line.gone.all())

    def reset(self) -> None:
        """New layouts in all rows."""
        self.line, self.deeds, self.steps = start_line(self.n, self._generator), np.zeros((self.n, 5), int), 0


def start_line(n: int, generator: np.random.Generator) -> Line:
    """New layouts: onions side by side on the table, labels fair coins, the hand in front of the body."""
    x = generator.uniform(0.61, 0.87, (n, 5))
    y = SLOTS_M + generator.normal(0.0, 0.01, (n, 5))
    onions = np.stack([x, y, np.full((n, 5), TABLE_M)], axis=-1)
    wrist = np.array([0.45, -0.12, 1.05]) + generator.normal(0.0, 0.06, (n, 3))
    none = np.zeros((n, 5), bool)
    return Line(wrist, onions, generator.random((n, 5)) < 0.5, none, np.full(n, -1), np.zeros(n, int))


def noisy(line: Line, noise_m: float, generator: np.random.Generator) -> Line:
    """The line as a tracker with this error sees it; what is held and what was read on it stays known."""
    if noise_m <= 0.0:
        return line
    return replace(
        line,
        wrist=line.wrist + generator.normal(0.0, noise_m, line.wrist.shape),
        onions=line.onions + generator.normal(0.0, noise_m, line.onions.shape),
    )


def replay(tracks: Tracks) -> tuple[list[Line], Array, Array]:
    """A recording in the domain's terms, up to its last sorted onion.

    The wrist moves as recorded; an onion is in the hand from the frame in which it was seen lifted until the hand was
    seen over a place or the recording has it back on the table.

    Returns:
        T + 1 states of one row, actions (T, 3), and (T,) deeds as in `step_line`.
    """
    if tracks.onions is None:
        raise ValueError(f"{tracks.source} has no onions.")
    wrists, seen = tracks.point("right_wrist"), tracks.onions
    lifted = (seen[..., 2] > TABLE_M + 0.07) & (seen[..., 3] >= 0)
    first = seen[0, :, :3]
    line = Line(
        wrists[:1], first[None].copy(), seen[:1, :, 3] > 0.5, np.zeros((1, 5), bool), np.array([-1]), np.zeros(1, int)
    )
    lines, actions = [line], np.diff(wrists, axis=0)
    deeds: list[int] = []
    for t, action in enumerate(actions):
        up = np.flatnonzero(lifted[t + 1] & ~line.gone[0])
        following, _, deed = step_line(line, action[None])
        wanted = int(up[np.argmax(seen[t + 1, up, 2])]) if len(up) else -1
        if line.held[0] >= 0 and deed[0] == 0 and (wanted >= 0 or not lifted[t + 1 :, line.held[0]].any()):
            wanted = int(line.held[0])  # a tracker that swaps two onions for a frame; or let go between two frames
        if deed[0]:
            wanted = -1
        if wanted != following.held[0]:
            onions = following.onions.copy()
            if following.held[0] >= 0:
                onions[0, following.held[0]] = first[following.held[0]]
            if wanted >= 0:
                onions[0, wanted] = following.wrist[0] + HAND_M
            at_eye = wanted >= 0 and np.linalg.norm(following.wrist[0] - EYE_M) < EYE_RADIUS_M
            before = line.looked if wanted >= 0 and wanted == line.held[0] else np.zeros(1, int)
            following = replace(following, onions=onions, held=np.array([wanted]), looked=before + int(at_eye))
        lines.append(replace(following, wrist=wrists[t + 1 : t + 2]))
        deeds.append(int(deed[0]))
        line = lines[-1]
    last = int(np.flatnonzero(deeds)[-1]) + 1 if any(deeds) else len(deeds)
    return lines[: last + 1], actions[:last], np.array(deeds[:last])


def fit_arm(recordings: list[Array]) -> Array:
    """Least-squares fit (4, 6) of elbow and shoulder on (wrist, 1), from points (T, 3, 3) of each recording."""
    points = np.concatenate(recordings)
    inputs = np.column_stack([points[:, 2], np.ones(len(points))])
    return np.linalg.lstsq(inputs, points[:, [1, 0]].reshape(len(points), 6), rcond=None)[0]
