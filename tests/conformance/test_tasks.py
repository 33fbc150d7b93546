"""What every simulated task must keep, with every robot it supports; a new task is found by its entry point."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from robolearn import plugins
from robolearn.clock import FakeClock
from robolearn.episode import Outcome, Perturbation
from robolearn.errors import UnknownName
from robolearn.specs import bounds, check
from sim.engine import mujoco
from sim.twin_world import TwinWorldConfig

ROWS, FEW_ROWS, STARTS = 12, {"pour": 4}, 48
"""Rows of a teacher's rollout; how often it succeeds is measured from 500 starts by benchmarks/experts.py."""
TASKS = {name: cls for name in plugins.names("env") if hasattr(cls := plugins.load("env", name), "sim_task")}
CASES = [(name, robot) for name, cls in TASKS.items() for robot in cls.robots]
LOOKS = [(name, robot) for name, robot in CASES if name == "reach" or robot == TASKS[name].robots[0]]
"""Every task and every robot, but not every pair: the vendors' meshes take seconds to load."""


def make(name, robot, n, **numbers):
    """Environment and teacher."""
    env = TASKS[name](n=n, robot=robot, **numbers).build()
    return env, plugins.load("expert", name)().build(env)


def play(env, teacher, seeds, steps=None):
    """Observations with their times, actions, outcomes and whether the goal holds, of the teacher's rollout."""
    env.reset(seeds, range(env.n))
    teacher.reset(seeds, range(env.n))
    readings, actions, outcomes = [env.observe()], [], [env.outcomes()]
    holds = [env._sim_task.success(env._seen)]
    while (steps is None and np.any(outcomes[-1] == Outcome.RUNNING)) or (steps is not None and len(actions) < steps):
        wanted = {key: readings[-1].arrays[key] for key in teacher.observation_spec}
        decision = teacher.act(wanted)
        actions.append(env.act({key: decision[key] for key in env.action_spec}))
        readings.append(env.observe())
        outcomes.append(env.outcomes())
        holds.append(env._sim_task.success(env._seen))
    return readings, actions, np.array(outcomes), np.array(holds)


