"""Loops over rows, compiled by numba: each value is read once and written once, at the speed of memory.

Imported only where numba is installed (the extra ``speed``) and the work is worth it. Compiled code is kept
on disk, beside this file or in the user's cache folder.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from befit.typing import Array

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger(__name__)


def _compiled(function: F) -> F:
    """Compile ``function`` at its first call, without the interpreter's lock."""
    # Sums may be reordered, as in NumPy; NaN, infinity and division stay exact.
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # there is no folder that it could be kept in
        logger.info("compiled loops are not kept for the next process: %s", error)
        compiled = numba.njit(**options)(function)
    return compiled


def set_ones(labels: Array, cells: Array, classes: int) -> bool:
    """Write 1 into cell ``labels[i]`` of row ``i``; return whether that could be done.

    Args:
        labels: integers in ``[0, classes)`` of any shape.
        cells: rows of ``classes`` cells, one after the other; shape ``(labels.size * classes,)``.
        classes: the number of cells of a row.
    """
    native = labels.dtype.isnative and cells.dtype.isnative
    if not (labels.flags.c_contiguous and native) or cells.itemsize > 8:
        return False
    # As plain bits there are only four kinds of cells and four of labels to be compiled for.
    one = cells.dtype.type(1).view(f"u{cells.itemsize}")
    flat = labels.reshape(-1).view(f"u{labels.itemsize}")
    _set_cells(flat, cells.view(one.dtype), classes, one)
    return True


@_compiled
def _set_cells(labels: Array, cells: Array, classes: int, bits: Any) -> None:
    for row in range(labels.size):
        cells[row * classes + np.int64(labels[row])] = bits


def divide_by_length(rows: Array, out: Array) -> bool:
    """Write each row divided by its Euclidean length to ``out``; return whether that could be done.

    Args:
        rows: float32 or float64 of shape ``(rows, values)``, C-contiguous.
        out: of the same shape and dtype, C-contiguous; may be ``rows`` itself.
    """
    if not rows.dtype.isnative:
        return False
    limits = np.finfo(rows.dtype)
    # Between these the sum of squares, kept in float64, has lost nothing, and the length is a normal number.
    smallest = max(float(limits.tiny), 1e-145)
    largest = min(float(limits.max), 1e150)
    _divide_by_length(rows, out, smallest, largest)
    return True


@_compiled
def _divide_by_length(rows: Array, out: Array, smallest: float, largest: float) -> None:
    for row in range(rows.shape[0]):
        total = 0.0
        for column in range(rows.shape[1]):
            total += np.float64(rows[row, column]) ** 2
        length = math.sqrt(total)
        if smallest < length < largest:
            divisor = rows.dtype.type(length)
            for column in range(rows.shape[1]):
                out[row, column] = rows[row, column] / divisor
        else:
            _divide_out_of_range(rows[row], out[row])


@_compiled
def _divide_out_of_range(row: Array, out: Array) -> None:
    scale = abs(row[0])
    for column in range(row.size):
        size = abs(row[column])
        if size > scale or size != size:  # NaN differs from itself, and once it is there nothing is greater
            scale = size
    total = 0.0
    for column in range(row.size):
        total += np.float64(row[column] / scale) ** 2  # NaN where ``scale`` is 0, infinite or NaN
    divisor = row.dtype.type(math.sqrt(total))
    for column in range(row.size):
        if scale == 0:
            out[column] = row[column]
        elif total == total:
            out[column] = row[column] / scale / divisor
        else:
            out[column] = row[column] / scale
