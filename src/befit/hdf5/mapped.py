"""The bytes of a local HDF5 file: mapped into memory, or read with ``pread`` where a map is no good."""

from __future__ import annotations

import mmap
import os
import sys
import time
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from befit._internal import settings
from befit.errors import DatasetError
from befit.hdf5.memory import is_far_away
from befit.hdf5.pools import run_parts
from befit.typing import Array

if sys.platform != "win32":
    import resource

_WARM_BYTES_PER_SECOND = 1e9  # a gather from warm memory is faster than this …
_WARM_PER_ROW = 2e-6  # seconds … and than this
_GRACE = 2e-3  # seconds; below it nothing is called cold, because the process may have lost its processor
_WARM_AGAIN = 16  # gathers in a row
_READERS = 16  # threads of pread; more than processors, because they wait
_ROWS_PER_READER = 8


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    nbytes: int
    mtime_ns: int
    device: int
    inode: int

    def is_of(self, other: Stamp) -> bool:
        """Whether both are of the same state of the same file."""
        # Another machine may call the same disk another device; there size and time have to do.
        same_place = self.device != other.device or self.inode == other.inode
        return same_place and self.nbytes == other.nbytes and self.mtime_ns == other.mtime_ns


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file, read off its status."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def open_local(path: str, stamp: Stamp) -> MappedStorage | PreadStorage:
    """Open the bytes of a file that still has to have this stamp.

    Raises:
        DatasetError: it is another file by now.
    """
    wanted = settings.map_files()
    if wanted is None:
        wanted = not is_far_away(path)
    return MappedStorage(path, stamp) if wanted or not hasattr(os, "preadv") else PreadStorage(path, stamp)


class _LocalFile:
    """An open descriptor, closed with its last user, and what the file was when it was opened."""

    def __init__(self, path: str, stamp: Stamp) -> None:
        self.path = path
        self.nbytes = stamp.nbytes
        self._stamp = stamp
        self._descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        )
        weakref.finalize(self, os.close, self._descriptor)
        self.check()
        if not stamp_of(os.fstat(self._descriptor)).is_of(stamp):
            raise DatasetError(f"{self.path} is another file by now; make a new HDF5Matrix")

    def check(self) -> None:
        """See whether the file still is what it was."""
        status = os.fstat(self._descriptor)
        if status.st_mtime_ns != self._stamp.mtime_ns or status.st_size != self._stamp.nbytes:
            raise DatasetError(f"{self.path} {self._difference(status)}; make a new HDF5Matrix")

    def _difference(self, status: os.stat_result) -> str:
        if status.st_size < self._stamp.nbytes:
            return f"was cut from {self._stamp.nbytes} to {status.st_size} bytes since it was opened"
        return "has changed since it was opened"


class MappedStorage(_LocalFile):
    """Bytes of a mapped file: what is in the page cache costs a copy and nothing else.

    A cold file would be read a page fault after the other. So a gather that took long makes the next ones
    tell the system first all that they are about to touch, until they are quick without.
    """

    def __init__(self, path: str, stamp: Stamp) -> None:
        super().__init__(path, stamp)
        self._map = mmap.mmap(self._descriptor, stamp.nbytes, access=mmap.ACCESS_READ)
        self._bytes: Array = np.frombuffer(self._map, np.uint8)
        self._address = int(self._bytes.ctypes.data)
        self._records: dict[int, Array] = {}  # of each length that was asked for, at every byte
        self._cold = 0  # how many gathers are still to be announced
        self._faults = 0
        self._read_from_disk()

    def rows(self, addresses: Array, nbytes: int) -> Array:
        """Return ``nbytes`` bytes from each address: one vectorised gather of unaligned records."""
        records = self._records.get(nbytes)
        if records is None:  # making it takes as long as gathering ten rows
            records = self._records[nbytes] = self.records(0, 1, self.nbytes - nbytes + 1, nbytes)
        return self.gather(records, addresses, 0, 1)

    def records(self, start: int, step: int, count: int, nbytes: int) -> Array:
        """Return ``count`` records of ``nbytes`` in the map, one every ``step`` bytes from ``start`` on."""
        return np.ndarray((count,), np.dtype((np.void, nbytes)), self._bytes, start, (step,))

    def gather(self, records: Array, indices: Array, start: int, step: int) -> Array:
        """Return the bytes of ``records[indices]``, which lie at ``start + step * indices``.

        They are read in the way that suits the page cache.
        """
        self.check()
        started = time.perf_counter()
        nbytes = records.dtype.itemsize
        if self._cold:
            self._announce((indices * step + start).tolist(), [nbytes] * len(indices))
        # Contiguous records are taken without the GIL, and faster.
        result = records.take(indices) if records.flags.c_contiguous else records[indices]
        took = time.perf_counter() - started
        expected = len(indices) * (_WARM_PER_ROW + nbytes / _WARM_BYTES_PER_SECOND)
        if self._cold:
            self._cold -= 1
        if took > _GRACE + expected and self._read_from_disk():
            self._cold = _WARM_AGAIN
        return np.ndarray((len(indices), nbytes), np.uint8, result)

    def _read_from_disk(self) -> bool:
        """Whether a page had to be read since this was asked last, and not only the processor was busy."""
        if sys.platform == "win32":
            return False  # where nothing can be announced either
        before, self._faults = self._faults, resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        return self._faults > before

    def spans(self, addresses: Sequence[int], sizes: Sequence[int]) -> Sequence[Array]:
        """Return views of the map."""
        self.locate(addresses, sizes)
        data = self._bytes
        return [data[address : address + size] for address, size in zip(addresses, sizes, strict=True)]

    def locate(self, addresses: Sequence[int], sizes: Sequence[int]) -> int:
        """Return where in memory the map begins, for bytes that are about to be read there."""
        self.check()
        if self._cold:
            self._announce(addresses, sizes)
        return self._address

    def _announce(self, addresses: Sequence[int], sizes: Sequence[int]) -> None:
        """Have the system read these bytes ahead."""
        if hasattr(os, "posix_fadvise"):
            for address, size in zip(addresses, sizes, strict=True):
                os.posix_fadvise(self._descriptor, address, size, os.POSIX_FADV_WILLNEED)


class PreadStorage(_LocalFile):
    """Bytes read with ``pread``: slower than a map, and never killed by a file that is cut meanwhile."""

    def rows(self, addresses: Array, nbytes: int) -> Array:
        """Return ``nbytes`` bytes from each address, read by several threads."""
        self.check()
        result: Array = np.empty((len(addresses), nbytes), np.uint8)
        places = addresses.tolist()

        def read(numbers: range) -> None:
            for number in numbers:
                self._read(result[number], places[number])

        parts = max(1, min(_READERS, len(places) // _ROWS_PER_READER))
        run_parts(read, len(places), parts)
        return result

    def spans(self, addresses: Sequence[int], sizes: Sequence[int]) -> Sequence[Array]:
        """Return new arrays."""
        self.check()
        results: list[Array] = [np.empty(size, np.uint8) for size in sizes]

        def read(numbers: range) -> None:
            for number in numbers:
                self._read(results[number], addresses[number])

        run_parts(read, len(results), min(_READERS, len(results)))
        return results

    def _read(self, out: Array, address: int) -> None:
        missing = memoryview(out.data)
        while missing:
            count = os.preadv(self._descriptor, [missing], address)
            if not count:
                raise DatasetError(
                    f"{self.path} ends at byte {address}, before what was to be read; it was cut since it "
                    "was opened: make a new HDF5Matrix"
                )
            missing, address = missing[count:], address + count