@cache
def rollout(name, robot):
    """One rollout of the teacher to the end in all rows, shared by the tests that only look at it."""
    rows = FEW_ROWS.get(name, ROWS)
    env, teacher = make(name, robot, rows)
    readings, actions, outcomes, holds = play(env, teacher, range(100, 100 + rows))
    warnings = env.world.warnings()
    env.close()
    return env, readings, actions, outcomes, holds, warnings


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_it_obeys_its_spec(name, robot):
    env, readings, actions, *_ = rollout(name, robot)
    assert env.task.name == name
    assert env.task.robot == robot
    assert env.task.instruction.endswith(".")
    for reading in readings:
        check(reading.arrays, env.observation_spec, lead=(env.n,), limits=True)
    for action in actions:
        check(action, env.action_spec, lead=(env.n,), limits=True)
    for spec in env.action_spec.values():
        assert np.all(np.isfinite(bounds(spec))), "actions need limits"


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_the_teacher_succeeds_and_reward_and_success_agree(name, robot):
    env, readings, _, outcomes, holds, _ = rollout(name, robot)
    assert np.mean(outcomes[-1] == Outcome.SUCCESS) >= 0.9
    assert np.all(outcomes[0] == Outcome.RUNNING)
    rewards = np.stack([reading.arrays["task.reward"][:, 0] for reading in readings])
    steps = max(1, round(TASKS[name](robot=robot).hold_s * env.task.rate_hz))
    for row in np.flatnonzero(outcomes[-1] == Outcome.SUCCESS):
        end = int(np.argmax(outcomes[:, row] == Outcome.SUCCESS))
        goal, paid = holds[: end + 1, row], rewards[: end + 1, row]
        # It is a success as soon as the goal has held for the stated time, no earlier and no later.
        assert goal[end - steps + 1 :].all()
        assert not any(goal[k : k + steps].all() for k in range(end - steps + 1))
        # Nowhere on the way does it pay better than at the goal, and the start is no goal.
        assert paid[goal].min() >= paid[~goal].max() - 0.05
        assert paid[end] > paid[0] + 0.1


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_no_element_of_an_observation_is_constant(name, robot):
    env, readings, *_ = rollout(name, robot)
    starts, _ = make(name, robot, STARTS)  # what only a start draws, such as a command, takes more rows
    starts.reset(range(STARTS), range(STARTS))
    begun = starts.observe().arrays
    starts.close()
    for key in env.observation_spec:
        values = np.concatenate([begun[key], *(reading.arrays[key] for reading in readings)])
        constant = np.argwhere(np.ptp(values.astype(float), axis=0) == 0)
        assert len(constant) == 0, f"{key}{constant.tolist()} never changes"


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_time_grows_evenly_and_physics_never_warns(name, robot):
    env, readings, *_, warnings = rollout(name, robot)
    times = np.stack([reading.time for reading in readings])
    np.testing.assert_allclose(np.diff(times, axis=0), 1.0 / env.task.rate_hz, atol=1e-9)
    assert not any(warnings.values()), warnings


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_a_batch_equals_single_rows_bit_for_bit(name, robot):
    """And so the same seed gives the same trajectory in any row, beside any others, on any threads."""
    env, teacher = make(name, robot, 3, threads=2)
    together, sent, *_ = play(env, teacher, [5, 6, 7], steps=30)
    env.close()
    env, teacher = make(name, robot, 1)
    for row, seed in enumerate((5, 6, 7)):
        alone, alone_sent, *_ = play(env, teacher, [seed], steps=30)
        for step, reading in enumerate(alone):
            for key, value in reading.arrays.items():
                assert np.array_equal(value[0], together[step].arrays[key][row]), (seed, step, key)
        for step, action in enumerate(alone_sent):
            assert all(np.array_equal(action[key][0], sent[step][key][row]) for key in action), (seed, step)
    env.close()


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_different_seeds_start_differently(name, robot):
    env, _ = make(name, robot, 6)
    env.reset(range(6), range(6))
    seen = env.observe().arrays
    starts = np.concatenate([seen[key].reshape(6, -1) for key in env.observation_spec], axis=1)
    assert len(np.unique(starts.round(6), axis=0)) == 6
    env.close()


@pytest.mark.parametrize("name", TASKS)
def test_an_arm_that_begins_elsewhere_is_all_that_differs(name):
    robot = TASKS[name].robots[0]
    seen = {}
    for astray in (0.0, 0.5, 1.0):
        env, _ = make(name, robot, 24, astray=astray)
        env.reset(range(24), range(24))
        seen[astray] = env.observe().arrays
        assert not any(env.world.warnings().values())
        env.close()
    home, half, all_ = (seen[astray] for astray in (0.0, 0.5, 1.0))
    away = {astray: np.linalg.norm(seen[astray]["tool.position"] - home["tool.position"], axis=1) for astray in seen}
    assert (away[1.0] > 0.01).all()
    assert 0.1 < away[1.0].mean() < 0.5
    strayed = away[0.5] > 0
    assert 6 <= strayed.sum() <= 18
    assert np.array_equal(half["arm.q"], np.where(strayed[:, None], all_["arm.q"], home["arm.q"]))
    for part in (name for name in home if name.endswith((".position", ".place")) and not name.startswith("tool")):
        assert np.array_equal(all_[part], home[part])
    assert (all_["tool.position"][:, 2] > 0.19).all()


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_arrays_belong_to_the_caller(name, robot):
    env, teacher = make(name, robot, 2)
    first, second = env.observe(), env.observe()
    one, other = first.arrays, second.arrays
    assert not np.shares_memory(first.time, second.time)
    assert not np.shares_memory(env.outcomes(), env.outcomes())
    action = {key: np.array(value) for key, value in teacher.act(dict(one)).items() if key in env.action_spec}
    sent = env.act(action)
    later = env.observe().arrays
    for key in env.observation_spec:
        assert not np.shares_memory(one[key], other[key])
        assert not np.shares_memory(one[key], later[key])
    for key in env.action_spec:
        assert not np.shares_memory(sent[key], action[key])
    env.close()


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_every_body_joint_camera_and_sensor_is_named(name, robot):
    model = TASKS[name](robot=robot).sim_task().model("light")
    assert_named(model)
    assert model.nmeshface == 0, "the light model has no meshes"


