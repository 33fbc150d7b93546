import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robolearn.errors import EmptyStore, SpecError
from robolearn.learn import examples, normaliser
from robolearn.learn.ema import Ema, decay_at
from robolearn.learn.normaliser import Moments, Normaliser, moments
from robolearn.learn.order import batch_indices, permuted, step_seed
from robolearn.specs import ArraySpec


@given(length=st.integers(1, 300), batch=st.integers(1, 40), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_every_epoch_sees_every_window_once(length: int, batch: int, seed: int):
    stream = np.concatenate([batch_indices(length, batch, seed, step) for step in range(2 * length // batch + 2)])
    assert sorted(stream[:length]) == list(range(length))
    assert sorted(stream[length : 2 * length]) == list(range(length))


def test_epochs_and_seeds_have_different_orders():
    stream = [batch_indices(1000, 1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    same = [np.mean(a == b) for i, a in enumerate(stream) for b in stream[:i]]
    assert max(same) < 0.01
    np.testing.assert_array_equal(batch_indices(1000, 64, 3, 7), batch_indices(1000, 64, 3, 7))


def test_the_order_looks_random():
    """Neighbours are not neighbours afterwards: rank correlations of lags and halves are small."""
    for length in (100, 1023, 4096):
        found = np.stack([permuted(np.arange(length), length, key) for key in range(50)]).astype(float)
        found = (found - (length - 1) / 2) / found.std()
        noise = 4 / np.sqrt(50 * length)
        assert abs(np.mean(found[:, 1:] * found[:, :-1]) + 1 / length) < noise
        assert (
            abs(np.mean(found[:, : length // 2] * found[:, length // 2 : 2 * (length // 2)]) + 1 / length) < 2 * noise
        )
        assert np.abs(found.mean(0)).max() < 5 / np.sqrt(50)


def test_a_billion_windows_cost_no_more():
    found = batch_indices(10**9, 256, 0, 10**6)
    assert found.dtype == np.int64
    assert len(np.unique(found)) == 256
    assert found.max() < 10**9


def test_no_windows_are_refused():
    with pytest.raises(EmptyStore, match="at least one training window"):
        batch_indices(0, 4, 0, 0)


def test_step_seeds_differ():
    assert len({step_seed(seed, step) for seed in range(20) for step in range(50)}) == 1000


def test_the_decay_follows_the_power_schedule():
    for updates in (0, 1, 2, 3, 10, 1000, 10**6):
        step = max(0, updates - 1)
        assert decay_at(updates) == min(1 - (1 + step) ** -0.75, 0.9999)
    assert decay_at(0) == decay_at(1) == 0.0


def test_the_average_is_the_formula_by_hand():
    module = torch.nn.Linear(3, 2)
    ema = Ema(module)
    expected = module.weight.detach().clone().double()
    for updates in range(20):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        ema.update(updates)
        decay = decay_at(updates)
        expected = decay * expected + (1 - decay) * module.weight.detach().double()
    torch.testing.assert_close(ema.average["weight"].double(), expected, atol=1e-6, rtol=1e-5)
    raw, average = module.weight.detach().clone(), ema.average["weight"].clone()
    ema.swap()
    assert torch.equal(module.weight, average)
    ema.swap()
    assert torch.equal(module.weight, raw)
    assert torch.equal(ema.average["weight"], average)


VALUES = arrays(np.float64, (12, 4), elements=st.floats(-100, 100, width=32))


@given(values=VALUES, constant=st.floats(-50, 50, width=32), mode=st.sampled_from(["min_max", "mean_std"]))
@settings(max_examples=60, deadline=None)
def test_a_round_trip_gives_the_values_back(values, constant: float, mode):
    values[:, 2] = constant
    spec = {"a.x": ArraySpec((3,)), "a.y": ArraySpec(())}
    data = {"a.x": values[:, :3], "a.y": values[:, 3]}
    codec = Normaliser(spec, {name: moments(value) for name, value in data.items()}, mode)
    x = codec.encode({name: torch.as_tensor(value) for name, value in data.items()})
    assert x.shape == (12, 4)
    assert torch.isfinite(x).all()
    assert (x[:, 2] == 0).all()
    if mode == "min_max":
        assert x.abs().max() <= 1 + 1e-5
    back = codec.decode(x)
    for name, value in data.items():
        assert back[name].shape == value.shape
        # A dimension that hardly changes comes back as its constant, so not closer than the smallest range.
        np.testing.assert_allclose(back[name].numpy(), value, atol=1e-4)


def test_a_constant_dimension_ignores_what_it_is_given():
    codec = Normaliser({"a": ArraySpec((2,))}, {"a": moments(np.array([[3.0, 0.0], [3.00001, 1.0]]))})
    x = codec.encode({"a": torch.tensor([[1e6, 0.5]])})
    assert x.tolist() == [[0.0, 0.0]]
    assert codec.decode(torch.tensor([[0.7, 1.0]]))["a"].tolist() == [[pytest.approx(3.0, abs=1e-4), 1.0]]


def test_missing_or_broken_statistics_are_named():
    spec = {"arm.q": ArraySpec((2,))}
    with pytest.raises(SpecError, match=r"Statistics of 'arm.q' are missing; there are some of: arm.dq"):
        Normaliser(spec, {"arm.dq": moments(np.zeros((3, 2)))})
    with pytest.raises(SpecError, match=r"The min of 'arm.q' must be finite and have shape \(2,\); found shape \(3,\)"):
        Normaliser(spec, {"arm.q": moments(np.zeros((3, 3)))})
    nan = np.array([0.0, np.nan])
    with pytest.raises(SpecError, match="1 values not finite"):
        Normaliser(spec, {"arm.q": Moments(nan, nan, nan, nan)})


def test_statistics_read_back_bit_equal():
    found = {"a": moments(np.random.default_rng(0).normal(size=(20, 3)))}
    again = normaliser.from_json(normaliser.to_json(found))
    for field in ("min", "max", "mean", "std"):
        np.testing.assert_array_equal(getattr(again["a"], field), getattr(found["a"], field))


def test_flat_samples_become_nested():
    class Flat:
        def __len__(self):
            return 3

        def gather(self, indices):
            return {"arm.q": np.zeros((2, 1)), "action.arm.q": np.ones((2, 1)), "mask": np.ones((2, 1), bool)}

    found = examples.Examples(Flat(), "abc")
    assert (len(found), found.fingerprint) == (3, "abc")
    batch = found.gather(np.arange(2))
    assert batch.keys() == {"observation", "action", "mask"}
    assert batch["observation"]["arm.q"].sum() == 0
    assert batch["action"]["arm.q"].sum() == 2
