"""URLs: taken apart with an error that says which, and shown without the password that they may carry."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from befit.errors import ArgumentError

_DEFAULT_PORTS = {"http": 80, "https": 443}


def split_url(url: str) -> SplitResult:
    """Return the parts of ``url``.

    Raises:
        ArgumentError: not a URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed only when asked for
    except ValueError as error:
        raise ArgumentError(f"{shown(url)!r} is not a URL: {error}") from error
    return parts


def without_credentials(parts: SplitResult) -> str:
    """Return the URL without user name, password and fragment.

    >>> without_credentials(split_url("https://me:secret@example.org/data#top"))
    'https://example.org/data'
    """
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def shown(url: str) -> str:
    """Return a URL for messages, without what may be secret in it.

    >>> shown("https://me:secret@example.org/data?X-Signature=f00d")
    'https://example.org/data?…'
    """
    start, _, query = url.partition("?")
    scheme, separator, rest = start.partition("://")
    host, slash, path = rest.partition("/")
    hidden = "?…" if query else ""
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('#')[0]}{hidden}"


def is_same_host(start: SplitResult, other: SplitResult) -> bool:
    """Return whether what may be sent to ``start`` may go to ``other``: the same server, or its https."""
    if start.hostname != other.hostname:
        return False
    ports = [parts.port or _DEFAULT_PORTS.get(parts.scheme) for parts in (start, other)]
    upgraded = (start.scheme, other.scheme) == ("http", "https") and ports == [80, 443]
    return upgraded or (start.scheme == other.scheme and ports[0] == ports[1])


def is_local(url: str) -> bool:
    """Return whether ``url`` names a file of this machine, for which nobody has to go online."""
    return split_url(url).scheme == "file"
