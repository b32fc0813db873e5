"""Arrays in ``.npy`` and ``.npz`` files, as sources of rows."""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from befit.errors import DatasetError
from befit.typing import Array

_DAMAGE = (ValueError, EOFError, KeyError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def open_arrays(path: Path, stack: ExitStack, *, any_order: bool) -> dict[str, Any]:
    """Return the arrays of a file by their names; an ``.npy`` file has one, named after the file.

    They are read when they are sliced. Only arrays in an ``.npz`` that are in the order of columns, or that
    have to be read in ``any_order``, are read whole.

    Raises:
        FileNotFoundError: there is no file.
        DatasetError: it is damaged, or holds pickled objects.
    """
    try:
        if path.suffix == ".npy":
            return {path.stem: _mapped(path)}
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _member(path, archive, name, whole=any_order) for name in names}
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise DatasetError(f"cannot read {path} as arrays of NumPy: {error}") from error


def _mapped(path: Path) -> Any:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it is an archive; call it .npz")
    return array


def _member(path: Path, archive: zipfile.ZipFile, name: str, *, whole: bool) -> Any:
    with archive.open(name) as stream:
        shape, by_columns, dtype = _header(stream)
    if whole or not shape or by_columns or dtype.hasobject:
        with archive.open(name) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    return _Member(path, archive, name, shape, dtype)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    return (), True, np.dtype("V")  # newer ones have fields with names that are not ASCII; NumPy reads them


class _Member:
    """An array in an archive, unpacked as its rows are asked for, from the first to the last."""

    in_order = True

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._archive, self._name = path, archive, name
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])
        self._stream: Any = None
        self._row = 0

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        try:
            if self._stream is None or start < self._row:
                self._stream = self._archive.open(self._name)
                _header(self._stream)
                self._row = 0
            while start > self._row:
                self._take(min(start, self._row + max(1, (1 << 20) // max(1, self._row_bytes))))
            data = self._take(stop)
        except _DAMAGE as error:
            raise DatasetError(f"{self._name} in {self._path} is damaged: {error}") from error
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])

    def _take(self, stop: int) -> bytes:
        """Return the bytes up to row ``stop``."""
        wanted = (stop - self._row) * self._row_bytes
        data: bytes = self._stream.read(wanted)
        if len(data) < wanted:
            raise EOFError("it ends too early")
        self._row = stop
        return data
