"""How much an archive may unpack to."""

from __future__ import annotations

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

    members: int = 5_000_000
    """The number of files, folders and links."""

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

    def __init__(self, limits: Limits, archive_bytes: int) -> None:
        self.limits = limits
        self._archive_bytes = archive_bytes
        self._bytes = 0
        self._members = 0

    def count_member(self) -> None:
        """Count one more member."""
        self._members += 1
        if self._members > self.limits.members:
            raise UnsafeArchiveError(
                f"more than {self.limits.members:,} members; if that is right, pass limits=Limits(members=…)"
            )

    def expect(self, size: int) -> None:
        """Refuse ``size`` more bytes that would go beyond a limit, before any is read."""
        total = self._bytes + size
        if total > self.limits.total_bytes:
            raise UnsafeArchiveError(
                f"unpacks to more than {self.limits.total_bytes:,} bytes; if that is right, "
                f"pass limits=Limits(total_bytes=…)"
            )
        if total > _NEVER_A_BOMB and total > self.limits.ratio * self._archive_bytes:
            raise UnsafeArchiveError(
                f"unpacks to more than {self.limits.ratio:g} times its size of {self._archive_bytes:,} "
                f"bytes, as a decompression bomb does; if that is right, pass limits=Limits(ratio=…)"
            )

    def spend(self, size: int) -> None:
        """Count ``size`` bytes as unpacked."""
        self.expect(size)
        self._bytes += size
