"""How much an archive may unpack to."""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass

from befit.errors import ArgumentError, UnsafeArchiveError

_NEVER_A_BOMB = 64 << 20  # bytes; below this, no ratio is dangerous


@dataclass(frozen=True)
class Limits:
    """What ``get_file`` lets an archive unpack to; beyond it, ``UnsafeArchiveError``.

    >>> Limits(ratio=1000).ratio
    1000
    """

    total_bytes: int = 1 << 40
    """All members together, in bytes (1 TiB)."""

    members: int = 2_000_000
    """The number of files, folders and links. Each takes about half a kilobyte of memory."""

    ratio: float = 250
    """Unpacked bytes per byte of the archive; counts from 64 MiB on."""

    path_bytes: int = 1024
    """The length of a member's path in UTF-8."""

    depth: int = 64
    """The number of folders that a member may lie in."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ArgumentError(f"Limits({name}={value!r}): a limit is a number above zero")


class Budget:
    """What is left of the limits while one archive is unpacked."""

    def __init__(self, limits: Limits, archive_bytes: int, free_bytes: float = math.inf) -> None:
        self.limits = limits
        self._archive_bytes = archive_bytes
        self._free_bytes = free_bytes  # on the disk
        self._largest = max(_NEVER_A_BOMB, limits.ratio * archive_bytes)
        self._content = 0
        self._decoded = 0

    def count(self, members: int) -> None:
        """Refuse so many ``members``, if they are too many."""
        if members > self.limits.members:
            raise UnsafeArchiveError(
                f"more than {self.limits.members:,} members; if that is right, pass limits=Limits(members=…)"
            )

    def add(self, size: int) -> None:
        """Count ``size`` bytes of content that are to be written; refuse them before any is.

        Raises:
            UnsafeArchiveError: they are more than a limit allows.
            OSError: the disk has no room for them.
        """
        self._content += size
        if self._content > self.limits.total_bytes:
            raise UnsafeArchiveError(
                f"unpacks to more than {self.limits.total_bytes:,} bytes; if that is right, "
                f"pass limits=Limits(total_bytes=…)"
            )
        if self._content > self._largest:
            self._refuse_bomb()
        if self._content > self._free_bytes:
            raise OSError(
                errno.ENOSPC,
                f"the archive unpacks to {self._content:,} bytes or more, and the disk has "
                f"{self._free_bytes:,} bytes left; make room, or write cache_dir=… to use another disk",
            )

    def decode(self, size: int) -> None:
        """Count ``size`` bytes that came out of a decompressor, headers and padding among them."""
        self._decoded += size
        if self._decoded > self._largest:
            self._refuse_bomb()

    def _refuse_bomb(self) -> None:
        raise UnsafeArchiveError(
            f"unpacks to more than {self.limits.ratio:g} times its size of {self._archive_bytes:,} "
            f"bytes, as a decompression bomb does; if that is right, pass limits=Limits(ratio=…)"
        )
