import dataclasses

import numpy as np
import pytest

from robolearn.errors import MissingDependency, UnknownName
from sim import assembly
from sim.engine import mujoco
from sim.robots import PANDA, ROBOTS, find_robot
from sim.tasks.lift import LiftConfig


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda r: r.name)
def test_description_fits_together(robot):
    k = len(robot.joints)
    for field in ("home", "stiffness", "damping", "force_limits", "velocity_limits"):
        assert len(getattr(robot, field)) == k, field
    assert len(robot.finger_open) == len(robot.fingers)


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda r: r.name)
def test_home_is_within_limits_with_the_tool_down_and_still(robot):
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    assembly.add_robot(spec, robot)
    model = spec.compile()
    data = mujoco.MjData(model)
    arm = [model.joint(name).id for name in robot.joints]
    assert np.all(model.jnt_range[arm, 0] < robot.home)
    assert np.all(robot.home < model.jnt_range[arm, 1])
    joints = [*arm, *(model.joint(name).id for name in robot.fingers)]
    data.qpos[model.jnt_qposadr[joints]] = data.ctrl[:] = [*robot.home, *robot.finger_open]
    mujoco.mj_forward(model, data)
    assert data.site("tool").xmat.reshape(3, 3)[2, 2] == pytest.approx(-1.0, abs=1e-3)
    assert np.abs(data.qacc[: len(arm)]).max() < 1e-6  # gravity is compensated, no limit pushes


def test_physics_is_the_same_at_both_levels():
    ends = []
    for level in ("light", "full"):
        model = LiftConfig(level=level).sim_task().model(level)
        data = mujoco.MjData(model)
        data.qpos[:7], data.ctrl[:7] = PANDA.home, np.array(PANDA.home) + 0.1
        for _ in range(100):
            mujoco.mj_step(model, data)
        ends.append(np.concatenate([data.qpos, data.qvel]))
    assert np.array_equal(*ends)


def test_unknown_robot_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'panda'"):
        find_robot("pandas")


def test_missing_robosuite_says_how_to_install(monkeypatch):
    monkeypatch.setattr(assembly.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r'"\.\[sim\]"'):
        LiftConfig().build()


def test_importing_sim_does_not_import_robosuite_or_torch():
    import subprocess
    import sys

    code = "import sim.devices, sim.robosuite_env, sys; assert not {'robosuite', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_descriptions_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PANDA.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda r: r.name)
def test_fingers_open_and_close_all_the_way_with_the_tool_between_them(robot):
    env = LiftConfig(robot=robot.name).build()
    still = np.zeros((1, 6))
    for command, width in ((1.0, 0.0), (-1.0, robot.width)):
        for _ in range(25):
            env.act({"arm.delta": still, "gripper.command": np.array([[command]])})
        assert env.observe().arrays["gripper.width"][0, 0] == pytest.approx(width, abs=0.002)
    data = mujoco.MjData(env.model)
    mujoco.mj_setState(env.model, data, env.world.state[0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_kinematics(env.model, data)
    pads = [data.geom(f"robot/{index}").xpos for index, shape in enumerate(robot.shapes) if shape.pad]
    # Midway between the pads, and not deeper in the hand than their middle.
    gap = np.mean(pads, axis=0) - data.site("tool").xpos
    assert np.hypot(gap[0], gap[1]) < 0.002
    assert abs(gap[2]) < 0.012
    env.close()
