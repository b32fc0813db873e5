"""``HDF5Matrix``: a dataset of an HDF5 file, to be used instead of a NumPy array."""

from __future__ import annotations

import itertools
import math
import operator
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.hdf5.batches import HDF5Batches
from befit.hdf5.selection import select
from befit.hdf5.source import RowSource
from befit.typing import Array, Normalizer

_ITERATION_BYTES = 1 << 20


class HDF5Matrix:
    """Representation of an HDF5 dataset to be used instead of a NumPy array.

    Rows are read when they are indexed. Any index that NumPy takes works, in any order and with duplicates,
    and gives what NumPy gives on ``normalizer(dataset[start:end])``; rows outside ``[start, end)`` are never
    read for it. A matrix can be pickled, used after a fork and from several threads; every process opens the
    file for itself. It is a map-style dataset of PyTorch, and anything that takes arrays reads it whole
    through ``__array__``.

    Args:
        datapath: Path of an HDF5 file.
        dataset: Name of the dataset in the file.
        start: First row of the window.
        end: Row after the last one; ``None``: all that follow.
        normalizer: Called on every slice of rows that is read, always of shape ``(rows, ...)``, also for a
            single row. It may change everything but the number of rows.

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
    ) -> None:
        if not isinstance(dataset, str):
            raise UnsupportedObjectError(f"dataset is {dataset!r}; write the name of a dataset in the file")
        if normalizer is not None and not callable(normalizer):
            raise UnsupportedObjectError(f"normalizer is {normalizer!r}; write a function of rows, or None")
        self._source = RowSource(_local_path(datapath), dataset)
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
        self, y: Any = None, batch_size: int = 32, *, shuffle: bool = False, seed: int | None = None
    ) -> HDF5Batches:
        """Return the rows as batches by number, what ``befit.Loader`` and plain loops take.

        Args:
            y: An array or a matrix with one row for every row; each batch then is ``(x, y)``.
            batch_size: Rows in a batch; the last one may have fewer.
            shuffle: Give every epoch an order of its own, over the whole window.
            seed: Decides the orders; ``None``: new ones every time.

        Raises:
            ArgumentError: ``y`` has another number of rows, or ``batch_size`` is not positive.
        """
        if y is not None and not isinstance(y, HDF5Matrix):
            y = np.asarray(y)
        return HDF5Batches(self, y, batch_size, shuffle=shuffle, seed=seed)

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
            f"HDF5Matrix({self._source.path!r}, {self._source.name!r}, start={self._start}, end={self._end}"
            f"{normalizer})"
        )

    def _window(self) -> str:
        return f"the {len(self)} rows of {self!r}"

    def _read(self, rows: range | Array) -> Any:
        if len(rows) == 0:
            return self._sample()[:0]  # the normalizer is not asked about nothing
        if isinstance(rows, range):
            rows = range(rows.start + self._start, rows.stop + self._start, rows.step)
        else:
            rows = rows + self._start
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


def _local_path(datapath: str | os.PathLike[str]) -> str:
    try:
        path = os.fsdecode(datapath)
    except TypeError:
        raise UnsupportedObjectError(f"datapath is {datapath!r}; write the path of an HDF5 file") from None
    if "://" in path:
        raise ArgumentError(f"{path} is a URL; download it first: get_file(name, {path!r}) returns a path")
    return os.path.abspath(path)  # a worker may have another working directory


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
