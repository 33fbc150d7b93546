"""Imitation, online RL, distillation and export of a toy in seconds: bounds on success, not exact values.

A point on a line must reach the origin in time; its teacher is too slow for far starts, so a policy that copies it
succeeds about half the time and one that learns by trying can do far better.
"""

import dataclasses
import json
import math
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from policies.onnx import OnnxConfig
from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import ArtefactError, CheckpointMismatch, SpecError
from robolearn.learn import checkpoint
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.loop import Interrupted
from robolearn.learn.ppo import PpoLearner
from robolearn.learn.signals import StopRequest
from robolearn.recorder import Recorder
from robolearn.rollout import episode_seeds, rollout
from robolearn.specs import ArraySpec
from robolearn.stages.distill import Distill
from robolearn.stages.evaluate import Evaluate, read_evaluation
from robolearn.stages.export import Export
from robolearn.stages.imitation import Imitation
from robolearn.stages.online_progress import OnlineProgress
from robolearn.stages.online_rl import OnlineRL, care

HORIZON = 24
POLICY: dict[str, Any] = {
    "plugin": "diffusion",
    "width": 16,
    "depth": 1,
    "horizon": 2,
    "chunk": 2,
    "history": 1,
    "dropout": 0.0,
}
POLICY |= {"train_steps": 20, "sample_steps": 4, "observation_noise": 0.0}
ENV = {"plugin": "point", "n": 32}
PPO: dict[str, Any] = {"minibatch": 256, "learning_rate": 1e-3, "highest_rate": 3e-3, "warmup": 1, "target_kl": 0.05}
ONLINE: dict[str, Any] = {
    "steps": 9_000,
    "decisions": 400,
    "sigma_min": 0.2,
    "sigma_max": 0.2,
    "window": 200,
    "ppo": PPO,
}


class Slow:
    """A teacher at well under half of the allowed speed."""

    observation_spec = {"point.x": ArraySpec((1,), unit="m")}
    action_spec = {"point.velocity": ArraySpec((1,), low=-1.0, high=1.0, unit="m/s")}

    def reset(self, seeds, rows):
        self.draw = np.random.default_rng(0)

    def act(self, observation):
        x = observation["point.x"]
        return {"point.velocity": np.clip(-8 * x, -0.6, 0.6) + self.draw.uniform(-0.4, 0.4, x.shape)}


_made = {}


@pytest.fixture
def imitated(point, tmp_path_factory):
    """A store and a policy, made once."""
    if not _made:
        folder = tmp_path_factory.mktemp("imitated")
        with Store.open_or_create(folder / "data") as store, Recorder(store) as recorder:
            rollout(point(8, horizon=HORIZON), Slow(), seeds=episode_seeds(24, 0), observers=[recorder])
        train = {"steps": 300, "batch_size": 64, "learning_rate": 5e-3}
        Imitation(str(folder / "data"), POLICY, train).run(folder / "run")
        _made["folder"] = folder
    return _made["folder"]


def success(path, seed=77, count=100):
    out = path.parent / f"evaluation_{path.name}"
    Evaluate(ENV, str(path), count, seed, films=0).run(out)
    return read_evaluation(out)


def test_the_whole_way_from_a_slow_teacher_to_a_fast_one_step_policy(imitated, tmp_path):
    before = success(imitated / "run").rate.value
    assert 0.3 < before < 0.75

    beside: dict[str, Any] = {"student": "same_noise", "student_rate": 2e-3}
    online = OnlineRL(ENV, str(imitated / "run"), **(ONLINE | beside)).run(tmp_path / "online")
    after = success(online).rate.value
    assert after > before + 0.15
    summary = json.loads((online / "online.json").read_text())
    assert set(summary["phases"]) == {"simulate_s", "decide_s", "wait_s", "learn_s", "idle_s"}
    assert summary["steps"] >= ONLINE["steps"]
    assert "Where the time went" in (online / "report.html").read_text()
    config = checkpoint.load(online).config
    assert (config["sampler"], config["sigma_min"], config["explore"]) == ("chain", 0.2, False)

    train = {"steps": 500, "batch_size": 128, "learning_rate": 2e-3}
    student = Distill(ENV, str(online), decisions=400, train=train, episodes=100).run(tmp_path / "student")
    parity = json.loads((student / "parity.json").read_text())
    assert parity["rms"] < 0.35
    teacher, ours = (read_evaluation(student / "parity" / name) for name in ("teacher", "student"))
    assert teacher.seeds == ours.seeds
    assert ours.rate.value > teacher.rate.value - 0.1
    assert "Student minus teacher" in (student / "report.html").read_text()

    joint = success(online / "student")
    assert checkpoint.load(online / "student").config["plugin"] == "consistency"
    assert joint.rate.value > teacher.rate.value - 0.2


