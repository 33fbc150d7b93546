"""How fast a person's arm is mirrored live, one frame at a time on one core.

python benchmarks/mirror.py [--robot sawyer] [--recordings ../shared/data/onion_human]
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from robolearn.clock import MonotonicClock
from robolearn.keypoints.adjust import LIVE, adjust, nearest_turn
from robolearn.keypoints.arm_maps import arm_directions, find_arm_map
from robolearn.keypoints.quality import examine, repair
from robolearn.keypoints.recordings import SLOW, finer, placed_chain
from robolearn.keypoints.tracks import read_onions
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain


@dataclass(frozen=True)
class Benchmark:
    """From shoulder, elbow and wrist to joint targets, as the live mirror does it."""

    robot: str = "sawyer"
    """Which robot."""
    recordings: Path = Path("../shared/data/onion_human")
    """Recordings of people."""
    rate_factor: int = 15
    """Frames per recorded frame: 15 makes about 25 Hz of the recordings' 1 to 2 Hz."""


def main(benchmark: Benchmark) -> None:
    """Print times per frame and errors."""
    clock = MonotonicClock()
    arm, base = find_arm_map(benchmark.robot), robot_chain(ROBOTS[benchmark.robot])
    times: list[float] = []
    errors: list[float] = []
    for tracks in read_onions(benchmark.recordings)[:2]:
        fixed, quality = repair(tracks, examine(tracks, SLOW), SLOW)
        points = finer(fixed.points[~quality.rejected], benchmark.rate_factor)
        upper, forearm = arm_directions(points[:, 0], points[:, 1], points[:, 2])
        chain = placed_chain(arm, base, points[:, 0], arm.symbolic(upper, forearm), points[:, 2])
        previous = None
        for frame in points:
            start = clock.now()
            u, f = arm_directions(*(point[None] for point in frame))
            symbolic = arm.symbolic(u, f)
            if previous is not None:
                symbolic = nearest_turn(chain, symbolic, previous)
            found = adjust(chain, symbolic, frame[None, 2], previous, config=LIVE)
            previous = found.q
            times.append(clock.now() - start)
            errors.append(float(found.error_m[0]))
    p50, p95, p99 = 1e3 * np.percentile(times, [50, 95, 99])
    print(f"{benchmark.robot}: {len(times)} frames, {p50:.2f} / {p95:.2f} / {p99:.2f} ms (p50 / p95 / p99)")
    print(f"{1e3 / p95:.0f} Hz at the 95th percentile; tool error p95 {1e3 * np.percentile(errors, 95):.3f} mm")


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=Benchmark.__doc__))
