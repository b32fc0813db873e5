"""Lists of arrays, as Keras 2 passed them: one, several, or parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["slice_arrays", "to_list", "unpack_singleton"]


def to_list(x: Any, allow_tuple: bool = False) -> list[Any]:
    """Return a list as it is, and anything else as a list of one.

    Args:
        x: A list, or one value of any kind.
        allow_tuple: Make a list of a tuple; otherwise a tuple is one value.

    Example:
        >>> to_list("x"), to_list(["x"]), to_list(("x", "y")), to_list(("x", "y"), allow_tuple=True)
        (['x'], ['x'], [('x', 'y')], ['x', 'y'])

    Source: Keras 2.2, ``keras.utils.generic_utils.to_list``.
    """
    if isinstance(x, list):
        return x
    return list(x) if allow_tuple and isinstance(x, tuple) else [x]


def unpack_singleton(x: Any) -> Any:
    """Return the value in a sequence of one, and any other sequence as it is.

    Args:
        x: A list, tuple or array, indexed from 0.

    Example:
        >>> unpack_singleton([7]), unpack_singleton([7, 8]), unpack_singleton([])
        (7, [7, 8], [])

    Source: Keras 2.2, ``keras.utils.generic_utils.unpack_singleton``.
    """
    return x[0] if len(x) == 1 else x


def slice_arrays(arrays: Any, start: Any = None, stop: int | None = None) -> Any:
    """Return the same rows of one array, or of each array in a list.

    Args:
        arrays: An array of shape ``(samples, ...)``, or a list of them; a ``None`` in it stays. ``None`` is a
            list of one ``None``.
        start: The first row, or the indices of the rows, as a list or an array of shape ``(rows,)``.
        stop: The row after the last one; has no effect with indices.

    Returns:
        An array, or a list where ``arrays`` is one. Keras 2 made ``[None]`` of an array that was to be sliced
        by numbers, although its documentation promised the slice; here it is the slice.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(8).reshape(4, 2), np.arange(4)
        >>> [part.tolist() for part in slice_arrays([x, y], 1, 3)]
        [[[2, 3], [4, 5]], [1, 2]]
        >>> slice_arrays(y, [0, 3]).tolist()
        [0, 3]

    Source: Keras 2.2, ``keras.utils.generic_utils.slice_arrays``.
    """
    rows: slice | list[Any] = slice(start, stop)
    if hasattr(start, "tolist") and hasattr(start, "__len__"):
        rows = start.tolist()  # datasets in HDF5 files take no other indices
    elif isinstance(start, Sequence):
        rows = list(start)
    if isinstance(arrays, list):
        return [None if array is None else array[rows] for array in arrays]
    return [None] if arrays is None else arrays[rows]
