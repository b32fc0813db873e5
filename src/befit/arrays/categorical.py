"""``to_categorical``: class numbers to one-hot rows; ``from_categorical``: and back."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from befit.arrays.compiled import run
from befit.arrays.frameworks import (
    adapter_of,
    as_array,
    dtype_name,
    numpy_dtype,
    output_view,
    refuse_output_off_host,
)
from befit.arrays.labels import BLOCK, count_classes, flat_blocks, whole_numbers
from befit.errors import ArgumentError, LabelError, UnsupportedObjectError
from befit.typing import Array, ArrayAdapter

_READ_AT_ONCE = 1 << 20  # bytes of one-hot rows
_WORTH_COMPILING = 1 << 19  # labels; fewer are done before the compiled loop is loaded


def to_categorical(y: Any, num_classes: int | None = None, *, dtype: Any = "float32", out: Any = None) -> Any:
    """Turn class numbers into one-hot rows.

    Labels of shape ``(batch,)`` or ``(batch, 1)`` give ``(batch, num_classes)``; labels of any other shape
    get one axis more, a single number gives ``(num_classes,)``. A NumPy array, a list or anything with
    ``__array__`` gives a NumPy array; a tensor of PyTorch, JAX or TensorFlow gives a tensor of the same
    framework on the same device.

    While JAX, TensorFlow or ``torch.compile`` trace, the labels have no values that could be looked at:
    ``num_classes`` is needed then, TensorFlow checks when the graph runs, and with JAX and PyTorch a label
    without a class gives a row of NaN (of zeros for an integer ``dtype``).

    Args:
        y: Class numbers from 0 to ``num_classes - 1``: integers, booleans or floats without a fraction.
        num_classes: Number of classes; ``None`` (or 0) takes the largest label + 1.
        dtype: Data type of the result, as NumPy or the framework of ``y`` names it.
        out: Written and returned instead of new memory: a NumPy array or a CPU tensor of PyTorch of the
            result's shape, whose own dtype stays; or a ``OneHotBuffer``, of which only the ones of its last
            use are cleared, and whose rows are returned.

    Returns:
        The one-hot rows, of shape ``y.shape + (num_classes,)`` after a trailing axis of length 1 was dropped.

    Raises:
        LabelError: A label is outside ``[0, num_classes)``, fractional, NaN, masked or no number, or ``y``
            is empty and ``num_classes`` is missing. The message names the first such label and its index.
        ArgumentError: ``num_classes``, ``dtype`` or ``out`` cannot work.
        UnsupportedObjectError: ``y`` is no array, or a sparse one.

    Example:
        >>> import numpy as np
        >>> to_categorical([0, 2, 1], num_classes=3)
        array([[1., 0., 0.],
               [0., 0., 1.],
               [0., 1., 0.]], dtype=float32)
        >>> to_categorical([0, 3], num_classes=3)
        Traceback (most recent call last):
            ...
        befit.errors.LabelError: label 3 at index (1,) is outside [0, 3); pass num_classes=4 or drop the row

    Source:
        Keras 2.1 documentation; ``dtype`` as in Keras 2.2.3.
    """
    classes = _checked_count(num_classes)
    adapter = adapter_of(y)
    if adapter is not None and not adapter.has_values(y):
        return _trace(adapter, y, classes, dtype, out)
    labels = whole_numbers(adapter.to_host(y) if adapter is not None else as_array(y, "y"))
    classes = count_classes(labels, classes)
    shape = (*_without_trailing_one(labels.shape), classes)
    if out is not None:
        refuse_output_off_host(adapter, y, "y")
        if isinstance(out, OneHotBuffer):
            return out.hold(labels, shape)
        _overwrite(labels, output_view(out, shape))
        return out
    kind = numpy_dtype(dtype)
    if adapter is not None and kind is not None:
        kind = kind.newbyteorder("=")  # frameworks have no other
    if adapter is not None and (kind is None or not adapter.on_host(y)):
        return adapter.one_hot(_drop_trailing_one(y), classes, dtype_name(dtype))
    if kind is None:
        raise ArgumentError(f"dtype {dtype!r} is no number type of NumPy; write one such as 'float32'")
    rows = _new_rows(labels, shape, kind)
    return adapter.from_host(rows, y) if adapter is not None else rows


def from_categorical(rows: Any) -> Any:
    """Turn one-hot rows back into class numbers.

    Args:
        rows: What ``to_categorical`` returns: numbers of any dtype and shape ``(..., num_classes)``, with one
            1 and otherwise zeros along the last axis. A NumPy array, a list, or a tensor.

    Returns:
        The class numbers, int64 of shape ``rows.shape[:-1]``; for a tensor one of the same framework on the
        same device (with JAX its default integer). While a framework traces, rows have no values to be
        checked: the index of the largest value then.

    Raises:
        LabelError: A row is not one-hot; names the first such row. Or values are masked.
        ArgumentError: ``rows`` is a single number.
        UnsupportedObjectError: ``rows`` is no array, or a sparse one.

    Example:
        >>> from_categorical([[0, 0, 1], [1, 0, 0]])
        array([2, 0])
        >>> from_categorical([[0.1, 0.9]])
        Traceback (most recent call last):
            ...
        befit.errors.LabelError: the row at index (0,) is not one-hot; for scores write rows.argmax(-1)
    """
    adapter = adapter_of(rows)
    if adapter is not None and not adapter.has_values(rows):
        return adapter.argmax(rows)
    array = adapter.to_host(rows) if adapter is not None else as_array(rows, "rows")
    if np.ma.is_masked(array):
        raise LabelError("rows has masked values, which are neither 0 nor 1; write rows.filled(0)")
    array = np.asarray(array)
    if array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16":
        raise UnsupportedObjectError(
            f"rows has dtype {array.dtype}, not numbers; write np.asarray(rows, 'u1')"
        )
    if array.ndim == 0:
        raise ArgumentError("rows is a single number, which is no row; write from_categorical([rows])")
    labels = _class_numbers(array)
    return adapter.from_host(labels, rows) if adapter is not None else labels


class OneHotBuffer:
    """Memory for one-hot rows that is used for one batch after the other.

    Handed to ``to_categorical`` as ``out=``, it holds the rows of the newest labels: the ones of the last
    batch are cleared, the new ones are set, and nothing else is touched, which for many classes is far
    cheaper than writing every zero again. That is right only while nobody else writes, so the rows are a
    read-only array; they change with the next use, so each thread needs a buffer of its own. A copy, also one
    that was pickled, is an empty buffer of the same shape.

    Args:
        shape: Shape of the rows, ``(batch, ..., num_classes)``. Fewer samples than ``batch``, as at the end
            of an epoch, take the first rows.
        dtype: Data type of the rows.

    Raises:
        ArgumentError: ``dtype`` is no number type, or ``shape`` has fewer than two axes or no classes.

    Example:
        >>> buffer = OneHotBuffer((3, 4), dtype="uint8")
        >>> to_categorical([3, 0, 1], 4, out=buffer)
        array([[0, 0, 0, 1],
               [1, 0, 0, 0],
               [0, 1, 0, 0]], dtype=uint8)
        >>> to_categorical([2], 4, out=buffer)
        array([[0, 0, 1, 0]], dtype=uint8)
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = "float32") -> None:
        kind = numpy_dtype(dtype)
        if kind is None:
            raise ArgumentError(f"dtype {dtype!r} is no number type of NumPy; write one such as 'float32'")
        sizes = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
        if not sizes or len(shape) < 2 or shape[-1] < 1:
            raise ArgumentError(f"shape is {shape!r}; write (batch, num_classes)")
        memory = np.zeros(shape, kind)
        self._cells = memory.reshape(-1)
        self._starts = np.arange(0, memory.size, shape[-1])
        self._ones = self._starts[:0]  # the cells that hold them
        self.rows = memory.view()
        self.rows.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Copied one by one, the views of the memory would no longer share it.
        return type(self), (self.rows.shape, self.rows.dtype)

    def hold(self, labels: Array, shape: tuple[int, ...]) -> Array:
        """Return rows of ``shape`` for ``labels``, which were checked to be in range."""
        if len(shape) != self.rows.ndim or shape[1:] != self.rows.shape[1:] or shape[0] > len(self.rows):
            raise ArgumentError(
                f"the buffer has shape {self.rows.shape}, the result has shape {shape}; "
                + (f"make a OneHotBuffer({shape})" if len(shape) > 1 else "leave out out=")
            )
        ones = np.add(self._starts[: labels.size], labels.reshape(-1), dtype=np.intp, casting="unsafe")
        self._cells[self._ones] = 0
        self._ones = ones  # before they are set: whatever interrupts that, the next use clears them
        self._cells[ones] = 1
        return self.rows[: shape[0]]


