"""The rows of one dataset, for whichever process asks for them."""

from __future__ import annotations

import os
from typing import Any

from befit.errors import DatasetError
from befit.hdf5.handles import SharedFile, shared_file
from befit.hdf5.reading import RowReader
from befit.typing import Array


class RowSource:
    """Names a dataset and reads from it; a process that has not opened the file yet does so when it reads.

    Pickling and forking carry the names over, never the handle.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self._closed = False
        self._opened: tuple[int, SharedFile, RowReader] | None = None  # by which process
        reader = self._open()
        self.shape, self.dtype, self.row_bytes = reader.shape, reader.dtype, reader.row_bytes
        self.rows_at_once = reader.rows_at_once

    def read(self, rows: range | Array) -> Array:
        """Return ``rows``, numbers in ``[0, len(dataset))`` in any order.

        Raises:
            DatasetError: the matrix was closed, the file has changed, or HDF5 cannot read the rows.
        """
        reader = self._reader()
        try:
            return reader.read(rows)
        except OSError as error:
            missing = "filter" in str(error) and "not registered" in str(error)
            hint = "; the package hdf5plugin brings many filters: import it first" if missing else ""
            raise DatasetError(f"cannot read dataset {self.name!r} in {self.path}: {error}{hint}") from error

    def close(self) -> None:
        """Let go of the file for good."""
        self._opened = None
        self._closed = True

    def _reader(self) -> RowReader:
        opened = self._opened
        if opened is not None and opened[0] == os.getpid():
            return opened[2]
        if self._closed:
            raise DatasetError(f"the matrix of dataset {self.name!r} in {self.path} is closed")
        reader = self._open()
        if (reader.shape, reader.dtype) != (self.shape, self.dtype):
            raise DatasetError(
                f"dataset {self.name!r} in {self.path} has changed: it was {self.dtype} {self.shape} and is "
                f"{reader.dtype} {reader.shape}; make a new HDF5Matrix"
            )
        return reader

    def _open(self) -> RowReader:
        self._opened = (
            None  # what a fork left of the parent's handle is let go before the file is opened again
        )
        file = shared_file(self.path)
        reader = RowReader(file.dataset(self.name))
        self._opened = (os.getpid(), file, reader)
        return reader

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}
