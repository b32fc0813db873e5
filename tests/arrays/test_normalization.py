"""normalize against the formula of Keras 2.1 and numpy.linalg.vector_norm."""

from __future__ import annotations

import importlib
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import normalize
from befit.errors import ArgumentError, UnsupportedObjectError

ORDERS = [0, 0.5, 1, 2, 3, -1, np.inf, -np.inf, None]


def keras2(x, axis=-1, order=2):
    """The function of Keras 2.1."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        norm = np.atleast_1d(np.linalg.norm(x, order, axis))
        norm[norm == 0] = 1
        return x / np.expand_dims(norm, axis)


def values(dtype):
    """Numbers whose powers stay in range, zeros among them."""
    width = np.dtype(dtype).itemsize * 8
    return st.one_of(
        st.just(0.0), st.floats(0.015625, 100, width=width), st.floats(-100, -0.015625, width=width)
    )


@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), order=st.sampled_from(ORDERS))
def test_equals_keras_2(data, dtype, order):
    x = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5), elements=values(dtype)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    expected = keras2(x, axis, order)
    result = normalize(x, axis, order)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5 if dtype == "float32" else 1e-13)


@given(data=st.data(), order=st.sampled_from([0, 0.5, 1, 2, 3, -1, np.inf, -np.inf]))
def test_several_axes_are_normalised_as_a_whole(data, order):
    x = data.draw(
        hnp.arrays("float64", hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=values("f8"))
    )
    axes = data.draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    with np.errstate(all="ignore"):
        norm = np.linalg.vector_norm(x, axis=tuple(axes), ord=order, keepdims=True)
    norm[norm == 0] = 1
    np.testing.assert_allclose(normalize(x, tuple(axes), order), x / norm, rtol=1e-12)


@given(
    x=hnp.arrays(
        "float32", hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.floats(width=32)
    ),
    order=st.sampled_from([0.5, 1, 2, 3, np.inf]),
)
def test_every_finite_vector_gets_norm_1(x, order):
    """Whatever its size: subnormal numbers and the largest of float32 too."""
    result = normalize(x, -1, order).astype(np.float64)
    whole = np.isfinite(x).all(-1) & (x != 0).any(-1)
    norms = np.linalg.vector_norm(result, axis=-1, ord=order)
    np.testing.assert_allclose(norms[whole], 1, rtol=1e-4)
    assert (result[(x == 0).all(-1)] == 0).all()


@pytest.mark.parametrize("size", [1e30, 1e-30, 8e37, 1e-44, 1.0])
@pytest.mark.parametrize("order", [0.5, 1, 2, 3, 7, np.inf])
def test_no_overflow_and_no_underflow(size, order):
    x = np.array([[3, 4], [0, 0], [1, 2]], "float32") * np.array([[size], [1], [1]], "float32")
    result = normalize(x, -1, order)
    exact = x.astype("longdouble")
    np.testing.assert_allclose(result, keras2(exact, -1, order), rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours():
    """A row in a block with one that must be scaled comes out bit for bit as alone."""
    x = np.random.default_rng(0).normal(size=(50, 7)).astype("float32")
    alone = normalize(x)
    x[3] = 0
    x[20] *= np.float32(1e30)
    np.testing.assert_array_equal(np.delete(normalize(x), [3, 20], 0), np.delete(alone, [3, 20], 0))


def test_a_vector_becomes_a_row():
    """Shape (n,) gives (1, n), as Keras 2 did; normalised as a whole it keeps its shape."""
    assert normalize([3.0, 4.0]).shape == (1, 2)
    assert normalize([3.0, 4.0], axis=0).shape == (1, 2)
    assert normalize([], axis=-1).shape == (1, 0)
    np.testing.assert_allclose(normalize([3.0, 4.0], axis=None), [0.6, 0.8])
    np.testing.assert_allclose(normalize([3.0, 4.0], axis=(0,)), [0.6, 0.8])


def test_none_normalises_everything_at_once():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(normalize(x, None), x / np.linalg.norm(x))
    np.testing.assert_allclose(normalize(x[0], None, "fro"), x[0] / np.linalg.norm(x[0]))


def test_axis_0_of_a_square_array():
    """Keras 3.15 normalises the wrong axis here."""
    np.testing.assert_allclose(normalize(np.array([[3.0, 4.0], [4.0, 3.0]]), 0), [[0.6, 0.8], [0.8, 0.6]])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("int8", "float64"),
        ("uint64", "float64"),
        ("bool", "float64"),
        ("float16", "float16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float64"),
        ("longdouble", "longdouble"),
        ("complex64", "complex64"),
        ("complex128", "complex128"),
    ],
)
def test_dtypes(given, expected):
    x = np.array([[1, 0, 1], [0, 1, 0]]).astype(given)
    result = normalize(x)
    assert result.dtype == np.dtype(expected)
    np.testing.assert_allclose(result.astype("complex128"), keras2(x.astype("complex128")), rtol=1e-3)


def test_float16_is_computed_in_float32():
    np.testing.assert_allclose(normalize(np.array([[300, 400]], "float16")), [[0.6, 0.8]], rtol=1e-3)
    x = np.random.default_rng(0).normal(size=(50, 300)).astype("float16")
    np.testing.assert_array_equal(normalize(x), normalize(x.astype("float32")).astype("float16"))


def test_complex_numbers_keep_their_angle():
    np.testing.assert_allclose(
        normalize(np.array([[3j, 4], [3e30j, 4e30]], "complex64")), [[0.6j, 0.8]] * 2, rtol=1e-6
    )


def test_nan_and_infinity_pass_through():
    x = np.array([[np.nan, 1], [np.inf, 1], [3, 4]])
    np.testing.assert_array_equal(normalize(x), [[np.nan, np.nan], [np.nan, 0], [0.6, 0.8]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 3)])
@pytest.mark.parametrize("order", [2, 1, np.inf, 0, -1])
def test_nothing_gives_nothing(shape, order):
    expected = (1, 0) if shape == (0,) else shape
    assert normalize(np.zeros(shape), -1, order).shape == expected
    assert normalize(np.zeros(shape), 0, order).shape == expected


@pytest.mark.parametrize("axis", [-1, 0, None])
def test_long_float32_vectors_are_exact(axis):
    """Three million values: adding squares one by one in float32 would be off by 1e-2."""
    x = np.full((1 << 21) + 1, 0.1, "float32")
    x = x if axis is not None else x.reshape(3, -1)
    expected = 0.1 / np.sqrt(x.size * np.float64(0.01))
    np.testing.assert_allclose(normalize(x, axis).reshape(-1), expected, rtol=1e-6)


def test_memory_order_and_blocks_do_not_matter():
    """Several blocks, Fortran order, reversed and broadcast views."""
    x = np.random.default_rng(2).normal(size=(700, 8, 64))
    for view in (
        x,
        np.asfortranarray(x),
        x[::-1, :, ::2],
        x.transpose(2, 0, 1),
        np.broadcast_to(x[:1], x.shape),
    ):
        for axis in (-1, 0, 1):
            np.testing.assert_allclose(normalize(view, axis), keras2(view, axis), rtol=1e-12)


class TestOut:
    def test_is_written_and_returned(self):
        out = np.empty((2, 2), "float32")
        assert normalize(np.array([[3, 4], [0, 0]], "float32"), out=out) is out
        np.testing.assert_allclose(out, [[0.6, 0.8], [0, 0]], rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.parametrize("axis", [-1, 0])
    def test_may_be_the_input(self, dtype, axis):
        x = np.random.default_rng(0).normal(size=(20, 30)).astype(dtype)
        expected = normalize(x, axis)
        assert normalize(x, axis, out=x) is x
        np.testing.assert_array_equal(x, expected)

    def test_may_overlap_the_input(self):
        memory = np.random.default_rng(0).normal(size=(40_001, 4))
        expected = normalize(memory[:-1])
        normalize(memory[:-1], out=memory[1:])
        np.testing.assert_array_equal(memory[1:], expected)

    def test_need_not_be_contiguous(self):
        out = np.zeros((4, 3))
        normalize(np.arange(12.0).reshape(3, 4), out=out.T)
        np.testing.assert_allclose(out.T, normalize(np.arange(12.0).reshape(3, 4)))

    def test_of_another_precision_is_converted(self):
        out = np.zeros((1, 2), "float32")
        normalize([3, 4], out=out)
        np.testing.assert_allclose(out, [[0.6, 0.8]], rtol=1e-6)

    def test_must_have_the_shape_and_kind_of_the_result(self):
        with pytest.raises(ArgumentError, match=r"shape \(2,\), the result has shape \(1, 2\)"):
            normalize([3, 4], out=np.zeros(2))
        with pytest.raises(ArgumentError, match="out has dtype int64, the result has dtype float64"):
            normalize([3, 4], out=np.zeros((1, 2), int))


@pytest.mark.parametrize("axis", [2, -3, (0, 2), (0, 0), (0, -2), (), 0.5, "0", [0]])
def test_axis_exists_once(axis):
    with pytest.raises(ArgumentError, match="axis"):
        normalize(np.ones((2, 2)), axis)


def test_order_is_within_reach_of_a_float():
    """Python would not even write down the last of these."""
    for order in (10**400, -(10**400), 10**5000):
        with pytest.raises(ArgumentError, match=r"order is beyond every float; write float\('inf'\)"):
            normalize(np.ones((2, 2)), -1, order)


@pytest.mark.parametrize("order", ["nuc", "2", np.nan, [2], "fro"])
def test_order_is_a_number(order):
    with pytest.raises(ArgumentError, match="order is"):
        normalize(np.ones((2, 2)), -1, order)


def test_a_single_number_has_no_axis():
    with pytest.raises(ArgumentError, match=r"write normalize\(\[x\]\)"):
        normalize(3.0)


@pytest.mark.parametrize(
    "x",
    [
        np.array([[1, None]], object),
        ["a"],
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", "f4")]),
        np.ma.masked_array([1.0, 2.0], [False, True]),
        {1: 2},
    ],
    ids=repr,
)
def test_what_holds_no_numbers_is_refused(x):
    with pytest.raises(UnsupportedObjectError):
        normalize(x)


def test_the_input_is_not_changed():
    for dtype in ("float16", "float32", "int32"):
        x = np.array([[3, 4], [0, 0], [1, 2]]).astype(dtype)
        before = x.copy()
        normalize(x)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((20_000, 100), -1),
        ((20_000, 100), 0),
        ((20_000, 100), None),
        ((2_000_000,), -1),
        ((2, 1_000_000), 0),
        ((2, 1_000_000), 1),
    ],
)
@pytest.mark.parametrize("order", [0, 1, 2, 3, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_memory_beyond_the_result_is_bounded(shape, axis, order, dtype):
    """Two million values, 8 MB and more, need their result and at most 4 MiB, whatever is a vector."""
    x = np.ones(shape, dtype)
    tracemalloc.start()
    try:
        result = normalize(x, axis, order)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 4 << 20


@pytest.mark.parametrize("framework", ["torch", "jax.numpy", "tensorflow"])
def test_a_tensor_gives_a_tensor(framework):
    """The same kind and numbers as NumPy, also for integers and for a vector that becomes a row."""
    module = importlib.import_module(framework)
    make = getattr(module, "constant", None) or getattr(module, "tensor", None) or module.asarray
    for x in (
        np.array([[3, 4], [0, 0]], "float32"),
        np.array([[3, 4], [0, 0]]),
        np.array([3.0, 4.0], "float32"),
    ):
        for axis in (-1, 0, None):
            result = normalize(make(x), axis)
            assert isinstance(result, type(make(x)))
            expected = normalize(x, axis)
            assert tuple(result.shape) == expected.shape
            np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-6)
