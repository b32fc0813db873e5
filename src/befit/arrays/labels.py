"""Which labels have a class: whole numbers in ``[0, num_classes)``, and a clear refusal for every other."""

from __future__ import annotations

import operator
from typing import NoReturn

import numpy as np

from befit.errors import LabelError
from befit.typing import Array

_LIMIT = 2**63  # no class number reaches it, and int64 ends there
_NUMBER_THEM = "number the names first: np.unique(y, return_inverse=True)[1]"


def whole_numbers(y: Array) -> Array:
    """Return the labels as an array of an integer dtype, of the same shape.

    Raises:
        LabelError: a label is masked, fractional, NaN, infinite or no number.
    """
    if isinstance(y, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(y)
        if mask.any():
            _refuse(np.asarray(y), mask, "is masked, so it has no class", "drop the row: y[~y.mask]")
        y = np.asarray(y)
    if y.dtype.kind == "b":
        return y.view(np.uint8)
    if y.dtype.kind in "iu":
        return y.astype(y.dtype.newbyteorder("="), copy=False)
    if y.dtype.kind == "f":
        return _from_floats(y)
    if y.dtype.kind == "V" and not issubclass(y.dtype.type, np.void):  # bfloat16, int4 …: known to ml_dtypes
        return _from_floats(y.astype(np.float64))
    if y.dtype.kind == "O":
        return _from_objects(y)
    remedy = _NUMBER_THEM if y.dtype.kind in "SUT" else "convert y to integers first"
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
    # Seen as unsigned a negative label is larger than every other: one pass finds both kinds of offenders.
    largest = int(labels.view(f"u{labels.dtype.itemsize}").max())
    if largest > np.iinfo(labels.dtype).max or (num_classes is not None and largest >= num_classes):
        _refuse_outside(labels, num_classes)
    return largest + 1 if num_classes is None else num_classes


def _from_floats(y: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        fractional = np.floor(y) != y  # NaN differs from itself
        endless = np.abs(y) >= _LIMIT  # in float16 the limit is infinity, which is right too
    if fractional.any():
        _refuse(y, fractional, "is not a whole number", "round it first (np.rint), or drop the row")
    if endless.any():
        _refuse(y, endless, "is too large for a class number", "drop the row")
    return y.astype(np.int64)


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
