"""The gate on a world whose values are known: same, worse and better policies, vetoes, log and exact rollback."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from robolearn.errors import ArtefactError, SpecError
from robolearn.learn.actors import FunctionActor
from robolearn.learn.critics import CriticConfig, build_critics
from robolearn.learn.dynamics import DynamicsConfig, build_dynamics, choose_elites, explained
from robolearn.learn.estimators import Estimate, FittedEstimator, PaperEstimator, RolloutEstimator
from robolearn.learn.fitted_q import FittedQConfig
from robolearn.learn.gate import Gate, GateConfig, HeldOut, bootstrap_bounds, held_out_states, read_log
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.rewards import Reach, SparseRewardConfig
from robolearn.learn.sequential import TrialConfig, TrialResult, run_trial, sprt
from robolearn.learn.snapshot import Snapshot
from robolearn.learn.transitions import Transitions

GAMMA = 0.95
REWARD = SparseRewardConfig(step=-0.02).build()


def walk(episodes: int, seed: int) -> Transitions:
    """Points that want to reach the middle; recorded are random steps, six at most, each a decision of its own."""
    draw = np.random.default_rng(seed)
    rows = []
    for k in range(episodes):
        x = draw.uniform(-1, 1)
        for t in range(6):
            a = draw.uniform(-1, 1)
            after = np.clip(x + 0.4 * a, -1.2, 1.2)
            done = abs(after) < 0.25
            rows.append(([x], [a], -0.02 + done, 0.0 if done else GAMMA, [after], k, t))
            x = after
            if done:
                break
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    c, a, r, d, f = (c.astype(np.float32) for c in columns[:5])
    return Transitions(
        c, a, r, d, f, columns[5], columns[6], np.ones((len(rows), 1), np.float32), f"walk {episodes} {seed}"
    )


def policy(name: str, gain: float, spread: float = 0.3) -> FunctionActor:
    """Heads for the middle with a gain, and noise."""
    return FunctionActor(name, lambda c, g: (-gain * c + spread * torch.randn(c.shape, generator=g)).clamp(-1, 1))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    data, held = walk(150, 0), walk(40, 1)
    plain: dict[str, Any] = {
        "batch_size": 64,
        "learning_rate": 1e-2,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "clip_norm": 10.0,
    }
    small: dict[str, Any] = {"width": 32, "depth": 1}
    critic = CriticConfig(members=3, polyak=0.1, polyak_every=1, **small)
    critics = build_critics(critic, 1, 1, 0)
    quiet: dict[str, Any] = {"described": {"plugin": "test"}, "quiet": True}
    train(critics, data.bagged(3, 0), TrainConfig(steps=250, **plain), root / "critics", **quiet)
    model = build_dynamics(DynamicsConfig(members=4, elites=3, width=32, depth=2), data, 0)
    train(model, data.bagged(4, 0), TrainConfig(steps=250, **plain), root / "dynamics", **quiet)
    choose_elites(model, held)
    rollout = RolloutEstimator(model, critics, horizon=8, discount=GAMMA)
    fitted = FittedEstimator(
        data,
        policy("first", 0.3),
        FittedQConfig(members=3, polyak=0.1, **small),
        seed=0,
        first_steps=250,
        steps=100,
        learning_rate=3e-3,
        batch_size=64,
    )
    paper = PaperEstimator(model, critics, horizon=5)
    return held, critics, model, rollout, fitted, paper


@pytest.fixture
def gate(world, tmp_path):
    held, _, _, rollout, fitted, _ = world
    return Gate(
        GateConfig(kl_maximum=0),
        [rollout, fitted],
        held_out_states(held, 100, 0),
        REWARD.reach(GAMMA),
        tmp_path / "g.jsonl",
    )


def test_the_model_explains_what_happens(world):
    held, _, model, *_ = world
    found = explained(model, held)
    assert found["change"] > 0.9
    assert found["ends"] > 0.2


def test_an_identical_policy_is_rejected(gate):
    decision = gate.judge(policy("a", 0.3), policy("a again", 0.3), label="same")
    assert not decision.accepted
    for bounds in decision.estimates.values():
        assert abs(bounds.mean) < 1e-6, "random numbers are shared"


def test_a_worse_policy_is_rejected_and_a_better_one_accepted(gate):
    weak, better, wrong = policy("weak", 0.3), policy("better", 2.5), policy("wrong", -2.0)
    assert gate.judge(better, weak).accepted
    for bad in (gate.judge(wrong, weak), gate.judge(weak, better)):
        assert not bad.accepted
        assert all(bounds.high < 0 for bounds in bad.estimates.values())
        assert "rollout: lower bound -0." in bad.reasons[0]


def test_paper_mode_decides_by_point_estimates(world, tmp_path):
    held, *_, paper = world
    gate = Gate(GateConfig(mode="paper"), [paper], held_out_states(held, 100, 0), REWARD.reach(GAMMA))
    weak, better, wrong = policy("weak", 0.3), policy("better", 2.5), policy("wrong", -2.0)
    assert gate.judge(better, weak).accepted
    assert not gate.judge(wrong, weak).accepted
    assert not gate.judge(weak, weak).accepted
    assert "improvement" in gate.judge(wrong, weak).reasons[0]


class Fixed:
    """An estimator that knows the answer."""

    def __init__(self, name: str, gains: dict, noise: float = 0.0, critic: float = 0.5):
        self.name, self.gains, self.noise, self.critic = name, gains, noise, critic

    def __call__(self, actor, condition, seed):
        draw = np.random.default_rng([seed, len(actor.key)])
        values = self.gains[actor.key] + self.noise * draw.normal(size=(5, len(condition)))
        return Estimate(values, np.full(10, self.critic))


STATES = HeldOut(np.zeros((60, 2), np.float32), np.repeat(np.arange(20), 3))


def judge(first: Fixed, second: Fixed, config: GateConfig | None = None, kl: float | None = 0.0, **more):
    gate = Gate(config or GateConfig(), [first, second], STATES, Reach(0.0, 1.0))
    return gate.judge(policy("new", 0), policy("ol", 0), kl=kl, **more)


def test_both_estimators_must_agree():
    up, down = {"new": 0.6, "ol": 0.5}, {"new": 0.5, "ol": 0.5}
    assert judge(Fixed("a", up), Fixed("b", up)).accepted
    one = judge(Fixed("a", up), Fixed("b", down))
    assert one.reasons == ("b: lower bound 0 of the improvement is not above 0.01",)


def test_an_improvement_that_noise_could_explain_is_rejected():
    up = {"new": 0.52, "ol": 0.5}
    assert judge(Fixed("a", up), Fixed("b", up)).accepted
    assert not judge(Fixed("a", up, noise=1.0), Fixed("b", up, noise=1.0)).accepted
    assert not judge(Fixed("a", up), Fixed("b", up), GateConfig(margin=0.03)).accepted


def test_vetoes():
    up = {"new": 0.6, "ol": 0.5}
    far = judge(Fixed("a", up), Fixed("b", up), GateConfig(kl_maximum=0.1), kl=0.2)
    assert far.reasons == ("KL 0.2 from the incumbent is above 0.1",)
    assert not judge(Fixed("a", up), Fixed("b", up), GateConfig(kl_maximum=0.1), kl=float("nan")).accepted
    assert judge(Fixed("a", up), Fixed("b", up), GateConfig(kl_maximum=0.1), kl=0.05).accepted
    with pytest.raises(SpecError, match="was given none: pass kl="):
        judge(Fixed("a", up), Fixed("b", up), kl=None)
    assert judge(Fixed("a", up), Fixed("b", up), kl=0.9).accepted
    assert not judge(Fixed("a", up), Fixed("b", up), kl=1.1).accepted, "too far to be judged, unless told otherwise"
    assert judge(Fixed("a", up), Fixed("b", up), GateConfig(kl_maximum=0), kl=1.1).accepted
    alarm = judge(Fixed("a", up, critic=61.0), Fixed("b", up))
    assert (
        "divergence alarm, 100.0% of critic values in [61, 61] are outside of the reachable [0, 1]" in alarm.reasons[0]
    )
    blind = judge(Fixed("a", {"new": float("nan"), "ol": 0.5}), Fixed("b", up))
    assert not blind.accepted


def test_the_bench_has_the_last_word():
    up, result = {"new": 0.6, "ol": 0.5}, TrialResult("not better", 40, 1, 5, 30, 34, -2.0)
    asked = []

    def trial():
        asked.append(1)
        return result

    last = judge(Fixed("a", up), Fixed("b", up), trial=trial)
    assert last.reasons == ("trial: not better after 40 starts (1 won, 5 lost)",)
    judge(Fixed("a", up), Fixed("b", {"new": 0.1, "ol": 0.5}), trial=trial)
    assert len(asked) == 1, "no robot time for what was rejected already"
    good = dataclasses.replace(result, verdict="better")
    assert judge(Fixed("a", up), Fixed("b", up), trial=lambda: good).accepted


def test_every_decision_is_logged_with_its_inputs(gate, world):
    gate.judge(policy("weak", 0.3), policy("better", 2.5), label="first", kl=float("inf"), facts={"rate": 1e-5})
    gate.judge(policy("better", 2.5), policy("weak", 0.3), label="second")
    first, second = read_log(gate.log)
    assert (first["label"], first["accepted"], second["accepted"]) == ("first", False, True)
    assert first["candidate"] == "weak"
    assert first["kl"] is None
    assert first["facts"] == {"rate": 1e-5}
    assert first["states"] == gate.states.fingerprint
    assert first["config"]["seed"] == 0
    assert set(first["estimates"]["rollout"]) >= {"mean", "low", "high", "candidate", "incumbent", "outside"}
    with gate.log.open("a") as file:
        file.write('{"torn')
    with pytest.raises(ArtefactError, match="Line 3 of the gate's log"):
        read_log(gate.log)


def test_a_gate_needs_two_opinions():
    with pytest.raises(SpecError, match="'robust' needs at least 2 estimators"):
        Gate(GateConfig(), [Fixed("a", {})], STATES, Reach(0, 1))


def test_bootstrap_counts_episodes_not_states():
    """The same differences, once in 20 episodes of 3 equal states, once in 60: fewer episodes, wider bounds."""
    draw = np.random.default_rng(0)
    per_episode = draw.normal(0.1, 1.0, 20)
    values = np.repeat(per_episode, 3)[None]
    zero = Estimate(np.zeros((1, 60)), np.zeros(1))
    wide = bootstrap_bounds(Estimate(values, np.zeros(1)), zero, np.repeat(np.arange(20), 3), GateConfig())
    narrow = bootstrap_bounds(Estimate(values, np.zeros(1)), zero, np.arange(60), GateConfig())
    assert wide[1] - wide[0] > 1.4 * (narrow[1] - narrow[0])
    spread = 1.645 * per_episode.std() / np.sqrt(20)
    assert wide[0] == pytest.approx(per_episode.mean() - spread, abs=0.3 * spread)


def test_bootstrap_counts_the_disagreement_of_members():
    values = np.repeat([[-1.0], [0.0], [1.0], [2.0], [3.0]], 60, axis=1)
    low, high = bootstrap_bounds(
        Estimate(values, np.zeros(1)), Estimate(np.zeros((5, 60)), np.zeros(1)), np.arange(60), GateConfig()
    )
    assert low < 0.2
    assert high > 1.8


def network():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
    )
    return net, torch.optim.AdamW(net.parameters(), lr=1e-2)


def learn(net, optimizer, generator, numpy_generator, steps: int):
    for _ in range(steps):
        x = torch.randn((8, 3), generator=generator) + float(numpy_generator.normal())
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("before", [0, 3])
def test_rejecting_restores_everything_bit_for_bit(before):
    net, optimizer = network()
    generator, drawn = torch.Generator().manual_seed(1), np.random.default_rng(1)
    learn(net, optimizer, generator, drawn, before)
    snapshot = Snapshot([net], [optimizer], [generator, drawn])
    results = []
    for _ in range(2):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        learn(net, optimizer, generator, drawn, 4)
        results.append({k: v.clone() for k, v in net.state_dict().items()})
        for group in optimizer.param_groups:
            group["lr"] = 77.0
        net.eval()
        snapshot.restore()
        assert net.training
        assert optimizer.param_groups[0]["lr"] == 1e-2
    assert all(torch.equal(a, results[1][k]) for k, a in results[0].items())


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_trial_rarely_calls_a_policy_better_that_is_not(p):
    draw, config, better = np.random.default_rng(0), TrialConfig(), 0
    for _ in range(400):
        wins = losses = 0
        verdict = "undecided"
        while verdict == "undecided" and wins + losses < 200:
            win = draw.random() < p
            wins, losses = wins + win, losses + (not win)
            verdict, _ = sprt(wins, losses, config)
        better += verdict == "better"
    assert better / 400 <= 0.07


def test_a_trial_stops_as_soon_as_it_knows():
    seeds = list(range(1000))
    result = run_trial(lambda s: [True] * len(s), lambda s: [False] * len(s), seeds, TrialConfig(batch=5))
    assert (result.verdict, result.starts, result.wins) == ("better", 10, 10)
    same = run_trial(lambda s: [True] * len(s), lambda s: [True] * len(s), seeds, TrialConfig(batch=50))
    assert (same.verdict, same.starts, same.llr) == ("undecided", 200, 0.0)
    with pytest.raises(SpecError, match="one result per start: expected 20, found 19"):
        run_trial(lambda s: [True] * 19, lambda s: [True] * len(s), seeds, TrialConfig())
