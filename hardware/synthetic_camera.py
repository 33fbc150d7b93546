"""A camera made of nothing, with every fault a camera can have, on any clock.

Frame k exists from start + k / rate on, has its number drawn into its pixels as 40 black and white cells (32 bits and
a checksum), and is a pure function of seed and k. A test reads the number back from what was stored (`read_counter`),
after video compression or resizing too, and so knows whether every row got its own picture. Without a thread: with a
`FakeClock` every reading is exact.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hardware.frames import Frame, NewestFrame, picture_spec
from robolearn.clock import Clock, MonotonicClock
from robolearn.episode import Reading
from robolearn.errors import BenchError
from robolearn.specs import Array, Spec

__all__ = ["CameraFault", "SyntheticCamera", "SyntheticCameraConfig", "draw_counter", "read_counter"]

CameraFault = Literal["healthy", "freeze", "black", "never", "wrong-size", "drop", "jitter"]
COLUMNS, ROWS = 20, 2
"""The grid of cells; 32 bits of the number and 8 of its checksum."""


@dataclass(frozen=True, slots=True)
class SyntheticCameraConfig:
    """A synthetic camera with a counter in its pixels, healthy or with a fault."""

    name: str = "synthetic"
    """Name of the camera; its arrays are "<name>.rgb", "<name>.depth" and "<name>.frame"."""
    width: int = 320
    """Width in pixels, at least 60 for a readable counter."""
    height: int = 240
    """Height in pixels."""
    rate_hz: float = 30.0
    """Frames per second."""
    depth: bool = False
    """Also deliver depth."""
    latency_s: float = 0.01
    """From capture until a frame can be read."""
    fault: CameraFault = "healthy"
    """What goes wrong, from `fault_at_s` on. "drop" loses `dropped` frames and a share `drop_rate` of all; "jitter"
    delivers each frame up to `jitter_s` late."""
    fault_at_s: float = 0.0
    """When the fault begins, in seconds after the start ("never" holds from the start)."""
    dropped: tuple[int, ...] = ()
    """Numbers of frames that "drop" loses."""
    drop_rate: float = 0.0
    """Share of frames that "drop" loses beside those, drawn from the seed."""
    jitter_s: float = 0.02
    """Largest extra latency of "jitter", drawn from the seed."""
    max_age_s: float = 0.2
    """Oldest frame that may be read."""
    seed: int = 0
    """Seed of the picture and of every random fault."""

    def build(self, clock: Clock | None = None) -> SyntheticCamera:
        """The camera, streaming from now on."""
        return SyntheticCamera(self, clock or MonotonicClock())


class SyntheticCamera:
    """A `Camera` that starts streaming when it is built; usable with and without a with statement.

    Args:
        config: What it shows and what goes wrong.
        clock: When.
    """

    def __init__(self, config: SyntheticCameraConfig, clock: Clock):
        if not config.rate_hz > 0:
            raise BenchError(f"Camera {config.name!r}: rate_hz must be positive; found {config.rate_hz!r}.")
        self.config, self._clock = config, clock
        self._spec = picture_spec(config.name, config.width, config.height, depth=config.depth)
        self.newest = NewestFrame(config.name, self._spec, clock, max_age_s=config.max_age_s)
        self._start = clock.now()
        self._next = 0
        noise = np.random.default_rng(config.seed).integers(30, 200, (config.height // 8 + 1, config.width // 8 + 1, 3))
        self._scene = np.kron(noise, np.ones((8, 8, 1)))[: config.height, : config.width].astype(np.uint8)

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        self._deliver()
        return self.newest.read()

    def picture(self, number: int) -> Array:
        """(height, width, 3) uint8, frame `number` as a healthy camera shows it."""
        picture = np.roll(self._scene, number, axis=1)
        draw_counter(picture, number)
        return picture

    def distances(self, number: int) -> Array:
        """(height, width) uint16 millimetres: a ramp from left to right that comes nearer by 1 mm a frame."""
        ramp = np.linspace(400, 1200, self.config.width) - number % 200
        return np.broadcast_to(ramp, (self.config.height, self.config.width)).astype(np.uint16)

    def __enter__(self) -> SyntheticCamera:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _deliver(self) -> None:
        """Hand over the newest of the frames that have arrived since the last look, as a driver's thread would."""
        now = self._clock.now()
        # The small addend keeps a clock that stands exactly on an arrival from losing it to rounding.
        newest = int(np.floor((now - self._start - self.config.latency_s) * self.config.rate_hz + 1e-6))
        for number in range(newest, self._next - 1, -1):
            arrives = self._arrival(number)
            if arrives is not None and arrives <= now + 1e-9:
                self.newest.accept(self._frame(number))
                self._next = number + 1
                return

    def _ill(self, number: int, fault: CameraFault) -> bool:
        """Whether this fault acts on this frame."""
        config = self.config
        return config.fault == fault and number / config.rate_hz >= config.fault_at_s - 1e-9

    def _chance(self, number: int) -> float:
        return float(np.random.default_rng([self.config.seed, number]).random())

    def _arrival(self, number: int) -> float | None:
        """When a frame can be read, None when it is lost."""
        config = self.config
        arrives = self._start + number / config.rate_hz + config.latency_s
        if config.fault == "never":
            return None
        if self._ill(number, "drop") and (number in config.dropped or self._chance(number) < config.drop_rate):
            return None
        return arrives + config.jitter_s * self._chance(number) if self._ill(number, "jitter") else arrives

    def _frame(self, number: int) -> Frame:
        """A frame as delivered under the fault."""
        config = self.config
        shown = number
        if self._ill(number, "freeze"):
            shown = max(0, int(np.ceil(config.fault_at_s * config.rate_hz - 1e-6)) - 1)
        picture = self.picture(shown)
        if self._ill(number, "black"):
            picture = np.zeros_like(picture)
        if self._ill(number, "wrong-size"):
            picture = picture[::2, ::2]
        arrays = {f"{config.name}.rgb": picture}
        if config.depth:
            arrays[f"{config.name}.depth"] = self.distances(shown)
        return Frame(self._start + number / config.rate_hz, shown, arrays)


