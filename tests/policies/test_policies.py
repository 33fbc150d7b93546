import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.diffusion import DiffusionConfig, DiffusionModel
from policies.regression import RegressionConfig
from robolearn.errors import SpecError, UnknownName
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.normaliser import moments
from robolearn.specs import ArraySpec, check

OBSERVATION_SPEC = {
    "arm.q": ArraySpec((3,)),
    "wrist.rgb": ArraySpec((16, 16, 3), "uint8"),
    "sim.cube": ArraySpec((7,)),
}
ACTION_SPEC = {"arm.q": ArraySpec((2,), "float32", low=-0.5, high=0.5), "hand.close": ArraySpec((), "int64", 0, 1)}
DRAW = np.random.default_rng(0)
STATISTICS = {
    "arm.q": moments(DRAW.normal(size=(30, 3))),
    "action.arm.q": moments(DRAW.uniform(-0.6, 0.6, (30, 2))),
    "hand.close": moments(DRAW.integers(0, 2, 30)),
}
SMALL = {"width": 16, "depth": 1, "image_widths": (8, 8), "image_size": 8}
WITH_PICTURES = ("arm.q", "wrist.rgb")
CONFIGS = {
    "mlp": DiffusionConfig(horizon=5, chunk=3, sample_steps=4, **SMALL),
    "unet": DiffusionConfig(
        WITH_PICTURES, horizon=7, chunk=4, sample_steps=2, denoiser="unet", unet_widths=(8, 16), **SMALL
    ),
    "transformer": DiffusionConfig(horizon=5, chunk=2, sample_steps=2, denoiser="transformer", **SMALL),
    "stochastic": DiffusionConfig(horizon=5, chunk=2, sample_steps=4, sampler="ddpm", prediction="sample", **SMALL),
    "library": DiffusionConfig(horizon=5, chunk=2, sample_steps=4, sampler="sde-dpmsolver++", **SMALL),
    "masked": DiffusionConfig(horizon=5, chunk=2, mask_padding=True, normalise="mean_std", **SMALL),
    "regression": RegressionConfig(chunk=3, **SMALL),
    "regression pictures": RegressionConfig(WITH_PICTURES, history=2, chunk=1, **SMALL),
}


def model_of(name: str):
    if name == "library":
        pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return CONFIGS[name].build(OBSERVATION_SPEC, ACTION_SPEC, STATISTICS)


def observed(model, rows: int, seed: int = 0):
    draw = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {"arm.q": draw.normal(size=(rows, model.history, 3))}
    if "wrist.rgb" in model.observation_spec:
        found["wrist.rgb"] = draw.integers(0, 256, (rows, model.history, 16, 16, 3), np.uint8)
    return found


