"""Pouring as a person does it, in points: a batched domain whose state is what a camera tracks.

The second task of Visual IRL (Asali and Doshi, arXiv 2412.11360) in the conventions of the first (`onions`): right
shoulder, elbow and wrist, the bottle with its tip, two bowls, a crate, the command, and how much is still in the
bottle. A decision is the wrist's displacement and the change of tip. The public environment holds onions only, so rules
and numbers are ours; places and motions are those of the simulated person (`sim.human.pouring`).

- Deeds happen to what is *seen*: a hand that is seen at a standing bottle leaves with it, a bottle that is seen tipped
  loses beads to where its mouth is seen, and one that is seen standing low in the crate is let go of. So a reward on
  states alone can tell a good deed from a bad one.
- The bottle is rigid in the hand and tips about it to the person's left; how fast it empties differs from bottle to
  bottle.
- Features name gaps, not places: of the hand to the bottle, of the mouth to the bowl that was asked for, of the bottom
  to the crate. The other bowl is a place like any other that is not the one asked for.
- For learning, the work is endless: a bottle that was put away is replaced by a new table. Every episode then has the
  same length, and a reward cannot prefer long or short ones.
"""

# Types of numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from robolearn.specs import Array

__all__ = [
    "BOTTLE_HEIGHT_M",
    "BOWL_M",
    "DECISION",
    "EMPTY",
    "FEATURES",
    "FLOW_RAD",
    "GRIP_M",
    "HOLD_M",
    "REST_M",
    "TABLE_M",
    "UNIT_M",
    "Pour",
    "PourTable",
    "PourTracks",
    "axis_of",
    "features",
    "in_crate",
    "mouth_of",
    "seen_states",
    "start_pour",
    "step_pour",
]

TABLE_M = 0.77
"""Height of the table top."""
HOLD_M = np.array([0.11, 0.03, -0.06])
"""From the wrist to the middle of the grip."""
GRIP_M = 0.09
"""Height of the grip above the bottle's bottom."""
BOTTLE_HEIGHT_M = 0.20
BOWL_M = (0.075, 0.06)
"""Radius and height of a bowl; its origin is the middle of its bottom."""
REST_M = np.array([0.50, -0.12, 1.02])
"""Where a wrist rests."""
FLOW_RAD = 1.6
"""Tip from which beads leave the bottle."""
GRASP_M = 0.05
"""Distance of hand and grip at which the bottle is taken."""
CRATE_M = (0.08, 0.05)
"""How far the bottle's bottom is from the crate's middle, and above the table, when it stands in it."""
UPRIGHT_RAD = 0.35
EMPTY = 0.05
"""Share of beads up to which a bottle counts as empty."""
DECISION = np.array([0.4, 0.4, 0.4, 1.2])
"""Largest decision: displacement of the wrist, m, and change of tip, rad. People at 3 Hz stay below."""
MOST_RAD = 2.5
LOW_M, HIGH_M = np.array([0.25, -0.55, 0.80]), np.array([0.85, 0.55, 1.40])
"""Where a wrist can be."""
FLOW_SHARE = (0.12, 0.40)
"""Range of the share of beads that leaves in one step."""
UNIT_M = 0.15
"""Unit of lengths in features: the width of a bowl."""
FEATURES = (
    *("bottle dx", "bottle dy", "bottle dz", "bowl dx", "bowl dy", "bowl dz", "crate dx", "crate dy", "crate dz"),
    *("held", "tip", "left"),
)
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Pour:
    """The state of n rows.

    Attributes:
        wrist: (n, 3) m.
        tip: (n,) how far the held bottle is tipped to the left, rad; 0 while it stands.
        bottle: (n, 3) the middle of its bottom, m.
        held: (n,) bool, it is in the hand.
        left: (n,) share of beads that is still in it.
        flow: (n,) share that leaves in one step while it is tipped; nobody sees it.
        bowls: (n, 2, 3) m.
        crate: (n, 3) m.
        command: (n,) which bowl was asked for.
        gone: (n,) bool, the bottle was put away.
    """

    wrist: Array
    tip: Array
    bottle: Array
    held: Array
    left: Array
    flow: Array
    bowls: Array
    crate: Array
    command: Array
    gone: Array


