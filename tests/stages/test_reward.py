"""From recordings of people to a reward, end to end and small; what it writes back, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robolearn import plugins
from robolearn.data.derived import derived_names, read_derived, version_of, write_derived
from robolearn.data.store import Store
from robolearn.errors import ArtefactError, BadEpisode, DataFileError, EmptyStore, SpecError, UnknownName
from robolearn.keypoints.actor import Actor, ActorConfig, clone, improve, optimiser
from robolearn.keypoints.adversarial import AdversarialConfig, Reward, collect, gradient_penalty, train
from robolearn.keypoints.deeds import sort
from robolearn.keypoints.domains import ONIONS
from robolearn.keypoints.judging import policy_of, random_policy
from robolearn.keypoints.onions import FEATURES, OnionLine
from robolearn.keypoints.watching import demonstrations, recording_episode
from robolearn.stages.reward import LearnedRewardConfig, RewardLearning, load_actor, load_reward

SMALL = {"rounds": 3, "rows": 6, "horizon": 20, "updates": 4, "warm_rounds": 1}
QUICK = {"clone_steps": 60}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads on a busy machine wait for each other by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory, scripted) -> Path:
    path = tmp_path_factory.mktemp("watch") / "people"
    with Store.create(path, durable=False) as made:
        for seed in range(4):
            made.append(recording_episode(scripted(seed)))
    return path


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Path:
    stage = RewardLearning(str(store), SMALL, QUICK, recordings=3, layouts=10)
    return stage.run(tmp_path_factory.mktemp("runs") / "reward")


def test_a_recording_becomes_an_episode(store):
    episode = Store.open(store)[Store.open(store).ids()[0]]
    assert episode.meta.operator == "person"
    assert "not recorded" in episode.meta.extra["frame_rate"]
    assert np.isin(episode.notes["deed"], (0, 1, 3)).all()
    assert (episode.notes["deed"] > 0).sum() == 5


def test_a_recording_with_a_hole_is_refused(scripted):
    tracks = scripted(0)
    points = tracks.points.copy()
    points[5:15, 2] = np.nan
    with pytest.raises(BadEpisode, match=r"scripted_0: 10 of .* frames must not be used"):
        recording_episode(dataclasses.replace(tracks, points=points, confidence=np.zeros(0)))


def test_the_stage_writes_what_it_found(run, store):
    result = json.loads((run / "result.json").read_text())
    assert result["recordings"] == 3
    assert set(result["sorting"]) == {"learned", "cloned", "random"}
    assert set(result["audit"]) == {"starc", "rank", "auc", "spread"}
    assert result["doubts"], "three rounds cannot make a reward to be trusted"
    assert "Do not trust" in (run / "report.html").read_text()
    assert json.loads((run / "manifest.json").read_text())["finished"]


def test_rewards_are_streams_of_the_store(run, store):
    opened = Store.open(store)
    reward = load_reward(run)
    for id in opened.ids():
        assert derived_names(opened, id) == [reward.name]
        stream = read_derived(opened, id, reward.name)
        np.testing.assert_allclose(stream.values[:, 0], reward(opened[id]), rtol=1e-6)
        assert len(stream.values) == opened.info(id).steps
        assert stream.facts["content"] == opened.info(id).content
    with pytest.raises(UnknownName, match="derived stream"):
        read_derived(opened, opened.ids()[0], "reward.other@abcd1234")


def test_a_finished_run_is_not_done_again(run, store):
    before = (run / "reward.safetensors").stat().st_mtime_ns
    RewardLearning(str(store), SMALL, QUICK, recordings=3, layouts=10).run(run)
    assert (run / "reward.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ArtefactError, match="different run"):
        RewardLearning(str(store), SMALL, QUICK, recordings=2, layouts=10).run(run)


def test_the_same_seed_gives_the_same_weights(store):
    data = demonstrations(list(Store.open(store)))
    config, actor = AdversarialConfig(**SMALL), ActorConfig(**QUICK)  # pyright: ignore[reportArgumentType]
    one, two = (train(data, config, actor, 5) for _ in range(2))
    for a, b in zip(one.reward.parameters(), two.reward.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("method", ["airl_state", "airl_state_action", "gail"])
def test_every_method_learns_in_one_trainer(method, store):
    data = demonstrations(list(Store.open(store)))
    trained = train(data, AdversarialConfig(**{"method": method, **SMALL}), ActorConfig(**QUICK), 0)
    mean, spread = trained.reward.values(data.before, data.action)
    assert np.isfinite(mean).all()
    assert (spread > 0).any()
    other = trained.reward.values(data.before, data.action + 0.1)[0]
    assert (method == "airl_state") == np.allclose(mean, other)


def test_shaping_telescopes():
    """Along a trajectory, discounted shaping sums to its ends, so it changes no optimal policy."""
    reward = Reward(AdversarialConfig(members=1), ONIONS, 0.9)
    states = torch.randn(21, len(FEATURES))
    action = torch.zeros(20, 3)
    with torch.no_grad():
        extra = reward.shaped(0, states[:-1], action, states[1:]) - reward.base(0, states[:-1], action)
        total = (0.9 ** torch.arange(20) * extra).sum()
        ends = 0.9**20 * reward.h[0](states[-1])[0] - reward.h[0](states[0])[0]
    assert float(total) == pytest.approx(float(ends), abs=1e-5)


def test_the_penalty_is_the_squared_slope():
    reward = Reward(AdversarialConfig(members=1), ONIONS, 0.9)
    x, a = torch.randn(7, len(FEATURES)), torch.randn(7, 3)
    penalty = gradient_penalty(reward, 0, (x, a, x), (x, a, x), torch.rand(7, 1))
    step, slope = 1e-3, 0.0
    with torch.no_grad():
        for part in (0, 2):
            for k in range(len(FEATURES)):
                moved = [[x.clone(), a, x.clone()] for _ in range(2)]
                moved[0][part][:, k] += step
                moved[1][part][:, k] -= step
                up, down = (reward.shaped(0, *m) for m in moved)
                slope += float((((up - down) / (2 * step)) ** 2).mean())
    assert float(penalty.detach()) == pytest.approx(slope, rel=0.01)


def test_improving_raises_a_reward_that_can_be_raised():
    """PPO on "hold the hand high" lifts the hand."""
    torch.manual_seed(0)
    actor, generator = Actor(len(FEATURES), np.full(3, 0.1), 32), torch.Generator().manual_seed(0)
    step, line, config = optimiser(actor, 1e-3), OnionLine(16, np.random.default_rng(0)), ActorConfig(minibatch=160)
    heights = []
    for _ in range(12):
        batch, _ = collect(actor, line, 20, generator)
        reward = batch.features[1:, :, 2]
        heights.append(reward.mean())
        improve(actor, step, batch, reward, config, generator)
    assert heights[-1] > heights[0] + 0.2


def test_cloning_copies(store):
    data = demonstrations(list(Store.open(store)))
    actor = Actor(len(FEATURES), data.action.std(axis=0) + 0.02, 64)
    losses = clone(actor, data.before, data.action, ActorConfig(clone_steps=300), 0)
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 1.0
    cloned = sort(policy_of(actor, 0), layouts=20, seed=1)
    chance = sort(random_policy(data, 0), layouts=20, seed=1)
    assert cloned.true_return > chance.true_return + 0.5


def test_plugin_and_loading(run):
    config = plugins.from_dict("reward", {"plugin": "learned", "folder": str(run)})
    assert isinstance(config, LearnedRewardConfig)
    assert config.build().name.startswith("reward.airl_state@")
    assert load_actor(run).act(np.zeros((2, len(FEATURES))), None)[0].shape == (2, 3)
    with pytest.raises(ArtefactError, match="no finished reward"):
        load_reward(run.parent)


def test_mistakes_are_named(store, tmp_path):
    with pytest.raises(EmptyStore, match="at least 9"):
        RewardLearning(str(store), recordings=9).run(tmp_path / "a")
    with pytest.raises(SpecError, match="no setting 'round'; possible"):
        RewardLearning(str(store), {"round": 3}).run(tmp_path / "b")


def test_derived_streams_refuse_other_values_names_and_lengths(store):
    opened = Store.open(store)
    id = opened.ids()[0]
    steps = opened.info(id).steps
    name = f"keypoints.test@{version_of({'a': 1})}"
    write_derived(opened, id, name, np.zeros((steps + 1, 2)), {"detector": "x"})
    write_derived(opened, id, name, np.zeros((steps + 1, 2)), {"detector": "x"})
    with pytest.raises(DataFileError, match="holds other values"):
        write_derived(opened, id, name, np.ones((steps + 1, 2)), {})
    with pytest.raises(SpecError, match="one per action or observation"):
        write_derived(opened, id, "a.b@abcd", np.zeros(3), {})
    with pytest.raises(SpecError, match="hex version"):
        write_derived(opened, id, "../evil@abcd", np.zeros(steps), {})
    path = opened.path / "derived" / id / f"{name}.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"content": "another"}))
    with pytest.raises(DataFileError, match="another episode"):
        read_derived(opened, id, name)
    path.write_text(json.dumps(facts))
    (opened.path / "derived" / id / f"{name}.npy").unlink()
