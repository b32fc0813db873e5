"""The fields of tar headers: numbers and text."""

from __future__ import annotations

from befit.errors import ArchiveError

BLOCK = 512  # bytes, of which everything in a tar archive is a multiple


def text(field: bytes) -> str:
    """Return what stands before the first NUL; bytes that are no UTF-8 survive as surrogates."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def octal(field: bytes) -> int:
    """Return an octal number, zero where the field is empty."""
    digits = field.rstrip(b"\0 ")
    if not digits.isdigit():
        digits = field.partition(b"\0")[0].strip(b" ") or b"0"
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:  # of the digits 8 and 9
        pass
    raise damaged(f"a header with the number {digits!r}")


def number(field: bytes) -> int:
    """Return an octal number, or one in base 256 as GNU tar writes those that are too large or negative."""
    first = field[0]
    if first < 0x80:
        return octal(field)
    if first == 0x80:
        return int.from_bytes(field[1:], "big")
    if first == 0xFF:
        return int.from_bytes(field, "big", signed=True)
    raise damaged(f"a header with the number {field!r}")


def decimal(digits: str) -> int:
    """Return a number of a pax header."""
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise damaged(f"an extended header with the number {digits[:40]!r}")
    return int(digits)


def damaged(how: str) -> ArchiveError:
    """Return the error for headers that no program writes."""
    return ArchiveError(f"a damaged tar archive: {how}")
