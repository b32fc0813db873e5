"""URLs: taken apart with an error that says which, and shown without the password that they may carry."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from befit.errors import ArgumentError


def split_url(url: str) -> SplitResult:
    """Return the parts of ``url``.

    Raises:
        ArgumentError: not a URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed only when asked for
    except ValueError as error:
        raise ArgumentError(f"{url!r} is not a URL: {error}") from error
    return parts


def without_credentials(parts: SplitResult) -> str:
    """Return the URL without user name, password and fragment.

    >>> without_credentials(split_url("https://me:secret@example.org/data#top"))
    'https://example.org/data'
    """
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def is_local(url: str) -> bool:
    """Return whether ``url`` names a file of this machine, for which nobody has to go online."""
    return split_url(url).scheme == "file"
