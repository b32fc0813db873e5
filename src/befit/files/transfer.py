"""Bytes from an origin into a part file: whole, counted and hashed, or an error."""

from __future__ import annotations

import logging
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.request import url2pathname

from befit._internal.progress import Progress
from befit.errors import ArgumentError, DownloadError
from befit.files.digest import Hasher
from befit.files.retry import Backoff, TransientError
from befit.files.url import split_url

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_HEADER_NAME = re.compile(r"[!-9;-~]+")  # printable, no space, no colon
_HEADER_VALUE = re.compile(r"[\t -~]*")


@dataclass(frozen=True)
class Body:
    """What an origin sends."""

    chunks: Iterator[bytes]
    length: int | None
    """Bytes of the file, where known."""


@dataclass(frozen=True)
class TransferOptions:
    """How to reach an origin. Timeouts are in seconds."""

    headers: Mapping[str, str]
    connect_timeout: float
    read_timeout: float
    retries: int
    progress: bool | None

    @classmethod
    def checked(
        cls,
        headers: Mapping[str, str] | None,
        timeout: float | tuple[float, float],
        retries: int,
        progress: bool | None,
    ) -> TransferOptions:
        """Return the options, or say which cannot work."""
        pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        if len(pair) != 2 or not all(
            isinstance(seconds, int | float) and 0 < seconds < math.inf for seconds in pair
        ):
            raise ArgumentError(
                f"timeout is {timeout!r}; write seconds above zero, or (seconds to connect, seconds "
                "between bytes)"
            )
        if not isinstance(retries, int) or retries < 0:
            raise ArgumentError(f"retries is {retries!r}; write a whole number from 0 on")
        headers = dict(headers or {})
        for name, value in headers.items():
            if not (
                isinstance(name, str)
                and isinstance(value, str)
                and _HEADER_NAME.fullmatch(name)
                and _HEADER_VALUE.fullmatch(value)
            ):
                raise ArgumentError(f"header {name!r} must be printable ASCII text, and its name one word")
        return cls(headers, *pair, retries, progress)


def transfer(
    origin: str, path: Path, algorithms: set[str], options: TransferOptions, *, description: str
) -> Hasher:
    """Write what ``origin`` sends to ``path`` and return its digests.

    Raises:
        ArgumentError: ``origin`` is not an http, https or file URL.
        DownloadError: the origin refused, or every attempt failed.
    """
    backoff = Backoff(options.retries)
    with path.open("r+b") as file:
        for attempt in range(options.retries + 1):
            try:
                return _attempt(origin, file, algorithms, options, description)
            except TransientError as error:
                if attempt == options.retries:
                    tried = "once" if attempt == 0 else f"{attempt + 1} times"
                    raise DownloadError(f"{error} (tried {tried}; retries={options.retries})") from error
                logger.info("%s; attempt %d of %d follows", error, attempt + 2, options.retries + 1)
                backoff.wait(attempt, error.wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _attempt(
    origin: str, file: BinaryIO, algorithms: set[str], options: TransferOptions, description: str
) -> Hasher:
    file.seek(0)
    file.truncate()
    hasher = Hasher(algorithms)
    with (
        _open(origin, options) as body,
        Progress(body.length, description=description, enabled=options.progress) as progress,
    ):
        for chunk in body.chunks:
            file.write(chunk)
            hasher.update(chunk)
            progress.advance(len(chunk))
    file.flush()
    return hasher


def _open(origin: str, options: TransferOptions) -> AbstractContextManager[Body]:
    scheme = split_url(origin).scheme
    if scheme in ("http", "https"):
        from befit.files.http import open_http  # urllib3 takes 70 ms, and a cached file does not need it

        return open_http(origin, options)
    if scheme == "file":
        return _open_file(origin)
    if len(scheme) <= 1:  # "C:\data" has the scheme "c"
        raise ArgumentError(
            f"origin {origin!r} is not a URL; for a file on this machine write Path(…).as_uri()"
        )
    raise ArgumentError(
        f"origin {origin!r} has the scheme {scheme!r}; get_file reads http, https and file URLs"
    )


@contextmanager
def _open_file(origin: str) -> Iterator[Body]:
    parts = split_url(origin)
    if parts.netloc not in ("", "localhost"):
        raise ArgumentError(f"{origin!r} names the machine {parts.netloc!r}; a file URL starts with file:///")
    path = parts.path
    try:
        path = url2pathname(path)
        if "\0" in path:
            raise ArgumentError(f"{origin!r} has a NUL in its path")
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise DownloadError(f"{path} is not a file (from {origin})")
        source = open(path, "rb")  # noqa: SIM115 (closed below)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"cannot read {path}: {error.strerror or error} (from {origin})") from error
    with source:
        yield Body(iter(lambda: source.read(_CHUNK), b""), found.st_size)
