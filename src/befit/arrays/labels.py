"""Which labels have a class: whole numbers in ``[0, num_classes)``, and a clear refusal for every other."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from befit.errors import LabelError
from befit.typing import Array

BLOCK = 1 << 14  # labels; what is computed of a block stays in the processor's cache
_LIMIT = 2**63  # no class number reaches it, and int64 ends there
_NUMBER_THEM = "number the names first: np.unique(y, return_inverse=True)[1]"


def whole_numbers(y: Array) -> Array:
    """Return the labels as an array of the same shape, of integers or of floats without a fraction.

    Raises:
        LabelError: a label is masked, fractional, NaN, infinite or no number.
    """
    if isinstance(y, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(y)
        if mask.any():
            _refuse(np.asarray(y), mask, "is masked, so it has no class", "drop the row: y[~y.mask]")
        y = np.asarray(y)
    kind = y.dtype.kind
    if kind in "iu":
        return y
    if kind == "b":
        return y.view(np.uint8)
    if kind == "f":
        return _checked_floats(y)
    if kind == "V" and not issubclass(y.dtype.type, np.void):  # bfloat16, int4 …: known to ml_dtypes
        return _checked_floats(y.astype(np.float64))
    if kind == "O":
        return _from_objects(y)
    remedy = _NUMBER_THEM if kind in "SUT" else "convert y to integers first"
    if y.size:
        _refuse(y, np.ones(y.shape, bool), f"has dtype {y.dtype} and is no class number", remedy)
    raise LabelError(f"labels are whole numbers, y has dtype {y.dtype}; {remedy}")


def count_classes(labels: Array, num_classes: int | None) -> int:
    """Return the number of classes, after looking at every label; ``None`` asks for the largest label + 1.

    Raises:
        LabelError: a label is outside ``[0, num_classes)``, or there is none to infer ``num_classes`` from.
    """
    if labels.size == 0:
        if num_classes is None:
            raise LabelError("y is empty, so there is no largest label; pass num_classes")
        return num_classes
    if labels.dtype.kind == "f":
        largest, is_negative = int(labels.max()), bool(labels.min() < 0)
    else:
        # Seen as unsigned a negative label is larger than every other: one pass finds both kinds.
        unsigned, limit = _as_unsigned(labels.dtype)
        largest = int(np.maximum.reduce(labels.view(unsigned), axis=None))
        is_negative = largest >= limit
    if is_negative or (num_classes is not None and largest >= num_classes):
        _refuse_outside(labels, num_classes)
    return largest + 1 if num_classes is None else num_classes


@functools.cache
def _as_unsigned(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int]:
    """Return the unsigned dtype of the same width, and from which number on it stands for negative ones."""
    bits = dtype.itemsize * 8
    return np.dtype(dtype.str.replace("i", "u")), 1 << (bits - 1 if dtype.kind == "i" else bits)


def flat_blocks(labels: Array) -> Iterator[tuple[int, Array]]:
    """Yield the position of the first label and the labels of each block; none is copied as a whole."""
    flat = labels.reshape(-1) if labels.flags.c_contiguous else labels.flat
    for start in range(0, labels.size, BLOCK):
        yield start, flat[start : start + BLOCK]


def _checked_floats(y: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        for _, block in flat_blocks(y):
            # NaN differs from itself. In float16 the limit is infinity, which is right too.
            if not ((np.floor(block) == block) & (np.abs(block) < _LIMIT)).all():
                _refuse_floats(y)
    return y


def _from_objects(y: Array) -> Array:
    numbers = np.zeros(y.shape, np.int64)
    bad = np.zeros(y.shape, bool)
    for position, label in np.ndenumerate(y):
        number = _class_number(label)
        if number is None:
            bad[position] = True
        else:
            numbers[position] = number
    if bad.any():
        _refuse(y, bad, "is no class number", _NUMBER_THEM)
    return numbers


def _class_number(label: object) -> int | None:
    if isinstance(label, float | np.floating):
        number = int(label) if np.isfinite(label) and label == np.floor(label) else None
    else:
        try:
            number = operator.index(label)  # type: ignore[arg-type]
        except TypeError:
            return None
    return number if number is not None and abs(number) < _LIMIT else None


def _refuse_floats(y: Array) -> NoReturn:
    fractional = np.floor(y) != y
    if fractional.any():
        _refuse(y, fractional, "is not a whole number", "round it first (np.rint), or drop the row")
    _refuse(y, np.abs(y) >= _LIMIT, "is too large for a class number", "drop the row")


def _refuse_outside(labels: Array, num_classes: int | None) -> NoReturn:
    low, high = int(labels.min()), int(labels.max())
    if low == 1 and high == num_classes:
        remedy = f"these labels count from 1: write to_categorical(y - 1, num_classes={num_classes})"
    elif low >= 0:
        remedy = f"pass num_classes={high + 1} or drop the row"
    else:
        remedy = "no class has a negative number: count the classes from 0 or drop the row"
    if num_classes is None:
        _refuse(labels, labels < 0, "is negative", remedy)
    _refuse(labels, (labels < 0) | (labels >= num_classes), f"is outside [0, {num_classes})", remedy)


def _refuse(y: Array, bad: Array, complaint: str, remedy: str) -> NoReturn:
    first = int(np.flatnonzero(bad)[0])
    position = tuple(int(i) for i in np.unravel_index(first, y.shape))
    where = f" at index {position}" if position else ""
    count = int(np.count_nonzero(bad))
    others = f" (the first of {count} such labels among {y.size})" if count > 1 else ""
    label = y[position]
    shown = repr(label.item() if isinstance(label, np.generic) else label)
    raise LabelError(f"label {shown}{where} {complaint}{others}; {remedy}")