@dataclass(frozen=True, slots=True, eq=False)
class PourTracks:
    """What a camera tracked of people who pour, T frames.

    Attributes:
        points: (T, 3, 3) right shoulder, elbow, wrist, m.
        bottle: (T, 3) the middle of its bottom, m.
        tip: (T,) how far it is tipped, rad.
        left: (T,) share of beads still in it.
        bowls: (T, 2, 3) m.
        crate: (T, 3) m.
        command: (T,) which bowl is asked for.
        rate_hz: Frames per second.
        source: Where it comes from.
    """

    points: Array
    bottle: Array
    tip: Array
    left: Array
    bowls: Array
    crate: Array
    command: Array
    rate_hz: float
    source: str


def axis_of(tip: Array) -> Array:
    """(..., 3) from bottom to mouth of bottles tipped to the left by angles (...)."""
    return np.stack([np.zeros_like(tip), np.sin(tip), np.cos(tip)], axis=-1)


def mouth_of(pour: Pour) -> Array:
    """(n, 3) the middle of the bottles' mouths, m."""
    return pour.bottle + BOTTLE_HEIGHT_M * axis_of(pour.tip)


def in_crate(pour: Pour) -> Array:
    """(n,) whether bottles stand low in their crates."""
    gap = pour.bottle - pour.crate
    inside = (np.abs(gap[:, :2]).max(axis=1) < CRATE_M[0]) & (gap[:, 2] < CRATE_M[1])
    return inside & (np.abs(pour.tip) < UPRIGHT_RAD)


def features(pour: Pour) -> Array:
    """(n, 12) what policy and reward see (`FEATURES`): lengths in units of `UNIT_M`, the tip in rad.

    A free hand sees how far the bottle's grip is; one that holds it sees mouth, bowl and crate.
    """
    rows, held = np.arange(len(pour.wrist)), pour.held[:, None]
    to_grip = pour.bottle + GRIP_M * _UP - pour.wrist - HOLD_M
    to_bowl = pour.bowls[rows, pour.command] + BOWL_M[1] * _UP - mouth_of(pour)
    gaps = [
        np.where(held | pour.gone[:, None], 0.0, to_grip),
        np.where(held, to_bowl, 0.0),
        np.where(held, pour.crate - pour.bottle, 0.0),
    ]
    return np.column_stack([*(gap / UNIT_M for gap in gaps), pour.held, np.where(pour.held, pour.tip, 0.0), pour.left])


def step_pour(pour: Pour, action: Array, generator: np.random.Generator | None = None) -> tuple[Pour, Array, Array]:
    """One step of all rows.

    Args:
        pour: Now.
        action: (n, 4) displacements of the wrist, m, and changes of tip, rad; clipped to `DECISION`.
        generator: Replaces a table whose bottle was put away by a new one; None leaves it.

    Returns:
        The next state, the true reward (n,) - what falls into the right bowl, less what falls elsewhere, one for an
        empty bottle in the crate and minus one for another -, and (n, 3) which share of beads fell into the right bowl,
        into the wrong one, and beside both.
    """
    action = np.clip(action, -DECISION, DECISION)
    rows, falls = np.arange(len(pour.wrist)), _falling(pour)
    put = pour.held & in_crate(pour)
    away = np.where(pour.left <= EMPTY, 1.0, -1.0)
    reward = falls[:, 0] - falls[:, 1] - falls[:, 2] + np.where(put, away, 0.0) - 0.001

    gap = pour.bottle + GRIP_M * _UP - pour.wrist - HOLD_M
    taken = ~pour.held & ~pour.gone & (np.linalg.norm(gap, axis=1) < GRASP_M)
    held = (pour.held & ~put) | taken
    tip = np.where(held, np.clip(pour.tip + action[:, 3], 0.0, MOST_RAD), 0.0)
    wrist = np.clip(pour.wrist + action[:, :3], LOW_M, HIGH_M)
    carried = wrist + HOLD_M - GRIP_M * axis_of(tip)
    lifted = np.where(held, np.maximum(0.0, TABLE_M - carried[:, 2]), 0.0)  # nothing goes through the table
    wrist, carried = wrist + lifted[:, None] * _UP, carried + lifted[:, None] * _UP
    after = replace(
        pour,
        wrist=wrist,
        tip=tip,
        bottle=np.where(held[:, None], carried, pour.bottle),
        held=held,
        left=np.maximum(0.0, pour.left - falls.sum(axis=1)),
        gone=pour.gone | put,
    )
    if generator is not None and put.any():
        fresh, renewed = start_pour(int(put.sum()), generator), {f.name: getattr(after, f.name) for f in fields(Pour)}
        for name in ("bottle", "left", "flow", "bowls", "crate", "command", "gone"):
            renewed[name] = renewed[name].copy()
            renewed[name][rows[put]] = getattr(fresh, name)
        after = Pour(**renewed)
    return after, reward, falls


