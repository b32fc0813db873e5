"""What h5py reads the tables of a remote file from: few round trips, however many small reads there are."""

from __future__ import annotations

import gc
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from befit.hdf5.remote import RemoteFile

_BLOCK = 1 << 16  # bytes that small reads are rounded to
_BLOCKS_KEPT = 256
_NODES_AHEAD = 4096  # of a B-tree, 2 to 5 KB each, read at once
_NODES_KEPT = 4 * _NODES_AHEAD

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class RemoteReader(io.RawIOBase):
    """Reads in blocks, and the nodes of a chunk index before they are asked for.

    Such a B-tree has a node for about 60 chunks, all over the file, and HDF5 reads one after the other.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._position = 0
        self._base = 0  # where the HDF5 file begins, behind a user block; its addresses count from there
        self._blocks: dict[int, bytes] = {}  # by number, the one used last at the end
        self._nodes: dict[int, bytes] = {}  # by address

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset``."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.nbytes}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def readinto(self, target: Any) -> int:
        """Fill ``target``; return how many bytes there were.

        Raises:
            DatasetError: the file has changed, or its bytes do not come.
        """
        start = self._position
        stop = min(start + len(target), self._file.nbytes)
        if stop <= start:
            return 0
        # h5py's lock is held here. If the thread of the requests collected garbage now and found an object of
        # h5py, it would wait for the lock, and we for the thread.
        collects = gc.isenabled()
        gc.disable()
        try:
            data = self._bytes(start, stop)
        finally:
            if collects:
                gc.enable()
        target[: len(data)] = data
        self._position = stop
        return len(data)

    def close(self) -> None:
        """Forget what was read."""
        self._blocks, self._nodes = {}, {}
        super().close()

    def _bytes(self, start: int, stop: int) -> bytes:
        data = self._nodes.get(start, b"")
        if len(data) != stop - start:
            data = self._from_blocks(start, stop)
        if data == _SIGNATURE:
            self._base = start
        if _children(data):
            self._read_ahead(data)
        return data

    def _from_blocks(self, start: int, stop: int) -> bytes:
        if stop - start > _BLOCK:
            return self._spans([start], stop - start)[0]
        numbers = range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
        missing = [number for number in numbers if number not in self._blocks]
        for number, block in zip(missing, self._spans([n * _BLOCK for n in missing], _BLOCK), strict=True):
            self._blocks[number] = block
        for number in numbers:
            self._blocks[number] = self._blocks.pop(number)
        _forget_first(self._blocks, _BLOCKS_KEPT)
        joined = b"".join(self._blocks[number] for number in numbers)
        return joined[start - numbers[0] * _BLOCK : stop - numbers[0] * _BLOCK]

    def _read_ahead(self, node: bytes) -> None:
        """Read what is below ``node`` and its neighbours to the right, each level at once."""
        level = [node]
        while len(level) < _NODES_AHEAD:
            right = self._nodes.get(self._base + int.from_bytes(level[-1][16:24], "little"))
            if right is None:
                break
            level.append(right)
        last = self._file.nbytes - len(node)
        while level:
            below = [self._base + address for parent in level for address in _children(parent)]
            below = [address for address in below if address not in self._nodes and 0 <= address <= last]
            below = list(dict.fromkeys(below))[:_NODES_AHEAD]
            level = self._spans(below, len(node))
            self._nodes.update(zip(below, level, strict=True))
        _forget_first(self._nodes, _NODES_KEPT)

    def _spans(self, starts: list[int], nbytes: int) -> list[bytes]:
        end = self._file.nbytes
        sizes = [min(nbytes, end - start) for start in starts]
        return [span.tobytes() for span in self._file.spans(starts, sizes)]


def _children(node: bytes) -> list[int]:
    """Return the addresses in an inner node of a chunk index (B-tree of version 1); none: it is no such node.

    Source: HDF5 File Format Specification 3.0, III.A.1. A header of 24 bytes is followed by room for 64 keys
    and children in turn, and one more key. How long a key is follows from the length of it all.
    """
    key, odd = divmod(len(node) - 24 - 64 * 8, 65)
    if node[:5] != b"TREE\x01" or odd or key < 16 or node[5] == 0:
        return []
    used = min(int.from_bytes(node[6:8], "little"), 64)
    addresses: list[int] = np.ndarray((used,), "<i8", node, 24 + key, (key + 8,)).tolist()
    return addresses


def _forget_first(kept: dict[int, bytes], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
