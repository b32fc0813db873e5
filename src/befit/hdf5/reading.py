"""Reading rows in any order, by plain slices of h5py.

h5py's own index lists are slow (0.2 ms a row in chunked datasets) and must be increasing. Here the wanted
rows are sorted, neighbours are read together as one slice, and the slices are scattered into the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from befit.typing import Array

_GAP = 16 << 10  # bytes; reading this much in vain takes as long as one more call
_SPAN = 8 << 20  # bytes; read at once and held beside the result


class RowReader:
    """Reads the rows of an ``h5py.Dataset`` in the byte order of this machine.

    ``owner`` is what closes the file when nobody refers to it: no thread loses the file that it is reading.
    """

    def __init__(self, dataset: Any, owner: object = None) -> None:
        self._dataset = dataset
        self._owner = owner
        dtype, axes = dataset.dtype.subdtype or (dataset.dtype, ())  # arrays as elements are axes to NumPy
        self.dtype: np.dtype[Any] = dtype if dtype.isnative else dtype.newbyteorder("=")
        self.shape: tuple[int, ...] = (*dataset.shape, *axes)
        self.row_bytes = max(1, dtype.itemsize * math.prod(self.shape[1:]))
        self._chunk_rows = dataset.chunks[0] if dataset.chunks else 1
        # A chunk that is decoded and too large for HDF5's cache is decoded again by every slice of it.
        has_filters = dataset.id.get_create_plist().get_nfilters() > 0
        cache_bytes = dataset.file.id.get_access_plist().get_cache()[2]
        self._whole_chunks = has_filters and self._chunk_rows * self.row_bytes > cache_bytes
        # Rows that are best read together: fewer would decode the same chunk more than once.
        self.rows_at_once = self._chunk_rows if self._whole_chunks else 1

    def read(self, rows: range | Array) -> Array:
        """Return ``rows``, numbers in ``[0, len(dataset))`` in any order, of shape ``(len(rows), ...)``."""
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        if isinstance(rows, range):
            if rows.step == 1:
                return np.asarray(self._dataset[rows.start : rows.stop]).astype(self.dtype, copy=False)
            rows = np.arange(rows.start, rows.stop, rows.step)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for start, stop in self._spans(ascending):
            first, last = int(ascending[start]), int(ascending[stop - 1])
            if stop - start == 1:  # most spans of a shuffled batch
                result[order[start]] = self._dataset[first]
            else:
                block = self._dataset[first : last + 1]
                result[order[start:stop]] = block[ascending[start:stop] - first]
        return result

    def _spans(self, ascending: Array) -> Iterator[tuple[int, int]]:
        """Yield the parts of ``ascending`` that are read by one slice each."""
        left, right = ascending[:-1], ascending[1:]
        split = (right - left) * self.row_bytes > _GAP
        if self._whole_chunks:
            split &= left // self._chunk_rows != right // self._chunk_rows
        longest = max(1, _SPAN // self.row_bytes // self._chunk_rows) * self._chunk_rows
        split |= left // longest != right // longest
        cuts = [0, *(np.flatnonzero(split) + 1).tolist(), len(ascending)]
        return itertools.pairwise(cuts)
