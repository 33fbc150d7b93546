"""Task-space control of all rows at once: a tool displacement becomes joint targets.

One damped least-squares step with a posture pull in the null space (Buss 2004, "Introduction to Inverse Kinematics
with Jacobian Transpose, Pseudoinverse and Damped Least Squares methods", eq. 11; Siciliano 2009, section 3.5):

    dq = p + J^T (J J^T + d^2 I)^-1 (v - J p),     p = posture gain * (home - q)

The Jacobian is put together from each joint's anchor a_i and axis z_i and the tool point t, which a simulation reads
from sensors and a bench computes from its arm's `Chain`: its column i is (z_i x (t - a_i), z_i). Unlike robosuite's
operational-space torque control this commands position servos; the meaning of a command (a displacement from the
measured pose) is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.specs import Array, ArraySpec, Spec

__all__ = [
    "DISPLACEMENT_SPEC",
    "GRIPPER_SPEC",
    "TaskSpaceConfig",
    "TaskSpaceControl",
    "interpolate",
    "jacobian",
    "solve",
]

GRIPPER_SPEC = ArraySpec((1,), low=-1.0, high=1.0, names=("close",))
"""Where the gripper should be between open (-1) and closed (1)."""

DISPLACEMENT_SPEC: Spec = {
    "arm.delta": ArraySpec(
        (6,),
        low=(-0.05,) * 3 + (-0.5,) * 3,
        high=(0.05,) * 3 + (0.5,) * 3,
        unit="m, rad",
        frame="base",
        names=("x", "y", "z", "rx", "ry", "rz"),
    ),
    "gripper.command": GRIPPER_SPEC,
}
"""What a control step takes: a displacement of the tool from where it was measured (metres, then a rotation vector),
and where the gripper should be between open (-1) and closed (1)."""


def jacobian(anchors: Array, axes: Array, point: Array) -> Array:
    """Geometric Jacobian (n, 6, k) of a point on the last link of a chain of k hinges, linear rows first.

    Args:
        anchors: (n, k, 3) a point on each joint axis, m.
        axes: (n, k, 3) unit joint axes.
        point: (n, 3) the point, m, all in the same frame.
    """
    arm = point[:, None, :] - anchors
    out = np.empty((len(point), 6, axes.shape[1]))
    # The cross product, written out: np.cross takes longer than the rest of the controller.
    z, r = axes, arm
    out[:, 0] = z[..., 1] * r[..., 2] - z[..., 2] * r[..., 1]
    out[:, 1] = z[..., 2] * r[..., 0] - z[..., 0] * r[..., 2]
    out[:, 2] = z[..., 0] * r[..., 1] - z[..., 1] * r[..., 0]
    out[:, 3:] = axes.transpose(0, 2, 1)
    return out


def interpolate(start: Array, end: Array, out: Array) -> None:
    """Fill `out` (n, substeps, k) with the straight line from `start` (n, k), excluded, to `end`, included."""
    steps = out.shape[1]
    ramp = np.arange(1, steps + 1) / steps
    np.multiply((end - start)[:, None, :], ramp[None, :, None], out=out)
    out += start[:, None, :]


def solve(A: Array, b: Array) -> Array:
    """Solutions (n, m) of A x = b for symmetric positive definite A (n, m, m) and b (n, m).

    Gaussian elimination of all rows at once, without pivots, which such matrices do not need. For small m this is ten
    times faster than `np.linalg.solve`, and being elementwise over n it gives the same bits for every n.
    """
    m = b.shape[1]
    M = np.ascontiguousarray(np.concatenate([A, b[..., None]], axis=-1).transpose(1, 2, 0))
    for j in range(m):
        M[j + 1 :, j + 1 :] -= (M[j + 1 :, j] / M[j, j])[:, None] * M[j, j + 1 :]
    x = M[:, m]
    for j in reversed(range(m)):
        x[j] /= M[j, j]
        x[:j] -= M[:j, j] * x[j]
    return np.ascontiguousarray(x.T)


@dataclass(frozen=True, slots=True)
class TaskSpaceConfig:
    """Gains of the damped least-squares step."""

    damping: float = 0.02
    """Damping d; singular values (m/rad, rad/rad) below it are not followed."""
    posture: float = 0.05
    """Part of the distance to the home posture that the null space covers in one control period."""

    def build(self, home: Array, low: Array, high: Array, velocity_limits: Array, period_s: float) -> TaskSpaceControl:
        """The controller of one arm.

        Args:
            home: (k,) preferred posture, rad.
            low: (k,) lower joint limits, rad.
            high: (k,) upper joint limits, rad.
            velocity_limits: (k,) largest speed of a joint target, rad/s.
            period_s: Control period.
        """
        return TaskSpaceControl(self, home, low, high, velocity_limits * period_s)


@dataclass(frozen=True, slots=True)
class TaskSpaceControl:
    """Displacements to joint targets, without state. Build it with `TaskSpaceConfig`.

    Attributes:
        config: Gains.
        home: (k,) preferred posture, rad.
        low: (k,) lower joint limits, rad.
        high: (k,) upper joint limits, rad.
        largest_step: (k,) how far a joint target may move in one period, rad.
    """

    config: TaskSpaceConfig
    home: Array
    low: Array
    high: Array
    largest_step: Array

    def displace(self, previous: Array, q: Array, anchors: Array, axes: Array, tool: Array, delta: Array) -> Array:
        """Joint targets (n, k) that bring the tool `delta` away from where it was measured.

        Args:
            previous: (n, k) joint targets now, rad.
            q: (n, k) measured joint positions, rad.
            anchors: (n, k, 3) joint anchors, m, base frame.
            axes: (n, k, 3) joint axes, base frame.
            tool: (n, 3) measured tool position, m, base frame.
            delta: (n, 6) displacement: metres, then a rotation vector in radians, both along the base's axes.
        """
        J = jacobian(anchors, axes, tool)
        JT = J.transpose(0, 2, 1)
        posture = self.config.posture * (self.home - q)
        A = np.matmul(J, JT)
        A[:, range(6), range(6)] += self.config.damping**2
        # Stacked products of one column each: a plain (n, k) product would round differently for each n.
        rest = delta - np.matmul(J, posture[..., None])[..., 0]
        dq = posture + np.matmul(JT, solve(A, rest)[..., None])[..., 0]
        return self.follow(previous, q + dq)

    def follow(self, previous: Array, target: Array) -> Array:
        """Joint targets (n, k) within the limits, as near to `target` as one period allows.

        All joints slow down together, so that the tool keeps its direction.
        """
        step = np.clip(target, self.low, self.high) - previous
        excess = (np.abs(step) / self.largest_step).max(axis=1, keepdims=True)
        return previous + step / np.maximum(excess, 1.0)
