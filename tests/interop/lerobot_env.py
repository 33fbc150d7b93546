"""LeRobot 0.4.4 in an environment of its own, made once: `python tests/interop/lerobot_env.py` prints its python.

It pins torch < 2.11 and torchvision, which do not fit ours; it runs on ours with a small stand-in for torchvision,
which the dataset code imports but hardly uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = (
    "torch==2.13.0",
    "datasets>=4,<5",
    "huggingface-hub>=0.34.2,<0.36",
    "draccus==0.10.0",
    "av>=15,<16",
    "diffusers<0.36",
    "accelerate<2",
    "einops",
    "opencv-python-headless<4.13",
    "jsonlines",
    "packaging<26",
    "deepdiff>=7,<9",
    "imageio[ffmpeg]<3",
    "termcolor",
    "gymnasium<2",
    "pyserial",
    "pyarrow<26",
)

SHIM = {
    "__init__.py": "from . import io, transforms\n__version__ = '0.0-shim'\n\n\ndef set_video_backend(name): pass\n",
    "io/__init__.py": """import av, torch


class VideoReader:
    def __init__(self, path, stream="video"):
        self.container = self.c = av.open(path)
        self.stream = self.container.streams.video[0]
        self.frames = self.container.decode(self.stream)

    def seek(self, time_s, keyframes_only=False):
        self.container.seek(int(time_s / self.stream.time_base), stream=self.stream)
        self.frames = self.container.decode(self.stream)

    def __iter__(self): return self

    def __next__(self):
        frame = next(self.frames)
        pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        return {"data": pixels, "pts": float(frame.pts * self.stream.time_base)}
""",
    "transforms/__init__.py": """import numpy as np, torch
from . import v2


class ToTensor:
    def __call__(self, picture):
        pixels = np.atleast_3d(np.asarray(picture))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255
""",
    "transforms/v2/__init__.py": """class Transform: pass


def __getattr__(name): return type(name, (Transform,), {})


from . import functional
""",
    "transforms/v2/functional.py": "def __getattr__(name): raise AttributeError(name)\n",
}


def folder() -> Path:
    """Where the environment is: $ROBOLEARN_LEROBOT, or beside our own."""
    return Path(os.environ.get("ROBOLEARN_LEROBOT") or Path(__file__).resolve().parents[2] / "data" / "lerobot-0.4.4")


def make() -> Path:
    """Build the environment if it is not there; returns its python."""
    root = folder()
    python = root / "bin" / "python"
    if (root / "ready").is_file():
        return python
    venv.create(root, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "lerobot==0.4.4"], check=True)
    subprocess.run([*pip, *PACKAGES], check=True)
    packages = next((root / "lib").glob("python3*")) / "site-packages" / "torchvision"
    for name, text in SHIM.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    (root / "ready").touch()
    return python


if __name__ == "__main__":
    sys.stdout.write(f"{make()}\n")
