"""Set points that respect speed, acceleration, jerk and range, one control period at a time.

Each call turns the present set point (position q, speed v, acceleration a) into the next one, per joint and in
discrete time: v' = v + a' dt, q' = q + v' dt. A target that can be reached exactly within all limits is reached
exactly. Otherwise, of some accelerations a' within reach of the jerk limit, the one whose jerk-limited stop would end
nearest to the (moving) target is taken, which accelerates while there is room and brakes just in time. Whatever is
chosen can still be braked to rest inside the range with the acceleration limit alone; if not, the joint brakes now,
which the check of the period before has shown to be possible.

The stop of (v, a) under jerk J and acceleration A is the textbook three-phase profile: down to -p with jerk -J, hold,
back to zero with jerk J, where p^2 + J p t = J v + a^2 / 2 and p <= A.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robolearn.specs import Array

__all__ = ["Caps", "SetPoint", "brake", "braking_path", "follow"]

_GRID = np.linspace(0.0, 1.0, 9)[:, None]
_SLACK = 1e-9
_ROOM = 1e-7
"""Relative room for rounding in comparisons with a limit."""
_BEYOND = 1e3
"""Weight of leaving the speed limit or the range against the distance to the target."""


class SetPoint(NamedTuple):
    """Where commands stand: position, speed and acceleration, (n,) each, in the action's unit and per second."""

    q: Array
    v: Array
    a: Array

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves."""
        return not np.any(self.v)


class Caps(NamedTuple):
    """Limits (n,) of every element; infinite where there is none, which brakes within one period."""

    low: Array
    high: Array
    speed: Array
    acceleration: Array
    jerk: Array


def brake(now: SetPoint, caps: Caps, dt: float) -> SetPoint:
    """The set point one period of braking later; the acceleration limit holds, the jerk limit does not."""
    left = np.maximum(np.abs(now.v) - caps.acceleration * dt, 0.0)
    v = np.where(left > _SLACK, np.sign(now.v) * left, 0.0)
    return SetPoint(now.q + v * dt, v, (v - now.v) / dt)


def braking_path(now: SetPoint, caps: Caps, dt: float, points: int) -> Array:
    """Positions (points, n) spread over the way to rest, the last one where all joints rest."""
    step = caps.acceleration * dt
    ticks = np.floor(np.abs(now.v) / step * (1 + _ROOM))
    done = np.minimum(np.ceil(ticks.max() * np.arange(1, points + 1)[:, None] / points), ticks)
    # Of v, v - A dt, v - 2 A dt, ... the first `done` after the present one; infinite A makes no way at all.
    lost = np.where(done > 0, np.where(np.isfinite(step), step, 0.0) * done * (done + 1) / 2, 0.0)
    return now.q + np.sign(now.v) * dt * (done * np.abs(now.v) - lost)


def follow(now: SetPoint, target: Array, target_speed: Array, caps: Caps, dt: float) -> SetPoint:
    """The next set point on the way to a target.

    Args:
        now: The last set point.
        target: Where to be after this period, (n,).
        target_speed: How fast the target moves, (n,).
        caps: The limits; `caps.speed` may have dropped below the present speed, which then comes down.
        dt: The period, s.
    """
    # Room for one period of acceleration lets a joint that was aimed at the end of its range arrive there smoothly.
    room = np.where(np.isfinite(caps.acceleration), np.minimum(caps.acceleration, 1 / dt) * dt**2, 0.0)
    target = np.clip(target, caps.low + room, caps.high - room)
    # Outside already (pushed, sagged, set narrower): anything that is no worse.
    caps = caps._replace(low=np.minimum(caps.low, now.q), high=np.maximum(caps.high, now.q))
    v = (target - now.q) / dt
    a = (v - now.v) / dt
    exact = SetPoint(target, v, a)
    fits = (np.abs(v) <= caps.speed * (1 + _ROOM)) & (np.abs(a) <= caps.acceleration * (1 + _ROOM))
    fits &= (np.abs(a - now.a) <= caps.jerk * dt * (1 + _ROOM)) & _inside(exact, caps, dt)
    if np.all(fits):
        return exact
    chosen = _reach(now, target, target_speed, caps, dt)
    chosen = _where(fits, exact, chosen)
    slower = np.abs(chosen.v) <= np.maximum(caps.speed * (1 + _ROOM), np.abs(now.v))
    return _where(slower & _inside(chosen, caps, dt), chosen, brake(now, caps, dt))


def _reach(now: SetPoint, target: Array, target_speed: Array, caps: Caps, dt: float) -> SetPoint:
    """The best set point within the limits, by a search over accelerations."""
    free = ~np.isfinite(caps.acceleration)
    most = np.where(free, 1.0, caps.acceleration)
    jerk = np.minimum(np.where(free, 1.0, caps.jerk), 2 * most / dt)  # beyond that, jerk limits nothing
    low = np.clip(now.a - jerk * dt, -most, most)
    high = np.clip(now.a + jerk * dt, -most, most)
    straight = np.clip(((target - now.q) / dt - now.v) / dt, low, high)
    a = np.concatenate([low + (high - low) * _GRID, straight[None]])
    v = now.v + a * dt
    q = now.q + v * dt
    peak = np.abs(v + a * np.abs(a) / (2 * jerk))
    rest = q + _stop(v, a, most, jerk)
    aim = np.clip(target_speed, -caps.speed, caps.speed)
    gap = np.abs(q - target + _stop(v - aim, a, most, jerk))
    beyond = np.maximum(0.0, np.maximum(rest - caps.high, caps.low - rest))
    cost = gap + _BEYOND * (np.maximum(0.0, peak - caps.speed) + beyond)
    best = np.argmin(cost, axis=0), np.arange(len(now.q))
    chosen = SetPoint(q[best], v[best], a[best])
    if not np.any(free):
        return chosen
    quick = np.clip((target - now.q) / dt, -caps.speed, caps.speed)
    return _where(free, SetPoint(now.q + quick * dt, quick, (quick - now.v) / dt), chosen)


def _stop(v: Array, a: Array, most: Array, jerk: Array) -> Array:
    """How far (v, a) comes until it is at rest under the limits (continuous time, an upper bound of the discrete)."""
    side = np.where(v + a * np.abs(a) / (2 * jerk) < 0, -1.0, 1.0)
    v, a = side * v, side * a
    energy = np.maximum(jerk * v + a * a / 2, 0.0)
    p = np.minimum(np.sqrt(energy), most)
    hold = np.where(p > 0, (energy - p * p) / (jerk * np.maximum(p, 1e-12)), 0.0)
    down, up = (a + p) / jerk, p / jerk
    v1 = v + (a * a - p * p) / (2 * jerk)
    way = v * down + a * down**2 / 2 - jerk * down**3 / 6
    way = way + v1 * hold - p * hold**2 / 2
    way = way + (v1 - p * hold) * up - p * up**2 / 2 + jerk * up**3 / 6
    return side * way


def _inside(point: SetPoint, caps: Caps, dt: float) -> Array:
    """Per joint, whether it can brake to rest inside the range."""
    rest = braking_path(point, caps, dt, 1)[0]
    return (rest >= caps.low - _SLACK) & (rest <= caps.high + _SLACK)


def _where(mask: Array, a: SetPoint, b: SetPoint) -> SetPoint:
    return SetPoint(*(np.where(mask, x, y) for x, y in zip(a, b, strict=True)))