def test_updates_become_smaller_with_the_failures_that_are_left(imitated, tmp_path, monkeypatch):
    assert [care(rate, 0.9) for rate in (math.nan, 0.5, 0.9, 1.0)] == [1.0, 1.0, 1.0, 0.1]
    assert care(0.95, 0.9) == pytest.approx(0.5)
    assert care(0.95, 1.0) == 1.0
    shares, update = [], PpoLearner.update

    def watched(self, batch, rate_share, kl_share):
        shares.append(kl_share)
        return update(self, batch, rate_share, kl_share)

    monkeypatch.setattr(PpoLearner, "update", watched)
    OnlineRL(ENV, str(imitated / "run"), **(ONLINE | {"steps": 3000, "window": 50, "settle": 0.1})).run(
        tmp_path / "run"
    )
    assert shares[0] == 1.0
    assert min(shares) < 0.9


def test_stopping_and_going_on(imitated, tmp_path, monkeypatch):
    """A signal after the third update; the second run goes on with its counts, and does not begin again."""
    shorter: dict[str, Any] = ONLINE | {"steps": 4000}
    stage = OnlineRL(ENV, str(imitated / "run"), **shorter)
    asked = []

    class Impatient(StopRequest):
        def __bool__(self):
            asked.append(1)
            self.signal = signal.SIGTERM
            return len(asked) >= 5

    with monkeypatch.context() as patch:
        patch.setattr("robolearn.stages.online_rl.StopRequest", Impatient)
        with pytest.raises(Interrupted, match="It is resumable"):
            stage.run(tmp_path / "online")
    assert not (tmp_path / "online" / "online.json").exists()
    between = checkpoint.load(tmp_path / "online")
    assert 0 < between.state["online"]["steps"] < 4000
    stage.run(tmp_path / "online")
    summary = json.loads((tmp_path / "online" / "online.json").read_text())
    assert summary["steps"] >= 4000
    assert summary["starts"] > between.state["online"]["starts"]
    lines = [json.loads(line)["step"] for line in (tmp_path / "online" / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))
    assert between.state["online"]["steps"] in lines
    assert checkpoint.load(tmp_path / "online").step > between.step
    assert stage.run(tmp_path / "online")  # finished: nothing is done again


def test_what_cannot_be_improved_is_refused(imitated, tmp_path):
    regression = {"plugin": "regression", "chunk": 2}
    Imitation(str(imitated / "data"), regression, {"steps": 2}).run(tmp_path / "regression")
    with pytest.raises(SpecError, match="has no denoising chain to improve"):
        load_chain(tmp_path / "regression")
    Imitation(str(imitated / "data"), POLICY | {"horizon": 4}, {"steps": 2}).run(tmp_path / "longer")
    with pytest.raises(SpecError, match="denoises 4 actions and plays 2"):
        load_chain(tmp_path / "longer")
    with pytest.raises(SpecError, match=r"PpoConfig has no setting 'epoch'"):
        OnlineRL(ENV, str(imitated / "run"), ppo={"epoch": 3}).run(tmp_path / "online")
    with pytest.raises(SpecError, match="needs demonstrations"):
        OnlineRL(ENV, str(imitated / "run"), ppo={"imitation_weight": 0.1}).run(tmp_path / "hybrid")
    with pytest.raises(SpecError, match="cannot be exported"):
        Export(str(tmp_path / "regression")).run(tmp_path / "exported")


def test_the_hybrid_batch_uses_the_demonstrations(imitated, tmp_path):
    ppo = PPO | {"imitation_weight": 0.1, "kl_weight": 0.01, "imitation_batch": 16}
    stage = OnlineRL(ENV, str(imitated / "run"), **(ONLINE | {"steps": 2500, "ppo": ppo, "ahead": False}))
    stage = dataclasses.replace(stage, store=str(imitated / "data"))
    out = stage.run(tmp_path / "online")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["imitation_loss"] > 0
    assert lines[-1]["imitation_kl"] > 0


