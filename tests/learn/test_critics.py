"""IQL and fitted-Q evaluation on worlds whose values are known."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from robolearn.errors import SpecError
from robolearn.learn.actors import FunctionActor
from robolearn.learn.critics import CriticConfig, build_critics, described, pessimistic
from robolearn.learn.fitted_q import FittedQConfig, build_fitted_q, with_next_chunks
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.transitions import Transitions

GAMMA, STATES = 0.9, 4


def settings(steps: int, **changes) -> TrainConfig:
    plain: dict[str, Any] = {
        "steps": steps,
        "batch_size": 64,
        "learning_rate": 1e-2,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "beta1": 0.9,
        "clip_norm": 10.0,
        "final_learning_rate": 0.02,
    }
    return TrainConfig(**(plain | changes))


def data(condition, chunk, reward, discount, following, members: int = 1) -> Transitions:
    count = len(reward)
    c, a, r, d, f = (np.asarray(x, np.float32) for x in (condition, chunk, reward, discount, following))
    return Transitions(
        c, a, r, d, f, np.arange(count), np.zeros(count, np.int64), np.ones((count, members), np.float32)
    )


@pytest.fixture(scope="module")
def chain() -> Transitions:
    """States 0..3 in a row; action +1 moves right (reward 1 and the end behind state 3), -1 stays, 0 reward."""
    one_hot = np.eye(STATES)
    rows = [(s, a) for s in range(STATES) for a in (-1.0, 1.0) for _ in range(8)]
    following = [min(s + 1, STATES - 1) if a > 0 else s for s, a in rows]
    ended = [s == STATES - 1 and a > 0 for s, a in rows]
    return data(
        one_hot[[s for s, _ in rows]],
        [[a] for _, a in rows],
        [1.0 * e for e in ended],
        [0.0 if e else GAMMA for e in ended],
        one_hot[following],
    )


def fit(chain: Transitions, tmp_path, expectile: float, steps: int = 350, members: int = 2):
    config = CriticConfig(members=members, width=32, depth=1, expectile=expectile, polyak=0.1, polyak_every=1)
    critics = build_critics(config, STATES, 1, seed=0)
    train(critics, chain, settings(steps), tmp_path / f"{expectile}", described=described(config, "iql"), quiet=True)
    return critics


def values(critics) -> np.ndarray:
    with torch.no_grad():
        return critics.values(torch.eye(STATES)).mean(0).numpy()


def test_iql_recovers_the_best_values_of_a_chain(chain, tmp_path):
    critics = fit(chain, tmp_path, expectile=0.98)
    best = GAMMA ** np.arange(STATES - 1, -1, -1)
    assert values(critics) == pytest.approx(best, abs=0.05)
    with torch.no_grad():
        q = critics.action_values(torch.eye(STATES), torch.full((STATES, 1), -1.0)).mean(0).numpy()
    assert q == pytest.approx(GAMMA * best, abs=0.05)


def test_expectile_one_half_is_the_mean(chain, tmp_path):
    """V = (Q(stay) + Q(right)) / 2 with Q(stay) = gamma V(s), Q(right) = gamma V(s + 1), solved by hand."""
    critics = fit(chain, tmp_path, expectile=0.5)
    mean, later = np.zeros(STATES), 1.0 / GAMMA
    for s in reversed(range(STATES)):
        mean[s] = later = 0.5 * GAMMA * later / (1 - 0.5 * GAMMA)
    assert values(critics) == pytest.approx(mean, abs=0.04)


def test_targets_follow_in_training_only_and_travel_with_the_checkpoint(chain, tmp_path):
    config = CriticConfig(members=2, width=8, polyak=0.5, polyak_every=2)
    critics = build_critics(config, STATES, 1, seed=0)
    before = {k: v.clone() for k, v in critics.state_dict().items()}
    batch = {k: torch.as_tensor(v) for k, v in chain.gather(np.arange(16)).items()}
    critics.eval()
    critics.loss(batch, torch.Generator())
    assert all(torch.equal(v, before[k]) for k, v in critics.state_dict().items())
    critics.train()
    with torch.no_grad():
        for parameter in critics.q.parameters():
            parameter += 1.0
    critics.loss(batch, torch.Generator())
    now = critics.state_dict()
    assert torch.equal(now["target_leave_weight"], before["target_leave_weight"]), "every second step only"
    critics.loss(batch, torch.Generator())
    assert torch.allclose(critics.state_dict()["target_leave_weight"], before["target_leave_weight"] + 0.5)


def test_twins_are_pessimistic_by_their_minimum():
    values = torch.tensor([[1.0, 4.0], [3.0, 2.0]])
    assert torch.allclose(pessimistic(values, 1.0), values.amin(0))
    assert torch.allclose(pessimistic(values, 0.0), values.mean(0))


def test_an_ensemble_disagrees_away_from_the_data(chain, tmp_path):
    bagged = dataclasses.replace(chain, weight=np.random.default_rng(0).poisson(1, (len(chain), 5)).astype(np.float32))
    config = CriticConfig(members=5, width=32, polyak=0.05)
    critics = build_critics(config, STATES, 1, seed=0)
    train(critics, bagged, settings(200), tmp_path, described=described(config, "iql"), quiet=True)
    with torch.no_grad():
        known = critics.action_values(torch.eye(STATES), torch.ones(STATES, 1)).std(0).mean()
        strange = critics.action_values(3 * torch.rand(STATES, STATES) - 1.5, 5 * torch.ones(STATES, 1)).std(0).mean()
    assert strange > known


def test_impossible_critics_are_refused():
    with pytest.raises(SpecError, match=r"expectile inside \(0, 1\); found 5 and 1\.0"):
        build_critics(CriticConfig(expectile=1.0), 1, 1, 0)


def test_fitted_q_values_a_policy_nobody_ran(chain, tmp_path):
    """A policy that stays with probability 0.5 is worth what the linear equations say, another one less."""

    def coin(condition, generator):
        return torch.randint(0, 2, (len(condition), 1), generator=generator) * 2.0 - 1.0

    config = FittedQConfig(members=2, width=32, depth=1, polyak=0.2)
    found = {}
    for name, act in {"coin": coin, "stay": lambda c, g: -torch.ones(len(c), 1)}.items():
        model = build_fitted_q(config, STATES, 1, seed=0)
        windows = with_next_chunks(chain, FunctionActor(name, act), draws=8, seed=0)
        folder = tmp_path / name
        train(model, windows, settings(250), folder, described=described(config, "fitted_q"), quiet=True)
        with torch.no_grad():
            found[name] = model.action_values(torch.eye(STATES), torch.ones(STATES, 1)).mean(0).numpy()
    half, later, right = np.zeros(STATES), 1.0 / GAMMA, np.zeros(STATES)
    for s in reversed(range(STATES)):
        right[s] = GAMMA * later
        half[s] = later = 0.5 * GAMMA * later / (1 - 0.5 * GAMMA)
    assert found["coin"] == pytest.approx(right, abs=0.06)
    assert found["stay"] == pytest.approx([0, 0, 0, 1], abs=0.06)


def test_a_value_that_nobody_can_earn_is_not_built_on(chain):
    """Off the recordings a network may say anything; every target would build on it, and the next ones on that."""

    def error(reach: tuple[float, float] | None) -> float:
        config = FittedQConfig(members=2, width=16, depth=1, reach=reach)
        model = build_fitted_q(config, STATES, 1, seed=0).eval()
        windows = with_next_chunks(chain, FunctionActor("stay", lambda c, g: -torch.ones(len(c), 1)), 2, seed=0)
        batch = {name: torch.as_tensor(value) for name, value in windows.gather(np.arange(len(chain))).items()}
        with torch.no_grad():
            list(model.target.parameters())[-1].fill_(100.0)
            loss, _ = model.loss(batch, torch.Generator())
        return float(loss) / config.members

    assert error((0.0, 1.0)) < 3
    assert error(None) > 1000
