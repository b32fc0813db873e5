"""The headers of a tar archive: POSIX ustar and pax, those of GNU tar, and the old ones of Unix v7.

Where two readers could take a header for two things, it is refused: a folder or link with content, a file
whose name ends as that of a folder does, two extended headers of one kind before one member, two long names
that differ. A size that is given twice is as POSIX has it: that of the pax header counts.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.reader import Reader
from befit.files.tar_fields import BLOCK, damaged, decimal, number, octal, text
from befit.files.tar_sparse import Extents, extents_of_gnu, extents_of_pax

_ZEROS = bytes(BLOCK)
_LARGEST = 1 << 20  # bytes; a long name or an extended header that is larger is no accident
_FILES = frozenset((b"0", b"\0", b"7"))
_GNU_SPARSE = b"S"
_EXTENDED = {b"x": "pax", b"X": "pax", b"g": "global", b"L": "long name", b"K": "long link"}
# Mode, size and time in the digits that nearly all programs write; owner and group are not looked at.
_USUAL = re.compile(rb"([0-7]{6}[0-7 ])[ \0].{16}([0-7]{11})[ \0]([0-7]{11})[ \0]", re.DOTALL)
_TIME = re.compile(r"(-?)(\d{1,11})(?:\.(\d*))?", re.ASCII)


class Header(NamedTuple):
    """One member's headers, all taken together."""

    name: str
    link: str
    type: bytes
    mode: int
    size: int
    """Bytes that it holds in the archive."""

    mtime_ns: int
    extents: Extents | None = None
    """Where the data of a sparse file lies."""


class HeaderReader:
    """The headers of one archive, in turn; the data between them is for the caller to read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._shared: dict[str, str] = {}  # of pax headers that hold for all members behind them

    def next(self) -> Header | None:
        """Return the next member's headers; ``None`` at the mark that ends the archive."""
        block = self._reader.exactly(BLOCK)
        if block == _ZEROS:
            return None
        _verify(block)
        kind = block[156:157]
        if kind in _EXTENDED or kind == _GNU_SPARSE or self._shared:
            header = self._extended(block)
            return None if header is None else _unambiguous(header)
        return _unambiguous(_fields(block))

    def _extended(self, block: bytes) -> Header | None:
        """Return the headers of a member before which extended ones may stand, ``None`` at the end."""
        names: dict[str, str] = {}
        records: list[tuple[str, str]] = []
        seen: set[str] = set()
        while (kind := _EXTENDED.get(block[156:157])) is not None:
            data = self._small(number(block[124:136]))
            if kind == "global":
                self._shared.update(_shared_records(data))
            elif kind in seen:
                raise damaged("two extended headers of one kind in a row")
            elif kind == "pax":
                records = parse_pax(data)
            else:
                names[kind] = text(data)
            seen.add(kind)
            block = self._reader.exactly(BLOCK)
            if block == _ZEROS:
                if seen == {"global"}:
                    return None
                raise damaged("it ends behind an extended header")
            _verify(block)
        return self._combined(block, names, records)

    def _combined(self, block: bytes, names: dict[str, str], records: list[tuple[str, str]]) -> Header:
        name, link, kind, mode, size, mtime_ns, _ = _fields(block)
        pax = {**self._shared, **dict(records)}
        name = _the_one("long name", names, pax.get("path"), name)
        link = _the_one("long link", names, pax.get("linkpath"), link)
        if "size" in pax:
            size = decimal(pax["size"])
        if pax.get("mtime"):
            mtime_ns = _pax_time(pax["mtime"])
        header = Header(name, link, kind, mode, size, mtime_ns)
        is_pax_sparse = any(key.startswith("GNU.sparse.") for key in pax)
        if header.type == _GNU_SPARSE and not is_pax_sparse:
            return header._replace(type=b"0", extents=extents_of_gnu(block, self._reader, header.size))
        if not is_pax_sparse:
            return header
        if header.type not in _FILES:
            raise damaged("what has the map of a sparse file is none")
        size, extents = extents_of_pax(records, self._reader, header.size)
        return header._replace(name=pax.get("GNU.sparse.name", header.name), size=size, extents=extents)

    def _small(self, size: int) -> bytes:
        """Return the data of an extended header."""
        if not 0 <= size <= _LARGEST:
            raise UnsafeArchiveError(f"a header of {size:,} bytes")
        return self._reader.exactly(size + -size % BLOCK)[:size]


