"""The rows of one dataset, for whichever process asks for them."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Mapping
from typing import Any

from befit.errors import DatasetError
from befit.hdf5.blocks import BlockDecoder, BlockReader
from befit.hdf5.cache import BlockCache, MemorySlab, Slab, promised_bytes
from befit.hdf5.direct import DirectReader
from befit.hdf5.handles import FileState, OpenFile, open_file
from befit.hdf5.layout import Layout
from befit.hdf5.memory import free_memory, scratch_folder
from befit.hdf5.order import Window
from befit.hdf5.pools import default_threads
from befit.hdf5.reading import RowReader
from befit.hdf5.scratch import ScratchSlab
from befit.hdf5.storage import Storage
from befit.typing import Array

Reader = DirectReader | BlockReader | RowReader

_SHARE_OF_FREE_MEMORY = 4


class RowSource:
    """Names a dataset and reads from it; a process that has not opened the file yet does so when it reads.

    Pickling carries the names, the options and the table of chunks over, never a handle. A forked child goes
    on with the map, the table and what was decoded before the fork.
    """

    def __init__(
        self,
        path: str,
        name: str,
        *,
        cache_bytes: int | None = None,
        threads: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.name = name
        self._cache_bytes = cache_bytes
        self._threads = threads
        self._storage_options = storage_options
        self._is_copy = False
        self._closed = False
        self._file: OpenFile | None = open_file(path, storage_options)
        self._table = self._file.table(name)
        self._state = self._file.state
        self.shown = self._file.path
        self._is_fast = self._table.layout.fast
        # Opened now: the file may be replaced by another one of its name before it is read.
        self._storage: Storage | None = self._file.storage() if self._is_fast else None
        self._opened: tuple[int, Reader] | None = None  # by which process
        self._window: BlockReader | None = None
        self.shape, self.dtype = self._table.layout.shape, self._table.dtype
        self.row_bytes = max(1, self._table.layout.row_bytes)

    @property
    def layout(self) -> Layout:
        """How the dataset lies in its file."""
        return self._table.layout

    @property
    def block_rows(self) -> int:
        """Rows that are decoded together."""
        return self._table.block_rows

    @property
    def rows_at_once(self) -> int:
        """Rows that are best read together."""
        return self._reader().rows_at_once

    def read(self, rows: range | Array, window: Window | None = None) -> Array:
        """Return ``rows``, numbers in ``[0, len(dataset))`` in any order.

        With a ``window``, what it names is decoded ahead, and kept apart where not everything fits.

        Raises:
            DatasetError: the matrix was closed, the file has changed, or the rows cannot be read.
        """
        opened = self._opened
        reader = opened[1] if opened is not None and self._is_fast else self._reader()
        if window is not None and isinstance(reader, BlockReader):
            if not reader.is_in_memory:
                reader = self._window_reader(reader, window.room)
            reader.bring_soon(window.coming, window.current)
        try:
            return reader.read(rows)
        except OSError as error:
            raise self._explained(error) from error
        except (ValueError, RuntimeError) as error:
            if self._closed:  # by another thread, in the middle of this
                raise self._explained(OSError("it was closed meanwhile")) from error
            raise

    def cache_plan(self) -> str:
        """Say where decoded rows are kept."""
        reader = self._reader()
        if not isinstance(reader, BlockReader):
            return ""
        return ", ".join(filter(None, (reader.where, reader.decoder.description)))

    def close(self) -> None:
        """Let go of the file for good."""
        self._closed = True  # first: another thread may be about to open it again
        self._opened = self._file = self._storage = self._window = None

    def _explained(self, error: OSError) -> DatasetError:
        if isinstance(error, DatasetError) and self.shown in str(error):
            return error
        missing = "filter" in str(error) and "not registered" in str(error)
        hint = "; the package hdf5plugin brings many filters: import it first" if missing else ""
        return DatasetError(f"cannot read dataset {self.name!r} in {self.shown}: {error}{hint}")

    def _reader(self) -> Reader:
        opened = self._opened
        if opened is not None and (self._is_fast or opened[0] == os.getpid()):
            return opened[1]
        if self._closed:
            raise DatasetError(f"the matrix of dataset {self.name!r} in {self.shown} is closed")
        reader = self._open()
        self._opened = (os.getpid(), reader)
        return reader

    def _open(self) -> Reader:
        if not self._is_fast:
            return self._h5py_reader()
        key = (self._state, self.name.strip("/"), self._cache_bytes, self._threads)
        reader = _readers.get(key)
        if reader is None:
            reader = _readers.setdefault(key, self._fast_reader())  # another thread may have been quicker
        return reader

    def _h5py_reader(self) -> RowReader:
        file = self._file
        if file is None or file.process != os.getpid():
            file = open_file(self.path, self._storage_options)
            if not file.state.is_of(self._state):
                raise DatasetError(f"{self.shown} has changed since it was opened; make a new HDF5Matrix")
            self._file = file
        reader = RowReader(file.dataset(self.name), file)
        if (reader.shape, reader.dtype) != (self.shape, self.dtype):
            raise DatasetError(
                f"dataset {self.name!r} in {self.shown} has changed: it was {self.dtype} {self.shape} and is "
                f"{reader.dtype} {reader.shape}; make a new HDF5Matrix"
            )
        return reader

    def _fast_reader(self) -> DirectReader | BlockReader:
        storage = self._storage or self._state.open()
        if self._table.layout.direct:
            return DirectReader(self._table, storage)
        # Not a method: the source, which refers to the decoder, would wait for the garbage collector.
        fallback = functools.partial(_through_h5py, self._state, self.path, self.name, self._storage_options)
        decoder = BlockDecoder(self._table, storage, self._threads or default_threads(), fallback)
        blocks, size = len(self._table.addresses), decoder.block_bytes
        budget = self._budget()
        if blocks * size <= budget:
            slab: Slab = MemorySlab(blocks, size, decoder.decode)
            where = f"all {blocks * size:,} bytes of decoded rows are kept in memory"
        elif folder := scratch_folder(blocks * size):
            slab = ScratchSlab(blocks, size, decoder.decode, folder)
            where = f"decoded rows are kept in a temporary file in {folder}"
        else:
            slots = max(1, min(blocks, budget // size))
            slab = MemorySlab(slots, size, decoder.decode)
            where = f"the {slots} blocks of rows used last, of {blocks}, are kept in memory"
        return BlockReader(decoder, self._cache_on(slab, decoder), where, in_memory=slab.in_memory)

    def _budget(self) -> int:
        if self._cache_bytes is not None:
            return self._cache_bytes
        budget = max(0, free_memory() - promised_bytes()) // _SHARE_OF_FREE_MEMORY
        # A copy is one of several workers; each of them asks for itself.
        return budget // default_threads() if self._is_copy else budget

    def _window_reader(self, reader: BlockReader, blocks: int) -> BlockReader:
        """Return a reader with a cache of its own that has room for so many blocks and nothing else."""
        window = self._window
        if window is None or window.cache.slots < blocks:
            decoder = reader.decoder
            slab = MemorySlab(blocks, decoder.block_bytes, decoder.decode)
            window = BlockReader(decoder, self._cache_on(slab, decoder), "", in_memory=False)
            self._window = window
        return window

    def _cache_on(self, slab: Slab, decoder: BlockDecoder) -> BlockCache:
        table = self._table
        return BlockCache(len(table.addresses), table.block_rows, table.layout.row_bytes, slab)

    def __getstate__(self) -> dict[str, Any]:
        here = dict.fromkeys(("_opened", "_file", "_storage", "_window"))
        return {**self.__dict__, **here, "_is_copy": True}


def _through_h5py(
    state: FileState, path: str, name: str, storage_options: Mapping[str, Any] | None, start: int, stop: int
) -> Array:
    file = open_file(path, storage_options)
    if not file.state.is_of(state):
        raise DatasetError(f"{file.path} has changed since it was opened; make a new HDF5Matrix")
    return RowReader(file.dataset(name), file).read(range(start, stop))


# Fast readers by file, dataset and options: the windows of one dataset share the map and what is decoded.
_readers: weakref.WeakValueDictionary[Any, DirectReader | BlockReader] = weakref.WeakValueDictionary()
