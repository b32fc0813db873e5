"""Where bytes come from: what an origin must offer, and what it says of its file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from befit.errors import ArgumentError
from befit.files.options import TransferOptions
from befit.files.url import split_url


class DisagreementError(Exception):
    """An answer that does not fit the bytes that are there already."""


class NoRangesError(DisagreementError):
    """Only the whole file can be had."""


@dataclass(frozen=True)
class Version:
    """What an origin says of its file, by which two states of it are told apart."""

    total: int | None = None
    """Bytes of the whole file."""

    validator: str | None = None
    """An entity tag or a time of change, as the origin writes it."""

    is_strong: bool = False
    """Whether two files with this validator are the same byte for byte."""

    def agrees(self, other: Version, *, verified: bool) -> bool:
        """Return whether bytes of both may go into one file.

        Without a digest that is verified in the end, only a strong validator can tell.
        """
        if self.total is None or self.total != other.total:
            return False
        if verified:
            return self.validator is None or other.validator is None or self.validator == other.validator
        return self.is_strong and other.is_strong and self.validator == other.validator


class Body(Protocol):
    """An answer: bytes from ``start`` on."""

    start: int
    end: int | None
    """Where its bytes end, if that is known."""

    version: Version

    has_ranges: bool
    """Whether the origin may be asked for parts."""

    media_type: str
    """What the origin calls its content, such as ``text/html``; empty if it does not say."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``, as soon as there are any; none at the end.

        Raises:
            TransientError: the answer broke off.
        """

    def cancel(self) -> None:
        """Make a ``read`` that waits in another thread end with an error."""


class Origin(Protocol):
    """A file that may be far away; several threads may open it at once."""

    def open(self, start: int, end: int | None, known: Version | None) -> AbstractContextManager[Body]:
        """Ask for the bytes from ``start`` to before ``end`` (``None``: all that follow).

        Args:
            start: The first byte.
            end: The byte after the last one.
            known: The version that the answer has to be of; ``None`` only if ``start`` is 0.

        Raises:
            TransientError: a failure that may pass.
            DisagreementError: only the whole file can be had, or other bytes than these came.
            DownloadError: a failure that stays.
        """

    def close(self) -> None:
        """Give back what is held between two answers."""


def open_origin(url: str, options: TransferOptions) -> Origin:
    """Return the origin that ``url`` names; asks nobody yet.

    Raises:
        ArgumentError: not a URL, or one of a kind that nobody here reads.
        MissingDependencyError: a package that this kind of URL needs is not installed.
    """
    scheme = split_url(url).scheme
    if scheme in ("http", "https"):
        from befit.files.http import HttpOrigin  # urllib3 takes 70 ms, and a cached file does not need it

        return HttpOrigin(url, options)
    if scheme == "file":
        from befit.files.local import LocalOrigin

        return LocalOrigin(url)
    if len(scheme) <= 1:  # "C:\data" has the scheme "c"
        raise ArgumentError(f"origin {url!r} is not a URL; for a file on this machine write Path(…).as_uri()")
    from befit.files.remote import RemoteOrigin

    return RemoteOrigin(url, options)
