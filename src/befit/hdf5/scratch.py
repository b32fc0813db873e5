"""Decoded blocks on disk: for data that is too large to be kept in memory, and too slow to decode twice.

The file has no name: whatever becomes of the process, the system takes its space back. Blocks are written
with ``pwrite`` and read through a map. Writing through the map would cost a page fault for every page, and a
full disk would kill the process instead of raising an error.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from typing import Any

import numpy as np

from befit.errors import DatasetError
from befit.hdf5.cache import Decode
from befit.typing import Array

_GROUP_BYTES = 8 << 20  # decoded at once, then written


class ScratchFile:
    """A file without a name, of a fixed size, that is written at places and read as an array."""

    def __init__(self, folder: str, nbytes: int) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, prefix="befit-")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise self._explained(error) from error
        weakref.finalize(self, self._file.close)
        try:
            self._file.truncate(nbytes)
            self._map = mmap.mmap(self._file.fileno(), nbytes, access=mmap.ACCESS_READ)
        except OSError as error:
            self._file.close()
            raise self._explained(error) from error
        self.memory: Array = np.frombuffer(self._map, np.uint8)
        """The whole file, ``uint8``; what was never written is 0 and takes no space."""

    def write(self, data: Array, place: int) -> None:
        """Write bytes at a place.

        Raises:
            DatasetError: the disk is full.
        """
        left = memoryview(data.data)
        try:
            while left:
                written = self._write_some(left, place)
                left, place = left[written:], place + written
        except OSError as error:
            raise self._explained(error) from error

    def _write_some(self, data: Any, place: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._file.fileno(), data, place)
        self._file.seek(place)
        return self._file.write(data)

    def _explained(self, error: OSError) -> DatasetError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DatasetError(
                f"no room in {self._folder} for decoded rows; free some, or let the environment variable "
                "BEFIT_SCRATCH name a folder with more, or read in the order of the file"
            )
        return DatasetError(f"decoded rows cannot be kept in {self._folder}: {error}")


class ScratchSlab:
    """A slot for every block of a dataset, on disk."""

    def __init__(self, slots: int, block_bytes: int, decode: Decode, folder: str) -> None:
        self.slots = slots
        self.in_memory = False
        self._block_bytes = block_bytes
        self._decode = decode
        self._file = ScratchFile(folder, slots * block_bytes)
        self.memory = self._file.memory

    def fill(self, slots: list[int], blocks: list[int]) -> None:
        """Decode blocks, some at a time, and write them into slots."""
        size = self._block_bytes
        at_once = max(1, _GROUP_BYTES // size)
        buffer: Array = np.empty((min(at_once, len(blocks)), size), np.uint8)
        for start in range(0, len(blocks), at_once):
            group = blocks[start : start + at_once]
            self._decode(group, buffer.reshape(-1), [size * number for number in range(len(group))])
            for slot, data in zip(slots[start : start + at_once], buffer, strict=False):
                self._file.write(data, slot * size)
