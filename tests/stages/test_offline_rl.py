"""Offline RL and growth on `reach`, far too small to learn anything: what they promise beside learning."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.data.store import Store
from robolearn.episode import Actor, Outcome
from robolearn.errors import ArtefactError, EmptyStore, SpecError
from robolearn.intervals import wilson
from robolearn.learn import checkpoint
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.checkpoint import load_policy
from robolearn.learn.gate import Gate
from robolearn.rollout import episode_seeds, rollout
from robolearn.stages.evaluate import read_evaluation
from robolearn.stages.growth import CLONE, COLLECTOR, IMITATE, Growth, Rounds
from robolearn.stages.imitation import Imitation
from robolearn.stages.offline_rl import OfflineRL
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
TRAIN = {"steps": 20, "batch_size": 16, "warmup_steps": 2}
NETS = {"members": 2, "width": 8, "depth": 1}
ENV = {"plugin": "reach", "n": 4, "horizon": 22}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Ten recordings, timeouts among them, and a policy."""
    root = tmp_path_factory.mktemp("offline")
    env = plugins.from_dict("env", ENV).build()
    expert = plugins.load("expert", "reach")().build(env)
    with Store.create(root / "data", durable=False) as store:
        record(store, env, expert, 10, 0, operator="expert", everything=True)
    env.close()
    Imitation(str(root / "data"), POLICY, TRAIN).run(root / "imitation")
    return root


def stage(root: Path, **changes: Any) -> OfflineRL:
    settings: dict[str, Any] = {
        "candidates": 2,
        "critic": NETS,
        "dynamics": NETS | {"elites": 2},
        "fitted": NETS,
        "critic_steps": 10,
        "dynamics_steps": 10,
        "fitted_steps": (10, 5),
        "improve": {"batches": 2, "batch_size": 16},
        "states": 20,
    }
    return OfflineRL(str(root / "data"), str(root / "imitation"), **(settings | changes))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path).weights()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_rejected_leaves_no_trace(root, tmp_path):
    out = stage(root, gate={"margin": 1e9}).run(tmp_path / "run")
    start, _ = load_chain(root / "imitation")
    assert equal(weights(out), start.state_dict())
    lines = [json.loads(line) for line in (out / "gate.jsonl").read_text().splitlines()]
    assert [line["accepted"] for line in lines] == [False, False]
    assert lines[1]["facts"]["rate"] == pytest.approx(0.7 * lines[0]["facts"]["rate"])
    assert lines[0]["candidate"] != lines[0]["incumbent"] == lines[1]["incumbent"]
    report = (out / "report.html").read_text()
    assert "0 of 2 candidates were accepted" in report


def test_what_is_accepted_is_the_checkpoint_and_acts(root, tmp_path):
    out = stage(root, gate={"margin": -1e9, "outside_maximum": 1.0}).run(tmp_path / "run")
    start, _ = load_chain(root / "imitation")
    assert not equal(weights(out), start.state_dict())
    env = plugins.from_dict("env", ENV).build()
    policy = load_policy(out / "checkpoints")
    assert policy.config.sampler == "chain"
    assert len(rollout(env, Chunked(policy, env.n), seeds=[1, 2])) == 2
    env.close()


