"""What a person's hand says to a robot: the arrays that every device speaks, and the buttons of an episode.

A device gives one of three kinds of motion: a twist (sticks, keys, a SpaceMouse), a pose (a phone, a controller in the
hand) or joints (a leader arm). All of them give a gripper, a clutch ("enable": held down means "I mean it") and
counters of the presses of their buttons, so that nothing is lost when a reading is skipped or read twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.specs import Array, ArraySpec, Spec

__all__ = ["AXES", "MARKS", "Marks", "common_spec", "joint_spec", "pose_spec", "twist_spec"]

AXES = ("x", "y", "z", "rx", "ry", "rz")
"""A twist: forward, left, up, then turns about these axes (rad), each from -1 to 1 of the mapping's largest speed."""
MARKS = ("start", "stop", "success", "failure", "rerecord", "seen")
"""Buttons of an episode: begin it, end it undecided, end it well or badly, throw it away, "I have seen the command"."""


def common_spec() -> dict[str, ArraySpec]:
    """What every device gives beside its motion."""
    return {
        "hand.grip": ArraySpec((1,), low=-1.0, high=1.0, names=("close",)),
        "hand.enable": ArraySpec((1,), "bool"),
        "hand.marks": ArraySpec((len(MARKS),), "int64", low=0.0, names=MARKS),
    }


def twist_spec() -> Spec:
    """A device that says how fast to go."""
    return {"hand.twist": ArraySpec((6,), low=-1.0, high=1.0, frame="device", names=AXES)} | common_spec()


def pose_spec() -> Spec:
    """A device that is somewhere: the clutch makes its motion relative, so that its frame's origin does not matter."""
    return {
        "hand.position": ArraySpec((3,), unit="m", frame="device", names=AXES[:3]),
        "hand.quaternion": ArraySpec((4,), frame="device", names=("w", "x", "y", "z")),
    } | common_spec()


def joint_spec(joints: Sequence[str]) -> Spec:
    """A small arm that is held."""
    return {"hand.q": ArraySpec((len(joints),), unit="rad", names=tuple(joints))} | common_spec()


class Marks:
    """Counts the presses of a device's episode buttons."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(MARKS), np.int64)

    def press(self, name: str) -> None:
        """One press of a button of `MARKS`."""
        self._counts[MARKS.index(name)] += 1

    @property
    def counts(self) -> Array:
        """(len(MARKS),) int64, to keep."""
        return self._counts.copy()
