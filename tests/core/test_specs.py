import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.errors import SpecError, UnknownName
from robolearn.specs import ArraySpec, bounds, check, fingerprint, first_difference, from_json, select, to_json, zeros

SPEC = {
    "arm.q": ArraySpec((2,), low=(-1.0, -2.0), high=(1.0, 2.0), unit="rad", names=("a", "b")),
    "wrist.rgb": ArraySpec((4, 4, 3), "uint8"),
}


def good():
    return zeros(SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm.q": np.zeros(3)}, r"where: 'arm.q' must have shape \(2,\); found \(3,\)"),
        ({"arm.q": np.zeros(2, np.float32)}, r"'arm.q' must be float64; found float32. Convert it where it is made"),
        ({"arm.q": np.array([0, np.nan])}, r"'arm.q' must be finite; found nan at index \(1,\)"),
        ({"arm.q": np.array([0, -np.inf])}, r"must be finite; found -inf"),
        ({"arm.q": np.array([0, 2.5])}, r"must lie within .* rad; found 2.5 at index \(1,\)"),
        ({"leg.q": np.zeros(2)}, r"missing none, unexpected \['leg.q'\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(SpecError, match=message):
        check(good() | change, SPEC, limits=True, where="where")


def test_what_fits_passes_also_in_batches():
    check(good(), SPEC, limits=True)
    check(zeros(SPEC, (5,)), SPEC, lead=(5,))


@pytest.mark.parametrize(
    "wrong",
    [{"low": float("nan")}, {"high": float("inf")}, {"low": 1.0, "high": 0.0}, {"low": (0.0,)}, {"names": ("a",)}],
)
def test_a_bad_spec_cannot_exist(wrong):
    with pytest.raises(SpecError):
        ArraySpec((2,), **wrong)


@given(
    shape=st.lists(st.integers(1, 4), max_size=3),
    unit=st.sampled_from(["", "m", "rad"]),
    low=st.none() | st.floats(-10, 0),
    high=st.none() | st.floats(0, 10),
)
def test_json_round_trip(shape, unit, low, high):
    spec = {"x": ArraySpec(tuple(shape), "float32", low, high, unit)}
    assert from_json(to_json(spec)) == spec
    assert fingerprint(from_json(to_json(spec))) == fingerprint(spec)


def test_first_difference_names_field_and_both_values():
    assert first_difference(SPEC, SPEC) is None
    degrees = SPEC | {"arm.q": ArraySpec((2,), low=(-1.0, -2.0), high=(1.0, 2.0), unit="deg", names=("a", "b"))}
    assert first_difference(SPEC, degrees) == "'arm.q' differs in unit: expected 'rad', found 'deg'"
    swapped = SPEC | {"arm.q": ArraySpec((2,), low=(-1.0, -2.0), high=(1.0, 2.0), unit="rad", names=("b", "a"))}
    assert "differs in names" in str(first_difference(SPEC, swapped))
    assert "is missing" in str(first_difference(SPEC, {}))
    assert "is not expected" in str(first_difference({}, SPEC))
    wider = {"x": ArraySpec((), low=-9.0)}
    assert first_difference({"x": ArraySpec((), low=-1.0)}, wider, limits=False) is None
    assert fingerprint(SPEC) != fingerprint(degrees)


def test_select_keeps_order_and_names_the_closest():
    assert list(select(SPEC, ["wrist.rgb", "arm.q"])) == ["wrist.rgb", "arm.q"]
    with pytest.raises(UnknownName, match=r"Did you mean 'arm.q'"):
        select(SPEC, ["arm.p"])


def test_bounds_are_infinite_where_unbounded():
    low, high = bounds(ArraySpec((2,), low=-1.0))
    assert low.tolist() == [-1, -1]
    assert np.all(np.isinf(high))
