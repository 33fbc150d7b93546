import numpy as np
import pytest

from robolearn.errors import SimulationFault
from sim.engine import mujoco
from sim.task import draw_start
from sim.tasks.lift import LiftConfig
from sim.world import World

SUBSTEPS = 10


def make(n, threads=1, seeds=None):
    task = LiftConfig().sim_task()
    world = World(task.model("light"), n, substeps=SUBSTEPS, threads=threads)
    starts = [draw_start(world.model, task, seed) for seed in (seeds or range(n))]
    world.restart(range(n), np.stack([s[0] for s in starts]), np.stack([s[1] for s in starts]))
    world.inputs["ctrl"][:] = np.stack([s[1] for s in starts])[:, None]
    return world


def shake(world, seeds, steps=12):
    """Random joint targets, drawn per row."""
    generators = [np.random.default_rng(seed) for seed in seeds]
    base = world.inputs["ctrl"].copy()
    for _ in range(steps):
        for row, generator in enumerate(generators):
            world.inputs["ctrl"][row, :, :7] = base[row, :, :7] + 0.1 * generator.standard_normal(7)
        world.step()
    return world.state.copy(), world.sensors.copy()


def test_batch_equals_singles_bit_for_bit_and_threads_change_nothing():
    seeds = [3, 1, 4, 1, 5]
    batch = shake(make(5, seeds=seeds), seeds)
    threaded = shake(make(5, threads=2, seeds=seeds), seeds)
    for one, other in zip(batch, threaded, strict=True):
        assert np.array_equal(one, other)
    for row, seed in enumerate(seeds):
        for many, single in zip(batch, shake(make(1, seeds=[seed]), [seed]), strict=True):
            assert np.array_equal(many[row : row + 1], single)


def test_sensors_show_the_state_they_claim():
    world = make(2)
    for _ in range(3):
        data = mujoco.MjData(world.model)
        for row in range(2):
            mujoco.mj_setState(world.model, data, world.seen[row], mujoco.mjtState.mjSTATE_FULLPHYSICS)
            mujoco.mj_forward(world.model, data)
            for name in ("arm.q", "tool.position", "cube.position", "cube.quaternion", "joint.axis"):
                part = world.layout[name]
                np.testing.assert_allclose(world.sensors[row, part], data.sensordata[part], atol=1e-12)
        world.inputs["ctrl"][:, :, :7] += 0.05
        world.step()


def test_time_is_of_the_sensors_and_evenly_spaced():
    world = make(3)
    assert np.array_equal(world.time, np.zeros(3))
    times = [world.time]
    for _ in range(5):
        world.step()
        times.append(world.time)
    np.testing.assert_allclose(np.diff(times, axis=0), 0.05, atol=1e-12)
    world.restart([1], *(x[None] for x in draw_start(world.model, LiftConfig().sim_task(), 0)[:2]))
    assert world.time[1] == 0
    assert world.time[0] == times[-1][0]


def test_restarting_a_row_leaves_the_others_alone():
    world = make(3)
    world.step()
    before = world.state.copy()
    world.restart([1], *(x[None] for x in draw_start(world.model, LiftConfig().sim_task(), 9)[:2]))
    assert np.array_equal(world.state[[0, 2]], before[[0, 2]])
    assert not np.array_equal(world.state[1], before[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e11])
def test_bad_control_is_refused_before_anything_moves(bad):
    world = make(3)
    before = world.state.copy()
    world.inputs["ctrl"][1, 4, 2] = bad
    with pytest.raises(SimulationFault, match=r"rows \[1\]. Nothing was stepped"):
        world.step()
    assert np.array_equal(world.state, before)


@pytest.mark.parametrize("column", [1 + 2, 1 + 16 + 3], ids=["qpos", "qvel"])
def test_bad_state_is_found_in_any_row(column, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT where it stands
    for row in range(3):
        world = make(3)
        world.step()
        world.state[row, column] = np.nan
        with pytest.raises(SimulationFault, match=rf"rows \[{row}\]"):
            world.step()


def test_warning_counters_stay_zero():
    world = make(2)
    shake(world, [0, 1])
    assert set(world.warnings().values()) == {0}


def test_close_twice():
    world = make(1, threads=2)
    world.close()
    world.close()
