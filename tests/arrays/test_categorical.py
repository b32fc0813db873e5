"""to_categorical against rows of numpy.eye and the documented shapes of Keras 2.1."""

from __future__ import annotations

import importlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from befit import to_categorical
from befit.errors import ArgumentError, LabelError, UnsupportedObjectError

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4", ">u2"]
FLOATS = ["float16", "float32", "float64", "longdouble"]


def keras2(y, num_classes=None):
    """The function of Keras 2.1, as its documentation and its shapes define it."""
    y = np.array(y, dtype="int64")
    shape = y.shape[:-1] if y.ndim > 1 and y.shape[-1] == 1 else y.shape
    num_classes = num_classes or int(y.max()) + 1
    return np.eye(num_classes)[y.reshape(-1)].reshape((*shape, num_classes))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 3), (5, 4, 3), (3, 1), (3, 2, 1), (3, 1, 1), (1, 1)])
@pytest.mark.parametrize("num_classes", [None, 0, 5, 9])
def test_shapes_are_those_of_keras_2(shape, num_classes):
    y = np.random.default_rng(0).integers(0, 5, size=shape)
    expected = keras2(y, num_classes)
    result = to_categorical(y, num_classes)
    assert result.shape == expected.shape
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("shape", "expected"), [((0,), (0, 4)), ((0, 1), (0, 4)), ((0, 2), (0, 2, 4))])
def test_empty_labels_give_empty_rows(shape, expected):
    assert to_categorical(np.zeros(shape, int), 4).shape == expected
    assert to_categorical([], 4).shape == (0, 4)


def test_empty_labels_need_num_classes():
    with pytest.raises(LabelError, match=r"y is empty.*pass num_classes"):
        to_categorical([])


@given(
    y=hnp.arrays(
        st.sampled_from(INTEGERS + FLOATS), hnp.array_shapes(max_dims=3), elements=st.integers(0, 99)
    ),
    extra=st.integers(0, 3),
    dtype=st.sampled_from(["float32", "float64", "uint8", "bool", "int64", "complex64", np.float16, int]),
)
def test_equals_rows_of_the_identity(y, extra, dtype):
    num_classes = int(y.max()) + 1 + extra
    result = to_categorical(y, num_classes, dtype=dtype)
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, keras2(y, num_classes))


@given(
    y=hnp.arrays(st.sampled_from(["int8", "int64", "float32"]), (6,), elements=st.integers(-3, 9)),
    num_classes=st.one_of(st.none(), st.integers(1, 9)),
)
def test_every_label_has_its_class_or_the_first_without_is_named(y, num_classes):
    limit = int(y.max()) + 1 if num_classes is None else num_classes
    bad = np.flatnonzero((y < 0) | (y >= limit))
    if bad.size == 0:
        np.testing.assert_array_equal(to_categorical(y, num_classes).argmax(-1), y)
        return
    with pytest.raises(LabelError, match=rf"label {y[bad[0]].item()} at index \({bad[0]},\)"):
        to_categorical(y, num_classes)


def test_an_unsigned_label_is_never_negative():
    """The upper half of what an unsigned type can hold."""
    for dtype in ("uint8", "uint16"):
        y = np.array([0, np.iinfo(dtype).max], dtype)
        rows = to_categorical(y)
        assert rows.shape == (2, int(y[1]) + 1)
        assert rows[1, y[1]] == 1


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 50000])
def test_blocks_meet_without_a_gap(size):
    y = np.random.default_rng(1).integers(0, 7, size)
    np.testing.assert_array_equal(to_categorical(y, 7), keras2(y, 7))


def test_memory_order_does_not_matter():
    y = np.arange(24).reshape(4, 6)
    for view in (y.T, np.asfortranarray(y), y[:, ::-2], y[::2]):
        np.testing.assert_array_equal(to_categorical(view, 24), keras2(view, 24))


