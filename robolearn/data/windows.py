"""Training samples: a history of observations up to t and the actions from t on, never across an episode's ends.

Where an episode ends, history repeats its first observation and the actions repeat its last one, with a mask of the
real ones. The order of batches is `robolearn.learn.order`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.data.cache import Cache
from robolearn.episode import Actor
from robolearn.errors import EmptyStore, SpecError
from robolearn.specs import Array, select

__all__ = ["Windows"]


class Windows:
    """Samples of a cache, one per action.

    Args:
        cache: The rows.
        history: Observations per sample, the newest last; at least 1.
        horizon: Actions per sample, the first belonging to the newest observation; at least 1.
        observation_names: By default all of the cache.
        action_names: By default all of the cache.
        action: "sent" (what the robot really got) or "requested".
        exclude_stale: Leave out samples with a stale observation in their history; otherwise `gather` marks them.
        actors: Leave out samples with an action that somebody else decided; () keeps all.

    Raises:
        SpecError: A size below 1 or another kind of action.
        UnknownName: A name the cache lacks.
        EmptyStore: No sample is left.
    """

    def __init__(
        self,
        cache: Cache,
        history: int,
        horizon: int,
        observation_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
        action: str = "sent",
        *,
        exclude_stale: bool = True,
        actors: Sequence[Actor] = (),
    ):
        if history < 1 or horizon < 1:
            raise SpecError(f"History and horizon must be at least 1; found {history} and {horizon}.")
        if action not in ("sent", "requested"):
            raise SpecError(f"The action must be 'sent' or 'requested'; found {action!r}.")
        self.cache, self.history, self.horizon, self.action = cache, history, horizon, action
        self.observation_spec = select(cache.observation_spec, observation_names or cache.observation_spec)
        self.action_spec = select(cache.action_spec, action_names or cache.action_spec)
        rows = cache.action_rows()
        episode = np.repeat(np.arange(len(cache.lengths)), cache.lengths)
        first = cache.starts[episode]
        bad = np.zeros(cache.rows, bool)
        for name in self.observation_spec:
            bad |= cache.stale[name]
        self._bad = None if exclude_stale else bad
        if exclude_stale:
            good = _none(bad, np.maximum(rows - history + 1, first), rows)
            rows, episode, first = rows[good], episode[good], first[good]
        if not len(rows):
            raise EmptyStore(
                f"No training sample is left in {cache.path}: all {int(np.sum(cache.lengths))} have a stale "
                "observation. Raise staleness_s of the cache or check the cameras' rates."
            )
        last = first + cache.lengths[episode] - 1
        if actors:
            others = ~np.isin(cache.arrays["actor"], list(actors))
            good = _none(others, rows, np.minimum(rows + horizon - 1, last))
            rows, episode, first, last = rows[good], episode[good], first[good], last[good]
        if not len(rows):
            found = sorted({Actor(int(code)).name for code in np.unique(cache.arrays["actor"])})
            raise EmptyStore(
                f"No training sample of {horizon} actions by {', '.join(a.name for a in actors)} is left in "
                f"{cache.path}; there are actions by {', '.join(found)}. Choose among these, or shorten the horizon."
            )
        self.rows, self.episodes = rows, episode
        self._first, self._last = first, last

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: Sequence[int] | Array) -> dict[str, Array]:
        """Samples by number.

        Args:
            indices: (b,) numbers below `len(self)`.

        Returns:
            Observations (b, history, ...) under their names, actions (b, horizon, ...) under "action.<name>", and
            "mask" (b, horizon) bool, true where the action is real and not a repeated last one. Where stale samples are
            not left out also "fresh" (b, history) bool, true where no observation is stale or a repeated first one.
        """
        indices = np.asarray(indices, np.int64)
        rows, first, last = self.rows[indices, None], self._first[indices, None], self._last[indices, None]
        back = rows + np.arange(1 - self.history, 1)
        seen = np.maximum(back, first)
        ahead = rows + np.arange(self.horizon)
        arrays = self.cache.arrays
        batch = {name: _rows(arrays[name], seen) for name in self.observation_spec}
        done = np.minimum(ahead, last)
        batch |= {f"action.{name}": _rows(arrays[f"{self.action}.{name}"], done) for name in self.action_spec}
        batch["mask"] = ahead <= last
        if self._bad is not None:
            batch["fresh"] = (back >= first) & ~self._bad[seen]
        return batch


def _none(marked: Array, begin: Array, end: Array) -> Array:
    """Whether none of the rows begin..end (inclusive, (b,) each) is marked, from running counts."""
    counts = np.concatenate([[0], np.cumsum(marked)])
    return counts[end + 1] == counts[begin]


def _rows(array: Array, rows: Array) -> Array:
    """Rows of an array, copied; `take` on a plain view costs a tenth less than indexing the memory map."""
    return np.take(np.asarray(array), rows, axis=0)
