"""The one-step policy: boundary, losses on known paths, target, and what its config refuses."""

import dataclasses

import numpy as np
import pytest
import torch

from policies.consistency import ConsistencyConfig
from policies.diffusion import DiffusionConfig
from robolearn.errors import SpecError
from robolearn.learn.distillation import Paths, build_student, teacher_paths
from robolearn.learn.normaliser import moments
from robolearn.specs import ArraySpec, check

OBSERVATION = {"arm.q": ArraySpec((3,))}
ACTION = {"arm.dq": ArraySpec((2,), low=-1.0, high=1.0)}
DRAW = np.random.default_rng(0)
STATISTICS = {"arm.q": moments(DRAW.normal(size=(30, 3))), "arm.dq": moments(DRAW.uniform(-1, 1, (30, 2)))}
TEACHER = DiffusionConfig(
    sampler="chain", horizon=3, chunk=3, width=32, depth=1, sample_steps=4, dropout=0.0, observation_noise=0.0
)


def teacher_of(**changes):
    torch.manual_seed(0)
    return dataclasses.replace(TEACHER, **changes).build(OBSERVATION, ACTION, STATISTICS).eval()


def conditions(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_at_the_clean_end_it_returns_its_input(prediction):
    student, _ = build_student(teacher_of(prediction=prediction), method="both", target_decay=0.5)
    x = torch.randn(8, 3, 2)
    end = student(x, torch.zeros(8, dtype=torch.int64), conditions(8))
    torch.testing.assert_close(end, x)
    assert not torch.allclose(student(x, torch.full((8,), 76), conditions(8)), x, atol=0.1)


def test_it_begins_as_the_teachers_own_one_step_guess():
    """Its first output is the clean sample that the teacher's network stands for at its first step."""
    teacher = teacher_of()
    student, described = build_student(teacher, method="same_noise", target_decay=0.0)
    x, condition = torch.randn(8, 3, 2), conditions(8)
    step = torch.full((8,), described["steps"][0])
    share = teacher.alpha_bar[step[0]]
    clean = (x - (1 - share).sqrt() * teacher.denoise(x, step, condition)) / share.sqrt()
    torch.testing.assert_close(student(x, step, condition), clean, atol=1e-3, rtol=1e-3)
    assert described["steps"] == [76, 51, 26, 1]


@pytest.mark.parametrize("method", ["same_noise", "consistency", "both"])
def test_the_distance_from_the_teacher_falls(method):
    teacher = teacher_of()
    windows = Paths(teacher, conditions(256).numpy(), 2, seed=0)
    student, _ = build_student(teacher, method=method, target_decay=0.9)
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 3e-3)
    draw, unseen = torch.Generator().manual_seed(0), conditions(64) * 0.9
    path = teacher_paths(teacher, unseen, torch.Generator().manual_seed(5))

    def distance() -> float:
        with torch.no_grad():
            first = student.steps[:1].expand(len(path))
            return float((student(path[:, 0], first, unseen) - path[:, -1]).square().mean())

    before = distance()
    student.train()
    for _ in range(200):
        batch = {n: torch.as_tensor(v) for n, v in windows.gather(DRAW.integers(0, len(windows), 64)).items()}
        loss, found = student.loss(batch, draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distance() < 0.35 * before
    assert ("consistency" in found) == (method != "same_noise")


def test_the_target_follows_the_weights_slowly_and_learns_nothing_itself():
    student, _ = build_student(teacher_of(), method="consistency", target_decay=0.9)
    windows = Paths(teacher_of(), conditions(16).numpy(), 1, seed=0)
    batch = {n: torch.as_tensor(v) for n, v in windows.gather(np.arange(16)).items()}
    mine, theirs = (next(m.parameters()) for m in (student.target, student.denoiser))
    with torch.no_grad():
        theirs.add_(1.0)
    before = mine.clone()
    student.train()
    loss, _ = student.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mine - before, torch.full_like(mine, 0.1))
    loss.backward()
    assert mine.grad is None
    student.eval()
    student.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mine - before, torch.full_like(mine, 0.1))


def test_a_path_is_the_teachers_deployed_decision():
    """Its end, clipped, is what the teacher plays from the same noise."""
    teacher = teacher_of()
    path = teacher_paths(teacher, conditions(8), torch.Generator().manual_seed(2))
    assert path.shape == (8, 5, 3, 2)
    with torch.no_grad():
        torch.testing.assert_close(teacher.denoise_from(path[:, 0], conditions(8)), path[:, -1], atol=1e-5, rtol=1e-5)


def test_it_is_a_policy_like_any_other():
    student, described = build_student(teacher_of(), method="both", target_decay=0.0)
    observation = {"arm.q": DRAW.normal(size=(4, 2, 3))}
    actions = student.predict(observation, np.arange(4, dtype=np.uint64))
    check(actions, ACTION, lead=(4, 3), limits=True)
    alone = student.predict({"arm.q": observation["arm.q"][2:3]}, np.array([2], np.uint64))
    np.testing.assert_allclose(alone["arm.dq"][0], actions["arm.dq"][2], atol=1e-6)
    assert student.target is None
    assert described["plugin"] == "consistency"


@pytest.mark.parametrize("steps", [(), (1, 2), (5, 0), (100, 1)])
def test_steps_must_fall_to_above_zero(steps):
    with pytest.raises(SpecError, match="must fall from below 100 to above 0"):
        ConsistencyConfig(steps=steps).build(OBSERVATION, ACTION, STATISTICS)
