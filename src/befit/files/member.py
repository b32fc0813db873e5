"""What the readers of archive formats hand on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from befit.files.names import Kind


class ByteStream(Protocol):
    """Bytes, read once from start to end; ``read`` returns fewer than asked for only at the end."""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes."""

    def close(self) -> None:
        """Free what the stream holds, not the file below it."""


@dataclass(frozen=True)
class Member:
    """One member as the archive describes it, nothing of it checked yet."""

    name: str
    kind: Kind
    executable: bool = False
    target: str = ""
    """What a link points to."""

    chunks: Iterable[bytes] = ()
    """The content of a file; to be read before the next member is asked for."""