@pytest.mark.parametrize(
    "y",
    [
        [True, False],
        [np.int8(1), 0],
        (1, 0),
        range(2),
        np.array([1, 0], object),
        np.array([1.0, False], object),
        np.ma.masked_array([1, 0], [False, False]),
    ],
    ids=repr,
)
def test_anything_that_is_an_array_of_whole_numbers(y):
    result = to_categorical(y)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, keras2(np.asarray(y).astype(int), 2))


def test_objects_with_array_are_read():
    class Labels:
        def __array__(self, dtype=None, copy=None):
            return np.array([2, 0])

    np.testing.assert_array_equal(to_categorical(Labels()), [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("y", "num_classes", "message"),
    [
        ([0, 3], 3, "label 3 at index (1,) is outside [0, 3); pass num_classes=4 or drop the row"),
        ([[0], [1], [7]], 3, "label 7 at index (2, 0) is outside [0, 3); pass num_classes=8"),
        ([0, 3, 5], 3, "label 3 at index (1,) is outside [0, 3) (the first of 2 such labels among 3)"),
        ([1, 2, 3], 3, "these labels count from 1: write to_categorical(y - 1, num_classes=3)"),
        ([0, -1], 3, "label -1 at index (1,) is outside [0, 3); no class has a negative number"),
        ([0, -1], None, "label -1 at index (1,) is negative"),
        (np.array([0, -1], np.int8), 300, "label -1 at index (1,) is outside [0, 300)"),
        (np.array([0, 2**63], np.uint64), 3, "label 9223372036854775808 at index (1,) is outside [0, 3)"),
        ([0, 0.5], None, "label 0.5 at index (1,) is not a whole number"),
        ([0, np.nan], 3, "label nan at index (1,) is not a whole number"),
        ([0, np.inf], 3, "label inf at index (1,) is too large"),
        ([0, 1e300], 3, "label 1e+300 at index (1,) is too large"),
        ([0, -0.5], 3, "label -0.5 at index (1,) is not a whole number"),
        (["0"], 3, "label '0' at index (0,) has dtype <U1 and is no class number; number the names"),
        ([0, None], 3, "label None at index (1,) is no class number"),
        (np.array([0, "b"], object), 3, "label 'b' at index (1,) is no class number"),
        (np.array([0, 1.5], object), 3, "label 1.5 at index (1,) is no class number"),
        ([0, 2**80], 3, f"label {2**80} at index (1,) is no class number"),
        ([1 + 0j], 3, "label (1+0j) at index (0,) has dtype complex128"),
        (np.array(["2020-01-01"], "M8[D]"), 3, "has dtype datetime64[D]"),
        (np.ma.masked_array([0, 1], [False, True]), 3, "label 1 at index (1,) is masked"),
        (3, 3, "label 3 is outside [0, 3); pass num_classes=4"),
    ],
)
def test_a_label_without_a_class_is_named(y, num_classes, message):
    with pytest.raises(LabelError) as caught:
        to_categorical(y, num_classes)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize("num_classes", [-1, 3.0, "3", [3]])
def test_num_classes_is_a_whole_number(num_classes):
    with pytest.raises(ArgumentError, match="num_classes is"):
        to_categorical([0], num_classes)


@pytest.mark.parametrize(
    "y", [{0, 1}, {0: 1}, None, (label for label in [0]), object()], ids=lambda y: type(y).__name__
)
def test_what_is_no_array_is_refused(y):
    with pytest.raises(UnsupportedObjectError, match="not an array"):
        to_categorical(y)


def test_ragged_labels_are_refused():
    with pytest.raises(ArgumentError, match="cannot become one array"):
        to_categorical([[0], [1, 2]])


@pytest.mark.parametrize("dtype", ["float33", "U3", object, "M8[s]"])
def test_dtype_is_a_number_type(dtype):
    with pytest.raises(ArgumentError, match="is no number type"):
        to_categorical([0], dtype=dtype)


def test_labels_that_are_ids_get_a_hint():
    with pytest.raises((MemoryError, ValueError)) as caught:
        to_categorical([0, 2**62])
    assert "Are the labels ids?" in caught.value.__notes__[0]


class TestOut:
    def test_is_written_whole_and_returned(self):
        out = np.full((3, 4), 7, np.uint8)
        assert to_categorical([3, 0, 1], 4, out=out) is out
        np.testing.assert_array_equal(out, np.eye(4)[[3, 0, 1]])

    def test_need_not_be_contiguous(self):
        whole = np.full((3, 8), 7.0)
        to_categorical([3, 0, 1], 4, out=whole[:, ::2])
        np.testing.assert_array_equal(whole[:, ::2], np.eye(4)[[3, 0, 1]])
        assert (whole[:, 1::2] == 7).all()

    def test_may_lie_in_the_memory_of_the_labels(self):
        memory = np.zeros((4, 2), np.int64)
        memory[:, 0] = [1, 0, 1, 1]
        labels = memory[:, 0].copy()
        to_categorical(memory[:, 0], 2, out=memory)
        np.testing.assert_array_equal(memory, np.eye(2)[labels])

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            (np.zeros((3, 3)), "shape (3, 3), the result has shape (2, 3)"),
            ([[0] * 3] * 2, "is a list that cannot be written"),
            (np.broadcast_to(np.zeros(3), (2, 3)), "cannot be written"),
        ],
    )
    def test_is_refused_if_it_does_not_fit(self, out, message):
        with pytest.raises(ArgumentError) as caught:
            to_categorical([0, 1], 3, out=out)
        assert message in str(caught.value)

    def test_stays_untouched_by_an_error(self):
        out = np.full((2, 3), 7.0)
        with pytest.raises(LabelError):
            to_categorical([0, 3], 3, out=out)
        assert (out == 7).all()


