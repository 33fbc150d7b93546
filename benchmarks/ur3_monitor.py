"""How well the UR3 monitor flags protective stops and lost grips on rows later than those it was fitted to.

python benchmarks/ur3_monitor.py [path to ur3_cobotops.csv]

The first 60 % of the rows fit the models and choose the thresholds; the last 40 % are only scored, once. Guessing has a
PR-AUC equal to the base rate; "at rest" is the plain rule that a stopped arm stands still, for comparison.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from hardware.monitor import RESTING_RAD_S, fit_monitor
from hardware.monitor_quality import evaluate
from hardware.robot_recording import FAULTS, read_recording

TRAIN_SHARE = 0.6
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ur3_cobotops.csv"


def main() -> None:
    """Fit, score and print."""
    recording = read_recording(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
    split = int(TRAIN_SHARE * len(recording.times))
    train, later = recording.part(slice(0, split)), recording.part(slice(split, None))
    began = time.perf_counter()
    monitor = fit_monitor(train)
    fitted_s = time.perf_counter() - began
    began = time.perf_counter()
    for t, signals, temperatures in zip(later.times, later.signals, later.temperatures, strict=True):
        monitor.update(float(t), signals, temperatures)
    row_ms = 1e3 * (time.perf_counter() - began) / len(later.times)
    scores = monitor.scores(later)
    rows = f"fitted to rows 0-{split - 1} in {fitted_s:.1f} s, scored rows {split}-{len(recording.times) - 1}"
    print(f"{rows}, {row_ms:.2f} ms a row")
    resting = -np.abs(later.signals[:, 6:12]).max(axis=1)
    for fault in FAULTS:
        truth = later.faults[fault]
        q = evaluate(truth, scores[fault], monitor.thresholds[fault])
        rest = evaluate(truth, np.where(np.isfinite(scores[fault]), resting, np.nan), -RESTING_RAD_S)
        print(
            f"{fault}: precision {q.precision:.3f}, recall {q.recall:.3f}, PR-AUC {q.pr_auc:.3f} "
            f"(base rate {q.base_rate:.4f}, at rest {rest.pr_auc:.3f}); events found {q.events_found} of {q.events}, "
            f"{q.false_per_hour:.1f} false alarms an hour; {int(truth.sum())} of {q.rows} rows have it"
        )
        asked = ", ".join(f"{name} {share:.0%}" for name, share in monitor.influence(fault))
        print(f"  threshold {monitor.thresholds[fault]:.3f}; asks most about {asked}")


if __name__ == "__main__":
    main()
