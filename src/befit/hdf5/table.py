"""Where the bytes of a dataset lie in its file: read once through h5py, then used without it.

A chunk belongs to a *block*: the chunks that hold the same rows. Where chunks do not split rows, a block is
one chunk.
"""

from __future__ import annotations

import array
import math
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from befit.hdf5.codecs import unsupported
from befit.hdf5.layout import Filter, Layout
from befit.typing import Array

_LARGEST_BLOCK = 1 << 30  # bytes of decoded rows
# A table has a place for every chunk that could be. For a nearly empty dataset that is slow, or endless.
_PLACES_PER_CHUNK = 16
_FEW_CHUNKS = 4096
_STORAGE = {
    h5py.h5d.COMPACT: "compact",
    h5py.h5d.CONTIGUOUS: "contiguous",
    h5py.h5d.CHUNKED: "chunked",
    h5py.h5d.VIRTUAL: "virtual",
}


@dataclass(frozen=True, eq=False)
class Table:
    """A dataset's layout, and the addresses of its bytes if it is read without HDF5.

    Immutable, and pickled with a matrix, so that other processes need not ask HDF5 again.
    """

    layout: Layout
    dtype: np.dtype[Any]
    """Of the rows as they are returned: in the byte order of this machine."""
    base: int = 0
    """Address of a contiguous dataset."""
    block_rows: int = 1
    """Rows of a block: of a chunk."""
    grid: tuple[int, ...] = ()
    """Chunks along each axis."""
    addresses: Array = field(default_factory=lambda: np.empty((0, 1), np.int64))
    """Of each chunk, ``(blocks, chunks in a block)``; -1: it was never written."""
    sizes: Array = field(default_factory=lambda: np.empty((0, 1), np.int64))
    """Stored bytes of each chunk."""
    masks: Array | None = None
    """Filter mask of each chunk; ``None``: all 0."""
    fill: bytes = b""
    """One element of a chunk that was never written, as the file would have it."""
    doubtful: frozenset[int] = frozenset()
    """Blocks with a chunk that may be stored unfiltered without saying so; h5py reads them."""


def read_table(path: str, name: str, file: Any, dataset: Any, file_bytes: int) -> Table:
    """Return the table of an ``h5py.Dataset`` with rows, found in ``file`` of ``file_bytes`` bytes."""
    file_dtype, axes = dataset.dtype.subdtype or (dataset.dtype, ())  # arrays as elements are axes to NumPy
    native = file_dtype if file_dtype.isnative else file_dtype.newbyteorder("=")
    plist = dataset.id.get_create_plist()
    storage = "external" if dataset.external else _STORAGE.get(plist.get_layout(), "unknown")
    filters = tuple(
        Filter(number, tuple(options))
        for number, _, options, _ in (plist.get_filter(i) for i in range(plist.get_nfilters()))
    )
    chunk_shape = (*dataset.chunks, *axes) if storage == "chunked" else None

    def layout(reason: str, chunks: int = 0, stored: int | None = None) -> Layout:
        return Layout(
            path=path,
            dataset=name,
            shape=(*dataset.shape, *axes),
            dtype=file_dtype,
            storage=storage,
            chunk_shape=chunk_shape,
            filters=filters,
            chunk_count=chunks,
            stored_bytes=dataset.id.get_storage_size() if stored is None else stored,
            reason=reason,
        )

    elsewhere = dataset.file.filename != file.filename
    reason = "it is in another file (external link)" if elsewhere else _why_not(dataset, storage, filters)
    if reason:
        chunks = dataset.id.get_num_chunks() if storage == "chunked" and not dataset.file.swmr_mode else 0
        return Table(layout(reason, chunks), native)
    if storage == "contiguous":
        base = dataset.id.get_offset()
        whole = layout("")
        if base is None:
            return Table(layout("nothing was ever written to it"), native)
        if base + whole.nbytes > file_bytes or whole.stored_bytes < whole.nbytes:
            return Table(layout("its bytes are not all in the file"), native)
        return Table(whole, native, base=base)
    found = _Chunks(dataset, has_filters=bool(filters))
    complaint = found.complaint(file_bytes)
    fill: Array = np.zeros((), file_dtype)
    if not complaint and found.count < math.prod(found.grid):
        is_undefined = plist.fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED
        if axes or is_undefined or plist.get_fill_time() == h5py.h5d.FILL_TIME_NEVER:
            complaint = "some of its chunks were never written"
        else:
            plist.get_fill_value(fill)
    # HDF5 would read its whole index once more to say how much is stored.
    whole = layout(complaint, found.count, int(found.sizes.sum()))
    if complaint:
        return Table(whole, native)
    return Table(
        whole,
        native,
        block_rows=dataset.chunks[0],
        grid=found.grid,
        addresses=found.table(found.places, missing=-1),
        sizes=found.table(found.sizes, missing=0),
        masks=found.table(found.masks, missing=0) if found.masks.any() else None,
        fill=fill.tobytes(),
        doubtful=found.doubtful(),
    )


