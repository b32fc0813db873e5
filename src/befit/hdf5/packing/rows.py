"""What goes into a packed file: datasets, each a source that is read a block of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from befit.errors import DatasetError, UnsupportedObjectError
from befit.hdf5.reading import RowReader
from befit.hdf5.source import RowSource
from befit.typing import Array


@dataclass(frozen=True, eq=False)
class Rows:
    """One dataset to be written."""

    name: str
    """Its name in the new file."""
    origin: str
    """Where it comes from, for messages."""
    shape: tuple[int, ...]
    """Of the whole dataset; ``()``: a single value."""
    dtype: np.dtype[Any]
    """As it is to be written: in the byte order of this machine."""
    read: Callable[[slice], Any]
    """Returns neighbouring rows."""
    take: Callable[[Array], Any]
    """Returns rows by their numbers, which increase."""
    at_once: int = 1
    """Rows that are best read together: fewer would decode the same chunk more than once."""
    in_order: bool = False
    """Whether going back means to begin again."""
    value: Any = None
    """The value, if it is a single one."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return max(1, self.dtype.itemsize * math.prod(self.shape[1:]))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole dataset in memory."""
        return self.dtype.itemsize * math.prod(self.shape)

    def block(self, start: int, stop: int) -> Array:
        """Return rows ``[start, stop)`` as they are to be written."""
        return self._checked(self.read(slice(start, stop)), stop - start)

    def chosen(self, numbers: Array) -> Array:
        """Return the rows with these numbers, in their order, as they are to be written."""
        order = np.argsort(numbers)
        rows = self._checked(self.take(numbers[order]), len(numbers))
        result = np.empty_like(rows)
        result[order] = rows
        return result

    def _checked(self, rows: Any, count: int) -> Array:
        array = np.asarray(rows)
        expected = (count, *self.shape[1:])
        if array.shape != expected:
            raise DatasetError(f"{self.origin} gave an array {array.shape} where {expected} was asked for")
        return self.as_written(array)

    def as_written(self, array: Array) -> Array:
        """Return values in the type that is written."""
        array = array.astype(self.dtype, copy=False)
        # h5py takes times if their type is marked, and NumPy takes the marked and the unmarked one for equal.
        return array.view(self.dtype) if self.dtype.kind in "Mm" else array


def from_array(name: str, source: Any, origin: str, floats: np.dtype[Any] | None) -> Rows:
    """Return as a dataset what has a shape and can be sliced, or what NumPy makes an array of.

    Args:
        floats: The type that floating-point numbers are converted to; ``None``: their own.

    Raises:
        UnsupportedObjectError: HDF5 has no such type, or befit does not copy it.
    """
    if isinstance(source, h5py.Dataset) and source.shape:
        return from_dataset(name, source, origin, floats)
    if not hasattr(source, "shape") or not source.shape:
        source = np.asarray(source)
    sample = np.asarray(source[:0]) if source.shape else source
    return Rows(
        name,
        origin,
        shape=(*source.shape[:1], *sample.shape[1:]),
        dtype=storable(sample.dtype, origin, floats),
        read=source.__getitem__,
        take=source.__getitem__,
        in_order=bool(getattr(source, "in_order", False)),
        value=None if source.shape else source,
    )


def from_dataset(name: str, dataset: Any, origin: str, floats: np.dtype[Any] | None) -> Rows:
    """Return an ``h5py.Dataset`` with rows that the caller has open."""
    _complain_of_missing_parts(dataset, origin)
    reader = RowReader(dataset)
    element = (dataset.dtype.subdtype or (dataset.dtype,))[0]  # arrays as elements are axes to NumPy
    return _rows(name, origin, reader, storable(element, origin, floats), reader.rows_at_once)


def from_file(
    name: str, dataset: Any, origin: str, floats: np.dtype[Any] | None, *, any_order: bool, stack: ExitStack
) -> Rows:
    """Return an ``h5py.Dataset`` with rows of a file that befit opens, and reads as ``HDF5Matrix`` does."""
    _complain_of_missing_parts(dataset, origin)
    element = (dataset.dtype.subdtype or (dataset.dtype,))[0]
    dtype = storable(element, origin, floats)
    # A dataset may be in another file, behind an external link. Only random order comes back to a chunk.
    source = RowSource(dataset.file.filename, dataset.name, cache_bytes=None if any_order else 0)
    stack.callback(source.close)
    return _rows(name, origin, source, dtype, source.rows_at_once if dataset.chunks else 1)


def _rows(name: str, origin: str, source: RowReader | RowSource, dtype: np.dtype[Any], at_once: int) -> Rows:
    return Rows(
        name,
        origin,
        source.shape,
        dtype,
        lambda rows: source.read(range(rows.start, rows.stop)),
        source.read,
        at_once,
    )


def storable(dtype: np.dtype[Any], origin: str, floats: np.dtype[Any] | None = None) -> np.dtype[Any]:
    """Return the type that values of ``dtype`` are written as.

    Raises:
        UnsupportedObjectError: HDF5 has no such type, or what it stands for means nothing in another file.
    """
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if dtype.kind == "f" and floats is not None:
        return floats
    if dtype.kind in "Mm":
        return h5py.opaque_dtype(dtype)  # type: ignore[no-any-return]
    if holds_references(dtype):
        raise UnsupportedObjectError(
            f"{origin} holds references to other objects, which mean nothing in another file; pack the "
            "datasets you need: pack({'x': file['x']}, out)"
        )
    if dtype.kind == "U":
        raise UnsupportedObjectError(f"{origin} is text of type {dtype}; write np.char.encode(array): bytes")
    try:
        if dtype.kind == "V" and dtype.type is not np.void:
            raise TypeError  # bfloat16 and its like would lose their meaning
        h5py.h5t.py_create(dtype, logical=True)
    except TypeError:
        raise UnsupportedObjectError(
            f"{origin} is of type {dtype}, which HDF5 does not have; convert it to numbers, for example with "
            "astype('float32')"
        ) from None
    return dtype


def holds_references(dtype: np.dtype[Any]) -> bool:
    """Return whether values of ``dtype`` are, or contain, references to HDF5 objects."""
    if h5py.check_ref_dtype(dtype) is not None:
        return True
    inner = h5py.check_vlen_dtype(dtype)
    if inner is None and dtype.subdtype is not None:
        inner = dtype.subdtype[0]
    if isinstance(inner, np.dtype):
        return holds_references(inner)
    return any(holds_references(dtype[name]) for name in dtype.names or ())


def _complain_of_missing_parts(dataset: Any, origin: str) -> None:
    """Raise where HDF5 would silently give fill values in place of the rows of a file that is not there."""
    if not dataset.is_virtual:
        return
    folder = Path(dataset.file.filename).parent
    for part in dataset.virtual_sources():
        name = part.file_name
        if name != "." and "%" not in name and not (Path(name).is_file() or (folder / name).is_file()):
            raise DatasetError(f"{origin} is put together from other files, and {name} is not there")
