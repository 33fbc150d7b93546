"""The robosuite adapter, also with the human demonstrations that robomimic published."""

import os
import signal
from typing import Any

import h5py
import numpy as np
import pytest

from robolearn.episode import Outcome, Perturbation
from robolearn.errors import BenchError, SpecError, UnknownName
from robolearn.geometry import xyzw_to_wxyz
from robolearn.specs import check
from sim.robosuite_env import RobosuiteConfig
from sim.robosuite_worker import TOOL_REFERENCE
from sim.task import DISPLACEMENT_SPEC, canonical
from sim.tasks.lift import LiftConfig

BASE = np.array([-0.56, 0.0, 0.912])  # of the robot in robosuite's world, in the recordings as well
SCALE = np.array([0.05] * 3 + [0.5] * 3)
STILL = {"arm.delta": np.zeros((2, 6)), "gripper.command": -np.ones((2, 1))}


@pytest.fixture(scope="module")
def env():
    env = RobosuiteConfig(n=2).build()
    yield env
    env.close()


@pytest.fixture(scope="module")
def demos(lift_ph):
    with h5py.File(lift_ph) as file:
        data: Any = file["data"]
        yield [data[name] for name in sorted(data)]


def imported(observations, step):
    """What a recorded observation is in our names and frames: the conversion an importer makes."""
    part = {name: observations[name][step] for name in observations if "image" not in name}
    return {
        "arm.q": part["robot0_joint_pos"],
        "arm.dq": part["robot0_joint_vel"],
        "tool.position": part["robot0_eef_pos"] - BASE,
        "tool.quaternion": canonical(xyzw_to_wxyz(part["robot0_eef_quat"]), TOOL_REFERENCE),
        "gripper.q": part["robot0_gripper_qpos"],
        "cube.position": part["object"][:3] - BASE,
        "cube.quaternion": canonical(xyzw_to_wxyz(part["object"][3:7])),
    }


def test_it_obeys_its_specs_and_time_grows(env):
    env.reset([0, 1], [0, 1])
    assert env.action_spec == DISPLACEMENT_SPEC == LiftConfig().build().action_spec
    times = []
    for _ in range(4):
        reading = env.observe()
        check(reading.arrays, env.observation_spec, lead=(2,))
        times.append(reading.time)
        sent = env.act({"arm.delta": np.full((2, 6), 9.0), "gripper.command": np.ones((2, 1))})
        check(sent, env.action_spec, lead=(2,), limits=True)
    np.testing.assert_allclose(np.diff(times, axis=0), 0.05, atol=1e-9)
    assert np.all(env.outcomes() == Outcome.RUNNING)


def test_same_seed_same_start_and_trajectory_in_any_row(env):
    action = {"arm.delta": np.tile([0.01, 0.02, -0.02, 0.0, 0.1, 0.2], (2, 1)), "gripper.command": np.ones((2, 1))}
    runs = []
    for seeds in ([5, 6], [6, 5]):
        env.reset(seeds, [0, 1])
        start = env.observe().arrays
        for _ in range(5):
            env.act(action)
        runs.append((start, env.observe().arrays))
    for one, other in zip(*runs, strict=True):
        for name in env.observation_spec:
            assert np.array_equal(one[name], other[name][::-1]), name
    assert not np.array_equal(runs[0][0]["cube.position"][0], runs[0][0]["cube.position"][1])


def test_a_displacement_moves_the_tool_along_the_base_axes(env):
    env.reset([0, 0], [0, 1])
    before = env.observe().arrays["tool.position"]
    delta = np.zeros((2, 6))
    delta[0, 1], delta[1, 2] = 0.02, 0.02
    for _ in range(10):
        env.act({"arm.delta": delta, "gripper.command": -np.ones((2, 1))})
    moved = env.observe().arrays["tool.position"] - before
    assert moved[0, 1] > 0.02
    assert moved[1, 2] > 0.02
    assert np.abs(moved[0, [0, 2]]).max() < 0.006
    assert np.abs(moved[1, :2]).max() < 0.006