def test_a_killed_run_decides_what_an_uninterrupted_one_would_have(root, tmp_path, monkeypatch):
    job = stage(root, gate={"margin": -1e9, "outside_maximum": 1.0}, candidates=3)
    whole = job.run(tmp_path / "whole")
    judge, count = Gate.judge, []

    def killed(self, *arguments, **more):
        count.append(1)
        if len(count) == 2:
            judge(self, *arguments, **more)  # logged, and killed before the checkpoint
            raise KeyboardInterrupt
        return judge(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Gate, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            job.run(tmp_path / "killed")
    resumed = job.run(tmp_path / "killed")
    assert (resumed / "gate.jsonl").read_text() == (whole / "gate.jsonl").read_text()
    assert equal(weights(resumed), weights(whole))
    with pytest.raises(ArtefactError, match=r"config\.gamma is 0\.99 there, 0\.9 here"):
        dataclasses.replace(job, gamma=0.9).run(tmp_path / "killed")


def test_paper_mode_and_aligned_decisions(root, tmp_path):
    out = stage(root, gate={"mode": "paper"}, stride="aligned", candidates=1).run(tmp_path / "run")
    (line,) = [json.loads(line) for line in (out / "gate.jsonl").read_text().splitlines()]
    assert list(line["estimates"]) == ["paper"]


def test_single_actions_pass_through_all_stages(root, tmp_path):
    cloned = Imitation(str(root / "data"), POLICY | {"horizon": 1, "chunk": 1}, TRAIN).run(tmp_path / "single")
    out = dataclasses.replace(stage(root, candidates=1), checkpoint=str(cloned)).run(tmp_path / "run")
    assert load_policy(out).chunk == 1


def test_a_trial_plays_paired_starts_of_its_own(root, tmp_path):
    settings = {"gate": {"margin": -1e9, "outside_maximum": 1.0}, "candidates": 1, "env": ENV}
    out = stage(root, trial={"most": 4, "batch": 2}, **settings).run(tmp_path / "run")
    (line,) = [json.loads(line) for line in (out / "gate.jsonl").read_text().splitlines()]
    assert line["trial"]["starts"] == 4
    assert not line["accepted"]
    with pytest.raises(SpecError, match="A trial needs an environment"):
        stage(root, trial={"most": 4}, candidates=1).run(tmp_path / "none")


def test_held_out_episodes_are_needed(root, tmp_path):
    with pytest.raises(EmptyStore, match="to hold 1% of them out; found 10"):
        stage(root, held_out=0.01).run(tmp_path / "run")
    with pytest.raises(SpecError, match="ImproveConfig has no setting 'rate'; possible: learning_rate"):
        stage(root, improve={"rate": 1.0}).run(tmp_path / "other")


def test_growth_keeps_both_outcomes_and_clones_successes(root, tmp_path):
    job = Growth(str(root / "data"), str(root / "imitation"), ENV, POLICY, TRAIN, episodes=5, seed=9)
    out = job.run(tmp_path / "growth")
    grown, before = Store.open(out / "store"), Store.open(root / "data")
    assert len(grown) == len(before) + 5
    assert set(before.ids()) < set(grown.ids())
    new = [grown[id] for id in grown.ids() if id not in set(before.ids())]
    assert all((episode.actor == Actor.POLICY).all() for episode in new)
    cloned = grown.ids(split=IMITATE)
    assert 0 < len(cloned) < len(grown)
    assert all(grown.info(id).outcome is Outcome.SUCCESS for id in cloned)
    assert load_policy(out / "imitation").chunk == 2
    noise = [np.abs(np.diff(e.actions["arm.delta"], axis=0)).mean() for e in new]
    quiet = dataclasses.replace(job, explore=False, policy={}).run(tmp_path / "quiet")
    still = Store.open(quiet / "store")
    calm = [np.abs(np.diff(still[id].actions["arm.delta"], axis=0)).mean() for id in still.ids()[-5:]]
    assert np.mean(calm) < np.mean(noise), "exploration is noise"


def test_a_clone_that_does_worse_than_what_collected_does_not_go_on(root, tmp_path, monkeypatch):
    job = Growth(str(root / "data"), str(root / "imitation"), ENV, POLICY, TRAIN, episodes=5, trial=6, seed=9)
    out = job.run(tmp_path / "growth")
    told = {name: read_evaluation(out / "trial" / name.replace(" ", "_")) for name in (COLLECTOR, CLONE)}
    env = plugins.from_dict("env", ENV).build()
    for name, path in ((COLLECTOR, root / "imitation"), (CLONE, out / "imitation")):
        seeds = episode_seeds(6, 5_500_009)
        done = rollout(env, Chunked(load_policy(path), env.n), seeds=seeds)
        assert told[name].rate == wilson(sum(summary.outcome is Outcome.SUCCESS for summary in done), 6)
    env.close()
    for clone, better in ((3, out / "imitation"), (2, root / "imitation")):

        def scripted(folder, clone=clone):
            return SimpleNamespace(rate=wilson(clone if folder.name == "the_clone" else 3, 6))

        monkeypatch.setattr("robolearn.stages.trial.read_evaluation", scripted)
        again = job.run(tmp_path / f"growth_{clone}")
        assert equal(weights(again), weights(better))
        assert f"{CLONE if clone == 3 else COLLECTOR} goes on" in (again / "report.html").read_text()


def test_growth_without_a_success_says_what_to_do(root, tmp_path):
    store, nothing = Store.open(root / "data"), tmp_path / "failures"
    with Store.create(nothing, durable=False) as failures:
        failures.append(dataclasses.replace(store[store.ids()[0]], outcome=Outcome.FAILURE))
    job = Growth(str(nothing), str(root / "imitation"), ENV, POLICY, TRAIN, episodes=1, seed=9)
    with pytest.raises(EmptyStore, match="Expected a success among the 2 recordings"):
        job.run(tmp_path / "growth")


def test_rounds_alternate_and_end_in_one_checkpoint(root, tmp_path):
    offline = {
        k: v for k, v in dataclasses.asdict(stage(root)).items() if k not in ("store", "checkpoint", "env", "seed")
    }
    offline |= {"candidates": 1, "trial_seed": 1}
    job = Rounds(str(root / "data"), str(root / "imitation"), ENV, POLICY, TRAIN, rounds=2, episodes=3, offline=offline)
    out = job.run(tmp_path / "rounds")
    assert equal(weights(out), weights(out / "round_1" / "offline"))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    job.run(tmp_path / "rounds")
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
