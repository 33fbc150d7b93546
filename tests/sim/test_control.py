import numpy as np
import pytest

from robolearn.arm.task_space import interpolate, jacobian, solve
from robolearn.geometry import quaternion_conjugate, quaternion_multiply, rotation_vector
from sim.engine import mujoco
from sim.robots import PANDA
from sim.task import joint_command_spec
from sim.tasks.lift import LiftConfig


@pytest.fixture(scope="module")
def env():
    env = LiftConfig(n=6).build()
    yield env
    env.close()


def sensor(env, name):
    return env.world.sensors[:, env.world.layout[name]]


def test_jacobian_equals_mujocos_at_the_sensors_state(env):
    env.reset(range(6), range(6))
    generator = np.random.default_rng(0)
    for _ in range(4):
        ours = jacobian(
            sensor(env, "joint.anchor").reshape(6, 7, 3),
            sensor(env, "joint.axis").reshape(6, 7, 3),
            sensor(env, "tool.position"),
        )
        for row in range(6):
            data = mujoco.MjData(env.model)
            mujoco.mj_setState(env.model, data, env.world.seen[row], mujoco.mjtState.mjSTATE_FULLPHYSICS)
            mujoco.mj_kinematics(env.model, data)
            mujoco.mj_comPos(env.model, data)
            theirs = np.zeros((6, env.model.nv))
            mujoco.mj_jacSite(env.model, data, theirs[:3], theirs[3:], env.model.site("tool").id)
            np.testing.assert_allclose(ours[row], theirs[:, :7], atol=1e-9)
        delta = generator.uniform(-1, 1, (6, 6)) * ([0.05] * 3 + [0.3] * 3)
        env.act({"arm.delta": delta, "gripper.command": generator.uniform(-1, 1, (6, 1))})


def test_solve_inverts_and_does_not_depend_on_n():
    generator = np.random.default_rng(1)
    B = generator.standard_normal((40, 6, 7))
    A, b = B @ B.transpose(0, 2, 1) + 1e-3 * np.eye(6), generator.standard_normal((40, 6))
    x = solve(A, b)
    np.testing.assert_allclose((A @ x[..., None])[..., 0], b, atol=1e-9)
    assert np.array_equal(solve(A[7:8], b[7:8]), x[7:8])


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1, 1])
def test_tool_goes_where_it_is_told_in_the_base_frame(env, axis, sign):
    env.reset(range(6), range(6))
    delta = np.zeros((6, 6))
    delta[:, axis] = sign * (0.01 if axis < 3 else 0.05)
    first = env.observe().arrays
    for _ in range(10):
        env.act({"arm.delta": delta, "gripper.command": -np.ones((6, 1))})
    last = env.observe().arrays
    moved = last["tool.position"] - first["tool.position"]
    turned = rotation_vector(
        quaternion_multiply(last["tool.quaternion"], quaternion_conjugate(first["tool.quaternion"]))
    )
    both = np.concatenate([moved, turned], axis=1) / ([0.01] * 3 + [0.05] * 3)
    along = both[:, axis] * sign
    assert np.all(along > 3.0)  # about half of what ten commands ask for: the servo's lag
    assert np.all(along < 10.0)
    across = np.abs(np.delete(both, axis, axis=1))
    assert across.max() < 0.12 * along.min()


def test_joint_targets_respect_limits_and_speed(env):
    low, high = env.model.jnt_range[:7].T
    speed = np.array(PANDA.velocity_limits)
    env.reset(range(6), range(6))
    previous = env.world.inputs["ctrl"][:, -1, :7].copy()
    generator = np.random.default_rng(2)
    for step in range(60):
        delta = np.tile(generator.uniform(-1, 1, 6) * ([0.05] * 3 + [0.5] * 3), (6, 1))
        env.act({"arm.delta": delta, "gripper.command": np.ones((6, 1))})
        targets = env.world.inputs["ctrl"][:, :, :7]
        assert np.all(targets >= low - 1e-12)
        assert np.all(targets <= high + 1e-12)
        if step:
            rates = np.diff(np.concatenate([previous[:, None], targets], axis=1), axis=1) / env.model.opt.timestep
            assert np.all(np.abs(rates) <= speed * (1 + 1e-9))
        previous = targets[:, -1].copy()


def test_interpolation_ends_at_the_target():
    out = np.zeros((2, 4, 3))
    start, end = np.zeros((2, 3)), np.full((2, 3), 8.0)
    interpolate(start, end, out)
    np.testing.assert_array_equal(out[0, :, 0], [2, 4, 6, 8])


def test_joint_commands_are_reached():
    env = LiftConfig(n=2, command="joints").build()
    assert env.action_spec == joint_command_spec(PANDA, env.model)
    target = np.array(PANDA.home) + 0.2
    for _ in range(30):
        sent = env.act({"arm.q_target": np.tile(target, (2, 1)), "gripper.command": -np.ones((2, 1))})
    np.testing.assert_allclose(sent["arm.q_target"][0], target)
    np.testing.assert_allclose(env.observe().arrays["arm.q"], np.tile(target, (2, 1)), atol=2e-3)
    env.close()


def test_posture_drifts_back_to_home_without_moving_the_tool(env):
    env.reset(range(6), range(6))
    first = env.observe().arrays
    for _ in range(60):
        env.act({"arm.delta": np.zeros((6, 6)), "gripper.command": -np.ones((6, 1))})
    last = env.observe().arrays
    assert np.abs(last["tool.position"] - first["tool.position"]).max() < 2e-3
    assert np.all(
        np.linalg.norm(last["arm.q"] - PANDA.home, axis=1) <= np.linalg.norm(first["arm.q"] - PANDA.home, axis=1) + 1e-3
    )
