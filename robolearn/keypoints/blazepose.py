"""BlazePose as a detector: mediapipe runs in its own environment and process behind a local socket.

mediapipe 0.10.21 is the last release whose wheel carries the pose network, and it pins an old numpy and protobuf; so
`robolearn keypoints install` makes an environment for it below the user's cache, and this module talks to a worker
there (Bazarevsky et al. 2020, "BlazePose: On-device real-time body pose tracking"). The wheel holds the "full"
network only.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np

from robolearn.errors import BenchError, SpecError
from robolearn.keypoints import blazepose_worker
from robolearn.keypoints.detectors import Detection
from robolearn.keypoints.tracks import BOTH_ARMS
from robolearn.specs import Array

__all__ = ["BlazePose", "BlazePoseConfig", "environment", "install", "installed"]

PACKAGES = (
    "mediapipe==0.10.21",
    "numpy==1.26.4",
    "absl-py==2.5.1",
    "attrs==26.1.0",
    "flatbuffers==25.12.19",
    "protobuf==4.25.8",
    "opencv-contrib-python-headless==4.10.0.84",
    "matplotlib==3.11.2",
    "pyparsing==3.3.3",
    "cycler==0.12.1",
    "kiwisolver==1.5.1",
    "pillow==13.0.0",
    "packaging==26.4",
    "python-dateutil==2.9.0.post0",
    "six==1.17.0",
    "fonttools==4.68.0",
    "contourpy==1.3.3",
)
"""What the pose network needs; mediapipe's other dependencies (jax, sounddevice) are not for it."""
_INDEX = {
    "left_shoulder": 11,
    "right_shoulder": 12,
    "left_elbow": 13,
    "right_elbow": 14,
    "left_wrist": 15,
    "right_wrist": 16,
}
_CURE = "Run `robolearn keypoints install` (35 MB from the package index), or use another detector."


def environment() -> Path:
    """Where mediapipe's environment is: $ROBOLEARN_CACHE or ~/.cache/robolearn, below it "mediapipe-0.10.21"."""
    cache = os.environ.get("ROBOLEARN_CACHE") or str(Path.home() / ".cache" / "robolearn")
    return Path(cache) / "mediapipe-0.10.21"


def installed() -> bool:
    """Whether `install` has finished here."""
    return (environment() / "complete").is_file()


def install(*, quiet: bool = True) -> Path:
    """Make the environment; nothing is done when it is there.

    Raises:
        BenchError: The package index cannot be reached, or has no wheel for this Python (3.9 to 3.12).
    """
    folder = environment()
    if installed():
        return folder
    if sys.version_info >= (3, 13):
        raise BenchError(f"mediapipe 0.10.21 exists for Python 3.9 to 3.12; this is {sys.version.split()[0]}.")
    venv.create(folder, with_pip=True, clear=True)
    options = ["--no-deps", "--disable-pip-version-check", *(["-q"] if quiet else [])]
    done = subprocess.run(
        [_python(folder), "-m", "pip", "install", *options, *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"mediapipe could not be installed into {folder}: {done.stderr.strip()[-400:]}")
    (folder / "complete").write_text("\n".join(PACKAGES) + "\n")
    return folder


@dataclass(frozen=True, slots=True)
class BlazePoseConfig:
    """BlazePose through mediapipe 0.10.21 in a process of its own."""

    count_people: bool = False
    """Look for a second person in every picture; twice as slow."""
    timeout_s: float = 30.0
    """Longest wait for an answer."""

    def build(self) -> BlazePose:
        """Start the worker.

        Raises:
            BenchError: It is not installed, or does not start.
        """
        if not installed():
            raise BenchError(f"mediapipe is not installed in {environment()}. {_CURE}")
        return BlazePose(self, [_python(environment()), str(Path(blazepose_worker.__file__))])


@final
class BlazePose:
    """A `Detector`. Build it with `BlazePoseConfig`; a context manager.

    Args:
        config: The settings.
        command: Starts a worker that speaks the protocol; the socket's number is appended.
    """

    def __init__(self, config: BlazePoseConfig, command: list[str]):
        self._config = config
        self._link, theirs = socket.socketpair()
        self._link.settimeout(config.timeout_s)
        # A vendor's client may have set a default timeout for all sockets; the worker waits as long as it takes.
        theirs.setblocking(True)
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())], pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL
            )
        try:
            self._facts: dict[str, Any] = self._answer()
        except BenchError:
            self.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        return BOTH_ARMS

    @property
    def version(self) -> str:
        facts = json.dumps([self._facts, self._config.count_people], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def detect(self, pictures: Array) -> Detection:
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
            raise SpecError(f"Expected pictures (F, height, width, 3) uint8; found {pictures.shape} {pictures.dtype}.")
        self._ask({"reset": True})
        frames, count = len(pictures), len(self.names)
        pixels, confidence = np.full((frames, count, 2), np.nan), np.zeros((frames, count))
        people = np.zeros(frames, int)
        rows = [_INDEX[name] for name in self.names]
        height, width = pictures.shape[1:3]
        for k, picture in enumerate(pictures):
            asked = {"height": height, "width": width, "count": self._config.count_people}
            answer = self._ask(asked, np.ascontiguousarray(picture).tobytes())
            people[k] = answer["people"]
            if answer["points"]:
                found = np.array(answer["points"])[rows]
                pixels[k], confidence[k] = found[:, :2], found[:, 2]
        return Detection(self.names, pixels, confidence, people)

    def close(self) -> None:
        self._link.close()  # the worker ends with its socket
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, message: Any, payload: bytes = b"") -> dict[str, Any]:
        try:
            blazepose_worker.send(self._link, message, payload)
        except OSError as error:
            raise BenchError(f"The pose worker is gone ({error}). Start it again.") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            head = blazepose_worker.receive(self._link, 4)
            size = struct.unpack(">I", head)[0] if len(head) == 4 else 0
            text = blazepose_worker.receive(self._link, size)
        except OSError as error:
            raise BenchError(f"The pose worker did not answer in {self._config.timeout_s} s ({error}).") from error
        if not size or len(text) < size:
            raise BenchError(f"The pose worker ended before it answered (exit code {self._process.poll()}). {_CURE}")
        return json.loads(text)


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")
