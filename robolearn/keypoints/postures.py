"""How a robot's arm imitates recorded people: the table of methods, over whole recordings.

Error of the tool, angles between the robot's and the person's upper arm and forearm, joint travel, second differences
and the share of joints at a limit, for: the symbolic map alone, minimal-adjust with and without smoothing, and plain
inverse kinematics that starts from the robot's home and knows nothing of the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robolearn.arm.kinematics import Chain
from robolearn.keypoints.adjust import AdjustConfig, follow
from robolearn.keypoints.arm_maps import ArmMap, arm_directions
from robolearn.keypoints.quality import examine, repair
from robolearn.keypoints.recordings import SLOW, finer, placed_chain, together
from robolearn.keypoints.tracks import read_onions
from robolearn.specs import Array

__all__ = ["METHODS", "Imitated", "imitate", "people_points"]

METHODS = {
    "symbolic": None,
    "minimal": AdjustConfig(smoothing=0.0),
    "minimal smooth": AdjustConfig(),
    "plain": AdjustConfig(posture=0.01, smoothing=1.0),
}
"""Name to weights; the last one's posture term only decides between equally good postures and holds to the last one."""


@dataclass(frozen=True, slots=True, eq=False)
class Imitated:
    """What one method did, over all real frames.

    Attributes:
        error_m: (F,) of the tool.
        upper_deg: (F,) angle between the upper arms.
        forearm_deg: (F,) between the forearms.
        travel_rad: Sum over joints of |dq|, per recording.
        roughness_rad: Mean second difference.
        limited: Share of joints at a limit.
        q: (n, T, k) postures.
        chain: Where the robot stands.
    """

    error_m: Array
    upper_deg: Array
    forearm_deg: Array
    travel_rad: float
    roughness_rad: float
    limited: float
    q: Array
    chain: Chain

    def row(self) -> dict[str, float]:
        """Numbers for a table."""
        median, p95 = np.percentile(self.error_m, [50, 95]) * 1e3
        return {
            "median_mm": float(median),
            "p95_mm": float(p95),
            "upper_deg": float(self.upper_deg.mean()),
            "forearm_deg": float(self.forearm_deg.mean()),
            "travel_rad": self.travel_rad,
            "roughness_rad": self.roughness_rad,
            "limited": self.limited,
        }


def people_points(folder: Path, *, factor: int = 2) -> tuple[list[Array], tuple[str, ...], list[tuple[str | int, ...]]]:
    """Repaired arms (T, 3, 3) of recorded people at `factor` times the rate, and a table of what was doubted.

    Raises:
        DataFileError: There is no recording, or one is damaged.
    """
    points: list[Array] = []
    counts: list[tuple[str | int, ...]] = []
    names: tuple[str, ...] = ()
    for tracks in read_onions(folder):
        fixed, quality = repair(tracks, examine(tracks, SLOW), SLOW)
        kept = fixed.points[~quality.rejected]
        points.append(kept if factor == 1 else finer(kept, factor))
        found = quality.table()
        names = ("recording", "frames", *(name for name, _, _ in found))
        counts.append((tracks.source, len(tracks), *(count for _, count, _ in found)))
    return points, names, counts


def imitate(arm: ArmMap, base: Chain, recordings: Sequence[Array], fitted: int) -> dict[str, Imitated]:
    """Every method on recordings (T, 3, 3) of shoulder, elbow, wrist.

    Args:
        arm: The robot's map.
        base: Its chain.
        recordings: Repaired points, m.
        fitted: The robot's place is fitted to the first so many.
    """
    points, real = together(recordings)
    u, f = arm_directions(points[..., 0, :], points[..., 1, :], points[..., 2, :])
    symbolic = arm.symbolic(u.reshape(-1, 3), f.reshape(-1, 3)).reshape(*points.shape[:2], -1)
    known = points[:fitted][real[:fitted]]
    chain = placed_chain(arm, base, known[:, 0], symbolic[:fitted][real[:fitted]], known[:, 2])
    target = points[..., 2, :]
    found: dict[str, Imitated] = {}
    for name, config in METHODS.items():
        if config is None:
            q = np.unwrap(symbolic, axis=1)
        else:
            wished = np.broadcast_to(base.home, symbolic.shape) if name == "plain" else symbolic
            start = np.tile(base.home, (len(points), 1)) if name == "plain" else None
            q = follow(chain, wished, target, start=start, config=config).q
        posture = chain.posture(q[real])
        a, b = arm.directions(posture)
        steps = np.abs(np.diff(q, axis=1)).sum(axis=2) * real[:, 1:]
        bends = np.abs(np.diff(q, 2, axis=1)).mean(axis=2)[real[:, 2:]]
        at_limit = (q[real] <= base.low + 1e-9) | (q[real] >= base.high - 1e-9)
        found[name] = Imitated(
            np.linalg.norm(posture.tool - target[real], axis=1),
            _degrees(a, u[real]),
            _degrees(b, f[real]),
            float(steps.sum() / len(points)),
            float(bends.mean()),
            float(at_limit.mean()),
            q,
            chain,
        )
    return found


def _degrees(a: Array, b: Array) -> Array:
    return np.degrees(np.arccos(np.clip((a * b).sum(axis=-1), -1.0, 1.0)))
