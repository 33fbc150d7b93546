"""What LeRobot itself says; runs in its environment. `ROOT OUT THEIRS`: reads one dataset, writes another."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]


def read(root: Path, out: Path) -> None:
    """Every row of a dataset through LeRobot's own reader, as one .npz."""
    dataset = LeRobotDataset("local/oracle", root=root, video_backend="pyav", tolerance_s=1e-4)
    rows = [dataset[i] for i in range(len(dataset))]
    arrays = {}
    for key in rows[0]:
        if key != "task":
            arrays[key] = (
                np.stack([np.asarray(row[key]) for row in rows])
                if not isinstance(rows[0][key], str)
                else [row[key] for row in rows]
            )
    facts = {
        "episodes": dataset.num_episodes,
        "frames": dataset.num_frames,
        "fps": dataset.fps,
        "tasks": [row["task"] for row in rows],
        "state_names": dataset.meta.names.get("observation.state"),
        "stats": {
            key: {name: np.asarray(value).tolist() for name, value in one.items()}
            for key, one in dataset.meta.stats.items()
        },
        "outcomes": list(dataset.meta.episodes["outcome"]) if "outcome" in dataset.meta.episodes.features else [],
    }
    window = LeRobotDataset(
        "local/oracle",
        root=root,
        video_backend="pyav",
        delta_timestamps={"action": [k / dataset.fps for k in range(4)], "observation.state": [-1 / dataset.fps, 0.0]},
    )
    facts["window"] = [
        list(window[len(dataset) - 1]["action"].shape),
        window[len(dataset) - 1]["action_is_pad"].tolist(),
    ]
    np.savez(out, **arrays)
    out.with_suffix(".json").write_text(json.dumps(facts))


def picture(k: int) -> np.ndarray:
    """Smooth, so that a codec keeps it, and different in every row."""
    y, x = np.mgrid[0:64, 0:96]
    return np.stack([(x * 2 + 5 * k) % 256, y * 4 % 256, np.full_like(x, 10 * k)], axis=-1).astype(np.uint8)


def write(root: Path) -> None:
    """Two episodes of 12 and 7 rows as LeRobot writes them."""
    features = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["u", "v"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "observation.images.top": {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
        "depth.top": {"dtype": "uint16", "shape": (6, 8), "names": ["height", "width"]},
    }
    depth = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    dataset = LeRobotDataset.create("local/oracle", 20, features, root=root, robot_type="arm", use_videos=True)
    for episode, steps in enumerate((12, 7)):
        for k in range(steps):
            dataset.add_frame(
                {
                    "observation.state": np.array([episode, k, k * k], np.float32),
                    "action": np.array([k + 1, -k], np.float32),
                    "next.reward": np.array([k == steps - 1], np.float32),
                    "observation.images.top": picture(k + 5 * episode),
                    "depth.top": np.roll(depth, k),
                    "task": "fold" if k < 5 else "unfold",
                }
            )
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    ours, seen, theirs = map(Path, sys.argv[1:])  # in one process: importing LeRobot takes most of the time
    read(ours, seen)
    write(theirs)