def _falling(pour: Pour) -> Array:
    """(n, 3) shares that fall into the right bowl, into the wrong one, and beside both."""
    rows, mouth = np.arange(len(pour.wrist)), mouth_of(pour)
    falls = np.where(pour.held & (pour.tip > FLOW_RAD), np.minimum(pour.flow, pour.left), 0.0)
    gap = mouth[:, None] - pour.bowls
    caught = (np.hypot(gap[..., 0], gap[..., 1]) < BOWL_M[0] - 0.01) & (gap[..., 2] > BOWL_M[1])
    right, wrong = caught[rows, pour.command], caught[rows, 1 - pour.command]
    return falls[:, None] * np.column_stack([right, wrong & ~right, ~right & ~wrong])


class PourTable:
    """n rows of the domain with their own time limit.

    Args:
        n: Rows.
        generator: Of layouts.
        horizon: Steps of an episode.
        endless: Replace a table whose bottle was put away.
        noise_m: Standard deviation of the tracker's error in every point seen, m.
    """

    def __init__(
        self,
        n: int,
        generator: np.random.Generator,
        *,
        horizon: int = 80,
        endless: bool = True,
        noise_m: float = 0.0,
    ):
        self.n, self.horizon, self._endless, self._noise = n, horizon, endless, noise_m
        self._generator = generator
        self.reset()

    def observe(self) -> Array:
        """(n, 12) features, with the tracker's error."""
        return features(noisy(self.pour, self._noise, self._generator))

    def step(self, action: Array) -> Array:
        """Move on and return the true reward (n,)."""
        self.pour, reward, falls = step_pour(self.pour, action, self._generator if self._endless else None)
        self.fallen += falls
        self.steps += 1
        return reward

    @property
    def over(self) -> bool:
        """Whether the time is up or every bottle was put away."""
        return self.steps >= self.horizon or bool(self.pour.gone.all())

    def reset(self) -> None:
        """New layouts in all rows."""
        self.pour, self.fallen, self.steps = start_pour(self.n, self._generator), np.zeros((self.n, 3)), 0


def start_pour(n: int, generator: np.random.Generator) -> Pour:
    """New layouts: the bottle to the right, two bowls before the person, the crate to the left, the hand at rest."""

    def place(low: tuple[float, float], high: tuple[float, float]) -> Array:
        return np.column_stack([generator.uniform(low, high, (n, 2)), np.full(n, TABLE_M)])

    bowls = np.stack([place((0.60, -0.12), (0.72, -0.08)), place((0.60, 0.09), (0.72, 0.13))], axis=1)
    turned = generator.random(n) < 0.5
    none = np.zeros(n, bool)
    return Pour(
        wrist=REST_M + generator.normal(0.0, 0.03, (n, 3)),
        tip=np.zeros(n),
        bottle=place((0.62, -0.34), (0.72, -0.26)),
        held=none,
        left=np.ones(n),
        flow=generator.uniform(*FLOW_SHARE, n),
        bowls=np.where(turned[:, None, None], bowls[:, ::-1], bowls),
        crate=place((0.54, 0.32), (0.58, 0.36)),
        command=generator.integers(2, size=n),
        gone=none.copy(),
    )


def noisy(pour: Pour, noise_m: float, generator: np.random.Generator) -> Pour:
    """The table as a tracker with this error sees it; what is held and the level in the bottle stay known."""
    if noise_m <= 0.0:
        return pour
    moved = {
        name: getattr(pour, name) + generator.normal(0.0, noise_m, getattr(pour, name).shape)
        for name in ("wrist", "bottle", "bowls", "crate")
    }
    return replace(pour, **moved)


def seen_states(tracks: PourTracks) -> Pour:
    """Tracked frames as states, one row per frame.

    A bottle is in the hand where it is seen off the table, tipped, or in the crate: it leaves the picture with the
    hand that lets it go.
    """
    frames = len(tracks.points)
    above = tracks.bottle[:, 2] - TABLE_M > 0.03
    none = np.zeros(frames, bool)
    pour = Pour(
        wrist=tracks.points[:, 2],
        tip=tracks.tip,
        bottle=tracks.bottle,
        held=none,
        left=tracks.left,
        flow=np.zeros(frames),
        bowls=tracks.bowls,
        crate=tracks.crate,
        command=tracks.command,
        gone=none,
    )
    return replace(pour, held=above | (np.abs(tracks.tip) > UPRIGHT_RAD) | in_crate(pour))
