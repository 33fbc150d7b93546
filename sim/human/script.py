"""What the simulated person does: picks each onion, looks at it, and puts it away, each in a style of its own.

Waypoints of the wrist joined by minimum-jerk motions (Flash and Hogan 1985); a style draws speed, how long is looked,
how high the hand is lifted, how the elbow is held and how far from the middle of a place the hand lets go. The arm
follows by minimal-adjust inverse kinematics, so true shoulder, elbow and wrist are known in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.keypoints.adjust import AdjustConfig, follow
from robolearn.keypoints.onions import EYE_M, HAND_M, SLOTS_M, TABLE_M
from robolearn.specs import Array
from sim.engine import mujoco
from sim.human.body import ARM_JOINTS, POINTS, Person

__all__ = ["Performance", "Style", "follow_wrist", "minimum_jerk", "perform", "true_points"]

_BIN_M, _CONVEYOR_M = np.array([0.47, 0.36, 1.08]), np.array([0.60, -0.38, 0.93])
_REST_M = np.array([0.50, -0.12, 1.02])


@dataclass(frozen=True, slots=True)
class Style:
    """How somebody works.

    Attributes:
        pace: Factor on all times.
        look_s: How long an onion is looked at.
        lift_m: How much higher than needed the hand goes.
        elbow: Share of the elbow's range that it is held out.
        care_m: Standard deviation of where the hand goes.
    """

    pace: float = 1.0
    look_s: float = 1.0
    lift_m: float = 0.0
    elbow: float = 0.3
    care_m: float = 0.01

    @staticmethod
    def draw(generator: np.random.Generator) -> Style:
        """A person's style."""
        return Style(
            pace=float(generator.uniform(0.8, 1.25)),
            look_s=float(generator.uniform(0.6, 1.4)),
            lift_m=float(generator.uniform(0.0, 0.05)),
            elbow=float(generator.uniform(0.0, 0.6)),
            care_m=float(generator.uniform(0.005, 0.02)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """One recording of the simulated person, T frames.

    Attributes:
        rate_hz: Frames per second.
        qpos: (T, nq) of the model.
        onions: (T, 5, 4) x, y, z and label as in the recordings of people; gone onions are -1.
        points: (T, 6, 3) true points, in the order of `body.POINTS`, m.
        wrist_error_m: (T,) how far the arm stayed from its script.
    """

    rate_hz: float
    qpos: Array
    onions: Array
    points: Array
    wrist_error_m: Array

    @property
    def props(self) -> dict[str, Array]:
        """Where the onions are, for the film."""
        upright = np.tile([1.0, 0.0, 0.0, 0.0], (len(self.onions), 1))
        return {f"onion{k}": np.concatenate([self.onions[:, k, :3], upright], axis=1) for k in range(5)}


def perform(
    person: Person, seed: int, *, rate_hz: float = 15.0, style: Style | None = None, onions: int = 5
) -> Performance:
    """Sort a drawn layout of onions (the first `onions` of five)."""
    generator = np.random.default_rng(seed)
    style = style or Style.draw(generator)
    places = np.column_stack([generator.uniform(0.64, 0.80, 5), SLOTS_M, np.full(5, TABLE_M + 0.02)])
    good = generator.random(5) < 0.5
    wrist, state = [_REST_M], [np.column_stack([places, good])]
    for k in range(onions):
        sway = generator.normal(0.0, style.care_m, (4, 3))
        goal = (_CONVEYOR_M if good[k] else _BIN_M) + sway[2]
        above = places[k] - HAND_M + sway[0]
        eye = EYE_M + [0.0, 0.0, style.lift_m] + sway[1]
        home = _REST_M + sway[3]
        for target, seconds, carried in (
            (above, 0.9, False),
            (eye, 0.9, True),
            (eye, style.look_s, True),
            (goal, 1.0, True),
            (home, 0.6, False),
        ):
            path = minimum_jerk(wrist[-1], target, max(1, round(seconds * style.pace * rate_hz)))
            for point in path:
                now = state[-1].copy()
                if carried:
                    now[k, :3] = point + HAND_M
                wrist.append(point)
                state.append(now)
            if target is goal:
                state[-1] = state[-1].copy()
                state[-1][k] = [0.70, -0.50, TABLE_M + 0.03, 1.0] if good[k] else [-1.0] * 4
    qpos, error = follow_wrist(person, np.array(wrist), style.elbow)
    return Performance(rate_hz, qpos, np.array(state), true_points(person, qpos), error)


def minimum_jerk(start: Array, end: Array, frames: int) -> Array:
    """(frames, n) from just after `start` (n,) to `end` (n,)."""
    s = np.arange(1, frames + 1)[:, None] / frames
    return start + (10 * s**3 - 15 * s**4 + 6 * s**5) * (end - start)


def follow_wrist(person: Person, path: Array, elbow: float) -> tuple[Array, Array]:
    """Postures (T, nq) of a person whose right wrist goes along a path (T, 3), m, and how far it stayed from it (T,).

    Args:
        person: Who.
        path: Of the wrist.
        elbow: Share of the elbow's range that it is held out.
    """
    posture = np.zeros(len(ARM_JOINTS))
    posture[-1] = 1.3  # a bent elbow
    turn = ARM_JOINTS.index("rhumerusry")
    posture[turn] = person.arm.low[turn] + elbow * (person.arm.high[turn] - person.arm.low[turn])
    wished = np.broadcast_to(posture, (1, len(path), len(ARM_JOINTS)))
    moved = follow(person.arm, wished, path[None], config=AdjustConfig(smoothing=3.0, posture=0.5))
    qpos = np.tile(person.rest, (len(path), 1))
    qpos[:, [person.model.joint(name).qposadr[0] for name in ARM_JOINTS]] = moved.q[0]
    return qpos, moved.error_m[0]


def true_points(person: Person, qpos: Array) -> Array:
    """(T, 6, 3) where the tracked points are, m."""
    data = mujoco.MjData(person.model)
    found = np.empty((len(qpos), len(POINTS), 3))
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(person.model, data)
        found[t] = [data.body(body).xpos for body in POINTS.values()]
    return found
