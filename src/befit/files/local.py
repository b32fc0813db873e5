"""Files of this machine, named by a file URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.request import url2pathname

from befit.errors import ArgumentError, DownloadError
from befit.files.origin import Body, DisagreementError, Version
from befit.files.url import split_url


class LocalOrigin:
    """See ``Origin``.

    Raises:
        ArgumentError: the URL names no path of this machine.
    """

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        if parts.netloc not in ("", "localhost"):
            raise ArgumentError(
                f"{url!r} names the machine {parts.netloc!r}; a file URL starts with file:///"
            )
        self._url = url
        self._path = parts.path

    @contextmanager
    def open(self, start: int, end: int | None, known: Version | None) -> Iterator[Body]:
        """See ``Origin``."""
        with self._opened() as file:
            file.seek(start)
            yield _LocalBody(file, start, _version(file))

    def close(self) -> None:
        """See ``Origin``."""

    def _opened(self) -> BinaryIO:
        path = self._path
        try:
            path = url2pathname(path)
            if "\0" in path:
                raise ArgumentError(f"{self._url!r} has a NUL in its path")
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise DownloadError(f"{path} is not a file (from {self._url})")
            return open(path, "rb", buffering=0)
        except DownloadError:
            raise
        except OSError as error:
            reason = error.strerror or error
            raise DownloadError(f"cannot read {path}: {reason} (from {self._url})") from error


def _version(file: BinaryIO) -> Version:
    found = os.fstat(file.fileno())
    return Version(found.st_size, f"{found.st_mtime_ns} {found.st_dev} {found.st_ino}", is_strong=True)


class _LocalBody:
    """See ``Body``."""

    has_ranges = True
    media_type = ""

    def __init__(self, file: BinaryIO, start: int, version: Version) -> None:
        self._file = file
        self.start = start
        self.end = version.total
        self.version = version

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if _version(self._file) != self.version:
            raise DisagreementError("the file has changed while it was read")
        return data

    def cancel(self) -> None:
        pass  # a disk answers
