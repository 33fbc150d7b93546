import warnings

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed: pip install gymnasium==1.4.0")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from robolearn import plugins  # noqa: E402
from sim import gymnasium_env  # noqa: E402
from sim.tasks.lift import LiftConfig, LiftExpertConfig  # noqa: E402

NAMES = gymnasium_env.register_tasks()


def join(decision, spec):
    return np.concatenate([decision[name] for name in spec], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_own_check_passes(name):
    env = gymnasium.make(name, disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Positions and velocities have no limits of their own, which Gymnasium mentions.
        warnings.filterwarnings(
            "ignore", message=".*Box (observation|action) space (minimum|maximum) value is.*infinity"
        )
        warnings.filterwarnings("ignore", message=".*not within the (observation|action) space.*", append=True)
        warnings.filterwarnings("ignore", message=".*recommend using a symmetric and normalized space.*")
        check_env(env.unwrapped, skip_render_check=False)
    env.close()


def test_every_task_has_a_name_and_the_module_can_be_named_in_it():
    assert "robolearn/Lift-v0" in NAMES
    assert gymnasium_env.register_tasks() == NAMES
    env = gymnasium.make("sim.gymnasium_env:robolearn/Lift-v0", horizon=5)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(5)]
    assert ends == [False] * 4 + [True]
    env.close()


def test_vector_rows_equal_single_environments():
    rows = gymnasium.make_vec("robolearn/Lift-v0", num_envs=3, horizon=6)
    assert isinstance(rows.unwrapped, gymnasium_env.BatchVectorEnv)
    singles = [gymnasium.make("robolearn/Lift-v0", horizon=50) for _ in range(3)]
    seen, _ = rows.reset(seed=[4, 5, 6])
    alone = [env.reset(seed=seed)[0] for env, seed in zip(singles, (4, 5, 6), strict=True)]
    rows.action_space.seed(0)
    for _ in range(5):
        actions = rows.action_space.sample()
        for row in range(3):
            for name, value in alone[row].items():
                assert np.array_equal(seen[name][row], value), name
        assert rows.observation_space.contains(seen)
        seen, reward, terminated, truncated, _ = rows.step(actions)
        results = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        alone = [result[0] for result in results]
        assert [result[1] for result in results] == reward.tolist()
        assert not terminated.any()
        assert not truncated.any()
    rows.close()


def test_a_finished_row_starts_again_with_its_next_step():
    rows = gymnasium.make_vec("robolearn/Lift-v0", num_envs=2, horizon=3)
    first, _ = rows.reset(seed=1)
    for _ in range(3):
        _, _, _, truncated, _ = rows.step(rows.action_space.sample())
    assert truncated.all()
    start, reward, _, truncated, _ = rows.step(rows.action_space.sample())
    assert not truncated.any()
    assert np.all(reward == 0)
    assert not np.array_equal(start["cube.position"], first["cube.position"])
    assert np.all(start["cube.position"][:, 2] == 0.02)
    rows.close()


def test_the_teacher_succeeds_through_the_flat_interface():
    config = LiftConfig()
    teacher = LiftExpertConfig().build(config.build())
    env = gymnasium.make("robolearn/Lift-v0", flat=True)
    flat, _ = env.reset(seed=3)
    teacher.reset([3], [0])
    assert env.observation_space.contains(flat)
    spec = env.unwrapped.batch.action_spec
    done, total = False, 0.0
    while not done:
        decision = teacher.act(env.unwrapped.batch.observe().arrays)
        flat, reward, terminated, truncated, info = env.step(join(decision, spec)[0])
        total += reward
        done = terminated or truncated
    assert terminated
    assert info["is_success"] is True
    assert total > 10
    env.close()


def test_pictures_and_other_robots():
    robots = plugins.load("env", "lift").robots
    cameras = {"cameras": (("wrist", 32, 24),), "depth": True, "segmentation": True}
    env = gymnasium.make("robolearn/Lift-v0", robot=robots[-1], render_mode="rgb_array", **cameras)
    seen, _ = env.reset(seed=0)
    assert seen["wrist.rgb"].shape == (24, 32, 3)
    assert seen["wrist.depth"].dtype == seen["wrist.segmentation"].dtype == np.uint16
    assert env.observation_space.contains(seen)
    assert env.render().shape == (360, 480, 3)
    env.close()
