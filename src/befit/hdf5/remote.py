"""HDF5 files behind a URL: what such a file was when it was opened, and ranges of its bytes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from befit.errors import DatasetError
from befit.typing import Array

if TYPE_CHECKING:
    from befit.hdf5.fetching import Connection, Stamp

_GAP = 1 << 16  # bytes read for nothing rather than asked for apart; about what a request costs
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_url(path: str) -> bool:
    """Return whether ``path`` is read through fsspec; ``file://`` names a local file: see ``local_path``.

    >>> is_url("s3://bucket/data.h5"), is_url("file:///tmp/data.h5"), is_url("data.h5")
    (True, False, False)
    """
    return _SCHEME.match(path) is not None and not path.lower().startswith("file://")


def local_path(path: str) -> str:
    """Return ``path`` with a ``file://`` taken off.

    >>> local_path("file:///data/train%201.h5")
    '/data/train 1.h5'
    """
    from urllib.request import url2pathname  # 20 ms, and few paths are written so

    return url2pathname(urlsplit(path).path) if path.lower().startswith("file://") else path


class RemoteFile:
    """A remote file: what it was when it was opened, and its bytes. Pickled, it means the same version still.

    Over HTTP every answer is checked against the ETag or time of change of the first one, else against the
    size; with other protocols the file is looked at again after every batch of reads. A server that names
    neither can change a file in place unnoticed.

    Args:
        url: where it is.
        storage_options: what fsspec's client of the protocol takes, such as ``{"headers": …}`` for http.

    Raises:
        FileNotFoundError: there is no such file.
        ArgumentError: nobody knows the protocol, or its client does not take the options.
        MissingDependencyError: a package that the protocol needs is not installed.
        DatasetError: the file cannot be read, or not in parts.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        from befit.hdf5.fetching import Address  # asyncio: 30 ms, and most files are local

        self._address = Address(url, storage_options)
        self._connection: Connection | None = None
        self.stamp: Stamp = self._connected().stamp()

    @property
    def url(self) -> str:
        """Where it is, as it was given: with what may be secret in it."""
        return self._address.url

    @property
    def shown(self) -> str:
        """The URL without user, password and query."""
        return self._address.shown

    @property
    def nbytes(self) -> int:
        """Bytes of the file when it was opened."""
        return self.stamp[0]

    def spans(self, addresses: Sequence[int], sizes: Sequence[int]) -> list[Array]:
        """Return the bytes of each span, as read-only views of larger arrays.

        Raises:
            DatasetError: the file has changed, or its bytes do not come.
        """
        if len(addresses) == 0:
            return []
        buffer, at = self.load(np.asarray(addresses, np.int64), np.asarray(sizes, np.int64))
        buffer.flags.writeable = False
        return [buffer[start : start + size] for start, size in zip(at.tolist(), sizes, strict=True)]

    def load(self, starts: Array, sizes: Array | np.int64) -> tuple[Array, Array]:
        """Read spans, those near each other in one request; return the bytes, and where each span begins."""
        order = np.argsort(starts)
        first, last = starts[order], np.maximum.accumulate((starts + sizes)[order])
        if first[0] < 0 or last[-1] > self.nbytes:
            raise DatasetError(f"{self.shown} has {self.nbytes} bytes, and its tables point outside of them")
        opens = np.flatnonzero(np.concatenate(([True], first[1:] - last[:-1] > _GAP)))
        begins, ends = first[opens], last[np.append(opens[1:], len(first)) - 1]
        lengths = np.cumsum(ends - begins)
        buffer = np.empty(int(lengths[-1]), np.uint8)
        ranges = list(zip(begins.tolist(), ends.tolist(), strict=True))
        self._connected().read(ranges, buffer, self.stamp)
        region = np.searchsorted(begins, starts, side="right") - 1
        return buffer, starts - ends[region] + lengths[region]

    def open_for_h5py(self) -> io.RawIOBase:
        """Return the file as what ``h5py.File`` reads tables from; close it after the ``h5py.File``."""
        from befit.hdf5.remote_reader import RemoteReader

        return RemoteReader(self)

    def _connected(self) -> Connection:
        from befit.hdf5.fetching import Connection

        connection = self._connection
        if connection is None or connection.process != os.getpid():
            self._connection = connection = Connection(self._address)
        return connection

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemoteFile):
            return NotImplemented
        mine, theirs = self._address, other._address
        return (mine.url, mine.options, self.stamp) == (theirs.url, theirs.options, other.stamp)

    def __hash__(self) -> int:
        return hash((self.url, self.stamp))

    def __repr__(self) -> str:
        return f"RemoteFile({self.shown!r}, {self.nbytes} bytes)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}


class RemoteStorage:
    """Rows and chunks of a remote file, all requests at once; safe to be used by several threads."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file

    def rows(self, addresses: Array, nbytes: int) -> Array:
        """Return ``nbytes`` bytes from each address, as a new ``uint8`` array ``(len(addresses), nbytes)``.

        Raises:
            DatasetError: the file has changed, or its bytes do not come.
        """
        if nbytes == 0 or len(addresses) == 0:
            return np.empty((len(addresses), nbytes), np.uint8)
        buffer, at = self.file.load(np.asarray(addresses, np.int64), np.int64(nbytes))
        # Each place in the buffer as one item, so that NumPy copies whole rows.
        records = np.ndarray((len(buffer) - nbytes + 1,), np.dtype((np.void, nbytes)), buffer, strides=(1,))
        rows: Array = records[at].view(np.uint8).reshape(len(addresses), nbytes)
        return rows

    def spans(self, addresses: Sequence[int], sizes: Sequence[int]) -> Sequence[Array]:
        """Return the bytes of each span, as read-only views of larger arrays.

        Raises:
            DatasetError: the file has changed, or its bytes do not come.
        """
        return self.file.spans(addresses, sizes)
