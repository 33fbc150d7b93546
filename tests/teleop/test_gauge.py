"""The density on the adversary's page: the same count as `robolearn data stats`, and what runs is counted live."""

import numpy as np
import pytest

from robolearn import plugins
from robolearn.data.store import Store
from robolearn.rollout import episode_seeds, rollout
from robolearn.scene.density import density
from robolearn.verbs.record import record
from teleop.console.coverage import AREA, CELLS, cell_of
from teleop.console.gauge import Gauge


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two demonstrations of pick_place and the environment's config."""
    config = plugins.from_dict("env", {"plugin": "pick_place", "n": 2, "horizon": 240})
    env = config.build()
    folder = tmp_path_factory.mktemp("gauge") / "store"
    with Store.open_or_create(folder) as store:
        record(store, env, plugins.load("expert", "pick_place")().build(env), 2, 5, operator="expert")
    env.close()
    return config, folder


def gauge_of(spec):
    return Gauge(spec, 20.0)


def numbers(gauge):
    found = gauge.as_json()
    assert found is not None
    return found


def test_what_is_kept_is_counted_as_the_command_line_counts_it(recorded):
    store = Store.open(recorded[1])
    episodes = [store[id] for id in store.ids()]
    gauge = gauge_of(episodes[0].observation_spec)
    gauge.read(store)
    found, known = numbers(gauge), density(episodes)
    assert (found["situations"], found["episodes"]) == (known.situations, known.episodes)
    assert found["per_1000"] == pytest.approx(known.per_1000, abs=0.05)
    assert gauge.cells.sum() == known.situations, "every told thing lay on the map"


def test_an_episode_counts_while_it_runs_and_not_twice_and_not_when_thrown_away(recorded):
    config, folder = recorded
    store = Store.open(folder)
    first = store[store.ids()[0]]
    env = type(config)(n=1, horizon=240).build()
    gauge = gauge_of(env.observation_spec)
    assert first.meta.seed is not None
    seeds = [first.meta.seed]
    seen = []

    class Look(Gauge):
        def step(self, tick):
            seen.append(numbers(gauge)["now"])

    expert = plugins.load("expert", "pick_place")().build(env)
    rollout(env, expert, seeds=seeds, observers=[gauge, Look(env.observation_spec, 20.0)])
    assert seen[0] == 1
    assert seen == sorted(seen)
    live = numbers(gauge)["now"]
    gauge.keep(first)
    exact = numbers(gauge)
    assert exact["now"] == 0
    assert live == pytest.approx(exact["situations"], rel=0.1), "phases are told from one frame while it runs"
    rollout(env, expert, seeds=seeds, observers=[gauge])
    again = numbers(gauge)
    assert again["now"] <= 0.1 * live, "the same again is nothing new"
    gauge.drop()
    assert numbers(gauge)["now"] == 0
    env.close()


def test_a_scene_without_commands_has_no_density():
    env = plugins.from_dict("env", {"plugin": "lift", "n": 1}).build()
    gauge = gauge_of(env.observation_spec)
    rollout(env, plugins.load("expert", "lift")().build(env), seeds=episode_seeds(1, 0), observers=[gauge])
    assert gauge.as_json() is None
    env.close()


def test_cells_end_where_the_map_ends():
    low, high = np.array(AREA)
    assert cell_of(low + 1e-6) == (0, 0)
    assert cell_of(high - 1e-6) == (CELLS[0] - 1, CELLS[1] - 1)
    assert cell_of(low - 1e-6) is None
    assert cell_of(high + 1e-6) is None
