import numpy as np
import pytest

from robolearn.episode import Outcome
from sim.task import draw_start
from sim.tasks.insert import InsertConfig, InsertExpertConfig
from sim.tasks.insert_expert import DEPTH_M, PEG_M, peg_gap


def drop(clearance_m, aside_m, turn=0.0):
    """Let go of the peg just above the hole, `aside_m` beside its middle, and tell whether it falls in."""
    env = InsertConfig(clearance_m=clearance_m).build()
    qpos, ctrl, _ = draw_start(env.model, env._sim_task, 0)
    socket = [qpos[env.model.joint(f"socket/{axis}").qposadr[0]] for axis in ("x", "y", "yaw")]
    address = env.model.joint("peg").qposadr[0]
    yaw = socket[2] + turn
    offset = aside_m * np.array([np.cos(socket[2]), np.sin(socket[2])])
    middle = np.array([*(socket[:2] + offset), DEPTH_M + 0.002 + PEG_M[1] / 2])
    qpos[address : address + 7] = *middle, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
    env.world.restart([0], qpos[None], ctrl[None])
    for _ in range(30):
        env.world.step()
    env._look()
    return bool(env._sim_task.success(env.observe().arrays)[0])


@pytest.mark.parametrize("clearance_m", [0.002, 0.0005])
def test_the_hole_takes_a_peg_that_fits_and_stops_one_that_does_not(clearance_m):
    assert drop(clearance_m, 0.0)
    assert not drop(clearance_m, 0.004)
    assert not drop(clearance_m, 0.0, turn=0.35)


def test_the_walls_leave_the_stated_play():
    for clearance_m in (0.002, 0.0005):
        env = InsertConfig(n=8, clearance_m=clearance_m).build()
        teacher = InsertExpertConfig().build(env)
        env.reset(range(8), range(8))
        teacher.reset(range(8), range(8))
        while np.any(env.outcomes() == Outcome.RUNNING):
            decision = teacher.act(env.observe().arrays)
            env.act({name: decision[name] for name in env.action_spec})
        assert np.all(env.outcomes() == Outcome.SUCCESS)
        push = {"arm.delta": np.tile([0.01, 0.0, 0.0, 0.0, 0.0, 0.0], (8, 1)), "gripper.command": np.ones((8, 1))}
        for _ in range(10):
            env.act(push)
        aside = np.linalg.norm(peg_gap(env.observe().arrays)[:, :2], axis=1)
        # Half of the clearance to a wall, times up to sqrt(2) in the corner, and some give of the contacts.
        assert np.all(aside < clearance_m / 2 * np.sqrt(2) + 0.0015)
        env.close()


def test_a_peg_that_lies_down_is_a_failure():
    env = InsertConfig(n=1).build()
    seen = dict(env.observe().arrays)
    assert not env._sim_task.failure(seen)[0]
    seen["peg.quaternion"] = np.array([[np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]])
    assert env._sim_task.failure(seen)[0]