def _the_one(what: str, names: dict[str, str], of_pax: str | None, short: str) -> str:
    of_gnu = names.get(what)
    if of_gnu is None:
        return short if of_pax is None else of_pax
    if of_pax not in (None, of_gnu):
        raise damaged(f"two different {what}s of one member")
    return of_gnu


def is_header(block: bytes) -> bool:
    """Return whether ``block`` is the header of a tar member, or the empty block that ends an archive."""
    if len(block) < BLOCK:
        return False
    try:
        if block != _ZEROS:
            _verify(block)
    except ArchiveError:
        return False
    return True


def parse_pax(data: bytes) -> list[tuple[str, str]]:
    """Return the records of a pax header, each of which is ``length key=value`` and a newline."""
    records = []
    at = 0
    while at < len(data) and (data[at] or data[at:].strip(b"\0")):
        space = data.find(b" ", at, at + 9)
        length = data[at:space] if space > at else b""
        end = at + int(length) if length.isdigit() else at
        key, separator, value = data[space + 1 : end - 1].partition(b"=")
        if data[end - 1 : end] != b"\n" or end <= space + 2 or not separator or not key:
            raise damaged("a pax header that cannot be read")
        records.append((key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")))
        at = end
    return records


def _shared_records(data: bytes) -> list[tuple[str, str]]:
    records = parse_pax(data)
    for key, _ in records:
        if key in ("path", "linkpath", "size") or key.startswith("GNU.sparse."):
            raise damaged(f"one {key} for all members")
    return records


def _verify(block: bytes) -> None:
    """Compare the checksum of a header."""
    checksum = block[148:156]
    # It is the sum of all bytes, with spaces in place of its own eight.
    wanted = octal(checksum) - 8 * 32 + sum(checksum)
    # The low half of Adler-32 is that sum and one, modulo 65521, ten times as fast as sum() has it.
    if ((zlib.adler32(block) & 0xFFFF) - 1 - wanted) % 65521 == 0:
        return
    if sum(block) - 256 * sum(byte > 127 for byte in block) != wanted:  # old programs: of signed bytes
        raise damaged("what should be a header is none")


def _fields(block: bytes) -> Header:
    """Return what one block says."""
    name = text(block[:100])
    if block[345] and block[257:263] == b"ustar\0":
        name = f"{text(block[345:500])}/{name}"
    link = text(block[157:257]) if block[157] else ""
    usual = _USUAL.match(block, 100)
    if usual is None:
        mode, size, time = octal(block[100:108]), number(block[124:136]), number(block[136:148])
    else:
        mode, size, time = [int(digits, 8) for digits in usual.groups()]
    return Header(name, link, block[156:157], mode, size, time * 1_000_000_000)


def _unambiguous(header: Header) -> Header:
    if header.size < 0:
        raise ArchiveError(f"member {header.name!r} has a negative size")
    if header.type not in _FILES:
        if header.size and header.type in b"123456":
            raise UnsafeArchiveError(f"member {header.name!r} is no file and has content of its own")
    elif header.name.endswith("/"):
        if header.size or header.type != b"\0" or header.extents is not None:
            raise UnsafeArchiveError(f"member {header.name!r} is a file with the name of a folder")
        return header._replace(type=b"5")  # as Unix v7 wrote folders
    return header


def _pax_time(time: str) -> int:
    match = _TIME.fullmatch(time)
    if match is None:
        raise damaged(f"an extended header with the time {time[:40]!r}")
    sign, seconds, fraction = match.groups()
    found = int(seconds) * 1_000_000_000 + int((fraction or "")[:9].ljust(9, "0"))
    return -found if sign else found
