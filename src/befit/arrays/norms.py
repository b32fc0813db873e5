"""Division by a norm, tile by tile: a tile stays in the processor's cache, and no array of the whole is made.

A vector that fits into a tile is read from memory once. A longer one, or one across many rows, is read twice:
its norm is put together from the tiles first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from befit.typing import Array

Axes: TypeAlias = tuple[int, ...]
Tile: TypeAlias = tuple[slice, ...]

TILE = 1 << 20  # bytes; larger tiles leave the processor's cache, smaller ones cost calls
_CONTIGUOUS = 1 << 10  # values that a tile has side by side in memory, at least
_LONG = 1 << 16  # values; longer sums are kept in float64
_SHORT = 64  # values; for shorter rows NumPy's loops cost more than what they do
_SAFE = 1e8  # how far above the smallest normal number a sum has lost nothing to underflow


def result_dtype(x: Array) -> np.dtype[Any]:
    """Return the dtype of ``x`` divided by its norm."""
    native = x.dtype.newbyteorder("=")
    return np.dtype(np.float64) if native.kind in "biu" else native


def divide_by_norm(x: Array, axes: Axes, order: float, out: Array) -> None:
    """Write ``x`` divided by its norm over ``axes`` to ``out``, which may be ``x`` itself."""
    if x.size == 0:
        return
    extents = _extents(x, axes)
    with np.errstate(all="ignore"):  # 0 ** -1, inf / inf …: as numpy.linalg.norm, without its warnings
        if all(extents[axis] == x.shape[axis] for axis in axes):
            for tile in _tiles(x.shape, extents):
                _divide(x[tile], axes, order, out[tile])
        else:
            _divide(x, axes, order, out)


def _extents(x: Array, whole: Axes = ()) -> tuple[int, ...]:
    """Return the shape of a tile: first the axes ``whole``, if vectors along them are short, then others."""
    shape, room = x.shape, TILE // max(4, result_dtype(x).itemsize)
    if x.size <= room:
        return shape
    is_first = math.prod(shape[axis] for axis in whole) <= room // _CONTIGUOUS
    extents = dict.fromkeys(range(len(shape)), 1)
    for axis in (*(whole if is_first else ()), *reversed(range(len(shape)))):
        if extents[axis] == 1:
            extents[axis] = min(shape[axis], room)
            room //= extents[axis]
    return tuple(extents.values())


def _tiles(shape: tuple[int, ...], extents: tuple[int, ...]) -> Iterator[Tile]:
    if extents == shape:
        return iter([(slice(None),) * len(shape)])
    steps = [
        [slice(start, start + extent) for start in range(0, length, extent)]
        for length, extent in zip(shape, extents, strict=True)
    ]
    return itertools.product(*steps)


def _divide(x: Array, axes: Axes, order: float, out: Array) -> None:
    scale: Array | None = None
    norm, exact = _norm(x, axes, order, scale)
    if not exact.all():
        # Vectors whose powers leave the range are scaled; the others stay as they are to the last digit.
        scale = _total(x, axes, math.copysign(math.inf, order), None)
        scale[exact | (scale == 0) | ~np.isfinite(scale)] = 1
        norm, _ = _norm(x, axes, order, scale)
    norm[norm == 0] = 1
    is_short = axes == (x.ndim - 1,) and x.shape[-1] < _SHORT
    for tile in _tiles(x.shape, _extents(x)):
        kept = _kept(tile, axes)
        values, divisor = _values(x[tile], scale, kept), norm[kept]
        if is_short:
            divisor = np.repeat(divisor, values.shape[-1]).reshape(values.shape)
        if out.dtype == values.dtype:
            np.divide(values, divisor, out=out[tile])
        else:
            out[tile] = values / divisor


def _kept(tile: Tile, axes: Axes) -> Tile:
    """Return where the norms of a tile are, which have one place along ``axes``."""
    return tuple([slice(None) if axis in axes else part for axis, part in enumerate(tile)])


def _values(x: Array, scale: Array | None, kept: Tile) -> Array:
    """Return ``x`` in the type that is computed in, divided by its scale."""
    dtype = result_dtype(x)
    values = x.astype(np.float32 if dtype.itemsize < 4 else dtype, copy=False)
    return values if scale is None else values / scale[kept]


def _norm(x: Array, axes: Axes, order: float, scale: Array | None) -> tuple[Array, Array]:
    """Return the norms, axes kept, and which of them lost nothing to overflow or underflow."""
    total = _total(x, axes, order, scale)
    if order == 0:
        return total, np.ones((), bool)
    if order == 2:
        norm = np.sqrt(total)
    elif order == 1 or math.isinf(order):
        norm = total.copy()
    else:
        norm = total ** (1 / order)
    limits = np.finfo(norm.dtype)
    exact = np.minimum(total, norm) > limits.tiny * _SAFE
    exact &= np.maximum(total, norm) <= limits.max
    return norm, exact


def _total(x: Array, axes: Axes, order: float, scale: Array | None) -> Array:
    """Return the sum of the powers of the magnitudes, or their extreme, axes kept."""
    combine = np.add if math.isfinite(order) else np.maximum if order > 0 else np.minimum
    is_long = math.prod(x.shape[axis] for axis in axes) > _LONG
    total: Array | None = None
    for tile in _tiles(x.shape, _extents(x)):
        kept = _kept(tile, axes)
        values = _values(x[tile], scale, kept)
        part = _total_of_tile(values, axes, order, is_long=is_long)
        if values.size == x.size:
            return part.astype(values.real.dtype, copy=False)
        if total is None:
            shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
            total = np.full(shape, math.inf if order == -math.inf else 0, part.dtype)
        total[kept] = combine(total[kept], part)
    assert total is not None, "an array of no elements has no tile"
    return total.astype(values.real.dtype, copy=False)


def _total_of_tile(values: Array, axes: Axes, order: float, *, is_long: bool) -> Array:
    total: Array
    along_rows = axes == (values.ndim - 1,)
    is_real = values.dtype.kind == "f"
    if order == 0:
        return np.count_nonzero(values, axes, keepdims=True).astype(np.float64)
    if order == 2 and along_rows and not is_long:
        is_short = is_real and values.shape[-1] < _SHORT
        total = np.einsum("...i,...i->...", values, values) if is_short else np.vecdot(values, values)
        return total.real[..., np.newaxis]
    magnitude = values if order == 2 and is_real else np.abs(values)
    if math.isinf(order):
        total = (magnitude.max if order > 0 else magnitude.min)(axes, keepdims=True)
        return total
    powers = magnitude if order == 1 else np.square(magnitude) if order == 2 else magnitude**order
    # Along rows NumPy adds in a tree, along other axes one by one.
    is_wide = (is_long or not along_rows) and magnitude.dtype == np.float32
    total = powers.sum(axes, keepdims=True, dtype=np.float64 if is_wide else None)
    return total
