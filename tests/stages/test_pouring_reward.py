"""From recordings of somebody who pours to a reward, by the stage and the trainer that know nothing of bottles."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robolearn.data.derived import derived_names
from robolearn.data.store import Store
from robolearn.errors import SpecError, UnknownName
from robolearn.keypoints.actor import ActorConfig
from robolearn.keypoints.adversarial import AdversarialConfig, Demonstrations, train
from robolearn.keypoints.domains import ONIONS, POURING, find_domain
from robolearn.keypoints.onions import OnionLine
from robolearn.keypoints.pouring import FEATURES, PourTable, PourTracks
from robolearn.keypoints.watching import demonstrations, pouring_episode, recording_episode
from robolearn.stages.reward import load_actor, load_reward
from robolearn.stages.watching_report import pouring_section
from robolearn.stages.watching_study import LearningStudy

SMALL = {"rounds": 2, "rows": 4, "horizon": 15, "updates": 4, "warm_rounds": 1}


def tracked(decide, seed: int, frames: int = 60) -> PourTracks:
    """Somebody who pours in the domain itself, as a camera would track it."""
    table = PourTable(1, np.random.default_rng(seed))
    names = ("bottle", "tip", "left", "bowls", "crate", "command")
    seen: dict[str, list] = {name: [] for name in (*names, "wrist")}
    for _ in range(frames):
        for name, values in seen.items():
            values.append(getattr(table.pour, name)[0].copy())
        table.step(decide(table.observe()))
    wrist = np.array(seen.pop("wrist"))
    points = np.stack([wrist + np.array([-0.1, 0.0, 0.45]), wrist + np.array([-0.1, 0.0, 0.18]), wrist], axis=1)
    arrays = {name: np.array(values) for name, values in seen.items()}
    return PourTracks(points=points, **arrays, rate_hz=3.0, source=f"scripted_{seed}")


@pytest.fixture(scope="module")
def store(tmp_path_factory, pour_by_the_book) -> Path:
    path = tmp_path_factory.mktemp("pour") / "people"
    with Store.create(path, durable=False) as made:
        for seed in range(3):
            made.append(pouring_episode(tracked(pour_by_the_book, seed), operator="script"))
    return path


def test_the_stage_learns_pouring_writes_rewards_and_loads(store, tmp_path, scripted):
    study = LearningStudy(tmp_path, tmp_path, (0,), (2,), ("airl_state",), True, store)
    study.learn(study.jobs[0])
    run = study.folder(study.jobs[0])
    result = json.loads((run / "result.json").read_text())
    assert result["domain"] == "pouring"
    assert set(result["pouring"]) == {"learned", "cloned", "random"}
    assert {"success", "right", "spilled", "away", "true_return"} <= set(result["pouring"]["random"])
    assert "<th>spilled</th>" in (run / "report.html").read_text()
    reward, actor = load_reward(run), load_actor(run)
    assert reward.network.domain is POURING
    assert actor.act(np.zeros((2, len(FEATURES))), None)[0].shape == (2, 4)
    opened = Store.open(store)
    for id in opened.ids():
        assert derived_names(opened, id) == [reward.name]
        assert reward(opened[id]).shape == (opened[id].steps,)
    with pytest.raises(SpecError, match=r"needs the observation 'pour.features' and the actions 'wrist.delta', 'tip.d"):
        reward(recording_episode(scripted(0)))
    body = pouring_section("Pouring", study).body
    for word in ("cloning", "random displacements", "of a simulated person", "1 of 1"):
        assert word in body


def test_every_method_learns_pouring(store):
    data = demonstrations(list(Store.open(store)))
    for method in ("airl_state", "airl_state_action", "gail"):
        config = AdversarialConfig(**{"method": method, **SMALL})
        trained = train(data, config, ActorConfig(clone_steps=30), 0)
        mean = trained.reward.values(data.before, data.action)[0]
        other = trained.reward.values(data.before, data.action + 0.1)[0]
        assert np.isfinite(mean).all()
        assert (method == "airl_state") == np.allclose(mean, other)


@pytest.mark.parametrize(
    ("method", "reward_sum", "actor_sum"),
    [
        ("airl_state", -11.500120113734738, 4.367836712881399),
        ("airl_state_action", -13.02328933175886, 4.245564850178198),
        ("gail", -13.760760722041596, 4.340991438286437),
    ],
)
def test_onions_are_learned_as_before_there_were_domains(method, reward_sum, actor_sum):
    """Sums of all weights as the trainer gave them when it knew onions only (then equal to the bit)."""
    rng, line = np.random.default_rng(0), OnionLine(6, np.random.default_rng(1), horizon=30)
    before, acted, after = [], [], []
    for _ in range(30):
        before.append(line.observe())
        acted.append(rng.normal(0, 0.15, (6, 3)))
        line.step(acted[-1])
        after.append(line.observe())
    first, decided, then = (np.concatenate(part) for part in (before, acted, after))
    data = Demonstrations(ONIONS, first, decided, then, np.tile(np.arange(6), 30))
    config = AdversarialConfig(method=method, rounds=3, rows=6, horizon=20, updates=5, warm_rounds=1)
    trained = train(data, config, ActorConfig(clone_steps=60), 5)
    with torch.no_grad():
        sums = [float(sum(p.double().sum() for p in m.parameters())) for m in (trained.reward, trained.actor)]
    assert sums == pytest.approx([reward_sum, actor_sum], rel=1e-4)


def test_domains_are_found_by_name():
    assert find_domain("pouring") is POURING
    with pytest.raises(UnknownName, match=r"domain 'onion'"):
        find_domain("onion")
