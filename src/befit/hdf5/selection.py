"""What an index means: which rows are wanted, in which order, and what is left to do to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from befit.errors import OutOfWindowError, UnsupportedObjectError
from befit.typing import Array


@dataclass(frozen=True)
class Selection:
    """Rows in the wanted order, and the index that is applied to them once they are read."""

    rows: range | Array
    rest: tuple[Any, ...] = ()


def select(key: Any, length: int, ndim: Callable[[], int], window: Callable[[], str]) -> Selection:
    """Return the rows that NumPy's index ``key`` takes from an array of ``length`` rows.

    ``ndim`` is asked only where an Ellipsis makes it matter; ``window`` describes the rows in errors.

    Raises:
        OutOfWindowError: a row outside ``[0, length)`` is asked for.
        UnsupportedObjectError: ``key`` is no index.
    """
    parts = _without_ellipsis(key, ndim) if isinstance(key, tuple) else (_everything(key),)
    # New axes before the rows stay where they are.
    position = next((i for i, part in enumerate(parts) if part is not None), len(parts))
    before, after = parts[:position], parts[position + 1 :]
    rows, rest = _rows(parts[position] if position < len(parts) else slice(None), length, window)
    if before or after:
        # Beside other parts an array must stay an array: NumPy pairs them.
        return Selection(rows, (*before, np.arange(len(rows)) if rest is None else rest, *after))
    return Selection(rows, () if rest is None or isinstance(rest, slice) else (rest,))


def _everything(key: Any) -> Any:
    return slice(None) if key is Ellipsis else key


def _without_ellipsis(key: tuple[Any, ...], ndim: Callable[[], int]) -> tuple[Any, ...]:
    places = [i for i, part in enumerate(key) if part is Ellipsis]
    if not places:
        return key
    if len(places) > 1:
        raise UnsupportedObjectError("an index has more than one ...; write it once")
    used = sum(_axes_used(part) for part in key if part is not None and part is not Ellipsis)
    fill = (slice(None),) * max(0, ndim() - used)
    return (*key[: places[0]], *fill, *key[places[0] + 1 :])


def _axes_used(part: Any) -> int:
    array = np.asarray(part) if isinstance(part, list | np.ndarray) else None
    return array.ndim if array is not None and array.dtype == bool else 1


def _rows(part: Any, length: int, window: Callable[[], str]) -> tuple[range | Array, Any]:
    """Return the rows that one part of an index takes, and the part that takes the same from those rows.

    That part is ``None`` where the rows are the result: one after the other, as a list asks for them.
    """
    if isinstance(part, slice):
        return range(*part.indices(length)), slice(None)
    if isinstance(part, int | np.integer) and not isinstance(part, bool):
        if not -length <= part < length:
            raise OutOfWindowError(f"index {part} is outside {window()}")
        row = int(part) % length
        return range(row, row + 1), 0
    array = np.asarray(part)
    if array.dtype == bool and array.ndim:
        return _masked_rows(array, length, window)
    if array.size == 0 and array.ndim:
        array = array.astype(np.int64)  # an empty list has no integers to be recognised by
    if array.dtype.kind not in "iu":
        raise UnsupportedObjectError(
            f"{part!r} is no index of rows; write a whole number, a slice, or a list, array or mask of them"
        )
    outside = (array < -length) | (array >= length)
    if outside.any():
        raise OutOfWindowError(f"index {array[outside].flat[0]} is outside {window()}")
    array = array.astype(np.int64)
    array = np.where(array < 0, array + length, array)
    if array.ndim == 0:
        return range(int(array), int(array) + 1), 0
    rows = array.reshape(-1)
    return rows, None if array.ndim == 1 else np.arange(rows.size).reshape(array.shape)


def _masked_rows(mask: Array, length: int, window: Callable[[], str]) -> tuple[Array, Any]:
    if len(mask) != length:
        raise OutOfWindowError(f"a mask of {len(mask)} entries does not fit {window()}")
    if mask.ndim == 1:
        return np.flatnonzero(mask), None
    rows = np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim))))
    return rows, mask[rows]
