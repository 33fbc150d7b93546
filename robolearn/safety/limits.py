"""What a bench may do at most, as numbers that cannot be switched off by accident.

Every check reads "refuse unless provably inside", so that a NaN, a text or a missing number never disarms a limit:
comparing with NaN is false, and false refuses. A refusal names the field, what was found and what is possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

import numpy as np

from robolearn.errors import SafetyFault
from robolearn.specs import Array, Spec, bounds

__all__ = ["COMMAND", "DECISION", "OPERATOR", "ROBOT", "Limits"]

Bound = float | Sequence[float]
"""One number for all elements of an array, or one per element."""
Corner = tuple[float, float, float]

COMMAND, DECISION, ROBOT, OPERATOR = "command", "decision", "robot", "operator"
"""Streams whose age the gate knows by itself; any other name in `Limits.stale_s` is an array of a camera."""

# Wider than these is a mistake in writing, not a choice: a unit mixed up, a digit too many.
_WIDEST: Mapping[str, tuple[float, str]] = {
    "rate": (10.0, "per second"),
    "acceleration": (200.0, "per second squared"),
    "jerk": (20_000.0, "per second cubed"),
    "clearance_m": (0.5, "m"),
    "start_tolerance": (0.5, "in the array's unit"),
    "engage_gap": (1.0, "in the array's unit"),
    "ramp_s": (30.0, "s"),
    "jump": (50.0, "times the step that the speed limit allows"),
    "adversary_speed": (1.0, "as a fraction of full speed"),
    "adversary_hold_s": (60.0, "s"),
    "stale_s": (2.0, "s"),
    "lost_s": (10.0, "s"),
}
_LARGEST_REACH_M = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How a bench may move and how old what it knows may be. The names of arrays are those of the robot's specs.

    `rate` and `measured` are always needed. What is left out elsewhere is not limited, which is for trying things out
    in simulation: a bench calls `require_complete` before it arms. A number per array, or one per element.

    Attributes:
        rate: Largest change per second by action name, in the array's unit; every action must be named.
        measured: The observation that an action commands, by action name ("arm.q_target" commands "arm.q").
            The first command after arming is limited from there, so engaging never jumps.
        acceleration: Largest change of that speed per second, by action name; also how the gate brakes. Without it
            the gate leaves braking to the driver's `stop`.
        jerk: Largest change of the acceleration per second, by action name, while following commands. Braking after a
            fault may begin at once.
        low: Lowest allowed target by action name, inside the robot's own limits, which count where none is given.
        high: Highest allowed target, likewise.
        workspace_low: Lowest corner of the box in which the tool point must stay, m, base frame.
        workspace_high: Its highest corner, m.
        clearance_m: Least distance of the arm from itself and from what stands around it, m.
        start: Where an episode must begin, by observation name; `start_tolerance` says how near.
        start_tolerance: Largest distance of any element from `start`.
        engage_gap: Largest distance of the first command after engaging from where the arm is measured; a leader arm
            that stands elsewhere refuses to engage.
        ramp_s: After engaging, full speed is allowed only after this many seconds.
        jump: A command further than this many steps at full speed from the last one is a fault, not only slowed; of
            actions whose position is `measured`, since a gripper goes from open to closed in one command.
        adversary_speed: Fraction of full speed that is allowed while an adversary acts.
        adversary_hold_s: How long after a disturbance that still holds, s.
        stale_s: Oldest allowed age in s by stream: "command" (since the last one came), "decision" (of the
            observation that a command answers), "robot" (of its measured state), "operator" (of the last sign of
            life), or the name of a camera's array. Older than this holds the arm.
        lost_s: A stream that is silent for this long makes the hold a latched fault, s.
        dead_man: Move only while an operator presses the enabling switch; needs the stream "operator".
    """

    rate: Mapping[str, Bound]
    measured: Mapping[str, str]
    acceleration: Mapping[str, Bound] = field(default_factory=lambda: {})
    jerk: Mapping[str, Bound] = field(default_factory=lambda: {})
    low: Mapping[str, Bound] = field(default_factory=lambda: {})
    high: Mapping[str, Bound] = field(default_factory=lambda: {})
    workspace_low: Corner | None = None
    workspace_high: Corner | None = None
    clearance_m: float | None = None
    start: Mapping[str, Bound] = field(default_factory=lambda: {})
    start_tolerance: float | None = None
    engage_gap: float | None = None
    ramp_s: float | None = None
    jump: float | None = None
    adversary_speed: float | None = None
    adversary_hold_s: float | None = None
    stale_s: Mapping[str, float] = field(default_factory=lambda: {})
    lost_s: float | None = None
    dead_man: bool = False

    def __post_init__(self) -> None:
        for name in ("rate", "acceleration", "jerk", "stale_s"):
            label = {"rate": "rate limit"}.get(name, f"limit {name}")
            for key, value in _table(name, getattr(self, name)).items():
                _require_positive(f"{label} of {key!r}", value, *_WIDEST[name])
        for name in ("low", "high", "start"):
            for key, value in _table(name, getattr(self, name)).items():
                _require_numbers(f"limit {name} of {key!r}", value)
        for name in _WIDEST:
            if not isinstance(getattr(self, name), Mapping | None):
                _require_positive(f"limit {name}", getattr(self, name), *_WIDEST[name])
        for key, value in _table("measured", self.measured).items():
            if not isinstance(value, str) or not value:
                raise SafetyFault(f"The limit measured of {key!r} must name an observation; found {value!r}.")
        if not isinstance(cast("object", self.dead_man), bool):
            raise SafetyFault(f"The limit dead_man must be true or false; found {self.dead_man!r}.")
        self._require_pairs()

    def _require_pairs(self) -> None:
        for key in self.low.keys() & self.high.keys():
            low, high = np.asarray(self.low[key], float), np.asarray(self.high[key], float)
            if low.ndim and high.ndim and low.shape != high.shape:
                raise SafetyFault(
                    f"The limits low and high of {key!r} must be alike; found {low.size} and {high.size}."
                )
            if not np.all(low < high):
                raise SafetyFault(
                    f"The limit low of {key!r} must be below high everywhere; found {self.low[key]} and "
                    f"{self.high[key]}. Swap them or give other numbers."
                )
        corners = (self.workspace_low, self.workspace_high)
        for name, corner in zip(("workspace_low", "workspace_high"), corners, strict=True):
            if corner is not None and _require_numbers(f"limit {name}", corner).shape != (3,):
                raise SafetyFault(f"The limit {name} must be a corner (x, y, z) in m; found {corner!r}.")
        if (self.workspace_low is None) != (self.workspace_high is None):
            missing = "workspace_low" if self.workspace_low is None else "workspace_high"
            raise SafetyFault(f"The limit {missing} is missing; a box has two corners. Give both or none.")
        if self.workspace_low is not None and self.workspace_high is not None:
            size = np.subtract(self.workspace_high, self.workspace_low)
            if not np.all(size > 0):
                raise SafetyFault(
                    f"The limit workspace_low must be below workspace_high; found {self.workspace_low} and "
                    f"{self.workspace_high}. Swap them."
                )
            if not np.all(size <= _LARGEST_REACH_M):
                raise SafetyFault(
                    f"The limits workspace_low and workspace_high span {size.max():.3g} m; at most "
                    f"{_LARGEST_REACH_M} m is possible. Are they in metres?"
                )
        for key in self.jerk.keys() - self.acceleration.keys():
            raise SafetyFault(f"The limit acceleration of {key!r} is missing; a jerk limit needs one. Give it.")
        if self.start and self.start_tolerance is None:
            raise SafetyFault("The limit start_tolerance is missing; a start pose needs one. Give it.")
        if self.start_tolerance is not None and not self.start:
            raise SafetyFault("The limit start is missing; start_tolerance needs a pose. Give it by observation name.")
        if (self.adversary_speed is None) != (self.adversary_hold_s is None):
            missing = "adversary_speed" if self.adversary_speed is None else "adversary_hold_s"
            raise SafetyFault(f"The limit {missing} is missing; adversary_speed and adversary_hold_s go together.")
        if self.dead_man and OPERATOR not in self.stale_s:
            raise SafetyFault(f"The limit stale_s of {OPERATOR!r} is missing; a dead man's switch needs one. Give it.")
        if self.lost_s is not None:
            for key, value in self.stale_s.items():
                if not value < self.lost_s:
                    raise SafetyFault(
                        f"The limit lost_s must be above stale_s of {key!r}; found {self.lost_s} and {value} s."
                    )

    def require_fit(self, observation_spec: Spec, action_spec: Spec) -> None:
        """Refuse limits that do not belong to this robot.

        Raises:
            SafetyFault: A rate is missing, a name is unknown, a number per element has the wrong length, or a limit is
                wider than the robot's own; the message names it.
        """
        for name, spec in action_spec.items():
            low, high = bounds(spec)
            if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
                raise SafetyFault(f"{name!r} has no finite low and high limit; refusing to arm. Give both in its spec.")
            if name not in self.rate:
                raise SafetyFault(f"{name!r} has no rate limit (there is: {sorted(self.rate)}); refusing to arm.")
            if (measured := self.measured.get(name)) is not None and measured not in observation_spec:
                raise SafetyFault(f"{name!r} is said to command {measured!r}, which the robot does not measure.")
        for field_name, known in (
            *((name, action_spec) for name in ("rate", "acceleration", "jerk", "low", "high")),
            ("start", observation_spec),
        ):
            for key, value in getattr(self, field_name).items():
                if key not in known:
                    raise SafetyFault(
                        f"The limit {field_name} names {key!r}, which the robot does not have (it has: "
                        f"{', '.join(sorted(known))}). Correct the name; refusing to arm."
                    )
                shape = np.shape(value)
                if shape and shape != known[key].shape:
                    raise SafetyFault(
                        f"The limit {field_name} of {key!r} must be one number or have shape {known[key].shape}; found "
                        f"shape {shape}. Refusing to arm."
                    )
        for name in self.measured.keys() - action_spec.keys():
            raise SafetyFault(
                f"The limit measured names {name!r}, which is no action of the robot (it has: "
                f"{', '.join(sorted(action_spec))}). Correct the name; refusing to arm."
            )
        for side in ("low", "high"):
            for key, value in getattr(self, side).items():
                own = bounds(action_spec[key])
                given = np.broadcast_to(np.asarray(value, float), action_spec[key].shape)
                if not np.all((given >= own[0] - 1e-9) & (given <= own[1] + 1e-9)):
                    raise SafetyFault(
                        f"The limit {side} of {key!r} is wider than the robot's own [{action_spec[key].low}, "
                        f"{action_spec[key].high}]; found {value}. Refusing to arm."
                    )

    def missing(self) -> list[str]:
        """Names of the limits that a bench needs and that are not given."""
        missing = [f.name for f in fields(self) if f.name != "dead_man" and not _given(getattr(self, f.name))]
        needed = (COMMAND, DECISION, ROBOT)
        return missing + [f"stale_s.{stream}" for stream in needed if self.stale_s and stream not in self.stale_s]

    def require_complete(self) -> None:
        """Refuse limits of which any is left out: a bench arms with all of them or not at all.

        Raises:
            SafetyFault: The message lists what is missing.
        """
        if missing := self.missing():
            raise SafetyFault(f"The limits {', '.join(missing)} are missing; refusing to arm. Give every one of them.")

    def positions(self, name: str, spec: Spec) -> tuple[Array, Array]:
        """Low and high targets of an action, the tighter ones of the robot's and these."""
        low, high = bounds(spec[name])
        return np.maximum(low, self.low.get(name, -np.inf)), np.minimum(high, self.high.get(name, np.inf))


def _given(value: object) -> bool:
    return value is not None and value != {}


def _table(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise SafetyFault(f"The limit {name} must be a table by name; found {value!r}.")
    return cast("Mapping[str, object]", value)


def _require_numbers(what: str, value: object) -> Array:
    """Finite numbers as an array; texts and truth values are refused, whatever they look like."""
    items = list(cast("Sequence[object]", value)) if isinstance(value, list | tuple | np.ndarray) else [value]
    for item in items or [value]:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise SafetyFault(f"The {what} must be a number; found {item!r} ({type(item).__name__}). Set it.")
        if not math.isfinite(item):
            raise SafetyFault(f"The {what} must be finite; found {item!r}. Set it.")
    return np.array(value, float)


def _require_positive(what: str, value: object, widest: float, unit: str) -> None:
    for number in np.ravel(_require_numbers(what, value)):
        if not number > 0:
            raise SafetyFault(f"The {what} must be positive and finite; found {number}. Set it.")
        if not number <= widest:
            raise SafetyFault(f"The {what} is wider than makes sense: {number}, at most {widest:g} {unit}. Correct it.")
