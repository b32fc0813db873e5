"""The directory at the end of a zip archive.

Readers of zip archives differ in what they make of contradictions, and attackers use that. Here everything
that is written twice must be the same twice: the two forms of the end record, the number of members and their
table, and each member's entry and the header before its data.

Source: PKWARE, APPNOTE.TXT, 4.3.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import NamedTuple

from befit.errors import ArchiveError
from befit.files.limits import Budget
from befit.files.reader import SeekingReader

_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_LONGEST_COMMENT = 0xFFFF
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MAGIC = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC = b"PK\x06\x06"
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_ENTRY_MAGIC = b"PK\x01\x02"

UTF8 = 0x800
_UNIX = (3, 19)  # and macOS
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # the number stands in the zip64 form
ZIP64 = 0x0001  # an extra field
_UNICODE_PATH, _TIMESTAMP = 0x7075, 0x5455


class Entry(NamedTuple):
    """One member as the directory lists it."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    """Where its header lies in the file."""

    mode: int
    dos_time: int
    """Date and time as DOS has them, in the zone of who packed the archive."""

    unix_time: int | None
    """Seconds since 1970, where they are given."""


class _Table(NamedTuple):
    start: int
    size: int
    members: int
    shift: int
    """How much all places lie behind where they are said to be: the length of what stands in front."""


def has_directory(reader: SeekingReader) -> bool:
    """Return whether a zip archive ends where the file ends."""
    return bool(_ends(reader)[1])


def read_directory(reader: SeekingReader, budget: Budget) -> tuple[list[Entry], int]:
    """Return the members and where their table begins.

    Raises:
        ArchiveError: there is no directory, or it contradicts itself.
        UnsafeArchiveError: it lists more members than the limits allow.
    """
    table = _find_table(reader)
    budget.count(table.members)
    reader.seek(table.start)
    entries = [_read_entry(reader, table.shift) for _ in range(table.members)]
    if reader.position != table.start + table.size:
        raise ArchiveError(
            f"the zip archive is damaged: its table does not end after {table.members:,} members"
        )
    return entries, table.start


def parse_extra(extra: bytes) -> dict[int, bytes]:
    """Return the extra fields of a member, by their numbers; the first one counts.

    Padding behind the last one, as programs for Android write it, is left out.
    """
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        number, size = struct.unpack_from("<2H", extra, at)
        at += 4 + size
        if at > len(extra):
            break
        fields.setdefault(number, extra[at - size : at])
    return fields


def wide_numbers(field: bytes, *numbers: int) -> list[int]:
    """Replace those ``numbers`` that are full by those of a zip64 field, in turn.

    Raises:
        ArchiveError: the field has too few.
    """
    found = []
    at = 0
    for number in numbers:
        if number == _FULL32:
            number = int.from_bytes(field[at : at + 8], "little")
            at += 8
            if at > len(field):
                raise ArchiveError("the zip archive is damaged: a zip64 field is too short")
        found.append(number)
    return found


def _ends(reader: SeekingReader) -> tuple[bytes, list[int]]:
    """Return the last bytes of the file, and where in them an end record lies that ends with the file."""
    size = reader.end()
    start = max(0, size - _END.size - _LONGEST_COMMENT)
    reader.seek(start)
    tail = reader.exactly(size - start)
    found = []
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        if at + _END.size <= len(tail):
            end = at + _END.size + _END.unpack_from(tail, at)[-1]
            if end <= len(tail) and not tail[end:].strip(b"\0"):
                found.append(at)
        at = tail.rfind(_END_MAGIC, 0, at)
    return tail, found


def _find_table(reader: SeekingReader) -> _Table:
    tail, found = _ends(reader)
    if not found:
        raise ArchiveError("the zip archive was cut short, or there is data after its end: no end record")
    if len(found) > 1:
        raise ArchiveError("the zip archive is damaged: it has more than one end record")
    end = reader.position - len(tail) + found[0]
    fields = _END.unpack_from(tail, found[0])
    _, disk, first_disk, here, count, size, offset, _ = fields
    wide = _find_wide(reader, end)
    if wide is not None:
        wide_end, values = wide
        if any(
            narrow not in (full, value)
            for narrow, value, full in zip(
                (disk, first_disk, here, count, size, offset),
                values,
                (_FULL16,) * 4 + (_FULL32,) * 2,
                strict=True,
            )
        ):
            raise ArchiveError("the zip archive is damaged: its two end records contradict each other")
        end = wide_end
        disk, first_disk, here, count, size, offset = values
    if (disk, first_disk) != (0, 0) or here != count:
        raise ArchiveError("one part of a split zip archive; join its parts first, with: zip -s 0")
    start = end - size
    if start < offset or count * _ENTRY.size > size:
        raise ArchiveError("the zip archive is damaged: its end record leads to no table of members")
    return _Table(start, size, count, start - offset)


def _find_wide(reader: SeekingReader, end: int) -> tuple[int, tuple[int, ...]] | None:
    """Return the place and the numbers of the zip64 end record, where there is one."""
    place = end - _LOCATOR.size
    if place < 0:
        return None
    reader.seek(place)
    magic, _, offset, _ = _LOCATOR.unpack(reader.exactly(_LOCATOR.size))
    if magic != _LOCATOR_MAGIC:
        return None
    # Where something stands in front of the archive, the record lies behind where the locator says.
    for at in dict.fromkeys((offset, place - _END64.size)):
        if not 0 <= at <= place - _END64.size:
            continue
        reader.seek(at)
        magic, size, _, _, disk, first_disk, here, count, table_size, table_offset = _END64.unpack(
            reader.exactly(_END64.size)
        )
        if magic == _END64_MAGIC and at + 12 + size == place:
            if offset != table_offset + table_size:
                break
            return at, (disk, first_disk, here, count, table_size, table_offset)
    raise ArchiveError("the zip archive is damaged: its zip64 end record is not where it should be")


def _read_entry(reader: SeekingReader, shift: int) -> Entry:
    fixed = reader.exactly(_ENTRY.size)
    if not fixed.startswith(_ENTRY_MAGIC):
        raise ArchiveError("the zip archive is damaged: its table lists fewer members than it should")
    # fmt: off
    (_, _, system, _, _, flags, method, time, date, crc, compressed, size, name_length, extra_length,
     comment_length, disk, _, attributes, offset) = _ENTRY.unpack(fixed)
    # fmt: on
    raw_name = reader.exactly(name_length)
    extra = parse_extra(reader.exactly(extra_length)) if extra_length else {}
    reader.exactly(comment_length)
    size, compressed, offset = wide_numbers(extra.get(ZIP64, b""), size, compressed, offset)
    if disk not in (0, _FULL16):
        raise ArchiveError("one part of a split zip archive; join its parts first, with: zip -s 0")
    stamp = extra.get(_TIMESTAMP, b"\0")
    return Entry(
        raw_name,
        _decoded_name(raw_name, flags, system, extra.get(_UNICODE_PATH, b"")),
        flags,
        method,
        crc,
        compressed,
        size,
        offset + shift,
        attributes >> 16,
        date << 16 | time,
        struct.unpack_from("<l", stamp, 1)[0] if stamp[:1] and stamp[0] & 1 and len(stamp) >= 5 else None,
    )


def _decoded_name(raw: bytes, flags: int, system: int, unicode_path: bytes) -> str:
    """Return a name: marked as UTF-8, or in a field for it, or as the system that packed it writes names."""
    try:
        if flags & UTF8:
            return raw.decode("utf-8")
        if unicode_path[:1] == b"\x01" and unicode_path[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            return unicode_path[5:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"member {raw!r} has a name that is not in UTF-8, as its entry says") from error
    if system in _UNIX:  # where the program zip leaves the mark out; unzip and libarchive read it so too
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode("utf-8")
    return raw.decode("cp437")
