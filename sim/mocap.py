"""What a motion-capture system would say about the objects of a twin's scene.

A bench offers only what its devices measure. Policies that were trained on object poses need a device that measures
them; on a real bench that is a motion-capture system, on a twin this view of its world.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Reading
from robolearn.errors import StaleReading, UnknownName
from robolearn.specs import Array, ArraySpec, Spec
from sim.twin_world import TwinWorld, TwinWorldConfig

__all__ = ["TwinMocap", "TwinMocapConfig"]


@dataclass(frozen=True, slots=True)
class TwinMocapConfig:
    """Motion capture of a simulated bench."""

    world: TwinWorldConfig = field(default_factory=TwinWorldConfig)
    """The scene, when no world is handed to `build`."""
    arrays: tuple[str, ...] = ()
    """What it gives, such as "cube.position"; () for everything that the scene's task observes beside the robot."""
    noise_m: float = 0.0
    """Standard deviation of positions, m."""
    seed: int = 0
    """Seed of the noise."""
    rate_hz: float = 120.0
    """New measurements per second."""
    stale_s: float = 0.2
    """A measurement older than this is refused."""

    def build(self, clock: Clock | None = None, world: TwinWorld | None = None) -> TwinMocap:
        """The device; devices of one bench are given the same `world`."""
        return TwinMocap(self, world or self.world.build(clock))


class TwinMocap:
    """A device with the contract of a `Camera` whose arrays are poses. Build it with `TwinMocapConfig`."""

    def __init__(self, config: TwinMocapConfig, world: TwinWorld):
        offered = world.task.observation_spec
        for name in config.arrays:
            if name not in offered:
                raise UnknownName("array of the scene", name, offered)
        self.world, self._config = world, config
        self.frozen = False
        """Set it to play a system that hangs: nothing new comes."""
        self._spec: dict[str, ArraySpec] = {name: offered[name] for name in config.arrays or tuple(offered)}
        self._random = np.random.default_rng(config.seed)
        self._seen: dict[str, Array] = {}
        self._time, self._start = -np.inf, -1

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        now = self.world.clock.now()
        anew = self.world.starts != self._start  # what was measured of the last scene is not this one's
        if not self.frozen and (anew or now - self._time >= 1.0 / self._config.rate_hz - 1e-9):
            self._start = self.world.starts
            self._time, seen = self.world.measure()
            self._seen = {name: seen[name] for name in self._spec}
            for name, value in self._seen.items():
                if name.endswith(".position") and self._config.noise_m:
                    value += self._config.noise_m * self._random.standard_normal(value.shape)
        if not now - self._time <= self._config.stale_s:
            raise StaleReading(
                f"Motion capture has measured nothing new for {now - self._time:.2f} s; at most "
                f"{self._config.stale_s} s is allowed. Check that it runs and sees its markers."
            )
        return Reading(self._time, {name: value.copy() for name, value in self._seen.items()})
