"""Lists of arrays, and parts of them, as in Keras 2."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from befit.legacy import slice_arrays, to_list, unpack_singleton

X, Y = np.arange(12).reshape(6, 2), np.arange(6)


def test_a_list_stays_the_same_list():
    x = [1, 2]
    assert to_list(x) is x


@pytest.mark.parametrize(("value", "expected"), [(1, [1]), (None, [None]), ((1, 2), [(1, 2)]), ({}, [{}])])
def test_anything_else_becomes_a_list_of_one(value, expected):
    assert to_list(value) == expected


def test_a_tuple_becomes_a_list_where_that_is_allowed():
    assert to_list((1, 2), allow_tuple=True) == [1, 2]
    assert to_list(1, allow_tuple=True) == [1]


def test_only_a_sequence_of_one_is_unpacked():
    pair = (1, 2)
    assert unpack_singleton([7]) == 7
    assert unpack_singleton((None,)) is None
    assert unpack_singleton(pair) is pair
    assert unpack_singleton([]) == []


@pytest.mark.parametrize(("start", "stop"), [(None, None), (2, None), (None, 2), (1, 4), (-2, None)])
def test_rows_from_start_to_stop(start, stop):
    np.testing.assert_array_equal(slice_arrays(X, start, stop), X[start:stop])
    for part, whole in zip(slice_arrays([X, Y], start, stop), [X, Y], strict=True):
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("rows", [[0, 3], (0, 3), np.array([0, 3]), []])
def test_rows_by_their_indices(rows):
    expected = np.asarray(rows, dtype=int)
    np.testing.assert_array_equal(slice_arrays(X, rows), X[expected])
    np.testing.assert_array_equal(slice_arrays([X, Y], rows)[1], Y[expected])


def test_none_stays_none():
    assert slice_arrays(None) == [None]
    assert slice_arrays([None, Y], 0, 1)[0] is None
    assert slice_arrays([None, Y], [0])[0] is None


def test_a_dataset_of_a_file_takes_the_indices(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = X
        np.testing.assert_array_equal(slice_arrays([file["x"]], np.array([1, 4]))[0], X[[1, 4]])
