"""Numbers of bytes, as people write them."""

from __future__ import annotations


def in_bytes(count: float) -> str:
    """Return a number of bytes with the unit that suits it.

    >>> in_bytes(300), in_bytes(3 << 20)
    ('300 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
