"""A model that needs derived streams acts on what is observed, through the same wrapper wherever it acts."""

import numpy as np
import pytest

from robolearn.compose import Chunked
from robolearn.errors import SpecError
from robolearn.rollout import rollout
from robolearn.scene.derived import DERIVED, derive, derived_spec, deriving
from robolearn.scene.view import read_scene
from robolearn.specs import ArraySpec
from sim.tasks.pick_place import PickPlaceConfig


class Looks:
    """A chunk model that keeps what it saw and stays where it is."""

    history, chunk = 2, 3

    def __init__(self, observation_spec, action_spec):
        self.observation_spec, self.action_spec, self.seen = observation_spec, action_spec, []

    def predict(self, observations, noise):
        self.seen.append(observations)
        return {n: np.zeros((len(noise), self.chunk, *s.shape), s.dtype) for n, s in self.action_spec.items()}


@pytest.fixture
def env():
    env = PickPlaceConfig(n=2, horizon=7).build()
    yield env
    env.close()


def test_derived_streams_are_those_of_every_frame_of_the_history(env):
    spec = derived_spec(env.observation_spec)
    model = Looks({**spec, "arm.q": env.observation_spec["arm.q"]}, env.action_spec)
    full = deriving(model, env.observation_spec)
    assert not set(DERIVED) & set(full.observation_spec)
    rollout(env, Chunked(full, env.n), seeds=[1, 2])
    env.reset([1, 2], [0, 1])
    first = env.observe().arrays
    seen = model.seen[0]
    assert set(seen) == set(model.observation_spec)
    for name, value in derive(read_scene(env.observation_spec), first).items():
        assert seen[name].shape == (2, 2, *spec[name].shape)
        np.testing.assert_array_equal(seen[name][:, 0], value)
        np.testing.assert_array_equal(seen[name][:, 1], value)
    assert any(not np.array_equal(later["scene.things"][:, 0], later["scene.things"][:, 1]) for later in model.seen[1:])


def test_a_model_that_needs_none_is_left_alone(env):
    model = Looks({"arm.q": env.observation_spec["arm.q"]}, env.action_spec)
    assert deriving(model, env.observation_spec) is model


def test_another_scene_is_refused(env):
    other = {**derived_spec(env.observation_spec), "scene.things": ArraySpec((3, 8))}
    with pytest.raises(SpecError, match=r"another scene.*scene\.things \(3, 8\).*orange"):
        deriving(Looks(other, env.action_spec), env.observation_spec)