def draw_counter(picture: Array, number: int) -> None:
    """Write a frame number into the top rows of a picture (height, width, 3) uint8, in place.

    Cells are a twentieth of the width; below 60 pixels of width they cannot be read back from compressed video.
    """
    word = int(number) & 0xFFFFFFFF
    code = (word << 8) | _checksum(word)
    size = picture.shape[1] // COLUMNS
    if size < 3 or picture.shape[0] < ROWS * size:
        raise BenchError(
            f"A counter needs a picture of at least 60 x 6 pixels; found {picture.shape[1]} x {picture.shape[0]}."
        )
    bits = np.array([(code >> k) & 1 for k in range(COLUMNS * ROWS)], np.uint8).reshape(ROWS, COLUMNS)
    cells = np.kron(bits * 255, np.ones((size, size), np.uint8))
    picture[: ROWS * size, : COLUMNS * size] = cells[..., None]


def read_counter(picture: Array) -> int | None:
    """The number that `draw_counter` wrote, or None when the checksum says that there is none.

    Args:
        picture: (height, width, 3) uint8; compressed or resized (as a whole) since.
    """
    cell = picture.shape[1] / COLUMNS
    if cell < 2 or picture.shape[0] < ROWS * cell:
        return None
    x = ((np.arange(COLUMNS) + 0.5) * cell).astype(int)
    y = ((np.arange(ROWS) + 0.5) * cell).astype(int)
    bits = picture[np.ix_(y, x)].mean(axis=-1).ravel() > 127
    code = int(sum(int(bit) << k for k, bit in enumerate(bits)))
    word = code >> 8
    return word if code & 0xFF == _checksum(word) else None


def _checksum(word: int) -> int:
    return (zlib.crc32(word.to_bytes(4, "little")) ^ 0xA5) & 0xFF
