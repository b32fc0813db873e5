"""Sparse files in tar archives: where their data lies between their zeros.

Source: "Storing Sparse Files" in the manual of GNU tar, which has written them in four ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.reader import Reader
from befit.files.tar_fields import BLOCK, damaged, decimal, number

_MOST = 1 << 18  # pieces of one file
_ZEROS = memoryview(bytes(1 << 18))


class Extents(NamedTuple):
    """The size of a sparse file, and offset and length of each piece of data in it."""

    size: int
    pieces: list[tuple[int, int]]


def sparse_chunks(reader: Reader, extents: Extents) -> Iterator[memoryview]:
    """Yield the content of a sparse file, its zeros filled in."""
    position = 0
    for offset, length in [*extents.pieces, (extents.size, 0)]:
        while position < offset:
            chunk = _ZEROS[: offset - position]
            position += len(chunk)
            yield chunk
        yield from reader.chunks(length)
        position += length


def extents_of_gnu(header: bytes, reader: Reader, stored: int) -> Extents:
    """Return what a header of type ``S`` and the blocks behind it say: the way of old GNU tar."""
    size = number(header[483:495])
    numbers = _numbers(header[386:482])
    more = header[482]
    while more:
        if len(numbers) > 2 * _MOST:
            raise UnsafeArchiveError(f"a sparse file in more than {_MOST:,} pieces")
        block = reader.exactly(BLOCK)
        numbers += _numbers(block[:504])
        more = block[504]
    return _checked(size, numbers, stored)


def extents_of_pax(records: Sequence[tuple[str, str]], reader: Reader, stored: int) -> tuple[int, Extents]:
    """Return how much of ``stored`` bytes is data, and what pax headers say: versions 0.0, 0.1 and 1.0."""
    pax = dict(records)
    version = pax.get("GNU.sparse.major"), pax.get("GNU.sparse.minor")
    if version == ("1", "0"):
        start = reader.position
        numbers = _read_map(reader)
        stored -= reader.position - start
        size = decimal(pax.get("GNU.sparse.realsize", ""))
    elif version == (None, None):
        size = decimal(pax.get("GNU.sparse.size", ""))
        if "GNU.sparse.map" in pax:
            text = pax["GNU.sparse.map"]
            numbers = [decimal(number) for number in text.split(",")] if text else []
        else:
            keys = ("GNU.sparse.offset", "GNU.sparse.numbytes")
            found = [(key, value) for key, value in records if key in keys]
            if any(key != keys[index % 2] for index, (key, _) in enumerate(found)):
                raise _damaged()
            numbers = [decimal(value) for _, value in found]
    else:
        raise ArchiveError(f"a sparse file of the unknown version {version}")
    return stored, _checked(size, numbers, stored)


def _read_map(reader: Reader) -> list[int]:
    """Read the map at the start of the data: decimal numbers, a line each, filled up to a whole block."""
    pending = b""
    lines: list[bytes] = []
    wanted = 1
    while len(lines) < wanted:
        block = reader.exactly(BLOCK)
        *complete, pending = (pending + block).split(b"\n")
        lines += complete
        if len(pending) > BLOCK:
            raise _damaged()
        if wanted == 1 and lines:
            count = decimal(lines[0].decode("latin-1"))
            if count > _MOST:
                raise UnsafeArchiveError(f"a sparse file in more than {_MOST:,} pieces")
            wanted = 1 + 2 * count
    return [decimal(line.decode("latin-1")) for line in lines[1:wanted]]


def _checked(size: int, numbers: list[int], stored: int) -> Extents:
    pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise _damaged()
        end = offset + length
    if end > size or len(numbers) % 2 or sum(numbers[1::2]) != stored:
        raise _damaged()
    return Extents(size, pieces)


def _numbers(table: bytes) -> list[int]:
    """Return the pairs of a table of numbers of 12 bytes, up to the first that is empty."""
    found = []
    for at in range(0, len(table), 24):
        if not table[at : at + 24].strip(b"\0 "):
            break
        found += [number(table[at : at + 12]), number(table[at + 12 : at + 24])]
    return found


def _damaged() -> ArchiveError:
    return damaged("the map of a sparse file that cannot be read")
