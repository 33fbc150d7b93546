import numpy as np
import pytest

from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.observers import Memory
from robolearn.recorder import Recorder
from robolearn.rollout import rollout


def test_what_is_recorded_is_what_happened(point_env, towards_zero, tmp_path):
    store, memory = Store.create(tmp_path / "s"), Memory(pictures=True)
    recorder = Recorder(store, operator="script", bench="line")
    with recorder:
        rollout(point_env(3), towards_zero, seeds=[3, 4, 6, 7], observers=[recorder, memory])
    assert len(store) == 4
    for id in recorder.kept:
        episode = store[id]
        truth = memory.episodes[int(episode.meta.seed or 0)]
        for name, value in truth.observations.items():
            np.testing.assert_array_equal(episode.observations[name], value)
        np.testing.assert_array_equal(episode.actions["point.velocity"], truth.actions["point.velocity"])
        np.testing.assert_array_equal(episode.requested["point.velocity"], truth.requested["point.velocity"])
        np.testing.assert_allclose(episode.times, truth.times, atol=1e-9)
        assert (episode.outcome, episode.meta.operator, episode.meta.bench) == (Outcome.SUCCESS, "script", "line")


def test_unwanted_episodes_leave_nothing(point_env, towards_zero, tmp_path):
    store = Store.create(tmp_path / "s")
    recorder = Recorder(store, keep=lambda outcome: outcome is Outcome.SUCCESS)
    with recorder:
        rollout(point_env(2, horizon=3), towards_zero, seeds=[3, 4], observers=[recorder])
    assert len(store) == 0
    assert not list((tmp_path / "s" / "recording").iterdir())


def test_an_error_in_the_middle_loses_no_demonstration(point_env, towards_zero, tmp_path):
    class Breaks(type(towards_zero)):
        def act(self, observation):
            self.k = getattr(self, "k", 0) + 1
            if self.k == 6:
                raise RuntimeError("the operator pulled the plug")
            return super().act(observation)

    store = Store.create(tmp_path / "s")
    with pytest.raises(RuntimeError), Recorder(store) as recorder:
        rollout(point_env(1), Breaks(), seeds=[3], observers=[recorder])
    (id,) = recorder.kept
    assert store[id].outcome is Outcome.ABORTED
    assert store[id].steps >= 4
