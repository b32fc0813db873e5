"""A OneHotBuffer always holds what to_categorical would have made anew."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import to_categorical
from befit.arrays import OneHotBuffer
from befit.errors import ArgumentError, LabelError


@given(
    batches=st.lists(
        hnp.arrays(
            st.sampled_from(["int64", "uint8", "float32"]),
            st.tuples(st.integers(0, 5), st.just(2)),
            elements=st.integers(0, 6),
        ),
        max_size=6,
    ),
    dtype=st.sampled_from(["float32", "uint8", "bool"]),
)
def test_every_batch_equals_new_rows(batches, dtype):
    buffer = OneHotBuffer((5, 2, 7), dtype)
    for y in batches:
        rows = to_categorical(y, 7, out=buffer)
        expected = to_categorical(y, 7, dtype=dtype)
        assert rows.dtype == expected.dtype
        np.testing.assert_array_equal(rows, expected)
        assert np.count_nonzero(buffer.rows) == y.size  # nothing is left of an earlier batch
        assert np.shares_memory(rows, buffer.rows) or not rows.size


def test_a_column_of_labels_gives_rows():
    buffer = OneHotBuffer((3, 4))
    np.testing.assert_array_equal(to_categorical([[2], [0], [3]], 4, out=buffer), np.eye(4)[[2, 0, 3]])


def test_nobody_else_can_write():
    buffer = OneHotBuffer((2, 3))
    rows = to_categorical([0, 1], 3, out=buffer)
    for array in (rows, buffer.rows):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


def test_the_labels_may_change_afterwards():
    buffer = OneHotBuffer((2, 3))
    y = np.array([0, 1])
    to_categorical(y, 3, out=buffer)
    y[:] = 2
    np.testing.assert_array_equal(to_categorical([1, 0], 3, out=buffer), np.eye(3)[[1, 0]])


def test_a_refused_batch_leaves_the_last_one():
    buffer = OneHotBuffer((2, 3))
    to_categorical([0, 1], 3, out=buffer)
    with pytest.raises(LabelError):
        to_categorical([2, 3], 3, out=buffer)
    with pytest.raises(ArgumentError):
        to_categorical([2, 2, 2], 3, out=buffer)
    np.testing.assert_array_equal(buffer.rows, np.eye(3)[[0, 1]])


class Interrupted:
    """Memory of a buffer; the writing of one value is interrupted after the first cell."""

    def __init__(self, cells, value):
        self.cells, self.value = cells, value

    def __setitem__(self, positions, value):
        self.cells[positions[:1] if value == self.value else positions] = value
        if value == self.value:
            raise KeyboardInterrupt


@pytest.mark.parametrize("value", [0, 1])
def test_an_interruption_leaves_nothing_behind(value):
    """Ctrl-C while the ones are cleared, or while they are set."""
    buffer = OneHotBuffer((2, 3))
    to_categorical([0, 1], 3, out=buffer)
    cells = buffer._cells
    buffer._cells = Interrupted(cells, value)
    with pytest.raises(KeyboardInterrupt):
        to_categorical([2, 0], 3, out=buffer)
    buffer._cells = cells
    np.testing.assert_array_equal(to_categorical([1, 2], 3, out=buffer), np.eye(3)[[1, 2]])


@pytest.mark.parametrize("y", [[0, 1, 2], [[0, 1]]])
def test_a_buffer_of_another_shape_is_refused(y):
    with pytest.raises(ArgumentError, match=r"the buffer has shape \(2, 3\).*make a OneHotBuffer\(\("):
        to_categorical(y, 3, out=OneHotBuffer((2, 3)))
    with pytest.raises(ArgumentError, match=r"the result has shape \(3,\); leave out out="):
        to_categorical(1, 3, out=OneHotBuffer((2, 3)))
    with pytest.raises(ArgumentError, match=r"the result has shape \(2, 4\)"):
        to_categorical([0, 1], 4, out=OneHotBuffer((2, 3)))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3,), "float32"),
        ([2, 3], "float32"),
        ((2, 3), "float33"),
        ((2, 0), "u1"),
        ((2.0, 3), "u1"),
        ((-1, 3), "u1"),
    ],
)
def test_what_makes_no_buffer_is_refused(shape, dtype):
    with pytest.raises(ArgumentError, match=r"write \(batch, num_classes\)|write one such as 'float32'"):
        OneHotBuffer(shape, dtype)


def test_labels_on_the_cpu_may_be_a_tensor():
    import torch

    rows = to_categorical(torch.tensor([1, 0]), 2, out=OneHotBuffer((2, 2)))
    np.testing.assert_array_equal(rows, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "travel", [copy.copy, copy.deepcopy, lambda buffer: pickle.loads(pickle.dumps(buffer))]
)
def test_a_copy_has_memory_of_its_own(travel):
    """As a dataset that holds a buffer gets on its way to a worker process."""
    buffer = OneHotBuffer((2, 3), "uint8")
    rows = to_categorical([0, 1], 3, out=buffer)
    again = travel(buffer)
    assert to_categorical([2, 2], 3, out=again).tolist() == [[0, 0, 1], [0, 0, 1]]
    assert to_categorical([1, 1], 3, out=again).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert again.rows.dtype == np.uint8
    assert rows.tolist() == [[1, 0, 0], [0, 1, 0]]
