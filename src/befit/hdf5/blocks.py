"""Rows that have to be decoded: blocks of them, at once in several threads, and kept where that helps."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from befit.errors import DatasetError
from befit.hdf5.cache import BlockCache
from befit.hdf5.codecs import Pipeline
from befit.hdf5.mapped import MappedStorage
from befit.hdf5.pools import pool_of, run_parts
from befit.hdf5.storage import Storage
from befit.hdf5.table import Table
from befit.typing import Array

_GROUP_BYTES = 32 << 20  # decoded at once and held beside the result
_WINDOWS = 4
_EDGES = 4  # blocks that slices have cut, kept because the next slice begins in one; threads take turns
_WORTH_A_THREAD = 64 << 10  # bytes; a smaller share is decoded sooner than it is handed over


class Fallback(Protocol):
    """Reads rows through h5py."""

    def __call__(self, start: int, stop: int) -> Array:
        """Return rows ``[start, stop)`` of the dataset."""


class BlockDecoder:
    """Decodes the blocks of one dataset.

    Args:
        table: Where they are.
        storage: What their bytes are read from.
        threads: How many decode at once.
        fallback: What reads the blocks that the table calls doubtful.
    """

    def __init__(self, table: Table, storage: Storage, threads: int, fallback: Fallback) -> None:
        self.table = table
        self._storage = storage
        self._threads = threads
        self._fallback = fallback
        layout = table.layout
        assert layout.chunk_shape is not None
        self.block_shape = (table.block_rows, *layout.shape[1:])
        self.block_bytes = table.block_rows * layout.row_bytes
        self._chunk_shape = layout.chunk_shape
        self._chunk_bytes = int(np.prod(layout.chunk_shape, dtype=np.int64)) * layout.dtype.itemsize
        self._pipeline = Pipeline(layout.filters, self._chunk_bytes)
        self._is_whole = layout.chunk_shape[1:] == layout.shape[1:]
        self._inflater = self._pipeline.inflater
        self._is_plain = (
            self._is_whole
            and isinstance(storage, MappedStorage)
            and layout.dtype.isnative
            and table.masks is None
            and not table.doubtful
        )
        self._per_block = table.addresses.shape[1]
        element = np.frombuffer(table.fill, layout.dtype)[0]
        self._fill_bytes = np.full(1, element, table.dtype).view(np.uint8)

    @property
    def description(self) -> str:
        """Which decoders are in use."""
        return self._pipeline.description

    def decode(self, blocks: list[int], out: Array, places: list[int]) -> None:
        """Decode blocks into ``out``, ``uint8`` and C-contiguous, each to its place there.

        Raises:
            DatasetError: a block is damaged; names its rows.
        """
        at_once = max(1, self._threads * _GROUP_BYTES // max(self.block_bytes, 1))
        for start in range(0, len(blocks), at_once):
            group = slice(start, start + at_once)
            numbers = np.array(blocks[group])
            addresses, sizes = self.table.addresses[numbers], self.table.sizes[numbers]
            if self._inflater is not None and self._is_plain and addresses.min() >= 0:
                self._inflate(
                    blocks[group], addresses[:, 0].tolist(), sizes[:, 0].tolist(), out, places[group]
                )
            else:
                self._decode_group(blocks[group], addresses, sizes, out, places[group])

    def _inflate(
        self, blocks: list[int], addresses: list[int], sizes: list[int], out: Array, places: list[int]
    ) -> None:
        """Decode blocks that are streams of deflate and nothing else: a third of the Python code."""
        assert self._inflater is not None
        assert isinstance(self._storage, MappedStorage)
        inflate, nbytes = self._inflater.decode_each, self.block_bytes
        base, target = self._storage.locate(addresses, sizes), int(out.ctypes.data)
        sources = [base + address for address in addresses]
        targets = [target + place for place in places]

        def work(part: range) -> None:
            mine = slice(part.start, part.stop)
            right = inflate(sources[mine], sizes[mine], targets[mine], nbytes)
            if right < len(part):
                rows = self._rows_of(blocks[part.start + right])
                raise DatasetError(f"{rows}: the stored bytes are damaged: deflate cannot decode them")

        run_parts(work, len(blocks), self._parts(len(blocks)))

    def _parts(self, blocks: int) -> int:
        return min(self._threads, blocks, max(1, blocks * self.block_bytes // _WORTH_A_THREAD))

    def _rows_of(self, block: int) -> str:
        first = block * self.table.block_rows
        return f"rows {first} to {min(first + self.table.block_rows, self.table.layout.shape[0]) - 1}"

    def _decode_group(
        self, blocks: list[int], addresses: Array, sizes: Array, out: Array, places: list[int]
    ) -> None:
        exists = addresses >= 0
        spans = iter(self._storage.spans(addresses[exists].tolist(), sizes[exists].tolist()))
        masks = None if self.table.masks is None else self.table.masks[np.array(blocks)]
        # What is stored for each chunk of each block, in order; None: nothing.
        stored = [[next(spans) if there else None for there in row] for row in exists.tolist()]

        def work(part: range) -> None:
            for index in part:
                mask = [0] * self._per_block if masks is None else masks[index].tolist()
                target = out[places[index] : places[index] + self.block_bytes]
                try:
                    self._decode_block(blocks[index], stored[index], mask, target)
                except DatasetError as error:
                    raise DatasetError(f"{self._rows_of(blocks[index])}: {error}") from error

        run_parts(work, len(blocks), self._parts(len(blocks)))

    def _decode_block(self, block: int, stored: list[Array | None], masks: list[int], out: Array) -> None:
        if block in self.table.doubtful:
            self._through_h5py(block, out)
            return
        if self._is_whole:
            self._decode_chunk(stored[0], masks[0], out)
            return
        target = out.view(self.table.dtype).reshape(self.block_shape)
        buffer: Array = np.empty(self._chunk_bytes, np.uint8)
        for place, (data, mask) in enumerate(zip(stored, masks, strict=True)):
            self._decode_chunk(data, mask, buffer)
            where, cut = self._region(place)
            target[where] = buffer.view(self.table.dtype).reshape(self._chunk_shape)[cut]

    def _region(self, place: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return where a chunk of a block goes, and which part of it: chunks at the edge reach over it."""
        cell = np.unravel_index(place, (1, *self.table.grid[1:]))[1:]
        starts = [int(number) * chunk for number, chunk in zip(cell, self._chunk_shape[1:], strict=False)]
        # Elements that are arrays add axes, which chunks do not divide.
        starts += [0] * (len(self.block_shape) - 1 - len(starts))
        lengths = [
            min(chunk, axis - start)
            for start, chunk, axis in zip(starts, self._chunk_shape[1:], self.block_shape[1:], strict=True)
        ]
        where = tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
        return (slice(None), *where), (slice(None), *(slice(length) for length in lengths))

    def _decode_chunk(self, stored: Array | None, mask: int, out: Array) -> None:
        if stored is None:
            out.reshape(-1, len(self._fill_bytes))[:] = self._fill_bytes
            return
        self._pipeline.decode(stored, mask, out)
        if not self.table.layout.dtype.isnative:
            _swap(out, self.table.layout.dtype, self.table.dtype)

    def _through_h5py(self, block: int, out: Array) -> None:
        first = block * self.table.block_rows
        rows = self._fallback(first, min(first + self.table.block_rows, self.table.layout.shape[0]))
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        out[: len(data)] = data