def assert_named(model):
    for kind, count in (
        ("body", model.nbody),
        ("joint", model.njnt),
        ("camera", model.ncam),
        ("sensor", model.nsensor),
    ):
        nameless = [i for i in range(count) if not getattr(model, kind)(i).name]
        assert not nameless, (kind, nameless)


@pytest.mark.parametrize(("name", "robot"), CASES)
def test_joint_commands_reach_the_robot(name, robot):
    env, _ = make(name, robot, 2, command="joints")
    home = env.observe().arrays["arm.q"]
    target = home + 0.05
    for _ in range(20):
        sent = env.act({"arm.q_target": target, "gripper.command": -np.ones((2, 1))})
    np.testing.assert_allclose(sent["arm.q_target"], target)
    np.testing.assert_allclose(env.observe().arrays["arm.q"], target, atol=0.01)
    env.close()


@pytest.mark.parametrize(("name", "robot"), LOOKS)
def test_both_looks_are_the_same_physics(name, robot):
    light, full = (TASKS[name](robot=robot).sim_task().model(level) for level in ("light", "full"))
    assert (light.nq, light.nv, light.nu, light.nsensor) == (full.nq, full.nv, full.nu, full.nsensor)
    assert_named(full)
    ends = []
    for model in (light, full):
        data = mujoco.MjData(model)
        for _ in range(20):
            mujoco.mj_step(model, data)
        ends.append(np.concatenate([data.qpos, data.qvel]))
    assert np.array_equal(*ends)


@pytest.mark.parametrize("name", TASKS)
def test_a_raised_table_is_shown_in_the_frame_of_the_base_and_coped_with(name):
    env, teacher = make(name, TASKS[name].robots[0], 3)
    seeds = [300, 301, 302]
    env.reset(seeds, range(3))
    teacher.reset(seeds, range(3))
    before = env.observe().arrays
    for row, height in enumerate((0.0, 0.05, 0.12)):
        assert env.apply(row, Perturbation("HEIGHT", "", {"z": height})).accepted
    after = env.observe().arrays
    positions = [f"{thing}.position" for thing in env._sim_task.objects]
    # The row starts again from where it is, one substep after its start.
    np.testing.assert_allclose(after["tool.position"], before["tool.position"], atol=3e-4)
    if "table.place" in before:  # starts at a height of its own
        assert after["table.place"][:, 0].tolist() == pytest.approx([0.0, 0.05, 0.12], abs=3e-4)
    else:
        for key in positions:
            np.testing.assert_allclose((after[key] - before[key])[:, 2], [0.0, 0.05, 0.12], atol=3e-4)
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act({key: env.observe().arrays[key] for key in teacher.observation_spec})
        env.act({key: decision[key] for key in env.action_spec})
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    assert not any(env.world.warnings().values())
    env.reset(seeds, range(3))
    for key, value in env.observe().arrays.items():
        assert np.array_equal(value, before[key]), "the next start stands as usual"
    env.close()


@pytest.mark.parametrize("name", TASKS)
def test_the_real_time_twin_shows_the_same_scene(name):
    robot = TASKS[name].robots[0]
    clock = FakeClock()
    twin = TwinWorldConfig(task=name, robot=robot, seed=3).build(clock)
    env, _ = make(name, robot, 1)
    env.reset([3], [0])
    seen, (_, twins) = env.observe().arrays, twin.measure()
    assert twins.keys() == env.observation_spec.keys() - {"task.reward"}
    for key, value in twins.items():
        np.testing.assert_allclose(value, seen[key][0], atol=1e-9, err_msg=key)
    clock.advance(0.5)
    twin.measure()
    assert twin.time > 0.49
    env.close()


@pytest.mark.parametrize("name", TASKS)
def test_a_robot_that_cannot_do_it_is_refused(name):
    with pytest.raises(UnknownName, match="Unknown robot 'nobody'"):
        TASKS[name](robot="nobody").build()


@pytest.mark.parametrize("name", TASKS)
def test_a_config_is_a_frozen_dataclass(name):
    config = TASKS[name]()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.n = 3
