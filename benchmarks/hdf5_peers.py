"""befit and its peers behind three verbs: ``rows(numbers)``, ``slice(start, stop)`` and ``close()``.

``rows`` gives the rows in the order of ``numbers``. A library is imported when its first reader is made: it
may be missing, or unable to read a file, and a table then says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import h5py
import numpy as np

from befit import HDF5Matrix
from benchmarks.hdf5_data import array


class Reader(Protocol):
    """What is measured."""

    def rows(self, numbers: np.ndarray) -> np.ndarray: ...

    def slice(self, start: int, stop: int) -> np.ndarray: ...

    def close(self) -> None: ...


class Memory:
    """An ndarray in memory: the limit."""

    def __init__(self, path: str, data: str) -> None:
        self.array = array(data)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        return self.array[numbers]

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop].copy()

    def close(self) -> None:
        pass


class Befit:
    """``HDF5Matrix``."""

    def __init__(self, path: str, data: str, **options: Any) -> None:
        self.matrix = HDF5Matrix(path, data, **options)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        return self.matrix[numbers]

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.matrix[start:stop]

    def close(self) -> None:
        self.matrix.close()


class H5py:
    """h5py as its documentation has it: an increasing list of rows, which are put in order afterwards."""

    def __init__(self, path: str, data: str, **options: Any) -> None:
        self.file = h5py.File(path, "r", **options)
        self.dataset = self.file[data]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        order = np.argsort(numbers)
        result = np.empty((len(numbers), *self.dataset.shape[1:]), self.dataset.dtype)
        result[order] = self.dataset[numbers[order]]
        return result

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.dataset[start:stop]

    def close(self) -> None:
        self.file.close()


class H5pyLoop(H5py):
    """h5py, a row at a time; increasing, so that neighbours find their chunk in h5py's cache."""

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        result = np.empty((len(numbers), *self.dataset.shape[1:]), self.dataset.dtype)
        for place in np.argsort(numbers).tolist():
            result[place] = self.dataset[int(numbers[place])]
        return result


class Hidefix:
    """hidefix reads slices only, and wants every axis."""

    def __init__(self, path: str, data: str) -> None:
        import hidefix

        with h5py.File(path, "r") as file:
            if file[data].chunks is None:
                raise NotImplementedError(
                    "a contiguous dataset is one chunk to it, read whole for every slice"
                )
        self.dataset = hidefix.Index(path).dataset(data)
        rows = array(data)
        self.dtype, self.row = rows.dtype, rows.shape[1:]
        self.rest = tuple(slice(0, axis) for axis in self.row)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        result = np.empty((len(numbers), *self.row), self.dtype)
        for place, row in enumerate(numbers.tolist()):
            result[place] = self.dataset[(slice(row, row + 1), *self.rest)]  # it drops the axis
        return result

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.dataset[(slice(start, stop), *self.rest)]

    def close(self) -> None:
        pass


class Pyfive:
    """pyfive, HDF5 in Python."""

    def __init__(self, path: str, data: str) -> None:
        import pyfive

        self.file = pyfive.File(path)
        self.dataset = self.file[data]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(self.dataset[numbers])

    def slice(self, start: int, stop: int) -> np.ndarray:
        return np.array(self.dataset[start:stop])  # contiguous, it gives a view of the file

    def close(self) -> None:
        self.file.close()


class PyTables:
    """PyTables; with NumPy 2.4 it takes a list of rows only where every axis is written out."""

    def __init__(self, path: str, data: str) -> None:
        import tables

        self.file = tables.open_file(path)
        self.dataset = self.file.get_node(f"/{data}")
        self.rest = (slice(None),) * (self.dataset.ndim - 1)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        return self.dataset[(numbers, *self.rest)]

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.dataset[start:stop]

    def close(self) -> None:
        self.file.close()


Make = Callable[[str, str], Reader]

READERS: dict[str, Make] = {
    "memory": Memory,
    "befit": Befit,
    "h5py, sorted": H5py,
    "h5py, row by row": H5pyLoop,
    "hidefix": Hidefix,
    "pyfive": Pyfive,
    "PyTables": PyTables,
}


def able(
    makes: Mapping[str, Make], path: str, data: str, check: Callable[[Reader], np.ndarray]
) -> tuple[dict[str, Reader], dict[str, str]]:
    """Return the readers that read ``path``, and the reason for each of those that do not.

    Raises:
        RuntimeError: A reader's rows are not those that memory holds: what it costs is of no interest.
    """
    wanted = check(Memory(path, data))
    readers: dict[str, Reader] = {}
    reasons: dict[str, str] = {}
    for name, make in makes.items():
        reader = None
        try:
            reader = make(path, data)
            rows = check(reader)
        except (ImportError, OSError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            if name.startswith("befit"):
                raise
            reasons[name] = _first_line(error)
            if reader is not None:
                reader.close()
            continue
        if rows.dtype != wanted.dtype or not np.array_equal(rows, wanted):
            raise RuntimeError(f"{name} read other rows of {path}")
        readers[name] = reader
    return readers, reasons


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
