"""Objects pulled across the table by an invisible hand, in any number of rows at once.

A drag follows a minimum-jerk path (Flash and Hogan 1985): s(u) = 10 u^3 - 15 u^4 + 6 u^5, whose peak speed is 15/8
of the mean. The hand is a mocap body welded softly to the object for as long as the drag lasts, so the object
moves by physics, friction included, and a gripper in its way stops it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from robolearn.geometry import quaternion_from_rotation_vector, quaternion_multiply
from robolearn.specs import Array
from sim.engine import MjModel

__all__ = ["SPEED_M_S", "Drags"]

SPEED_M_S = 0.3
"""Peak speed of a drag."""
SPEED_RAD_S = 2.0
"""Peak turning speed of a drag."""
LET_GO_M = 0.03
"""The hand lets go of an object that is held back this far from its path."""


class Drags:
    """Where each row's hands are on their paths.

    Args:
        n: Rows.
        objects: Names of the objects, each with a mocap body and a weld "hand/<name>" in the model.
        period_s: Control period.
        model: The model.
    """

    def __init__(self, n: int, objects: Sequence[str], period_s: float, model: MjModel):
        self.objects = tuple(objects)
        self._period_s = period_s
        self._welds = [model.equality(f"hand/{name}").id for name in self.objects]
        self._mocap = [int(model.body(f"hand/{name}").mocapid[0]) for name in self.objects]
        shape = (n, len(self.objects))
        self._done, self._steps = np.zeros(shape, int), np.zeros(shape, int)
        self._position, self._quaternion = np.zeros((*shape, 3)), np.zeros((*shape, 4))
        self._shift, self._turn = np.zeros((*shape, 3)), np.zeros(shape)
        self.idle = True
        """Whether no hand has anything to do, not even to let go."""

    def active(self, row: int, name: str) -> bool:
        """Whether this object is being dragged."""
        index = (row, self.objects.index(name))
        return bool(self._done[index] < self._steps[index])

    def begin(self, row: int, name: str, position: Array, quaternion: Array, move: Array, turn: float) -> int:
        """Start a drag and return how many control periods it takes.

        Args:
            row: Which row.
            name: Which object.
            position: (3,) where it is, m, base frame.
            quaternion: (4,) how it is turned.
            move: (2,) displacement along x and y, m.
            turn: Rotation about the vertical, rad.
        """
        index = (row, self.objects.index(name))
        peak = 15 / 8
        duration_s = peak * max(math.hypot(*move) / SPEED_M_S, abs(turn) / SPEED_RAD_S)
        self._steps[index], self._done[index] = max(2, math.ceil(duration_s / self._period_s)), 0
        self._position[index], self._quaternion[index] = position, quaternion
        self._shift[index], self._turn[index] = (*move, 0.0), turn
        self.idle = False
        return int(self._steps[index])

    def clear(self, rows: Sequence[int]) -> None:
        """Let go of everything in these rows."""
        self._steps[rows] = self._done[rows] = 0

    def advance(self, positions: Array, inputs: Mapping[str, Array]) -> None:
        """Move the hands by one control period.

        Args:
            positions: (n, objects, 3) where the objects are.
            inputs: The world's inputs, whose weld and mocap parts are written.
        """
        if self.idle:
            return
        goal = self._position + self._fraction(self._done)[..., None] * self._shift
        lost = np.linalg.norm((positions - goal)[..., :2], axis=-1) > LET_GO_M
        self._steps[lost] = self._done[lost]
        active = self._done < self._steps
        inputs["eq_active"][:, :, self._welds] = active[:, None, :]
        substeps = inputs["mocap_pos"].shape[1]
        for row, item in np.argwhere(active):
            index = (row, item)
            time = self._done[index] + np.arange(1, substeps + 1) / substeps
            s = self._fraction(time, self._steps[index])[:, None]
            rotation = quaternion_from_rotation_vector(s * np.array([0.0, 0.0, self._turn[index]]))
            hand = self._mocap[item]
            inputs["mocap_pos"][row, :, 3 * hand : 3 * hand + 3] = self._position[index] + s * self._shift[index]
            inputs["mocap_quat"][row, :, 4 * hand : 4 * hand + 4] = quaternion_multiply(
                rotation, np.broadcast_to(self._quaternion[index], rotation.shape)
            )
        self._done[active] += 1
        # One more call after the last drag writes the welds' release.
        self.idle = not np.any(active)

    def _fraction(self, done: Array, steps: Array | None = None) -> Array:
        u = done / np.maximum(self._steps if steps is None else steps, 1)
        return u * u * u * (10 - 15 * u + 6 * u * u)
