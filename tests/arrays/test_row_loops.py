"""The compiled loops give what NumPy gives."""

from __future__ import annotations

import importlib
import logging
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import normalize, to_categorical
from befit.arrays import categorical, compiled, normalization

NEVER, ALWAYS = sys.maxsize, 0


@pytest.fixture(scope="module")
def loops():
    """The compiled loops, for any amount of data."""
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "_WORTH_COMPILING", ALWAYS)
        patch.setattr(categorical, "_WORTH_COMPILING", ALWAYS)
        patch.setattr(categorical, "BLOCK", 0)
        yield compiled.row_loops()


def by_numpy(function, *arguments, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "_WORTH_COMPILING", NEVER)
        patch.setattr(categorical, "_WORTH_COMPILING", NEVER)
        patch.setattr(categorical, "BLOCK", 1 << 14)
        return function(*arguments, **options)


def called(patch, loops, name):
    """Count the calls of a loop: a test that bypassed it would prove nothing."""
    calls = []
    loop = getattr(loops, name)
    patch.setattr(loops, name, lambda *arguments: calls.append(name) or loop(*arguments))
    return calls


SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, max_side=40)


@settings(deadline=None)  # the first call compiles
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_rows_of_any_size_equal_numpy(loops, data, dtype):
    width = np.dtype(dtype).itemsize * 8
    x = data.draw(hnp.arrays(dtype, SHAPES, elements=st.floats(width=width), fill=st.just(1.5)))
    with pytest.MonkeyPatch.context() as patch:
        calls = called(patch, loops, "divide_by_length")
        result = normalize(x)
    assert calls
    expected = by_numpy(normalize, x)
    assert result.dtype == expected.dtype
    limit = np.finfo(dtype)
    np.testing.assert_allclose(result, expected, rtol=64 * limit.eps, atol=8 * limit.smallest_subnormal)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "row", [[0, 0], [np.nan, 1], [np.inf, 1], [-np.inf, np.inf], [1, np.nan, 2], [-0.0, 0]]
)
def test_rows_without_a_length_equal_numpy(loops, dtype, row):
    x = np.array([row, row], dtype)
    np.testing.assert_array_equal(normalize(x), by_numpy(normalize, x))


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", s) for s in (1e-45, 1e-38, 1e-30, 1e-23, 1e-21, 1e30, 2.5e38)]
    + [("float64", s) for s in (5e-324, 1e-308, 1e-200, 1e200, 1e308)],
)
def test_rows_at_the_ends_of_the_range_get_norm_1(loops, dtype, size):
    x = np.array([[1, 1, 0, -1]], dtype) * np.array(size, dtype)
    np.testing.assert_allclose(normalize(x), [[3**-0.5, 3**-0.5, 0, -(3**-0.5)]], rtol=1e-6)


def test_a_long_row_is_exact(loops):
    x = np.full((1, (1 << 24) + 1), 0.1, "float32")
    expected = 0.1 / np.sqrt(x.size * np.float64(np.float32(0.1)) ** 2)
    np.testing.assert_allclose(normalize(x)[0, [0, -1]], expected, rtol=2e-7)


def test_division_is_exact(loops):
    """As in Keras 2.1: divided by the norm, not multiplied by its inverse."""
    x = np.array([[3, 4], [5, 12]], "float64")
    np.testing.assert_array_equal(normalize(x), x / np.array([[5], [13]]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_may_be_overwritten_or_read_only(loops, dtype):
    x = np.random.default_rng(0).normal(size=(20, 30)).astype(dtype)
    expected = normalize(x)
    locked = x.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(normalize(locked), expected)
    assert normalize(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", [">f4", "float16", "longdouble", "complex64", "int32"])
def test_other_numbers_are_left_to_numpy(loops, dtype):
    x = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        calls = called(patch, loops, "divide_by_length")
        np.testing.assert_array_equal(normalize(x), by_numpy(normalize, x))
    assert not calls


def test_numbers_of_another_byte_order_may_be_overwritten(loops):
    x = np.array([[3, 4]], ">f4")
    np.testing.assert_array_equal(normalize(x, out=x), np.array([[0.6, 0.8]], "float32"))


@pytest.mark.parametrize("order", [0, 0.5, 1, 3, np.inf, -np.inf])
def test_other_orders_are_left_to_numpy(loops, order):
    x = np.array([[3, -4], [0, 0]], "float32")
    np.testing.assert_array_equal(normalize(x, -1, order), by_numpy(normalize, x, -1, order))


@settings(deadline=None)
@given(
    y=hnp.arrays(
        st.sampled_from(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]),
        hnp.array_shapes(max_dims=3),
        elements=st.integers(0, 1),
    ),
    dtype=st.sampled_from(["float32", "float64", "float16", "uint8", "bool", "int64", "complex64"]),
)
def test_one_hot_rows_equal_numpy(loops, y, dtype):
    with pytest.MonkeyPatch.context() as patch:
        calls = called(patch, loops, "set_ones")
        rows = to_categorical(y, 3, dtype=dtype)
    assert calls
    expected = by_numpy(to_categorical, y, 3, dtype=dtype)
    assert rows.dtype == expected.dtype
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(">i4", "float32"), ("int64", "complex128"), ("float32", "u1"), ("int64", ">f4"), ("int64", ">i8")],
)
def test_other_labels_and_cells_are_left_to_numpy(loops, labels, dtype):
    y = np.array([2, 0, 1, 1, 2]).astype(labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categorical, "BLOCK", 2)
        patch.setattr(importlib.import_module("befit.arrays.labels"), "BLOCK", 2)
        np.testing.assert_array_equal(to_categorical(y, 3, dtype=dtype), np.eye(3)[[2, 0, 1, 1, 2]])


def test_without_a_folder_for_compiled_code_it_is_compiled_again(loops, monkeypatch, caplog):
    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function '_f': no locator available for file")
        return lambda function: function

    monkeypatch.setattr(loops.numba, "njit", njit)
    with caplog.at_level(logging.INFO):
        assert loops._compiled(abs) is abs
    assert "not kept for the next process" in caplog.text
