"""How much an archive may unpack to."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
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
    """What is left of the limits while one archive is unpacked.

    Args:
        limits: What it may unpack to.
        arrived: ``arrived(wanted)`` returns how many bytes of the archive are there. While that is fewer than
            ``wanted`` and more are to come, it waits.
        free_bytes: What the disk has room for.
    """

    def __init__(self, limits: Limits, arrived: Callable[[int], int], free_bytes: float = math.inf) -> None:
        self.limits = limits
        self._arrived = arrived
        self._free_bytes = free_bytes
        self._largest: float = _NEVER_A_BOMB  # grows with the archive
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
        self._weigh(self._content)
        if self._content > self._free_bytes:
            raise OSError(
                errno.ENOSPC,
                f"the archive unpacks to {self._content:,} bytes or more, and the disk has "
                f"{self._free_bytes:,} bytes left; make room, or write cache_dir=… to use another disk",
            )

    def decode(self, size: int) -> None:
        """Count ``size`` bytes that came out of a decompressor, headers and padding among them."""
        self._decoded += size
        self._weigh(self._decoded)

    def _weigh(self, size: int) -> None:
        """Refuse ``size`` bytes, if they are too many for what has come of the archive."""
        if size <= self._largest:
            return
        arrived = self._arrived(math.ceil(size / self.limits.ratio))
        self._largest = max(_NEVER_A_BOMB, self.limits.ratio * arrived)
        if size > self._largest:
            raise UnsafeArchiveError(
                f"unpacks to more than {self.limits.ratio:g} times its size of {arrived:,} bytes, as a "
                f"decompression bomb does; if that is right, pass limits=Limits(ratio=…)"
            )
