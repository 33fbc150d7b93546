import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robolearn import geometry as g

vectors = arrays(np.float64, 3, elements=st.floats(-3.0, 3.0))


@given(vectors, vectors)
def test_product_of_quaternions_is_product_of_matrices(a, b):
    p, q = g.quaternion_from_rotation_vector(a), g.quaternion_from_rotation_vector(b)
    product = g.quaternion_to_matrix(g.quaternion_multiply(p, q))
    np.testing.assert_allclose(product, g.quaternion_to_matrix(p) @ g.quaternion_to_matrix(q), atol=1e-12)


@given(vectors)
def test_matrix_round_trip_and_inverse(v):
    q = g.quaternion_from_rotation_vector(v)
    np.testing.assert_allclose(np.linalg.norm(q), 1.0)
    back = g.quaternion_from_matrix(g.quaternion_to_matrix(q))
    np.testing.assert_allclose(np.abs(back @ q), 1.0, atol=1e-9)
    one = g.quaternion_multiply(q, g.quaternion_conjugate(q))
    np.testing.assert_allclose(one, [1, 0, 0, 0], atol=1e-12)


@given(vectors, vectors)
def test_rotate_equals_the_matrix(v, x):
    q = g.quaternion_from_rotation_vector(v)
    np.testing.assert_allclose(g.rotate(q, x), g.quaternion_to_matrix(q) @ x, atol=1e-11)


@given(arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)))
def test_rotation_vector_round_trip_below_half_a_turn(v):
    np.testing.assert_allclose(g.rotation_vector(g.quaternion_from_rotation_vector(v)), v, atol=1e-9)


def test_small_and_half_turns_are_exact():
    tiny = np.array([1e-9, 0, 0])
    np.testing.assert_allclose(g.rotation_vector(g.quaternion_from_rotation_vector(tiny)), tiny, rtol=1e-6)
    half = np.array([0.0, 0.0, np.pi])
    q = g.quaternion_from_rotation_vector(half)
    np.testing.assert_allclose(np.linalg.norm(g.rotation_vector(q)), np.pi)
    np.testing.assert_allclose(g.yaw(g.quaternion_from_rotation_vector(np.array([0, 0, 0.7]))), 0.7)


def test_batches_equal_singles():
    rng = np.random.default_rng(0)
    q = g.quaternion_from_rotation_vector(rng.normal(size=(5, 4, 3)))
    m = g.quaternion_to_matrix(q)
    assert m.shape == (5, 4, 3, 3)
    np.testing.assert_array_equal(g.quaternion_from_matrix(m)[2, 3], g.quaternion_from_matrix(m[2, 3]))
    np.testing.assert_array_equal(g.xyzw_to_wxyz(np.array([1.0, 2.0, 3.0, 4.0])), [4, 1, 2, 3])
