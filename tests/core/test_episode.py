import dataclasses

import numpy as np
import pytest

from robolearn.episode import Actor, Episode, EpisodeMeta, Outcome
from robolearn.errors import BadEpisode
from robolearn.specs import ArraySpec


def episode(**changes) -> Episode:
    base = Episode(
        observation_spec={"x": ArraySpec((2,))},
        action_spec={"u": ArraySpec((1,))},
        observations={"x": np.zeros((4, 2))},
        requested={"u": np.zeros((3, 1))},
        actions={"u": np.zeros((3, 1))},
        actor=np.full(3, Actor.OPERATOR, np.int8),
        times=np.arange(4) * 0.1,
        outcome=Outcome.SUCCESS,
        meta=EpisodeMeta("t", "do it", 10.0),
    )
    return dataclasses.replace(base, **changes)


def test_a_good_episode_counts_its_actions():
    assert episode().steps == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": {"x": np.zeros((3, 2))}}, r"observations \(T \+ 1 of them\): 'x' must have shape \(4, 2\)"),
        ({"actions": {"u": np.zeros((4, 1))}}, r"sent actions \(T of them\)"),
        ({"requested": {"v": np.zeros((3, 1))}}, r"missing \['u'\], unexpected \['v'\]"),
        ({"observations": {"x": np.full((4, 2), np.nan)}}, "must be finite"),
        ({"actor": np.zeros(4, np.int8)}, r"one actor per action, shape \(3,\); found \(4,\)"),
        ({"times": np.array([0.0, 0.1, 0.1, 0.2])}, "strictly growing"),
        ({"times": np.array([0.0, 0.1, np.nan, 0.3])}, "strictly growing"),
        ({"times": np.array([0.0])}, "at least one action"),
        ({"notes": {"subtask": np.zeros(4)}}, "'subtask' needs one value per action"),
    ],
)
def test_a_bad_episode_cannot_exist(change, message):
    with pytest.raises(BadEpisode, match=message):
        episode(**change)
