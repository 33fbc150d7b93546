"""How the simulated person pours: takes the bottle, tips it over the bowl it was told, and puts it into the crate.

Waypoints of the hand joined by minimum-jerk motions, as for onions; a style draws speed, height, how far and how fast
the bottle is tipped, and how carefully. The bottle is rigid in the hand and tips about it to the person's left, so that
the hand goes around the bottle's mouth, which stays over the bowl. Beads leave one by one while the bottle is tipped
beyond `FLOW_RAD` and fall freely; a careless hand may spill, and the truth says which beads lie in which bowl.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.keypoints.pouring import FLOW_RAD, GRIP_M, HOLD_M, REST_M
from robolearn.specs import Array
from sim.human.body import POINTS, Person
from sim.human.script import follow_wrist, minimum_jerk, true_points
from sim.human.tables import BEADS, BOTTLE_M, BOWL_M, BOWLS, TABLE_M

__all__ = ["FLOW_RAD", "HOLD_M", "PourStyle", "Pouring", "perform_pouring"]

_GRAVITY = 9.81
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class PourStyle:
    """How somebody pours.

    Attributes:
        pace: Factor on all times.
        over_m: Height of the mouth above the bowl's rim.
        tip_rad: How far the bottle is tipped.
        flow_s: Seconds between two beads.
        elbow: Share of the elbow's range that it is held out.
        care_m: Standard deviation of where the hand goes.
    """

    pace: float = 1.0
    over_m: float = 0.05
    tip_rad: float = 1.95
    flow_s: float = 0.12
    elbow: float = 0.3
    care_m: float = 0.008

    @staticmethod
    def draw(generator: np.random.Generator) -> PourStyle:
        """A person's style."""
        return PourStyle(
            pace=float(generator.uniform(0.8, 1.25)),
            over_m=float(generator.uniform(0.03, 0.09)),
            tip_rad=float(generator.uniform(1.8, 2.1)),
            flow_s=float(generator.uniform(0.08, 0.16)),
            elbow=float(generator.uniform(0.0, 0.6)),
            care_m=float(generator.uniform(0.003, 0.012)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pouring:
    """One pouring, T frames; everything is known.

    Attributes:
        rate_hz: Frames per second.
        qpos: (T, nq) of the model.
        points: (T, 6, 3) true points, in the order of `body.POINTS`, m.
        bottle: (T, 7) pose of its bottom: m, quaternion (w, x, y, z).
        tip: (T,) how far it is tipped, rad.
        held: (T,) bool, it is in the hand.
        bowls: (2, 3) their places, in the order of `tables.BOWLS`, m.
        crate: (3,) m.
        beads: (T, BEADS, 3) m.
        command: Index of the bowl that was asked for.
        left: (T,) how many beads are still in the bottle.
        poured: (T, 2) how many beads lie in each bowl.
        wrist_error_m: (T,) how far the arm stayed from its script.
    """

    rate_hz: float
    qpos: Array
    points: Array
    bottle: Array
    tip: Array
    held: Array
    bowls: Array
    crate: Array
    beads: Array
    command: int
    left: Array
    poured: Array
    wrist_error_m: Array

    @property
    def props(self) -> dict[str, Array]:
        """Where everything is, for the film."""

        def still(place: Array) -> Array:
            return np.tile([*place, 1.0, 0.0, 0.0, 0.0], (len(self.qpos), 1))

        beads = {f"bead{k}": still(np.zeros(3)) for k in range(BEADS)}
        for k in range(BEADS):
            beads[f"bead{k}"][:, :3] = self.beads[:, k]
        return {
            "bottle": self.bottle,
            "crate": still(self.crate),
            **{name: still(place) for name, place in zip(BOWLS, self.bowls, strict=True)},
            **beads,
        }

    @property
    def spilled(self) -> int:
        """Beads that lie beside both bowls in the end."""
        return BEADS - int(self.poured[-1].sum())

    @property
    def success(self) -> bool:
        """Four fifths of the beads in the right bowl, at most one in twenty spilled, the bottle in the crate."""
        away = np.abs(self.bottle[-1, :2] - self.crate[:2]).max() < 0.09
        return bool(self.poured[-1, self.command] >= 0.8 * BEADS and self.spilled <= 0.05 * BEADS and away)


def perform_pouring(
    person: Person, seed: int, *, rate_hz: float = 15.0, style: PourStyle | None = None, command: int | None = None
) -> Pouring:
    """Pour on a drawn layout.

    Args:
        person: Built with `table="pouring"`.
        seed: Of layout, style and command.
        rate_hz: Frames per second.
        style: How; drawn by default.
        command: Which bowl; drawn by default.
    """
    generator = np.random.default_rng(seed)
    style = style or PourStyle.draw(generator)
    bottle = np.array([generator.uniform(0.62, 0.72), generator.uniform(-0.34, -0.26), TABLE_M])
    bowls = np.array(
        [[generator.uniform(0.60, 0.72), y + generator.uniform(-0.02, 0.02), TABLE_M] for y in (-0.10, 0.11)]
    )
    bowls = bowls[generator.permutation(2)]
    crate = np.array([generator.uniform(0.54, 0.58), generator.uniform(0.32, 0.36), TABLE_M])
    drawn = int(generator.integers(2))
    command = drawn if command is None else command
    grip, tip, held = _hand(style, bottle, bowls[command], crate, rate_hz, generator)
    qpos, error = follow_wrist(person, grip - HOLD_M, style.elbow)
    roll = person.model.joint("rwristry").qposadr[0]
    qpos[:, roll] = -np.clip(tip, 0.0, np.pi)  # the forearm turns as far as it can
    points = true_points(person, qpos)
    # The bottle goes where the hand really is, and beads fall where the bottle really is.
    pose = _bottle(points[:, list(POINTS).index("right_wrist")] + HOLD_M, tip, held, bottle)
    beads, left, poured = _beads(pose, tip, held, bowls, style, rate_hz)
    return Pouring(rate_hz, qpos, points, pose, tip, held, bowls, crate, beads, command, left, poured, error)


def _hand(
    style: PourStyle, bottle: Array, bowl: Array, crate: Array, rate_hz: float, generator: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Grip (T, 3), tip (T,) and whether the bottle is held (T,), by the script."""
    up, sway = _UP, generator.normal(0.0, style.care_m, (3, 3))
    mouth = bowl + (BOWL_M[1] + style.over_m) * up + sway[1] * [1.0, 1.0, 0.3]
    grasp = bottle + GRIP_M * up + sway[0] * [1.0, 1.0, 0.5]
    away = crate + (GRIP_M + 0.015) * up + sway[2] * [1.0, 1.0, 0.0]
    full = BEADS * style.flow_s + 0.4
    raised = mouth + 0.06 * up
    script = (  # where the grip or, while it tips, the mouth goes; the tip at the end; seconds; held
        (grasp + np.array([-0.10, 0.0, 0.02]), 0.0, 0.8, False, False),
        (grasp, 0.0, 0.5, False, False),
        (grasp, 0.0, 0.3, True, False),
        (grasp + 0.16 * up, 0.0, 0.5, True, False),
        (raised, 1.2, 0.9, True, True),
        (mouth, style.tip_rad, 0.7, True, True),
        (mouth, style.tip_rad, full / style.pace, True, True),
        (raised, 0.9, 0.6, True, True),
        (away + 0.16 * up, 0.0, 0.9, True, False),
        (away, 0.0, 0.6, True, False),
        (away, 0.0, 0.3, False, False),
        (away + np.array([-0.10, -0.02, 0.10]), 0.0, 0.5, False, False),
        (REST_M + HOLD_M, 0.0, 0.7, False, False),
    )
    grips, tips, held = [REST_M + HOLD_M], [0.0], [False]
    for target, tipped, seconds, holds, by_mouth in script:
        frames = max(1, round(seconds * style.pace * rate_hz))
        angle = minimum_jerk(np.array([tips[-1]]), np.array([tipped]), frames)[:, 0]
        if by_mouth:
            path = minimum_jerk(grips[-1] + _to_mouth(tips[-1]), target, frames)
            path = path - np.stack([_to_mouth(a) for a in angle])
        else:
            path = minimum_jerk(grips[-1], target, frames)
        grips += list(path)
        tips += angle.tolist()
        held += [holds] * frames
    return np.array(grips), np.array(tips), np.array(held)


def _to_mouth(tip: float) -> Array:
    """From the grip to the mouth of a bottle that is tipped to the left (y) by an angle."""
    reach = BOTTLE_M[1] - GRIP_M
    return reach * np.array([0.0, np.sin(tip), np.cos(tip)])


def _bottle(grip: Array, tip: Array, held: Array, start: Array) -> Array:
    """(T, 7) of the bottle's bottom: where it stands, in the hand, and where it was let go."""
    poses = np.tile([*start, 1.0, 0.0, 0.0, 0.0], (len(grip), 1))
    first = int(np.flatnonzero(held)[0])
    offset = start + GRIP_M * _UP - grip[first]  # it is gripped where it stands, not where it was meant to
    for t in range(first, len(grip)):
        if held[t]:
            down = -GRIP_M * np.array([0.0, np.sin(tip[t]), np.cos(tip[t])])
            half = -0.5 * tip[t]  # a turn about x that brings the top to +y
            poses[t] = [*(grip[t] + offset + down), np.cos(half), np.sin(half), 0.0, 0.0]
        else:
            poses[t] = poses[t - 1]
    return poses


def _beads(
    pose: Array, tip: Array, held: Array, bowls: Array, style: PourStyle, rate_hz: float
) -> tuple[Array, Array, Array]:
    """Beads (T, BEADS, 3), how many are still in the bottle (T,), and how many lie in each bowl (T, 2)."""
    frames = len(pose)
    flowing = held & (tip > FLOW_RAD)
    leaves = np.flatnonzero(flowing)
    begin = int(leaves[0]) if len(leaves) else frames
    left = begin + np.round(np.arange(BEADS) * style.flow_s * rate_hz).astype(int)
    beads, poured = np.zeros((frames, BEADS, 3)), np.zeros((frames, 2), int)
    inside_T = np.zeros(frames, int)
    for k in range(BEADS):
        inside = np.array([0.010 * (-1) ** k, 0.010 * (-1) ** (k // 2), 0.02 + 0.011 * k])
        here = int(left[k]) if int(left[k]) < frames and flowing[min(int(left[k]), frames - 1)] else frames
        inside_T[:here] += 1
        for t in range(frames):
            axis = np.array([0.0, np.sin(_tilt(pose[t])), np.cos(_tilt(pose[t]))])
            side = np.array([0.0, np.cos(_tilt(pose[t])), -np.sin(_tilt(pose[t]))])
            if t < here:
                # What is tipped has run to the neck.
                along = inside[2] if _tilt(pose[t]) < 1.2 else BOTTLE_M[1] - 0.02 - 0.008 * (k // 3)
                beads[t, k] = pose[t, :3] + along * axis + inside[1] * side + np.array([inside[0], 0.0, 0.0])
                continue
            mouth = pose[here, :3] + BOTTLE_M[1] * np.array([0.0, np.sin(_tilt(pose[here])), np.cos(_tilt(pose[here]))])
            fallen = (t - here) / rate_hz
            caught = [np.hypot(*(mouth - bowl)[:2]) < BOWL_M[0] - 0.01 for bowl in bowls]
            floor = TABLE_M + (0.02 + 0.010 * (k // 5) if any(caught) else 0.012)
            height = max(floor, mouth[2] - 0.5 * _GRAVITY * fallen**2)
            spread = 0.022 * np.array([np.cos(2.4 * k), np.sin(2.4 * k)])
            beads[t, k] = [*(mouth[:2] + (spread if height == floor else 0.0)), height]
            if height == floor:
                poured[t] += np.array(caught, int)
    return beads, inside_T, poured


def _tilt(pose: Array) -> float:
    return float(-2.0 * np.arctan2(pose[4], pose[3]))