def test_the_labels_are_not_changed():
    for y in (np.array([2, 0, 1]), np.array([2.0, 0.0]), np.array([True, False])):
        before = y.copy()
        to_categorical(y)
        np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("dtype", ["int64", "uint8", ">i8", "float32"])
def test_memory_beyond_the_result_is_bounded(dtype, view):
    """Labels need their result and at most 4 MiB, whatever their kind and order in memory."""
    y = np.random.default_rng(0).integers(0, 10, 1_200_000).astype(dtype)
    if view:
        y = y[::2]
    to_categorical(y, 10)  # what it loads is not its memory
    tracemalloc.start()
    try:
        result = to_categorical(y, 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 4 << 20


@pytest.mark.parametrize("framework", ["torch", "jax.numpy", "tensorflow"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_tensor_gives_a_tensor(framework, dtype):
    """The same kind comes out, in the dtype that was asked for, by NumPy's name or the framework's."""
    module = importlib.import_module(framework)
    make = getattr(module, "constant", None) or getattr(module, "tensor", None) or module.asarray
    y = make([[0], [2], [1]])
    for asked in (dtype, getattr(module, dtype)):
        result = to_categorical(y, dtype=asked)
        assert isinstance(result, type(y))
        assert result.dtype == make(np.zeros(1, dtype)).dtype
        np.testing.assert_array_equal(np.asarray(result), np.eye(3)[[0, 2, 1]])
    with pytest.raises(LabelError, match=r"label 2 at index \(1, 0\)"):
        to_categorical(y, 2)


@pytest.mark.parametrize("framework", ["torch", "jax.numpy", "tensorflow"])
def test_a_tensor_has_the_byte_order_of_the_machine(framework):
    module = importlib.import_module(framework)
    make = getattr(module, "constant", None) or getattr(module, "tensor", None) or module.asarray
    np.testing.assert_array_equal(np.asarray(to_categorical(make([1, 0]), 2, dtype=">f4")), [[0, 1], [1, 0]])