def _checked_count(num_classes: object) -> int | None:
    if num_classes is None:
        return None
    try:
        count = operator.index(num_classes)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"num_classes is {num_classes!r}; write a whole number such as 10") from None
    if count < 0:
        raise ArgumentError(f"num_classes is {count}; write a positive number, or None to infer it")
    return count or None  # the old function took 0 for "infer it"


def _trace(adapter: ArrayAdapter, y: Any, classes: int | None, dtype: object, out: object) -> Any:
    if classes is None:
        raise ArgumentError("y has no values while it is traced; pass num_classes")
    if out is not None:
        raise ArgumentError("out= cannot be written while y is traced; leave out out=")
    return adapter.one_hot(_drop_trailing_one(y), classes, dtype_name(dtype))


def _without_trailing_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape


def _drop_trailing_one(tensor: Any) -> Any:
    return tensor[..., 0] if len(tensor.shape) > 1 and tensor.shape[-1] == 1 else tensor


def _new_rows(labels: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    try:
        rows = np.zeros(shape, dtype)  # zeroed by the kernel, page by page, when they are first touched
    except (MemoryError, ValueError) as error:
        error.add_note("Are the labels ids? np.unique(y, return_inverse=True)[1] numbers them from 0.")
        raise
    _set_ones(labels, rows)
    return rows


def _overwrite(labels: Array, out: Array) -> None:
    if np.may_share_memory(labels, out):
        labels = labels.copy()
    if out.flags.c_contiguous:
        out.fill(0)
        _set_ones(labels, out)
    else:
        out[...] = _new_rows(labels, out.shape, out.dtype)


def _set_ones(labels: Array, rows: Array) -> None:
    """Write the ones; ``labels`` are all in range, ``rows`` is C-contiguous and zero."""
    classes = rows.shape[-1]
    cells = rows.reshape(-1)
    if labels.size <= BLOCK:  # as below, without what would cost a small batch more than its rows do
        starts = np.arange(0, labels.size * classes, classes)
        cells[np.add(starts, labels.reshape(-1), dtype=np.intp, casting="unsafe")] = 1
        return
    is_large = labels.size >= _WORTH_COMPILING and labels.dtype.kind in "iu"
    if is_large and run("set_ones", labels, cells, classes):
        return
    starts = np.arange(0, BLOCK * classes, classes)
    for start, block in flat_blocks(labels):
        # The dtype is asked for: NumPy would add int64 and uint64 as floats.
        hit = np.add(starts[: block.size], block, dtype=np.intp, casting="unsafe")
        cells[start * classes : (start + block.size) * classes][hit] = 1


def _class_numbers(rows: Array) -> Array:
    table = rows.reshape(-1, rows.shape[-1]) if rows.size else rows
    labels = np.zeros(rows.shape[:-1], np.int64)
    if labels.size and not rows.size:
        _refuse_row(0, rows)
    flat = labels.reshape(-1)
    step = max(1, _READ_AT_ONCE // max(1, rows.shape[-1] * rows.itemsize))
    for start in range(0, flat.size, step):
        block = table[start : start + step]
        found = block.argmax(-1)
        one_hot = np.count_nonzero(block, axis=-1) == 1
        one_hot &= np.take_along_axis(block, found[:, np.newaxis], 1)[:, 0] == 1
        if not one_hot.all():
            _refuse_row(start + int(np.argmin(one_hot)), rows)
        flat[start : start + len(block)] = found
    return labels


def _refuse_row(number: int, rows: Array) -> NoReturn:
    position = tuple(int(i) for i in np.unravel_index(number, rows.shape[:-1]))
    where = f"the row at index {position}" if position else "the row"
    raise LabelError(f"{where} is not one-hot; for scores write rows.argmax(-1)")
