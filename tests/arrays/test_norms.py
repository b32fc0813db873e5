"""Norms that are put together from tiles, against NumPy: with tiles of a few values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import normalize
from befit.arrays import norms

ORDERS = [0, 0.5, 1, 2, 3, -1, np.inf, -np.inf]


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norms, "TILE", 6 * 4)
        patch.setattr(norms, "_CONTIGUOUS", 2)
        patch.setattr(norms, "_LONG", 8)
        patch.setattr(norms, "_SHORT", 3)
        yield


def sizes(dtype):
    """Numbers in range, and some whose powers are not."""
    most = [1e30, 1e-30] if dtype == "float32" else [1e300, 1e-300]
    ordinary = st.floats(0.125, 64, width=32)
    return st.one_of(st.just(0.0), ordinary, ordinary.map(lambda x: -x), st.sampled_from(most))


@settings(max_examples=400)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), order=st.sampled_from(ORDERS))
def test_every_tiling_equals_numpy(data, dtype, order):
    x = data.draw(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=7), elements=sizes(dtype))
    )
    axes = tuple(data.draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True)))
    exact = x.astype("longdouble")
    with np.errstate(all="ignore"):
        norm = np.linalg.vector_norm(exact, axis=axes, ord=order, keepdims=True)
        norm[norm == 0] = 1
        expected = (exact / norm).astype(dtype)
    whole = axes if len(axes) > 1 else axes[0]
    np.testing.assert_allclose(normalize(x, whole, order), expected, rtol=1e-5, atol=1e-37)
    fortran = np.asfortranarray(x)
    np.testing.assert_allclose(normalize(fortran, whole, order), expected, rtol=1e-5, atol=1e-37)
    assert normalize(x, whole, order, out=x) is x
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_nan_and_infinity_in_one_tile_reach_the_others(axis, order):
    x = np.ones((9, 9))
    x[8, 0], x[0, 8] = np.nan, np.inf
    with np.errstate(all="ignore"):
        norm = np.linalg.vector_norm(x, axis=axis, ord=order, keepdims=True)
        expected = x / norm
    np.testing.assert_allclose(normalize(x, axis, order), expected)


def test_many_values_are_counted_exactly():
    """Order 0 divides by a count, which float32 could not hold beyond 2 ** 24."""
    x = np.ones((3, 40), "float16")
    np.testing.assert_array_equal(normalize(x, None, 0), x / np.float16(120))
