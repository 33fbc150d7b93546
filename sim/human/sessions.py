"""The simulated person at work for a while: several bottles one after the other, as a camera would track it.

A session is what a recording of pouring is here. Whoever lets go of a bottle in the crate finds the next table before
them: from then on the frames show the next pouring's things, and its motion begins at rest, where the last one ended.
"""

from __future__ import annotations

import numpy as np

from robolearn.keypoints.pouring import PourTracks, in_crate, seen_states
from robolearn.keypoints.tracks import ARM
from robolearn.specs import Array
from sim.human.body import POINTS, Person
from sim.human.pouring import Pouring, PourStyle, perform_pouring
from sim.human.tables import BEADS

__all__ = ["pouring_session"]

_ARM = [list(POINTS).index(name) for name in ARM]


def pouring_session(
    person: Person, seed: int, *, bottles: int = 3, rate_hz: float = 15.0, every: int = 5, noise_m: float = 0.0
) -> PourTracks:
    """Tracks of a person, in one style, who pours several bottles.

    Args:
        person: Built with `table="pouring"`.
        seed: Of style, layouts, commands and noise.
        bottles: How many; after the last one stands the first table again.
        rate_hz: Frames per second of the performance.
        every: The camera looks at every so many frames of it; 15 Hz and 5 make 3 Hz.
        noise_m: Standard deviation of the tracker's error in every point and thing, m.
    """
    generator = np.random.default_rng((seed, 7))
    style = PourStyle.draw(generator)
    seeds = np.random.SeedSequence(seed).generate_state(bottles)
    parts = [
        _tracks(perform_pouring(person, int(s), rate_hz=rate_hz, style=style), every, f"simulated person, style {seed}")
        for s in seeds
    ]
    arrays: dict[str, Array] = {"points": np.concatenate([part.points for part in parts])}
    for name in ("bottle", "tip", "left", "bowls", "crate", "command"):
        shown: list[Array] = []
        for k, part in enumerate(parts):
            own, following = getattr(part, name), getattr(parts[(k + 1) % bottles], name)
            put = _put_away(part)
            shown += [own[:put], np.repeat(following[:1], len(own) - put, axis=0)]
        arrays[name] = np.concatenate(shown)
    for name in ("points", "bottle", "bowls", "crate") if noise_m > 0.0 else ():
        arrays[name] = arrays[name] + generator.normal(0.0, noise_m, arrays[name].shape)
    return PourTracks(**arrays, rate_hz=parts[0].rate_hz, source=parts[0].source)


def _tracks(done: Pouring, every: int, source: str) -> PourTracks:
    at = slice(None, None, every)
    frames = len(done.tip[at])
    return PourTracks(
        points=done.points[at][:, _ARM],
        bottle=done.bottle[at, :3],
        tip=np.where(done.held, done.tip, 0.0)[at],
        left=done.left[at] / BEADS,
        bowls=np.tile(done.bowls, (frames, 1, 1)),
        crate=np.tile(done.crate, (frames, 1)),
        command=np.full(frames, done.command),
        rate_hz=done.rate_hz / every,
        source=source,
    )


def _put_away(part: PourTracks) -> int:
    """How many frames there are up to the first that shows the bottle in the crate; all, where none does."""
    shown = np.flatnonzero(in_crate(seen_states(part)))
    return int(shown[0]) + 1 if len(shown) else len(part.tip)
