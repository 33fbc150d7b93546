import numpy as np
import pytest

from robolearn.errors import BenchError
from sim import render
from sim.render import Renderer
from sim.tasks.lift import LiftConfig


@pytest.fixture(scope="module")
def env():
    env = LiftConfig(n=3).build()
    yield env
    env.close()


def test_each_row_gets_its_own_picture(env):
    with Renderer(env.model) as renderer:
        rows = renderer.rgb(env.world.seen, "agent", 64, 48)
        assert rows.shape == (3, 48, 64, 3)
        for row in range(3):
            assert np.array_equal(renderer.rgb(env.world.seen[row : row + 1], "agent", 64, 48)[0], rows[row])
        assert not np.array_equal(rows[0], rows[1])


def test_the_cube_is_red_and_the_table_is_near(env):
    with Renderer(env.model) as renderer:
        image = renderer.rgb(env.world.seen[:1], "agent", 128, 128)[0].astype(int)
        depth = renderer.depth(env.world.seen[:1], "agent", 128, 128)[0]
    red = (image[..., 0] > 100) & (image[..., 1] < 60) & (image[..., 2] < 60)
    assert 20 < red.sum() < 2000
    # The camera is 0.9 m from the middle of the table.
    assert 0.5 < depth[red].mean() < 1.3
    assert depth.dtype == np.float32


def test_too_large_and_closed_are_refused(env):
    renderer = Renderer(env.model)
    with pytest.raises(BenchError, match="at most 1280 x 960"):
        renderer.rgb(env.world.seen, "agent", 5000, 10)
    renderer.close()
    renderer.close()
    with pytest.raises(BenchError, match="closed"):
        renderer.rgb(env.world.seen, "agent", 10, 10)


def test_missing_opengl_says_what_to_install(env, monkeypatch):
    class Without:
        def __getattr__(self, name):
            if name == "GLContext":
                raise AttributeError(name)
            return getattr(original, name)

    original = render.mujoco
    monkeypatch.setattr(render, "mujoco", Without())
    with pytest.raises(BenchError, match="apt-get install libegl1 libgl1"):
        Renderer(env.model)
