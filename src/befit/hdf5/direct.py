"""Rows that lie in the file as they are in memory: contiguous, or in chunks without filters."""

from __future__ import annotations

import numpy as np

from befit.hdf5.mapped import MappedStorage
from befit.hdf5.storage import Storage
from befit.hdf5.table import Table
from befit.typing import Array

_LISTED_ROWS = 1 << 20  # 8 MB; looking a row's place up takes a fifth of computing it


class DirectReader:
    """Gathers rows at memory speed; satisfies the interface of ``RowReader``."""

    def __init__(self, table: Table, storage: Storage) -> None:
        self._table = table
        self._storage = storage
        layout = table.layout
        self.dtype = table.dtype
        self.shape = layout.shape
        self.row_bytes = layout.row_bytes
        self.rows_at_once = 1
        self._is_native = layout.dtype.isnative
        self._is_chunked = layout.storage == "chunked"
        self._starts = table.addresses[:, 0] if self._is_chunked else np.array([table.base])
        self._block_rows = table.block_rows if self._is_chunked else layout.shape[0]
        self._row_places: Array | None = None
        if self._is_chunked and layout.shape[0] <= _LISTED_ROWS:
            self._row_places = self._computed_places(np.arange(layout.shape[0]))
        self._row_shape, self._file_dtype = layout.shape[1:], layout.dtype
        # A contiguous dataset in a map: its rows are records one after the other, which NumPy takes faster.
        self._records: Array | None = None
        if isinstance(storage, MappedStorage) and not self._is_chunked:
            size = self.row_bytes
            self._records = storage.records(table.base, size, layout.shape[0], size)

    def read(self, rows: range | Array) -> Array:
        """Return ``rows``, numbers in ``[0, rows of the dataset)`` in any order."""
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        if isinstance(rows, range):
            if rows.step == 1:
                return self._typed(self._slice(rows.start, rows.stop), len(rows))
            rows = np.arange(rows.start, rows.stop, rows.step)
        return self._typed(self._gather(rows), len(rows))

    def _typed(self, data: Array, count: int) -> Array:
        rows: Array = np.ndarray((count, *self._row_shape), self._file_dtype, data)
        return rows if self._is_native else rows.astype(self.dtype)

    def _places(self, rows: Array) -> Array:
        if self._row_places is not None:
            return self._row_places.take(rows)
        return self._computed_places(rows)

    def _computed_places(self, rows: Array) -> Array:
        if not self._is_chunked:
            return rows * self.row_bytes + self._table.base
        blocks = rows // self._block_rows
        places: Array = self._starts[blocks] + (rows - blocks * self._block_rows) * self.row_bytes
        return places

    def _gather(self, rows: Array) -> Array:
        if self._records is not None:
            assert isinstance(self._storage, MappedStorage)
            return self._storage.gather(self._records, rows, self._table.base, self.row_bytes)
        return self._storage.rows(self._places(rows), self.row_bytes)

    def _slice(self, start: int, stop: int) -> Array:
        """Return the bytes of neighbouring rows; chunks that are neighbours in the file are one copy."""
        size, block_rows = self.row_bytes, self._block_rows
        blocks = np.arange(start // block_rows, (stop - 1) // block_rows + 1)
        first = np.maximum(blocks * block_rows, start)
        last = np.minimum((blocks + 1) * block_rows, stop)
        places = self._starts[blocks] + (first - blocks * block_rows) * size
        lengths = (last - first) * size
        borders = np.flatnonzero(places[1:] != places[:-1] + lengths[:-1]) + 1
        heads = [0, *borders.tolist()]
        spans = self._storage.spans(places[heads].tolist(), np.add.reduceat(lengths, heads).tolist())
        if len(spans) == 1:
            return spans[0].copy()
        out: Array = np.empty((stop - start) * size, np.uint8)
        place = 0
        for span in spans:
            out[place : place + len(span)] = span
            place += len(span)
        return out
