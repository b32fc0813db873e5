"""``HDF5Matrix``: a dataset of an HDF5 file, to be used instead of a NumPy array."""

from __future__ import annotations

import itertools
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from befit._internal.arguments import as_count
from befit._internal.keras_input import KerasArray
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.hdf5.batches import HDF5Batches, HDF5Sampler
from befit.hdf5.explain import explain
from befit.hdf5.handles import full_path
from befit.hdf5.layout import Layout
from befit.hdf5.order import EpochOrder, Rows, Shuffle
from befit.hdf5.selection import select
from befit.hdf5.source import RowSource
from befit.typing import Array, Normalizer

_ITERATION_BYTES = 1 << 20
_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


class HDF5Matrix(KerasArray):
    """Representation of an HDF5 dataset to be used instead of a NumPy array.

    Rows are read when they are indexed. Any index that NumPy takes works, in any order and with duplicates,
    and gives what NumPy gives on ``normalizer(dataset[start:end])``; rows outside ``[start, end)`` are never
    read for it. A matrix can be pickled, used after a fork and from several threads; every process opens the
    file for itself. ``fit``, ``evaluate`` and ``predict`` of Keras 3 take it for an array and read a batch at
    a time; it is a map-style dataset of PyTorch; anything else that takes arrays reads it whole through
    ``__array__``.

    Args:
        datapath: Path of an HDF5 file, or a URL (``https://``, ``s3://`` …; needs the extra ``remote``).
        dataset: Name of the dataset in the file.
        start: First row of the window.
        end: Row after the last one; ``None``: all that follow.
        normalizer: Called on every slice of rows that is read, always of shape ``(rows, ...)``, also for a
            single row. It may change everything but the number of rows.
        cache_bytes: Bytes of decoded rows to keep in memory; ``None``: a quarter of the memory that is free
            to this process. What does not fit is kept in a temporary file, if a disk has room for twice as
            much. Rows that need no decoding are never kept. The three windows of ``shuffle="chunks"`` come
            on top, where not everything fits.
        threads: How many threads decode; ``None``: one for every processor.
        storage_options: For a URL: what fsspec is to be told, for example credentials.

    Raises:
        FileNotFoundError: There is no such file.
        DatasetNotFoundError: The file has no such dataset; the message names those it has.
        DatasetError: The file cannot be read as HDF5, or the dataset has no rows (a single value).
        ArgumentError: ``start`` and ``end`` are no window of the dataset.
        UnsupportedObjectError: An argument is of a kind that cannot work.

    Example:
        >>> import h5py, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "file.hdf5")
        >>> with h5py.File(path, "w") as file:
        ...     file["data"] = [[0, 10], [20, 30], [40, 50]]
        >>> x_data = HDF5Matrix(path, "data", start=1, normalizer=lambda rows: rows / 10)
        >>> x_data.shape
        (2, 2)
        >>> x_data[[1, 0, 1]]
        array([[4., 5.],
               [2., 3.],
               [4., 5.]])

    Source:
        Keras 2.1 documentation.
    """

    def __init__(
        self,
        datapath: str | os.PathLike[str],
        dataset: str,
        start: int = 0,
        end: int | None = None,
        normalizer: Normalizer | None = None,
        *,
        cache_bytes: int | None = None,
        threads: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(dataset, str):
            raise UnsupportedObjectError(f"dataset is {dataset!r}; write the name of a dataset in the file")
        if normalizer is not None and not callable(normalizer):
            raise UnsupportedObjectError(f"normalizer is {normalizer!r}; write a function of rows, or None")
        self._source = RowSource(
            full_path(datapath),
            dataset,
            cache_bytes=None if cache_bytes is None else as_count("cache_bytes", cache_bytes, minimum=0),
            threads=None if threads is None else as_count("threads", threads),
            storage_options=storage_options,
        )
        self._start, self._end = _checked_window(start, end, self._source)
        self._normalizer = normalizer
        self._first_row: Any = None  # after the normalizer: shape and dtype are read off it

    @property
    def start(self) -> int:
        """First row of the window, counted in the dataset."""
        return self._start

    @property
    def end(self) -> int:
        """Row after the last one of the window, counted in the dataset."""
        return self._end

    @property
    def normalizer(self) -> Normalizer | None:
        """What is called on every slice of rows that is read."""
        return self._normalizer

    @property
    def layout(self) -> Layout:
        """How the whole dataset lies in its file, and whether it is read without HDF5."""
        return self._source.layout

    def explain(self) -> str:
        """Return in words how the dataset is read, what a random batch costs and what would be faster."""
        return explain(self.layout, cache=self._source.cache_plan())

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape after the normalizer: ``(rows, ...)``."""
        return (len(self), *tuple(self._sample().shape)[1:])

    @property
    def dtype(self) -> Any:
        """Data type after the normalizer."""
        return self._sample().dtype

    @property
    def ndim(self) -> int:
        """Number of axes after the normalizer."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values after the normalizer."""
        return math.prod(self.shape)

    def __getitem__(self, key: Any) -> Any:
        """Return what NumPy returns for ``key``.

        Raises:
            OutOfWindowError: A row outside the window is asked for (slices are clipped, as NumPy does).
            UnsupportedObjectError: ``key`` is no index.
            DatasetError: HDF5 cannot read the rows.
        """
        if isinstance(key, slice):
            if self._is_split_by_keras():
                return self._part(key)
        elif (
            # A shuffled batch, most of what is asked; negative numbers are large ones to the comparison.
            type(key) is np.ndarray
            and key.dtype == _INT64
            and key.ndim == 1
            and key.size
            and key.view(_UINT64).max() < self._end - self._start
        ):
            rows = self._source.read(key + self._start if self._start else key)
            return rows if self._normalizer is None else self._normalized(rows)
        selection = select(key, len(self), lambda: self.ndim, self._window)
        rows = self._read(selection.rows)
        return rows[selection.rest] if selection.rest else rows

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return a list of rows: how a ``torch.utils.data.DataLoader`` asks for a whole batch at once."""
        return list(self[np.asarray(indices, dtype=np.int64)])

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows, read a block at a time."""
        at_once = self._source.rows_at_once
        block = max(1, _ITERATION_BYTES // (at_once * self._source.row_bytes)) * at_once
        borders = range(self._start - self._start % at_once + block, self._end, block)  # of chunks
        starts = [0, *(border - self._start for border in borders)]
        for start, stop in itertools.pairwise([*starts, len(self)]):
            yield from self[start:stop]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows as a NumPy array; always a new one."""
        if copy is False:
            raise ValueError("an HDF5Matrix is read from its file into a new array; leave out copy=False")
        return np.asarray(self[:], dtype=dtype)

    def batches(
        self,
        y: Any = None,
        batch_size: int = 32,
        *,
        shuffle: Shuffle = False,
        seed: int | None = None,
        window_rows: int | None = None,
    ) -> HDF5Batches:
        """Return the rows as batches by number, what ``befit.Loader`` and plain loops take.

        Args:
            y: An array or a matrix with one row for every row; each batch then is ``(x, y)``.
            batch_size: Rows in a batch; the last one may have fewer.
            shuffle: Give every epoch an order of its own. ``True``: over the whole window. ``"chunks"``: in
                the order that suits a compressed file: rows are shuffled among some chunks at a time, which
                are decoded once and ahead. ``"batch"``: whole batches of neighbouring rows are shuffled.
            seed: Decides the orders; ``None``: new ones every time.
            window_rows: With ``"chunks"``: about how many rows are shuffled together; ``None``: 32 MiB.

        Raises:
            ArgumentError: ``y`` has another number of rows, or another argument cannot work.
        """
        if y is not None and not isinstance(y, HDF5Matrix):
            y = np.asarray(y)
        return HDF5Batches(self, y, batch_size, shuffle=shuffle, seed=seed, window_rows=window_rows)

    def sampler(
        self,
        batch_size: int = 32,
        *,
        shuffle: Shuffle = "chunks",
        seed: int | None = None,
        window_rows: int | None = None,
    ) -> HDF5Sampler:
        """Return row numbers a batch at a time, for ``DataLoader(x, sampler=x.sampler(…), batch_size=None)``.

        The arguments, and the orders, are those of ``batches``.

        Raises:
            ArgumentError: an argument cannot work.
        """
        return HDF5Sampler(self, batch_size, shuffle, seed, window_rows)

    def epoch_order(
        self, batch_size: int, shuffle: Shuffle, seed: int, epoch: int, window_rows: int | None = None
    ) -> EpochOrder:
        """Return the order of one epoch, which ``seed`` and ``epoch`` decide."""
        return EpochOrder(
            self._start,
            self._end,
            batch_size,
            shuffle,
            seed,
            epoch,
            block_rows=self._source.block_rows,
            row_bytes=self._source.row_bytes,
            window_rows=window_rows,
        )

    def read_rows(self, batch: Rows) -> Any:
        """Return the rows of a batch of ``epoch_order``, after the normalizer."""
        return self._normalized(self._source.read(batch.rows, batch.window))

    def close(self) -> None:
        """Let go of the file; it is closed when no other matrix of this process uses it."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_first_row": None}

    def __repr__(self) -> str:
        normalizer = "" if self._normalizer is None else f", normalizer={self._normalizer!r}"
        return (
            f"HDF5Matrix({self._source.shown!r}, {self._source.name!r}, start={self._start}, end={self._end}"
            f"{normalizer})"
        )

    def _part(self, rows: slice) -> Self:
        """Return a matrix of some of the rows, one after the other."""
        first, stop, _ = rows.indices(len(self))
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__, _start=self._start + first, _end=self._start + max(first, stop))
        return part

    def _window(self) -> str:
        return f"the {len(self)} rows of {self!r}"

    def _read(self, rows: range | Array) -> Any:
        if len(rows) == 0:
            return self._sample()[:0]  # the normalizer is not asked about nothing
        if isinstance(rows, range):
            rows = range(rows.start + self._start, rows.stop + self._start, rows.step)
        else:
            rows = rows + self._start if self._start else rows
        return self._normalized(self._source.read(rows))

    def _sample(self) -> Any:
        """Return the first row (no row, where there is none) after the normalizer."""
        if self._normalizer is None:
            return np.empty((0, *self._source.shape[1:]), self._source.dtype)
        sample = self._first_row
        if sample is None:
            sample = self._normalized(self._source.read(range(self._start, min(self._start + 1, self._end))))
            self._first_row = sample
        return sample

    def _normalized(self, rows: Array) -> Any:
        if self._normalizer is None:
            return rows
        try:
            result = self._normalizer(rows)
        except Exception as error:
            error.add_note(
                f"raised by the normalizer of {self!r}, called on rows {rows.shape} of {rows.dtype}"
            )
            raise
        result = result if hasattr(result, "shape") else np.asarray(result)
        if tuple(result.shape)[:1] != (len(rows),):
            raise ArgumentError(
                f"the normalizer made {tuple(result.shape)} of rows {rows.shape}; it must keep the first axis"
            )
        return result


def _checked_window(start: object, end: object, source: RowSource) -> tuple[int, int]:
    length = source.shape[0]
    try:
        first = operator.index(start)  # type: ignore[arg-type]
        last = length if end is None else operator.index(end)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(
            f"start={start!r}, end={end!r}: write whole numbers; end=None is the end"
        ) from None
    given = f"start={first}, end={'None' if end is None else last}: dataset {source.name!r} has {length} rows"
    if first < 0 or last < 0:
        raise ArgumentError(f"{given}; count from its beginning: -n is {length} - n")
    if first > length or last > length:
        raise ArgumentError(f"{given}; write numbers up to {length}, or end=None for all that follow")
    if first > last:
        raise ArgumentError(f"{given}; start has to be end or less")
    return first, last
