import sys

import numpy as np
import pytest

from robolearn.episode import Outcome
from robolearn.errors import MissingDependency, UnknownName
from robolearn.specs import check
from sim.metaworld_env import MetaworldConfig, MetaworldExpertConfig


def test_without_metaworld_it_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    monkeypatch.setattr("sim.metaworld_env.importlib.import_module", _missing)
    with pytest.raises(MissingDependency, match="A Meta-World task needs the package 'metaworld'"):
        MetaworldConfig().build()


def _missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name="metaworld")


metaworld = pytest.importorskip(
    "metaworld", reason="Meta-World is not installed: pip install metaworld==3.1.1 -c constraints.txt"
)
TASKS = ("reach-v3", "push-v3", "drawer-open-v3", "button-press-v3")


def start(env, seed, row=0):
    env.reset([seed], [row])
    return {name: value[row].copy() for name, value in env.observe().arrays.items()}


@pytest.mark.parametrize("task", TASKS)
def test_two_seeds_differ_and_one_repeats_in_any_row_and_after_anything(task):
    env = MetaworldConfig(task, n=2).build()
    one, other = start(env, 1), start(env, 2)
    assert any(not np.array_equal(one[name], other[name]) for name in one)
    for _ in range(5):
        env.act({"arm.delta": np.full((2, 3), 0.01), "gripper.command": np.ones((2, 1))})
    np.random.seed(7)  # noqa: NPY002 - Meta-World would draw from the global generator
    for row in (0, 1):
        again = start(env, 1, row)
        for name, value in one.items():
            np.testing.assert_allclose(again[name], value, atol=1e-9, err_msg=f"{name} in row {row}")
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_scripted_expert_succeeds(task):
    env = MetaworldConfig(task, n=4).build()
    expert = MetaworldExpertConfig().build(env)
    env.reset(range(10, 14), range(4))
    times = [env.observe().time]
    while np.any(env.outcomes() == Outcome.RUNNING):
        seen = env.observe()
        check(seen.arrays, env.observation_spec, lead=(4,))
        decision = expert.act(seen.arrays)
        sent = env.act({name: decision[name] for name in env.action_spec})
        check(sent, env.action_spec, lead=(4,), limits=True)
        times.append(np.asarray(env.observe().time))
    assert np.mean(env.outcomes() == Outcome.SUCCESS) >= 0.75
    np.testing.assert_allclose(np.diff(np.stack(times), axis=0), 1.0 / env.task.rate_hz, atol=1e-9)
    env.close()


def test_finished_rows_keep_moving_and_a_horizon_is_a_timeout():
    env = MetaworldConfig("reach-v3", horizon=3).build()
    for _ in range(6):
        env.act({"arm.delta": np.zeros((1, 3)), "gripper.command": np.zeros((1, 1))})
    assert env.outcomes()[0] == Outcome.TIMEOUT
    env.close()


def test_unknown_tasks_name_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'reach-v3'"):
        MetaworldConfig("reach-v4").build()
