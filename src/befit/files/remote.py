"""Files behind everything else that fsspec speaks: S3, Google Storage, Azure, FTP, SFTP …"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from befit._internal.optional import require
from befit.errors import ArgumentError, DownloadError, MissingDependencyError
from befit.files.options import TransferOptions
from befit.files.origin import Body, DisagreementError, Version
from befit.files.retry import TransientError
from befit.files.url import shown

_PIECE = 1 << 22  # bytes of one request
_SAYS_NOTHING = {
    "name",
    "size",
    "type",
}  # of what a client tells of a file; all else changes with its content
_PERMANENT = (PermissionError, IsADirectoryError, TypeError, ValueError, NotImplementedError)


class RemoteOrigin:
    """See ``Origin``.

    Raises:
        ArgumentError: nobody knows the protocol, or its client does not take the options.
        MissingDependencyError: a package that the protocol needs is not installed.
    """

    def __init__(self, url: str, options: TransferOptions) -> None:
        scheme, _, rest = url.partition("://")
        self._shown = shown(url)
        if "::" in url or not rest:
            raise ArgumentError(
                f"origin {self._shown!r} is no URL that get_file reads: http, https, file, and what "
                "fsspec reads, such as s3://bucket/key"
            )
        fsspec = require("fsspec", extra="remote", purpose=f"reading {scheme} URLs")
        try:
            self._client, self._path = fsspec.core.url_to_fs(url, **options.storage_options)
        except ImportError as error:
            raise MissingDependencyError(f"reading {scheme} URLs: {error}", name=error.name) from error
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"origin {self._shown!r} has the scheme {scheme!r}, and fsspec cannot read it so: {error}"
            ) from error

    @contextmanager
    def open(self, start: int, end: int | None, known: Version | None) -> Iterator[Body]:
        """See ``Origin``."""
        version = self.version()
        if version.total is None:
            raise DownloadError(f"how long {self._shown} is nobody says, so it cannot be read")
        yield _RemoteBody(self, start, version)

    def close(self) -> None:
        """See ``Origin``."""

    def version(self) -> Version:
        """Ask what the file is now."""
        with self._explained():
            self._client.invalidate_cache()
            info = self._client.info(self._path)
        if info.get("type") == "directory":
            raise DownloadError(f"{self._shown} is a folder; write the URL of a file")
        told = sorted((key, str(value)) for key, value in info.items() if key not in _SAYS_NOTHING)
        mark = hashlib.sha256(repr(told).encode()).hexdigest() if told else None
        return Version(info.get("size"), mark, is_strong=mark is not None)

    def piece(self, start: int, end: int) -> bytes:
        """Ask for some bytes."""
        with self._explained():
            data: Any = self._client.cat_file(self._path, start=start, end=end)
        if len(data) != end - start:
            raise TransientError(f"{self._shown} gave {len(data)} bytes when asked for {end - start}")
        return bytes(data)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DownloadError(f"there is no such file: {self._shown}") from error
        except _PERMANENT as error:
            raise DownloadError(
                f"{self._shown} cannot be read ({type(error).__name__}: {error}); what its client "
                "needs, such as keys, is passed in storage_options={…}"
            ) from error
        except Exception as error:  # every client has failures of its own
            raise TransientError(f"{self._shown} cannot be read: {type(error).__name__}: {error}") from error


class _RemoteBody:
    """See ``Body``. Whether the file is the same still is asked after each piece, before that is used."""

    media_type = ""

    def __init__(self, origin: RemoteOrigin, start: int, version: Version) -> None:
        self._origin = origin
        self._position = start
        self._rest = memoryview(b"")
        self.start = start
        self.end: int | None = version.total
        self.version = version
        self.has_ranges = True

    def read(self, size: int) -> bytes:
        total = self.version.total or 0
        if not self._rest and self._position < total:
            stop = min(self._position + _PIECE, total)
            piece = self._origin.piece(self._position, stop)
            if self._origin.version() != self.version:
                raise DisagreementError("the file has changed")
            self._rest, self._position = memoryview(piece), stop
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def cancel(self) -> None:
        pass  # a piece ends by itself
