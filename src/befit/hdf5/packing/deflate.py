"""Chunks compressed with deflate in several threads; HDF5 itself would do it in one."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from befit.hdf5.pools import default_threads
from befit.typing import Array


class Deflater:
    """Makes of rows what HDF5 stores for their chunks."""

    def __init__(self, stack: ExitStack) -> None:
        self._threads = ThreadPoolExecutor(default_threads(), thread_name_prefix="befit-deflate")
        stack.callback(self._threads.shutdown, cancel_futures=True)

    def chunks(self, block: Array, chunk_rows: int, *, level: int, shuffle: bool) -> list[bytes]:
        """Return the chunks of a block that begins with one; the last one is filled up with zeros."""

        def compressed(start: int) -> bytes:
            chunk = np.ascontiguousarray(block[start : start + chunk_rows])
            data = chunk.tobytes() + bytes((chunk_rows - len(chunk)) * (chunk.nbytes // len(chunk)))
            if shuffle:
                data = np.frombuffer(data, np.uint8).reshape(-1, chunk.itemsize).T.tobytes()
            return zlib.compress(data, level)

        return list(self._threads.map(compressed, range(0, len(block), chunk_rows)))