def test_an_exported_policy_is_its_source_and_needs_no_torch(imitated, tmp_path):
    """A teacher of several steps; the graph holds them all."""
    out = Export(str(imitated / "run")).run(tmp_path / "exported")
    facts = json.loads((out / "export.json").read_text())
    assert facts["largest_difference"] < 1e-3
    source = checkpoint.load_policy(imitated / "run")
    model = OnnxConfig(str(out)).build(source.observation_spec, source.action_spec)
    observation = {"point.x": np.linspace(-1, 1, 5)[:, None, None]}
    noise = np.random.default_rng(0).standard_normal((5, *model.noise_shape)).astype(np.float32)
    with torch.inference_mode():
        theirs = source.actions(source.denoise_from(torch.as_tensor(noise), source.condition(observation)))
    np.testing.assert_allclose(model.decide(observation, noise)["point.velocity"], theirs["point.velocity"], atol=1e-5)
    one = model.predict({"point.x": observation["point.x"][2:3]}, np.array([9], np.uint64))
    many = model.predict(observation, np.array([1, 2, 9, 4, 5], np.uint64))
    np.testing.assert_allclose(one["point.velocity"][0], many["point.velocity"][2], atol=1e-6)

    code = (
        "import sys, numpy as np; from policies.onnx import OnnxConfig;"
        f"m = OnnxConfig({str(out)!r}).build();"
        "print(m.predict({'point.x': np.zeros((1, 1, 1))}, np.array([3], np.uint64))['point.velocity'].shape);"
        "assert not {'torch', 'onnx', 'onnxscript'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 2, 1)"

    with pytest.raises(CheckpointMismatch, match="has other actions"):
        OnnxConfig(str(out)).build(None, {"point.velocity": ArraySpec((2,))})
    (out / "policy.onnx").write_bytes((out / "policy.onnx").read_bytes()[:-1] + b"x")
    with pytest.raises(ArtefactError, match="is damaged"):
        OnnxConfig(str(out)).build()
    with pytest.raises(ArtefactError, match="robolearn export --checkpoint"):
        OnnxConfig(str(tmp_path)).build()


def test_the_same_evaluation_twice_is_the_same(imitated, tmp_path):
    runs = []
    for _ in range(2):
        model = checkpoint.load_policy(imitated / "run")
        env = plugins.from_dict("env", ENV).build()
        runs.append(rollout(env, Chunked(model, env.n), seeds=episode_seeds(40, 5)))
    assert [(s.outcome, s.steps) for s in runs[0]] == [(s.outcome, s.steps) for s in runs[1]]
    assert {s.outcome for s in runs[0]} == {Outcome.SUCCESS, Outcome.TIMEOUT}


def test_the_policy_that_comes_out_can_be_the_best_one_instead_of_the_last(imitated, tmp_path, monkeypatch):
    improved, kept, rates = OnlineProgress.improved, [], []

    def watched(self):
        found = improved(self)
        if len(self.recent) == self.recent.maxlen:
            rates.append((self.success, found))
        return found

    def ruined(self, *args, **kwargs):
        found = update(self, *args, **kwargs)
        if self.batches == 12:  # it forgets everything
            with torch.no_grad():
                for parameter in self.trained().values():
                    parameter.mul_(0.1)
        return found

    update = PpoLearner.update
    monkeypatch.setattr(PpoLearner, "update", ruined)
    monkeypatch.setattr(OnlineProgress, "improved", watched)
    save = checkpoint.save

    written: dict[str, set[int]] = {"best": set(), "checkpoints": set()}

    def saved(root, model, *args, **kwargs):
        written[root.name].add(kwargs["step"])
        if root.name == "best":
            kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return save(root, model, *args, **kwargs)

    monkeypatch.setattr(checkpoint, "save", saved)
    fields = ONLINE | {"steps": 12_000, "target": 1.1, "best": True, "window": 60}
    out = OnlineRL(ENV, str(imitated / "run"), **fields).run(tmp_path / "best")
    highest = [rate for rate, found in rates if found]
    assert highest == sorted(highest)
    assert highest[-1] == max(rate for rate, _ in rates) > rates[-1][0] + 0.2, "what follows was worse"
    assert written["best"] <= written["checkpoints"], "a run that is killed resumes from where it knows of its best"
    found = load_chain(out)[0].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in kept[-1].items())
    assert json.loads((out / "online.json").read_text())["best"] == highest[-1]
