"""What the readers of archive formats hand on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeAlias

from befit.files.names import Kind

Chunk: TypeAlias = bytes | memoryview


class ByteStream(Protocol):
    """Bytes, read once from start to end."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes, at most ``size``; none only at the end."""


class Member(NamedTuple):
    """One member as the archive describes it, nothing of it checked yet."""

    name: str
    kind: Kind
    executable: bool = False
    target: str = ""
    """What a link points to."""

    chunks: Iterable[Chunk] = ()
    """The content of a file; to be read before the next member is asked for."""

    mtime_ns: int | None = None
    """When the file was last changed, in nanoseconds since 1970; ``None``: not known."""
