"""Every index equals NumPy's on the same rows in memory."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix
from befit.errors import OutOfWindowError, UnsupportedObjectError

LAYOUTS = (
    "contiguous",
    "chunked",
    "one row a chunk",
    "chunks split rows",
    "gzip",
    "gzip shuffle fletcher32",
    "lzf",
    "by h5py",
    "resizable",
)
DTYPES = ("u1", "i2", "f4", "f8", ">f4", ">i8", "f2", "c8", "?", "S3")


def double(rows):
    """Changes the type and drops an axis."""
    return rows.astype("float64").sum(axis=-1) * 2


def row_indices(length: int, margin: int = 0):
    """Every way to ask for rows; with a margin also rows that do not exist."""
    number = st.integers(-length - margin, length - 1 + margin) if length or margin else st.nothing()
    bound = st.one_of(st.none(), st.integers(-length - 3, length + 3))
    step = st.one_of(st.none(), st.integers(-4, 4).filter(bool))
    slices = st.builds(slice, bound, bound, step)
    if number.is_empty:
        return st.one_of(slices, st.just([]))
    numbers = st.lists(number, max_size=12)
    return st.one_of(
        number,
        number.map(np.int32),
        number.map(np.array),
        slices,
        numbers,
        numbers.map(lambda rows: np.array(rows, "int64")),
        st.lists(number, min_size=6, max_size=6).map(lambda rows: np.array(rows, "int16").reshape(2, 3)),
        st.lists(st.booleans(), min_size=length, max_size=length).map(np.array),
        st.permutations(range(length)),
    )


def keys(length: int, margin: int = 0):
    """Rows alone, and rows among other parts of an index."""
    rows = row_indices(length, margin)
    columns = st.sampled_from(
        [slice(None), 0, -1, slice(None, None, -1), [0, 2], [True, False, True], None, ...]
    )
    return st.one_of(
        rows,
        rows.map(lambda row: (row,)),
        st.tuples(rows, columns),
        st.tuples(rows, columns, st.sampled_from([0, slice(1), -1])),
        st.tuples(st.none(), rows),
        st.tuples(st.just(...), columns),
        st.just(...),
        st.just(()),
        st.just(None),
        st.tuples(rows, st.just(...), st.just(1)),
    )


def same(matrix, array, key):
    """Return whether both agree, in values and shape or in refusing."""
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises((IndexError, TypeError)):
            matrix[key]
        return
    result = matrix[key]
    assert np.shape(result) == np.shape(expected)
    assert np.asarray(result).dtype == np.asarray(expected).dtype.newbyteorder("=")
    np.testing.assert_array_equal(result, expected)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS), dtype=st.sampled_from(DTYPES))
def test_any_index_equals_numpy(layouts, data, layout, dtype):
    start = data.draw(st.integers(0, 23), label="start")
    end = data.draw(st.one_of(st.none(), st.integers(start, 23)), label="end")
    name = f"{layout}/{dtype}"
    with h5py.File(layouts) as file:
        array = file[name][start:end]
    with HDF5Matrix(layouts, name, start, end) as matrix:
        assert (len(matrix), matrix.shape, matrix.ndim, matrix.size) == (
            len(array),
            array.shape,
            array.ndim,
            array.size,
        )
        assert matrix.dtype == array.dtype.newbyteorder("=")
        same(matrix, array, data.draw(keys(len(array)), label="key"))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS))
def test_any_index_equals_numpy_after_the_normalizer(layouts, data, layout):
    start = data.draw(st.integers(0, 23), label="start")
    with h5py.File(layouts) as file:
        array = double(file[f"{layout}/i2"][start:])
    with HDF5Matrix(layouts, f"{layout}/i2", start, normalizer=double) as matrix:
        assert matrix.shape == array.shape
        same(matrix, array, data.draw(keys(len(array)), label="key"))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_rows_outside_the_window_are_refused_as_numpy_refuses_them(layouts, data):
    with HDF5Matrix(layouts, "gzip/f4", 5, 15) as matrix, h5py.File(layouts) as file:
        same(matrix, file["gzip/f4"][5:15], data.draw(keys(10, margin=8), label="key"))


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (8, 8),
        (-9, -9),
        ([0, 8, 9], 8),
        (np.array([[0], [-9]]), -9),
        ((8, 0), 8),
        ((..., 8, 0), 8),
        (np.array(8), 8),
        (np.uint64(2**63), 2**63),
        ([2**40], 2**40),
        (10**30, 10**30),
    ],
)
def test_an_index_outside_the_window_is_named(path, key, named):
    with pytest.raises(OutOfWindowError) as caught:
        HDF5Matrix(path, "x", 1, 9)[key]
    assert isinstance(caught.value, IndexError)
    window = f"HDF5Matrix({str(path)!r}, 'x', start=1, end=9)"
    assert str(caught.value) == f"index {named} is outside the 8 rows of {window}"


def test_a_mask_of_another_length_is_refused(path):
    x = HDF5Matrix(path, "x", 1, 9)
    with pytest.raises(OutOfWindowError, match="a mask of 10 entries does not fit the 8 rows"):
        x[np.ones(10, bool)]


def test_a_mask_is_no_list_of_numbers(path):
    """The old class read rows 0 and 1 here."""
    x = HDF5Matrix(path, "x", 4, 7)
    np.testing.assert_array_equal(x[[False, False, True]], [[18, 19, 20]])
    np.testing.assert_array_equal(x[np.array([True, False, True])], [[12, 13, 14], [18, 19, 20]])


def test_a_mask_over_several_axes(path):
    x = HDF5Matrix(path, "x", 2, 9)
    array = np.asarray(x)
    np.testing.assert_array_equal(x[array % 2 == 0], array[array % 2 == 0])
    np.testing.assert_array_equal(x[array > 99], array[array > 99])


@pytest.mark.parametrize(
    "key", [True, False, np.True_, "x", 1.0, [0.5], [True, 2.5], {"a": 1}, slice("a"), (..., ...)]
)
def test_what_is_no_index_is_refused(path, key):
    with pytest.raises((TypeError, OutOfWindowError)):
        HDF5Matrix(path, "x")[key]


def test_one_boolean_is_no_row(path):
    with pytest.raises(UnsupportedObjectError, match="True is no index of rows"):
        HDF5Matrix(path, "x")[True]


def test_tensors_are_indices(path):
    torch = pytest.importorskip("torch")
    x = HDF5Matrix(path, "x")
    np.testing.assert_array_equal(x[torch.tensor([3, 1])], np.asarray(x)[[3, 1]])
    np.testing.assert_array_equal(x[torch.tensor([3])], np.asarray(x)[[3]])
    np.testing.assert_array_equal(x[torch.tensor(3)], np.asarray(x)[3])


def test_many_rows_over_many_spans(tmp_path):
    """Thousands of rows, sparse and dense, over the limits at which reads are split."""
    array = np.random.default_rng(0).integers(0, 1 << 30, (6000, 500))
    path = tmp_path / "large.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["contiguous"] = array
        file.create_dataset("chunked", data=array, chunks=(700, 500), compression="lzf")
    for name in ("contiguous", "chunked"):
        x = HDF5Matrix(path, name, 100)
        for rows in (rng.integers(0, 5900, 300), rng.permutation(5900), np.arange(5899, 0, -3)):
            np.testing.assert_array_equal(x[rows], array[100:][rows])
        np.testing.assert_array_equal(x[::-7], array[100:][::-7])


def test_memory_beyond_the_result_is_bounded(tmp_path):
    """Every second row of 48 MB: the result and a few spans, never the whole dataset."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((12_000, 500))
    x = HDF5Matrix(tmp_path / "a.h5", "x")
    tracemalloc.start()
    try:
        result = x[::2]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 20 << 20


def test_train_test_split_of_scikit_learn(path):
    """scikit-learn indexes with x[rows, ...]."""
    split = pytest.importorskip("sklearn.model_selection").train_test_split
    x = HDF5Matrix(path, "x")
    train, test = split(x, random_state=0)
    expected = split(np.asarray(x), random_state=0)
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(test, expected[1])


def test_iteration_yields_the_rows(path, monkeypatch):
    """Block by block, whatever the size of a block."""
    x = HDF5Matrix(path, "x", 2, 9)
    for size in (1, 40, 1 << 20):
        monkeypatch.setattr("befit.hdf5.matrix._ITERATION_BYTES", size)
        np.testing.assert_array_equal(list(x), np.asarray(x))
    assert list(HDF5Matrix(path, "x", 5, 5)) == []
