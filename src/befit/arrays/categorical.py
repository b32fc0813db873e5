"""``to_categorical``: class numbers to one-hot rows."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from befit.arrays.frameworks import (
    adapter_of,
    as_array,
    dtype_name,
    numpy_dtype,
    output_view,
    refuse_output_off_host,
)
from befit.arrays.labels import count_classes, whole_numbers
from befit.errors import ArgumentError
from befit.typing import Array, ArrayAdapter

_BLOCK = 1 << 14  # labels; their positions stay in the processor's cache


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
            result's shape. Its own dtype stays.

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
        _write_rows(labels, output_view(out, shape))
        return out
    kind = numpy_dtype(dtype)
    if adapter is not None and (kind is None or not adapter.on_host(y)):
        return adapter.one_hot(_drop_trailing_one(y), classes, dtype_name(dtype))
    if kind is None:
        raise ArgumentError(f"dtype {dtype!r} is no number type of NumPy; write one such as 'float32'")
    rows = _new_rows(labels, shape, kind)
    return adapter.from_host(rows, y) if adapter is not None else rows


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


def _write_rows(labels: Array, out: Array) -> None:
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
    labels, cells = labels.reshape(-1), rows.reshape(-1)
    row_starts = np.arange(0, min(labels.size, _BLOCK) * classes, classes, dtype=np.intp)
    for start in range(0, labels.size, _BLOCK):
        block = labels[start : start + _BLOCK]
        # Asked for: NumPy would add int64 and uint64 as floats.
        ones = np.add(row_starts[: block.size], block, dtype=np.intp, casting="unsafe")
        cells[start * classes : (start + block.size) * classes][ones] = 1