def _swap(data: Array, stored: np.dtype[Any], native: np.dtype[Any]) -> None:
    data.view(native)[:] = data.view(stored).astype(native)


class BlockReader:
    """Reads rows out of decoded blocks; satisfies the interface of ``RowReader``.

    Rows in any order are gathered from the cache. A slice is decoded straight into the result where its
    blocks are not in the cache, which a pass over a large file must not wash away; of a block that a slice
    cuts the last one is kept, because the next slice begins in it.
    """

    def __init__(self, decoder: BlockDecoder, cache: BlockCache, where: str, *, in_memory: bool) -> None:
        self.where = where
        self._decoder = decoder
        # The first block of each of the windows asked for last; batches may be asked for out of order.
        self._soon: deque[int] = deque(maxlen=_WINDOWS)
        self._cache = cache
        self._in_memory = in_memory and cache.keeps_all
        table = decoder.table
        self.dtype = table.dtype
        self.shape = table.layout.shape
        self._row_shape = self.shape[1:]
        self.row_bytes = table.layout.row_bytes
        self.rows_at_once = self._block_rows = table.block_rows
        self._record = np.dtype((np.void, self.row_bytes))
        self._edges: deque[tuple[int, Array]] = deque(maxlen=_EDGES)
        self._last = 0  # the block in which the last slice ended
        self._came: Array = np.zeros(len(table.addresses), bool)  # blocks that slices have met

    @property
    def cache(self) -> BlockCache:
        """Where rows in any order are gathered from."""
        return self._cache

    @property
    def decoder(self) -> BlockDecoder:
        """What fills the cache."""
        return self._decoder

    @property
    def is_in_memory(self) -> bool:
        """Whether the whole dataset will be kept in RAM."""
        return self._in_memory

    def bring_soon(self, coming: Array, current: Array) -> None:
        """Begin to decode the ``coming`` blocks without waiting; no ``current`` one is evicted for them.

        An error is not lost: whoever reads the block meets it again.
        """
        if not len(coming) or int(coming[0]) in self._soon:
            return
        first = int(coming[0])
        self._soon.append(first)

        def bring() -> None:
            if self._soon[-1] == first:  # else the reader has overtaken this, and needs its slots
                self._cache.bring(coming, current)

        with suppress(RuntimeError):  # no thread starts any more while the interpreter ends
            pool_of(1, "ahead").submit(bring)

    def read(self, rows: range | Array) -> Array:
        """Return ``rows``, numbers in ``[0, rows of the dataset)`` in any order."""
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        if isinstance(rows, range):
            records = self._slice(rows.start, rows.stop) if rows.step == 1 else self._strided(rows)
        else:
            gathered = self._cache.gather(rows)
            records = self._by_groups(rows) if gathered is None else gathered
        return np.ndarray((len(rows), *self._row_shape), self.dtype, records)

    def _slice(self, start: int, stop: int) -> Array:
        rows = self._block_rows
        first, last = start // rows, (stop - 1) // rows
        if self._in_memory:
            self._keep_what_comes_again(first, last, stop)
        goes_on = abs(first - self._last) < _EDGES
        self._last = last
        out: Array = np.empty(stop - start, self._record)
        whole = range(-(-start // rows), stop // rows)  # the blocks that are wanted whole
        if whole:
            wanted = list(whole)
            if self._cache.holds_any(whole.start, whole.stop):
                wanted = [
                    n for n in wanted if not self._cache.copy(n, 0, rows, out[n * rows - start :][:rows])
                ]
            places = [(block * rows - start) * self.row_bytes for block in wanted]
            self._decoder.decode(wanted, out.view(np.uint8), places)
        if first not in whole:
            end = min((first + 1) * rows, stop)
            self._fill_part(first, start, end, out[: end - start], goes_on)
        if last not in whole and last != first:
            self._fill_part(last, last * rows, stop, out[last * rows - start :], goes_on)
        return out

    def _fill_part(self, block: int, start: int, stop: int, out: Array, goes_on: bool) -> None:
        """Fill ``out`` with rows ``[start, stop)``, a part of a block."""
        inside = start - block * self._block_rows, stop - block * self._block_rows
        if self._cache.copy(block, *inside, out):
            return
        if goes_on:
            out[:] = self._edge_block(block)[slice(*inside)]
            return
        rows = np.arange(start, stop)  # slices in any order will come back for the rest of the block
        gathered = self._cache.gather(rows)
        out[:] = self._by_groups(rows) if gathered is None else gathered

    def _keep_what_comes_again(self, first: int, last: int, stop: int) -> None:
        """Have blocks kept that slices meet for the second time: what is read once costs no memory."""
        came = self._came[first : last + 1]
        if came.any():
            self._cache.bring(np.flatnonzero(came) + first)
        ends = stop == self.shape[0] or stop == (last + 1) * self._block_rows
        came[: len(came) if ends else -1] = True

    def _edge_block(self, block: int) -> Array:
        for kept, records in tuple(self._edges):
            if kept == block:
                return records
        data: Array = np.empty(self._decoder.block_bytes, np.uint8)
        self._decoder.decode([block], data, [0])
        records = data.view(self._record)
        self._edges.append((block, records))
        return records

    def _strided(self, rows: range) -> Array:
        wanted = np.arange(rows.start, rows.stop, rows.step)
        if self._in_memory:
            gathered = self._cache.gather(wanted)
            if gathered is not None:
                return gathered
        return self._by_groups(wanted)

    def _by_groups(self, rows: Array) -> Array:
        """Return records of rows whose blocks are too many to be kept: some blocks at a time."""
        blocks = rows // self._block_rows
        order = np.argsort(blocks, kind="stable")
        needed, starts = np.unique(blocks[order], return_index=True)
        out: Array = np.empty(len(rows), self._record)
        at_once = max(1, _GROUP_BYTES // self._decoder.block_bytes)
        buffer: Array = np.empty(min(at_once, len(needed)) * self._decoder.block_bytes, np.uint8)
        records = buffer.view(self._record)
        for group in range(0, len(needed), at_once):
            some = needed[group : group + at_once]
            size = self._decoder.block_bytes
            self._decoder.decode(some.tolist(), buffer, [size * number for number in range(len(some))])
            stop = starts[group + at_once] if group + at_once < len(needed) else len(rows)
            places = order[starts[group] : stop]
            slot = np.searchsorted(some, blocks[places])
            out[places] = records[(slot - blocks[places]) * self._block_rows + rows[places]]
        return out
