import numpy as np
import pytest
import torch

from robolearn.diffusion.schedule import CLEAN, Schedule, Spacing, squared_cosine, visited
from robolearn.errors import SpecError

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("steps", [1, 7, 100, 1000])
def test_squared_cosine_is_bit_equal_to_diffusers(steps: int):
    theirs = diffusers.DDIMScheduler(num_train_timesteps=steps, beta_schedule="squaredcos_cap_v2")
    assert torch.equal(squared_cosine(steps).alpha_bar, theirs.alphas_cumprod)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 16, 33, 99, 100])
def test_visited_steps_are_those_of_diffusers(spacing: Spacing, steps: int):
    theirs = diffusers.DDIMScheduler(100, beta_schedule="squaredcos_cap_v2", timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    pairs = visited(squared_cosine(100), steps, spacing)
    assert [step for step, _ in pairs] == theirs.timesteps.tolist()[:steps]
    assert [following for _, following in pairs] == [*[step for step, _ in pairs][1:], CLEAN]


def test_leading_with_offset_one_is_rl_100s_chain():
    assert [step for step, _ in visited(squared_cosine(100), 10, offset=1)] == list(range(91, 0, -10))


@pytest.mark.parametrize("steps", [0, 101])
def test_too_many_steps_are_refused(steps: int):
    with pytest.raises(SpecError, match=f"between 1 and 100 steps .* found {steps}"):
        visited(squared_cosine(100), steps)


def test_an_offset_beyond_the_end_is_refused():
    with pytest.raises(SpecError, match="Offset 60 with 2 leading steps leaves"):
        visited(squared_cosine(100), 2, offset=60)


@pytest.mark.parametrize("values", [[0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [0.9, np.nan]])
def test_a_schedule_must_fall_inside_the_unit_interval(values: list[float]):
    with pytest.raises(SpecError, match="fall strictly inside"):
        Schedule(torch.tensor(values))