def batch_of(model, rows: int = 6):
    draw = np.random.default_rng(1)
    return {
        "observation": {name: torch.as_tensor(value) for name, value in observed(model, rows).items()},
        "action": {
            "arm.q": torch.as_tensor(draw.uniform(-0.6, 0.6, (rows, model.horizon, 2)).astype(np.float32)),
            "hand.close": torch.as_tensor(draw.integers(0, 2, (rows, model.horizon))),
        },
        "mask": torch.as_tensor(np.arange(model.horizon) < draw.integers(1, model.horizon + 1, (rows, 1))),
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_actions_have_the_spec_and_its_limits(name: str):
    model = model_of(name)
    actions = model.predict(observed(model, 5), np.arange(5, dtype=np.uint64))
    check(actions, ACTION_SPEC, lead=(5, model.chunk), limits=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_does_not_depend_on_its_batch_and_repeats(name: str):
    model = model_of(name).eval()
    seen, noise = observed(model, 5), np.array([3, 2**63, 5, 5, 2**64 - 1], np.uint64)
    together, again = model.predict(seen, noise), model.predict(seen, noise)
    for row in (0, 1, 4):
        alone = model.predict({k: v[row : row + 1] for k, v in seen.items()}, noise[row : row + 1])
        for key in ACTION_SPEC:
            np.testing.assert_array_equal(together[key], again[key])
            # A predicted noise is divided by sqrt(abar) = 0.14 in the first step, and its round-off with it.
            np.testing.assert_allclose(alone[key][0], together[key][row], atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "unet", "transformer", "stochastic", "library"])
def test_other_noise_gives_other_actions(name: str):
    model = model_of(name)
    seen = {key: np.repeat(value, 2, axis=0) for key, value in observed(model, 1).items()}
    actions = model.predict(seen, np.array([1, 2], np.uint64))["arm.q"]
    assert np.abs(actions[0] - actions[1]).max() > 1e-3


def test_a_colder_policy_varies_less_and_at_zero_not_at_all():
    noise = np.arange(64, dtype=np.uint64)
    seen = {name: np.repeat(value, 64, axis=0) for name, value in observed(model_of("mlp"), 1).items()}
    spread: list[float] = []
    for temperature in (1.0, 0.5, 0.0):
        torch.manual_seed(0)
        config = dataclasses.replace(CONFIGS["mlp"], temperature=temperature)
        model = config.build(OBSERVATION_SPEC, ACTION_SPEC, STATISTICS)
        spread.append(float(model.predict(seen, noise)["arm.q"].std(axis=0).mean()))
    assert spread[0] > spread[1] > 0
    assert spread[2] < 1e-7


def test_predicting_leaves_the_training_mode_and_dropout_alone():
    model = model_of("mlp").train()
    first = model.predict(observed(model, 2), np.arange(2, dtype=np.uint64))["arm.q"]
    assert model.training
    np.testing.assert_array_equal(model.predict(observed(model, 2), np.arange(2, dtype=np.uint64))["arm.q"], first)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_is_fixed_by_its_generator_and_reaches_every_weight(name: str):
    model, batch = model_of(name), batch_of(model_of(name))
    model.eval()
    losses = [model.loss(batch, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(losses[0], losses[1])
    if "regression" not in name:
        assert not torch.equal(losses[0], losses[2])
    losses[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("config", [CONFIGS["mlp"], CONFIGS["regression"]])
def test_padding_counts_unless_masked(config):
    for masked in (False, True):
        torch.manual_seed(0)
        model = dataclasses.replace(config, mask_padding=masked, dropout=0.0).build(
            OBSERVATION_SPEC, ACTION_SPEC, STATISTICS
        )
        batch, other = batch_of(model), batch_of(model)
        # The denoiser sees the noisy chunk, so only what the loss compares may change: shift the target.
        output = torch.zeros(6, model.horizon, 3)
        network = model.denoiser if isinstance(model, DiffusionModel) else model.layers
        network.forward = lambda *_, output=output: output
        other["action"]["arm.q"][~other["mask"]] += 0.1
        if isinstance(model, DiffusionModel):
            model.config = dataclasses.replace(model.config, prediction="sample")
        one, two = (model.loss(b, torch.Generator().manual_seed(0))[0] for b in (batch, other))
        assert torch.equal(one, two) == masked


@pytest.mark.parametrize("masked", [False, True])
def test_several_draws_are_a_batch_with_every_window_several_times(masked):
    config = DiffusionConfig(
        horizon=5, chunk=2, mask_padding=masked, dropout=0.0, observation_noise=0.0, denoiser="mlp", **SMALL
    )
    torch.manual_seed(0)
    model = config.build(OBSERVATION_SPEC, ACTION_SPEC, STATISTICS)
    batch = batch_of(model)
    thrice = {
        part: {name: value.repeat_interleave(3, dim=0) for name, value in batch[part].items()}
        for part in ("observation", "action")
    }
    written_out, _ = model.loss(
        thrice | {"mask": batch["mask"].repeat_interleave(3, dim=0)}, torch.Generator().manual_seed(0)
    )
    model.config = dataclasses.replace(config, draws=3)
    drawn, _ = model.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, written_out)


def test_observations_of_the_wrong_kind_are_refused():
    model = model_of("mlp")
    with pytest.raises(SpecError, match=r"'arm.q' must have shape \(2, 2, 3\); found \(2, 1, 3\)"):
        model.predict({"arm.q": np.zeros((2, 1, 3))}, np.zeros(2, np.uint64))
    with pytest.raises(SpecError, match=r"missing \['arm.q'\]"):
        model.predict({"sim.cube": np.zeros((2, 2, 7))}, np.zeros(2, np.uint64))
    with pytest.raises(SpecError, match="must be finite; found nan"):
        model.predict({"arm.q": np.full((2, 2, 3), np.nan)}, np.zeros(2, np.uint64))


def test_weights_gone_bad_never_reach_a_robot():
    model = model_of("regression")
    with torch.no_grad():
        model.layers[-1].bias.fill_(torch.nan)
    with pytest.raises(SpecError, match=r"non-finite value for the action 'arm\.q'"):
        model.predict(observed(model, 1), np.zeros(1, np.uint64))


def test_impossible_configs_are_refused():
    def build(**changes):
        return DiffusionConfig(**changes).build(OBSERVATION_SPEC, ACTION_SPEC, STATISTICS)

    with pytest.raises(SpecError, match=r"1 <= chunk <= horizon .* found chunk 9, horizon 8, history 2"):
        build(chunk=9, horizon=8)
    with pytest.raises(UnknownName, match=r"Unknown sampler 'unipcc'\. Did you mean 'unipc'"):
        build(sampler="unipcc")
    for changes in ({"temperature": 1.5}, {"temperature": 0.5, "sampler": "chain"}):
        with pytest.raises(SpecError, match=r"The temperature lies in \[0, 1\], and is 1 for a chain"):
            build(**changes)
    with pytest.raises(SpecError, match="noised at least once; found draws 0"):
        build(draws=0)
    with pytest.raises(SpecError, match="between 1 and 100 steps"):
        build(sample_steps=200)
    with pytest.raises(SpecError, match="chunk and history >= 1"):
        RegressionConfig(chunk=0).build(OBSERVATION_SPEC, ACTION_SPEC, STATISTICS)


def test_an_action_never_takes_the_statistics_of_an_observation():
    ambiguous = {name: value for name, value in STATISTICS.items() if name != "action.arm.q"}
    with pytest.raises(SpecError, match=r"Statistics of 'action.arm.q' are missing"):
        DiffusionConfig().build(OBSERVATION_SPEC, ACTION_SPEC, ambiguous)


class Fork:
    """From the same place people went to (-0.8, 0.4) or (0.8, -0.4), half and half."""

    def __init__(self, count: int = 512):
        draw = np.random.default_rng(0)
        self.place = draw.uniform(-1, 1, (count, 1, 1))
        side = np.where(np.arange(count) % 2, 1.0, -1.0)[:, None, None]
        self.move = side * np.array([0.8, -0.4]) + draw.normal(size=(count, 1, 2)) * 0.02

    def __len__(self):
        return len(self.place)

    def gather(self, indices):
        mask = np.ones((len(indices), 1), bool)
        return {"observation": {"x": self.place[indices]}, "action": {"move": self.move[indices]}, "mask": mask}


def test_diffusion_learns_both_ways_where_regression_averages(tmp_path: Path):
    fork = Fork()
    observation_spec, action_spec = {"x": ArraySpec((1,))}, {"move": ArraySpec((2,), low=-1.0, high=1.0)}
    statistics = {"x": moments(fork.place[:, 0]), "move": moments(fork.move[:, 0])}
    settings = TrainConfig(steps=400, batch_size=64, learning_rate=2e-3, warmup_steps=20)
    found = {}
    for name, config in {
        "diffusion": DiffusionConfig(history=1, horizon=1, chunk=1, width=64, depth=2, dropout=0.0),
        "regression": RegressionConfig(width=64, depth=2, dropout=0.0),
    }.items():
        torch.manual_seed(0)
        model = config.build(observation_spec, action_spec, statistics)
        train(model, fork, settings, tmp_path / name, described={"plugin": name})
        seen = {"x": np.random.default_rng(1).uniform(-1, 1, (200, 1, 1))}
        found[name] = model.predict(seen, np.arange(200, dtype=np.uint64))["move"][:, 0]
    ways = np.array([[-0.8, 0.4], [0.8, -0.4]])
    distance = np.linalg.norm(found["diffusion"][:, None] - ways, axis=-1)
    assert np.quantile(distance.min(1), 0.9) < 0.15
    assert 0.3 < np.mean(distance.argmin(1)) < 0.7
    assert np.linalg.norm(found["regression"], axis=-1).max() < 0.4
