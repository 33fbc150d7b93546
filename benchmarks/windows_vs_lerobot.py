"""Random training windows per second: our cache, a raw memory-mapped gather, and LeRobot 0.4.4 on the same episodes.

    python benchmarks/windows_vs_lerobot.py [FILE.hdf5] [--seconds 3]

FILE is robomimic's lift/ph; without it `robolearn data get lift-ph` gets it. A window is two 96 x 96 pictures, the
state and 16 actions; batches hold 64. LeRobot reads the dataset that we export to it (H.264, key frame every second
picture), through PyAV, in its own environment (`python tests/interop/lerobot_env.py` makes it). Blocks take turns, so
that a noisy machine disturbs all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from robolearn.data.cache import build_cache
from robolearn.data.fetch import get
from robolearn.data.lerobot_export import export_lerobot
from robolearn.data.robomimic import import_robomimic
from robolearn.data.store import Store
from robolearn.data.video import resize
from robolearn.data.windows import Windows
from robolearn.specs import ArraySpec

BATCH, HORIZON, SIDE = 64, 16, 96
CAMERAS = ("agent.rgb", "wrist.rgb")
HERE = Path(__file__).resolve().parent

THEIRS = """
import sys, time, numpy as np, torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
torch.set_num_threads(2)
root, seconds, horizon, batch = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
fps = LeRobotDataset("local/bench", root=root).fps
data = LeRobotDataset("local/bench", root=root, video_backend="pyav",
                      delta_timestamps={"action": [k / fps for k in range(horizon)]})
rng = np.random.default_rng(0)
print("ready", len(data), flush=True)
for line in sys.stdin:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        rows = [data[int(i)] for i in rng.integers(0, len(data), batch)]
        torch.utils.data.default_collate([{k: v for k, v in r.items() if k != "task"} for r in rows])
        done += len(rows)
    print(done / (time.perf_counter() - start), flush=True)
"""


def lerobot_python() -> Path | None:
    """Python of the environment with LeRobot, or None."""
    spec = importlib.util.spec_from_file_location("lerobot_env", HERE.parent / "tests/interop/lerobot_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    python = module.folder() / "bin" / "python"
    return python if (module.folder() / "ready").is_file() else None


def same_data(file: Path, folder: Path) -> tuple[Store, Path]:
    """The demonstrations with pictures of 96 x 96, as a store and as a LeRobot dataset."""
    with Store.create(folder / "raw", durable=False) as raw, Store.create(folder / "store", durable=False) as store:
        import_robomimic(file, raw)
        for episode in raw:
            seen = {n: resize(v, SIDE, SIDE) if n in CAMERAS else v for n, v in episode.observations.items()}
            spec = {
                n: ArraySpec((SIDE, SIDE, 3), "uint8", frame=s.frame) if n in CAMERAS else s
                for n, s in episode.observation_spec.items()
            }
            store.append(dataclasses.replace(episode, observations=seen, observation_spec=spec))
    store = Store.open(folder / "store", durable=False)
    return store, export_lerobot(store, folder / "lerobot").path


def main() -> None:
    """Build the same data twice and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--blocks", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store, dataset = same_data(chosen.file or get("lift-ph"), Path(temporary))
        measure(store, dataset, chosen.seconds, chosen.blocks)


def measure(store: Store, dataset: Path, seconds: float, blocks: int) -> None:
    """Blocks of all three in turn."""
    cache = build_cache(store)
    windows = Windows(cache, 1, HORIZON)
    arrays, rng = windows.cache.arrays, np.random.default_rng(0)
    names = [*windows.observation_spec, *(f"sent.{n}" for n in windows.action_spec)]

    def ours() -> int:
        windows.gather(rng.integers(0, len(windows), BATCH))
        return BATCH

    def raw() -> int:
        rows = windows.rows[rng.integers(0, len(windows), BATCH)]
        ahead = np.minimum(rows[:, None] + np.arange(HORIZON), cache.rows - 1)
        for name in names:
            np.asarray(arrays[name][ahead if name.startswith("sent.") else rows])
        return BATCH

    results: dict[str, list[float]] = {"cache": [], "raw": [], "LeRobot": []}
    python = lerobot_python()
    child = None
    if python is None:
        print("no LeRobot environment; make it with: python tests/interop/lerobot_env.py")
    else:
        command = [str(python), "-c", THEIRS, str(dataset), str(seconds), str(HORIZON), str(BATCH)]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    try:
        if child is not None:
            assert child.stdout is not None
            print("LeRobot 0.4.4:", child.stdout.readline().strip(), "rows;", "ours:", len(windows), "windows")
        for _ in range(blocks):
            for name, work in (("cache", ours), ("raw", raw)):
                start, done = time.perf_counter(), 0
                while time.perf_counter() - start < seconds:
                    done += work()
                results[name].append(done / (time.perf_counter() - start))
            if child is not None:
                assert child.stdin is not None
                assert child.stdout is not None
                child.stdin.write("go\n")
                child.stdin.flush()
                results["LeRobot"].append(float(child.stdout.readline()))
    finally:
        if child is not None:
            child.communicate()
    median = {name: statistics.median(values) for name, values in results.items() if values}
    for name, value in median.items():
        spread = f"{min(results[name]):,.0f} to {max(results[name]):,.0f}"
        print(f"{name:<8} {value:>12,.0f} windows/s   ({spread})")
    print(f"cache / raw     {median['cache'] / median['raw']:.2f}   (goal 0.7)")
    if "LeRobot" in median:
        print(f"cache / LeRobot {median['cache'] / median['LeRobot']:.0f}   (goal 20)")


if __name__ == "__main__":
    main()
