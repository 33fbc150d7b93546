"""A mixture has exactly the declared shares, shows every window, and gives what its parts give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.data.cache import build_cache
from robolearn.data.mixture import Mixture, Part, mixture_statistics
from robolearn.data.statistics import cache_statistics
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.errors import EmptyStore, SpecError, UnknownName
from robolearn.learn.order import batch_indices
from robolearn.specs import ArraySpec


def make(path, prefix, lengths, base, unit="rad"):
    """A cache whose values say where they come from."""
    spec = {
        f"{prefix}.q": ArraySpec((2,), unit=unit),
        f"{prefix}.rgb": ArraySpec((8, 8, 3), "uint8"),
        f"{prefix}.extra": ArraySpec(()),
    }
    with Store.create(path, durable=False) as store:
        at = base
        for length in lengths:
            writer = store.record(EpisodeMeta("t", "", 10.0), spec, {f"{prefix}.v": ArraySpec((1,))})
            for k in range(length + 1):
                picture = np.full((8, 8, 3), at % 256, np.uint8)
                arrays = {f"{prefix}.q": np.array([at, -at], float), f"{prefix}.rgb": picture}
                writer.observation(Reading(0.1 * k, {**arrays, f"{prefix}.extra": np.array(1.0)}))
                if k < length:
                    command = {f"{prefix}.v": np.array([float(at)])}
                    writer.action(command, command, {"actor": np.array(0, np.int8)})
                at += 1
            writer.commit(Outcome.SUCCESS)
    return build_cache(store)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    return make(folder / "a", "a", [4, 6], 0), make(folder / "b", "b", [3], 100)


def parts(caches, weights=(0.7, 0.3)):
    a, b = caches
    return [
        Part(Windows(a, 2, 3, ["a.q", "a.rgb"]), weights[0]),
        Part(Windows(b, 2, 3), weights[1], {"a.q": "b.q", "a.rgb": "b.rgb"}, {"a.v": "b.v"}),
    ]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_shares_are_exact_and_every_window_comes(caches, one, two):
    mixture = Mixture(parts(caches, (one, two)))
    part, window = mixture.place(np.arange(len(mixture)))
    assert abs((part == 0).mean() - one / (one + two)) <= 1.0 / len(mixture)
    for k, size in enumerate((10, 3)):
        counts = np.bincount(window[part == k], minlength=size)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1
    assert len(mixture) <= max(10 / mixture.shares[0], 3 / mixture.shares[1]) + 1.5


def test_samples_are_those_of_the_parts(caches):
    mixture = Mixture(parts(caches))
    assert set(mixture.observation_spec) == {"a.q", "a.rgb"}
    assert set(mixture.action_spec) == {"a.v"}
    indices = batch_indices(len(mixture), 64, 3, 5)
    batch = mixture.gather(indices)
    assert set(batch) == {"a.q", "a.rgb", "action.a.v", "mask"}
    assert batch["a.q"].shape == (64, 2, 2)
    assert batch["action.a.v"].shape == (64, 3, 1)
    part, window = mixture.place(indices)
    for i in range(64):
        prefix = "ab"[part[i]]
        want = mixture.parts[part[i]].windows.gather([window[i]])
        np.testing.assert_array_equal(batch["a.q"][i], want[f"{prefix}.q"][0])
        np.testing.assert_array_equal(batch["a.rgb"][i], want[f"{prefix}.rgb"][0])
        np.testing.assert_array_equal(batch["action.a.v"][i], want[f"action.{prefix}.v"][0])
        np.testing.assert_array_equal(batch["mask"][i], want["mask"][0])
        assert (batch["a.q"][i, 0, 0] >= 100) == (part[i] == 1)
    np.testing.assert_array_equal(mixture.gather(indices)["a.q"], batch["a.q"])


def test_the_fingerprint_says_what_is_inside(caches):
    one = Mixture(parts(caches)).fingerprint
    assert Mixture(parts(caches)).fingerprint == one
    assert Mixture(parts(caches, (0.5, 0.5))).fingerprint != one
    assert Mixture(parts(caches)[:1]).fingerprint != one


def test_statistics_are_those_of_the_weighted_rows(caches):
    mixture = Mixture(parts(caches, (0.75, 0.25)))
    found = mixture_statistics(mixture)
    a, b = (np.asarray(c.arrays[n], float) for c, n in zip(caches, ("a.q", "b.q"), strict=True))
    # Repeat every row as often as its weight says: 12 rows of a with 0.75 / 12 each, 4 of b with 0.25 / 4 each.
    assert (len(a), len(b)) == (12, 4)
    rows = np.concatenate([a, b])  # equal weights, by this choice of shares
    np.testing.assert_allclose(found["a.q"].mean, rows.mean(0))
    np.testing.assert_allclose(found["a.q"].std, rows.std(0))
    np.testing.assert_array_equal(found["a.q"].low, rows.min(0))
    np.testing.assert_array_equal(found["a.q"].quantiles[2], np.sort(rows, 0)[7])
    alone = mixture_statistics(Mixture(parts(caches)[:1]))
    whole = cache_statistics(caches[0])
    for name in ("a.q", "a.rgb", "action.a.v"):
        np.testing.assert_array_equal(alone[name].quantiles, whole[name].quantiles)
    assert set(found) == {"a.q", "a.rgb", "action.a.v"}
    assert found["a.rgb"].mean.shape == (3,)


def test_what_does_not_fit_is_refused(tmp_path, caches):
    a, b = caches
    with pytest.raises(EmptyStore, match="at least one part"):
        Mixture([])
    with pytest.raises(SpecError, match="positive, finite number; part 1 has 0"):
        Mixture(parts(caches, (1.0, 0)))
    with pytest.raises(UnknownName, match=r"Unknown observation of part 1 'a\.q'.* It should stand for 'a\.q'"):
        Mixture([parts(caches)[0], Part(Windows(b, 2, 3))])
    with pytest.raises(UnknownName, match=r"Unknown action of the mixture 'a\.w'\. Did you mean 'a\.v'"):
        Mixture([parts(caches)[0], Part(Windows(b, 2, 3), 1.0, {"a.q": "b.q", "a.rgb": "b.rgb"}, {"a.w": "b.v"})])
    with pytest.raises(SpecError, match="Part 1 has history 1 and horizon 3; the first has 2 and 3"):
        Mixture([parts(caches)[0], Part(Windows(b, 1, 3))])
    degrees = make(tmp_path / "d", "b", [3], 0, unit="deg")
    with pytest.raises(SpecError, match=r"'b\.q' of part 1 cannot stand for 'a\.q': 'a\.q' differs in unit"):
        Mixture([parts(caches)[0], Part(Windows(degrees, 2, 3), 1.0, {"a.q": "b.q", "a.rgb": "b.rgb"}, {"a.v": "b.v"})])
    with pytest.raises(IndexError, match="numbered 0 to"):
        Mixture(parts(caches)).gather([10_000])
    named = Mixture([Part(Windows(a, 2, 3), 1.0, {"arm.q": "a.q"}, {"arm.v": "a.v"})])
    assert set(named.observation_spec) == {"arm.q", "a.rgb", "a.extra"}
    assert set(named.gather([0])) == {"arm.q", "a.rgb", "a.extra", "action.arm.v", "mask"}
