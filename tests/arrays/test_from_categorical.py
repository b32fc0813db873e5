"""from_categorical is the way back, for one-hot rows and for nothing else."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import from_categorical, to_categorical
from befit.errors import ArgumentError, LabelError, UnsupportedObjectError


@given(
    y=hnp.arrays("int64", hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.integers(0, 9)),
    dtype=st.sampled_from(["float32", "float16", "float64", "uint8", "bool", "int32", "complex64"]),
)
def test_it_undoes_to_categorical(y, dtype):
    rows = to_categorical(y, 10, dtype=dtype)
    before = rows.copy()
    labels = from_categorical(rows)
    assert labels.dtype == np.int64
    expected = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
    np.testing.assert_array_equal(labels, expected)
    assert labels.shape == expected.shape
    np.testing.assert_array_equal(rows, before)


def test_blocks_meet_without_a_gap():
    """Rows of 400 kB: two fit into a block."""
    y = np.array([0, 99_999, 5, 7, 50_000])
    np.testing.assert_array_equal(from_categorical(to_categorical(y, 100_000)), y)


def test_memory_order_does_not_matter():
    rows = to_categorical(np.arange(12).reshape(4, 3), 12)
    for view in (rows.transpose(1, 0, 2), np.asfortranarray(rows), rows[::2]):
        np.testing.assert_array_equal(from_categorical(view), view.argmax(-1))


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([[1, 0], [1, 1]], "the row at index (1,)"),
        ([[1, 0], [0, 0]], "the row at index (1,)"),
        ([[0, 2], [0, 1]], "the row at index (0,)"),
        ([[0.1, 0.9]], "the row at index (0,)"),
        ([[0, 1], [0, np.nan]], "the row at index (1,)"),
        ([[1, np.nan]], "the row at index (0,)"),
        ([[0, -1]], "the row at index (0,)"),
        ([[[1, 0], [0, 1]], [[1, 0], [0.5, 0.5]]], "the row at index (1, 1)"),
        ([0, 0], "the row"),
        (np.zeros((2, 0)), "the row at index (0,)"),
    ],
)
def test_a_row_that_is_not_one_hot_is_named(rows, where):
    with pytest.raises(LabelError) as caught:
        from_categorical(rows)
    assert str(caught.value) == f"{where} is not one-hot; for scores write rows.argmax(-1)"


def test_the_first_of_many_blocks_is_named():
    rows = to_categorical(np.zeros(20, int), 100_000)
    rows[17, 3] = 1
    with pytest.raises(LabelError, match=r"the row at index \(17,\)"):
        from_categorical(rows)


def test_what_a_mask_hides_is_not_read():
    rows = np.ma.array([[0, 1], [1, 0]], mask=[[False, True], [False, False]])
    with pytest.raises(LabelError, match=r"masked values, .* write rows\.filled\(0\)"):
        from_categorical(rows)
    assert from_categorical(np.ma.array([[0, 1]])).tolist() == [1]


def test_what_is_no_rows_is_refused():
    with pytest.raises(ArgumentError, match="a single number"):
        from_categorical(1)
    with pytest.raises(UnsupportedObjectError, match="not an array"):
        from_categorical(object())
    for rows in (np.array([[1, None]], object), np.array([["1", "0"]])):
        with pytest.raises(UnsupportedObjectError, match="not numbers"):
            from_categorical(rows)


@pytest.mark.parametrize("framework", ["torch", "jax.numpy", "tensorflow"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_a_tensor_gives_a_tensor(framework, dtype):
    module = importlib.import_module(framework)
    make = getattr(module, "constant", None) or getattr(module, "tensor", None) or module.asarray
    y = np.array([[2, 0], [1, 1]])
    rows = make(np.eye(3).astype(dtype)[y])
    labels = from_categorical(rows)
    assert isinstance(labels, type(rows))
    np.testing.assert_array_equal(np.asarray(labels), y)
    with pytest.raises(LabelError, match=r"index \(0, 0\)"):
        from_categorical(make(np.ones((2, 2, 3), "float32")))


def test_scores_that_are_differentiated_lose_nothing_but_their_gradient():
    import torch

    rows = torch.eye(3, requires_grad=True)
    assert from_categorical(rows).tolist() == [0, 1, 2]


def test_while_it_is_traced_the_largest_value_counts():
    import jax
    import tensorflow as tf
    import torch

    scores = np.array([[0.1, 0.9], [0.8, 0.2]], "float32")
    assert jax.jit(from_categorical)(scores).tolist() == [1, 0]
    assert tf.function(from_categorical)(tf.constant(scores)).numpy().tolist() == [1, 0]
    assert torch.vmap(from_categorical)(torch.tensor(scores)).tolist() == [1, 0]
