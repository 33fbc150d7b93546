"""Two rollout processes on one machine, through Ray."""

import contextlib
import importlib.util
from pathlib import Path

import pytest

from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.data.store import Store
from robolearn.errors import MissingDependency, SpecError
from robolearn.rollout import episode_seeds, rollout
from robolearn.stages.growth import Growth
from robolearn.stages.imitation import Imitation
from robolearn.stages.workers import Collecting, Workers
from robolearn.verbs.record import record

POLICY = {
    "plugin": "diffusion",
    "width": 16,
    "depth": 1,
    "horizon": 2,
    "chunk": 2,
    "train_steps": 20,
    "sample_steps": 2,
}
TRAIN = {"steps": 10, "batch_size": 16, "warmup_steps": 2}
ENV = {"plugin": "reach", "n": 2, "horizon": 10}

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='ray is not installed (pip install -e ".[scale]")'
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("workers")
    env = plugins.from_dict("env", ENV).build()
    with Store.create(root / "data", durable=False) as store:
        record(store, env, plugins.load("expert", "reach")().build(env), 3, 0, operator="expert", everything=True)
    env.close()
    Imitation(str(root / "data"), POLICY, TRAIN).run(root / "imitation")
    return root


def job(root: Path) -> Collecting:
    return Collecting(ENV, str(root / "imitation"))


def test_without_ray_one_sentence_says_what_to_install(root, monkeypatch):
    def missing(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("robolearn.stages.workers.importlib.import_module", missing)
    with pytest.raises(MissingDependency, match=r"needs the package 'ray'.*\.\[scale\]"):
        Workers(job(root), 2)


@with_ray
@pytest.mark.timeout(600)
def test_two_processes_play_and_record_what_one_would(root, tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="at least one worker; found 0"):
        Workers(job(root), 0)
    seeds = episode_seeds(5, 3)
    env = plugins.from_dict("env", ENV).build()
    alone = rollout(env, Chunked(job(root).model(), env.n), seeds=seeds)
    env.close()
    with Workers(job(root), 2) as workers:
        together = workers.play(seeds)
        assert [(s.seed, s.outcome, s.steps) for s in together] == [(s.seed, s.outcome, s.steps) for s in alone]
        stores = [Store.open(path) for path in workers.record(tmp_path / "stores", seeds)]
        assert [len(store) for store in stores] == [3, 2]
        # The same two processes, since starting Ray is most of the time.
        rest = Growth(str(root / "data"), str(root / "imitation"), ENV, episodes=4, seed=9, workers=1)
        monkeypatch.setattr("robolearn.stages.growth.Workers", lambda job, count: contextlib.nullcontext(workers))
        grown = rest.run(tmp_path / "grown")
    assert len(Store.open(grown / "store")) == 7
    assert {episode.meta.seed for episode in Store.open(grown / "rollouts")} == set(episode_seeds(4, 9))