def _why_not(dataset: Any, storage: str, filters: tuple[Filter, ...]) -> str:
    """Return why this dataset has to be read by h5py, as far as it is known without its chunks."""
    file = dataset.file
    file_type = dataset.id.get_type()
    layout_reasons = {
        "compact": "it is stored in its header (compact)",
        "external": "its bytes are in other files (external)",
        "virtual": "it is put together from other datasets (virtual)",
        "unknown": "its storage is of a kind that befit does not know",
    }
    if file.swmr_mode:
        return "the file is open in SWMR mode"
    if file.mode != "r":
        return "this process has the file open for writing"
    if storage in layout_reasons:
        return layout_reasons[storage]
    if dataset.dtype.hasobject:
        return "its values have no fixed length"
    if not file_type.equal(h5py.h5t.py_create(dataset.dtype)):
        return "its type is converted by HDF5"
    if 0 in dataset.shape or dataset.dtype.itemsize == 0:
        return "it has no values"
    if storage == "contiguous":
        return ""
    block = dataset.dtype.itemsize * dataset.chunks[0] * math.prod(dataset.shape[1:])
    if block > _LARGEST_BLOCK:
        return f"the chunks of one row hold {dataset.chunks[0]} rows, {block / (1 << 30):.1f} GiB"
    growing = [axis for axis, most in enumerate(dataset.maxshape) if most is None]
    if len(growing) == 1 and growing != [0]:
        # HDF5 1.14 says the wrong place for them where the file has its newer index, an extensible array.
        return "its only axis without a limit is not the first"
    if not hasattr(dataset.id, "chunk_iter"):
        return "this build of h5py does not say where chunks are"
    return unsupported(filters)


class _Chunks:
    """What HDF5 says about every chunk that there is of a dataset, in the order of its index."""

    def __init__(self, dataset: Any, *, has_filters: bool) -> None:
        shape, chunks = dataset.shape, dataset.chunks
        self._has_filters = has_filters
        self._chunk_shape = np.array(chunks)
        self._chunk_bytes = dataset.dtype.itemsize * math.prod(chunks)
        self.grid = tuple(-(-axis // chunk) for axis, chunk in zip(shape, chunks, strict=True))
        # Chunks that are partly outside of the dataset, along any axis.
        self._edges = [
            axis // chunk if axis % chunk else -1 for axis, chunk in zip(shape, chunks, strict=True)
        ]
        # Arrays of C integers: a list of tuples would have Python collect garbage all the while.
        offsets, places, sizes, masks = (array.array("q") for _ in range(4))
        extend, add_place, add_size, add_mask = offsets.extend, places.append, sizes.append, masks.append

        def collect(info: Any) -> None:
            offset, mask, place, size = info
            extend(offset)
            add_place(place)
            add_size(size)
            add_mask(mask)

        dataset.id.chunk_iter(collect)
        self.count = len(places)
        self.places, self.sizes, self.masks = (np.asarray(values) for values in (places, sizes, masks))
        self._offsets = np.asarray(offsets).reshape(-1, len(shape))

    def complaint(self, file_bytes: int) -> str:
        """Return why there can be no table of these chunks; empty: nothing is wrong with them.

        The index of older files has no checksum. HDF5 finds a chunk by its order in the index.
        """
        cells, grid = self._cells(), np.array(self.grid)
        if math.prod(self.grid) > _PLACES_PER_CHUNK * (self.count + _FEW_CHUNKS):
            return "most of its chunks were never written"
        if (self._offsets % self._chunk_shape).any() or (cells < 0).any() or (cells >= grid).any():
            return "its index names a chunk that cannot be"
        if (np.diff(self._numbers()) <= 0).any():
            return "its index names chunks out of order"
        if (self.places <= 0).any() or (self.sizes < 0).any():
            return "its index names places that cannot be"
        if (self.places > file_bytes - self.sizes).any():
            return "some of its chunks lie beyond the end of the file"
        if not self._has_filters and (self.sizes != self._chunk_bytes).any():
            return "some of its chunks have the wrong size"
        return ""

    def _cells(self) -> Array:
        cells: Array = self._offsets // self._chunk_shape
        return cells

    def _numbers(self) -> Array:
        numbers: Array = np.ravel_multi_index(tuple(self._cells().T), self.grid)
        return numbers

    def table(self, values: Array, *, missing: int) -> Array:
        """Return a value for each chunk that could be, of shape ``(blocks, chunks in a block)``."""
        table: Array = np.full(math.prod(self.grid), missing, np.int64)
        table[self._numbers()] = values
        return table.reshape(self.grid[0], -1)

    def doubtful(self) -> frozenset[int]:
        """Return the blocks with a chunk at the edge that looks as if it had not been filtered.

        HDF5 can be told not to filter such chunks, does not mark them then, and h5py cannot ask for that.
        """
        if not self._has_filters:
            return frozenset()
        # Whatever its mask: that may be the one of what the chunk was filled with before it was written.
        looks_raw = self._cells()[self.sizes == self._chunk_bytes]
        at_edge = (looks_raw == np.array(self._edges)).any(axis=1)
        return frozenset(looks_raw[at_edge, 0].tolist())