def test_restored_states_are_exact_and_hold_still(env):
    env.reset([3, 4], [0, 1])
    for _ in range(5):
        env.act({"arm.delta": np.full((2, 6), 0.01), "gripper.command": -np.ones((2, 1))})
    states, seen = env.states(), env.observe().arrays
    env.reset([0, 0], [0, 1])
    env.restore(states[::-1], [0, 1])
    again = env.observe().arrays
    for name in set(env.observation_spec) - {"task.reward"}:
        np.testing.assert_allclose(again[name], seen[name][::-1], atol=1e-12)
    states[:, 17:] = 0.0
    env.restore(states, [0, 1])
    for _ in range(10):
        env.act(STILL)
    np.testing.assert_allclose(env.observe().arrays["arm.q"], states[:, 1:8], atol=5e-3)


def test_bad_requests_are_refused_and_the_worker_lives_on(env):
    with pytest.raises(SpecError, match=r"'arm\.delta' must be finite; found nan"):
        env.act({"arm.delta": np.full((2, 6), np.nan), "gripper.command": np.zeros((2, 1))})
    with pytest.raises(BenchError, match=r"A state has 32 numbers .* found shape \(5,\)"):
        env.restore(np.zeros((1, 5)), [0])
    with pytest.raises(UnknownName, match="cannot be disturbed"):
        env.apply(0, Perturbation("MOVE_OBJ", "cube"))
    with pytest.raises(UnknownName, match="Valid names: agent, wrist"):
        RobosuiteConfig(cameras=(("front", 8, 8),)).build()
    env.reset([0, 1], [0, 1])
    env.act(STILL)


def test_recorded_observations_mean_the_same_as_ours(env, demos):
    for first in range(0, len(demos), 2):
        pair = demos[first : first + 2]
        for step in range(0, min(len(d["actions"]) for d in pair), 8):
            env.restore(np.stack([d["states"][step] for d in pair]), range(len(pair)))
            ours = env.observe().arrays
            for row, demo in enumerate(pair):
                for name, value in imported(demo["obs"], step).items():
                    np.testing.assert_allclose(ours[name][row], value, atol=2e-7, err_msg=name)


def test_people_are_replayed_open_loop(env, demos):
    succeeded, worst = 0, 0.0
    demos = demos[:4]  # a second each
    for first in range(0, len(demos), 2):
        pair = demos[first : first + 2]
        actions = [d["actions"][:] for d in pair]
        env.restore(np.stack([d["states"][0] for d in pair]), range(len(pair)))
        for step in range(max(map(len, actions))):
            seen = env.observe().arrays["arm.q"]
            for row, demo in enumerate(pair):
                if step < len(actions[row]):
                    worst = max(worst, np.abs(seen[row] - demo["obs/robot0_joint_pos"][step]).max())
            row_actions = np.stack([a[min(step, len(a) - 1)] for a in actions])
            env.act({"arm.delta": row_actions[:, :6] * SCALE, "gripper.command": row_actions[:, 6:]})
        succeeded += int(np.sum(env.outcomes() == Outcome.SUCCESS))
    assert succeeded == len(demos)
    assert worst < 0.06


def test_cameras_and_quiet_console(capfd):
    env = RobosuiteConfig(n=1, cameras=(("agent", 32, 24),)).build()
    arrays = env.observe().arrays
    check(arrays, env.observation_spec, lead=(1,))
    assert arrays["agent.rgb"].shape == (1, 24, 32, 3)
    assert arrays["agent.rgb"].std() > 10
    env.close()
    env.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_a_dead_worker_is_named_and_none_is_left_behind():
    env = RobosuiteConfig(n=1).build()
    worker = env._workers[0]
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(BenchError, match=r"worker of row 0 died \(exit code -9\)"):
        env.act({"arm.delta": np.zeros((1, 6)), "gripper.command": np.zeros((1, 1))})
    env.close()
    assert not worker.is_alive()
    with pytest.raises(BenchError, match="closed"):
        env.reset([0], [0])


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(BenchError, match="Did you mean 'Lift'"):
        RobosuiteConfig(task="Lft").build()
