"""Corrections of a toy: only the teacher is copied, turns last as long as asked for, and a stopped run goes on."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robolearn import plugins
from robolearn.data.store import Store
from robolearn.episode import Actor
from robolearn.errors import SpecError
from robolearn.learn import checkpoint
from robolearn.recorder import Recorder
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import read_manifest
from robolearn.specs import ArraySpec
from robolearn.stages.corrections import TEACHERS, Corrections, Turns
from robolearn.stages.evaluate import Evaluate, read_evaluation
from robolearn.stages.imitation import Imitation

POLICY: dict[str, Any] = {"plugin": "regression", "width": 16, "depth": 1, "chunk": 2, "history": 1}
TRAIN = {"steps": 200, "batch_size": 64, "learning_rate": 5e-3}
ENV = {"plugin": "point", "n": 16}
FIELDS: dict[str, Any] = {"rounds": 2, "episodes": 24, "alone_s": (0.1, 0.3), "taken_s": (0.15, 0.25)}


class Teacher:
    """Goes to the origin as fast as it may; `away` goes the other way."""

    observation_spec = {"point.x": ArraySpec((1,), unit="m")}
    action_spec = {"point.velocity": ArraySpec((1,), low=-1.0, high=1.0, unit="m/s")}

    def __init__(self, away=False):
        self.gain = 8.0 if away else -8.0

    def reset(self, seeds, rows):
        pass

    def act(self, observation):
        return {"point.velocity": np.clip(self.gain * observation["point.x"], -1.0, 1.0)}


@pytest.fixture
def point(monkeypatch, point):
    """The environment and its teacher, as plugins."""

    @dataclasses.dataclass(frozen=True)
    class TeacherConfig:
        def build(self, env):
            return Teacher()

    load = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda kind, name: TeacherConfig if (kind, name) == ("expert", "point") else load(kind, name)
    )
    return point


@pytest.fixture
def lost(point, tmp_path):
    """Four demonstrations of a teacher, and a policy that goes away from where it should go."""
    for name, away in (("demonstrations", False), ("wrong", True)):
        with Store.open_or_create(tmp_path / name) as store, Recorder(store) as recorder:
            rollout(point(4, horizon=24), Teacher(away), seeds=episode_seeds(4, 0), observers=[recorder])
    return str(tmp_path / "demonstrations"), str(
        Imitation(str(tmp_path / "wrong"), POLICY, TRAIN).run(tmp_path / "run")
    )


def success(path, out):
    Evaluate(ENV, str(path), 60, 77, films=0).run(out)
    return read_evaluation(out).rate.value


def test_a_policy_that_goes_the_wrong_way_is_corrected_and_not_copied(lost, tmp_path):
    store, policy = lost
    assert success(policy, tmp_path / "before") < 0.3
    out = Corrections(store, policy, ENV, POLICY, TRAIN, **FIELDS).run(tmp_path / "out")
    assert success(out, tmp_path / "after") > 0.9
    everybody = Imitation(str(out / "round_0" / "store"), POLICY, TRAIN).run(tmp_path / "everybody")
    assert success(everybody, tmp_path / "copied") < 0.7

    recordings = Store.open(out / "round_0" / "recordings")
    assert len(recordings) == 24
    assert len(Store.open(out / "store")) == 4 + 2 * 24
    lengths: dict[int, list[int]] = {Actor.POLICY: [], Actor.INTERVENTION: []}
    for episode in (recordings[id] for id in recordings.ids()):
        taken = episode.actor == Actor.INTERVENTION
        assert set(episode.actor.tolist()) <= set(lengths)
        x, velocity = episode.observations["point.x"][:-1], episode.requested["point.velocity"]
        assert np.allclose(velocity[taken], np.clip(-8 * x[taken], -1, 1), atol=1e-6)
        changes = np.flatnonzero(np.diff(episode.actor)) + 1
        for begin, end in pairwise(changes):  # whole turns, without the first and the last
            lengths[int(episode.actor[begin])].append(int(end - begin))
    rate_hz = next(iter(recordings[id].meta.rate_hz for id in recordings.ids()))
    for actor, (low, high) in ((Actor.POLICY, FIELDS["alone_s"]), (Actor.INTERVENTION, FIELDS["taken_s"])):
        assert round(low * rate_hz) <= min(lengths[actor]) <= max(lengths[actor]) <= round(high * rate_hz)


def test_a_run_that_was_stopped_goes_on(lost, tmp_path, monkeypatch):
    store, policy = lost
    stage = Corrections(store, policy, ENV, POLICY, TRAIN, **FIELDS)
    run, begun = Imitation.run, []

    def stopped(self, out):
        begun.append(out)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run(self, out)

    monkeypatch.setattr(Imitation, "run", stopped)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        stage.run(out)
    assert not (out / "checkpoints").exists()
    kept = {m: Store.open(out / f"round_{m}" / "recordings").ids() for m in range(2)}
    clone = read_manifest(out / "round_0" / "imitation")
    stage.run(out)
    assert {m: Store.open(out / f"round_{m}" / "recordings").ids() for m in range(2)} == kept
    assert read_manifest(out / "round_0" / "imitation") == clone
    assert len(Store.open(out / "store")) == 4 + 2 * 24
    assert success(out, tmp_path / "after") > 0.9


@pytest.mark.parametrize("better", ["before", "corrected"])
def test_a_corrected_policy_that_does_worse_does_not_go_on(lost, tmp_path, better):
    store, wrong = lost
    right = str(Imitation(store, POLICY, TRAIN).run(tmp_path / "right"))
    policy = {"before": right, "corrected": wrong}[better]
    train = TRAIN | {"steps": 1} if better == "before" else TRAIN  # one step learns nothing
    fields: dict[str, Any] = FIELDS | {"rounds": 1, "trial": 40}
    out = Corrections(store, policy, ENV, POLICY, train, **fields).run(tmp_path / "out")
    told = {name: read_evaluation(out / "trial" / name).rate for name in ("before", "corrected")}
    assert told[better].value > max(rate.value for name, rate in told.items() if name != better)
    assert told[better].trials == 40
    expected = {"before": Path(policy), "corrected": out / "round_0" / "imitation"}[better]
    goes_on, best = (checkpoint.load(folder).weights() for folder in (out, expected))
    assert all(torch.equal(goes_on[name], tensor) for name, tensor in best.items())
    assert f"{better} goes on" in (out / "report.html").read_text()


def test_nonsense_is_refused(lost, point, tmp_path):
    store, policy = lost
    with pytest.raises(SpecError, match="at least one round of one episode; found 0 of 24"):
        dataclasses.replace(Corrections(store, policy, ENV, POLICY, **FIELDS), rounds=0).run(tmp_path / "none")
    env = point(1)
    with pytest.raises(SpecError, match="the shorter first"):
        Turns(Teacher(), env, (0.5, 0.1), (0.1, 0.2))
    assert all(name in Actor.__members__ for name in TEACHERS)
