"""Members of a zip archive, in the order of their data."""

from __future__ import annotations

import lzma
import stat
import struct
import time
import zlib
from collections.abc import Iterator

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.decompress import LZMA_MEMORY, Codec, bzip2_codec, deflate_codec
from befit.files.limits import Budget
from befit.files.member import Chunk, Member
from befit.files.reader import SeekingReader
from befit.files.zip_directory import UTF8, ZIP64, Entry, parse_extra, read_directory, wide_numbers

_CHUNK = 1 << 16
_LONGEST_LINK = 4096  # bytes
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC = b"PK\x03\x04"
_DESCRIPTOR_MAGIC = b"PK\x07\x08"
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW = 0x8  # the header before the data has none: they stand behind it
_END_IS_MARKED = 0x2  # in LZMA data
_LZMA_START = 9  # bytes before LZMA data: version, length of the settings, settings
_LONGEST_DESCRIPTOR = 24
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14


def read_members(reader: SeekingReader, budget: Budget) -> Iterator[Member]:
    """Yield the members of the archive; see ``archive.read_members``."""
    entries, end = read_directory(reader, budget)
    entries.sort(key=lambda entry: entry.offset)
    _check_layout(entries, end)
    budget.add(sum(entry.size for entry in entries))
    deflate = deflate_codec(raw=True)
    for entry in entries:
        yield _member(entry, reader, deflate)


def _check_layout(entries: list[Entry], end: int) -> None:
    """Refuse members that share bytes: with 64 that overlap, one megabyte unpacks to 64 times its content."""
    for entry in reversed(entries):
        if entry.offset + _LOCAL.size + len(entry.raw_name) + entry.compressed > end:
            raise UnsafeArchiveError(f"member {entry.name!r} overlaps another one")
        end = entry.offset


def _member(entry: Entry, reader: SeekingReader, deflate: Codec) -> Member:
    name = entry.name
    if entry.flags & _ENCRYPTED:
        raise ArchiveError(f"member {name!r} is encrypted; get_file has no password to open it")
    if entry.method not in (_STORED, _DEFLATED, _BZIP2, _LZMA):
        # An archive means the same on every version of Python, so not what only 3.14 reads.
        raise ArchiveError(
            f"member {name!r} is compressed in a way that befit does not read: method {entry.method}"
        )
    kind = stat.S_IFMT(entry.mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        if entry.size:
            raise UnsafeArchiveError(f"member {name!r} is a folder with content of its own")
        _go_to_data(entry, reader)
        return Member(name, "directory")
    if kind == stat.S_IFLNK:
        if entry.size > _LONGEST_LINK:
            raise UnsafeArchiveError(f"member {name!r} is a symlink of {entry.size:,} bytes")
        target = b"".join(_content(entry, reader, deflate)).decode("utf-8", errors="surrogateescape")
        return Member(name, "symlink", target=target)
    if kind not in (0, stat.S_IFREG):
        raise UnsafeArchiveError(
            f"member {name!r} is a special file; only files, folders and links are extracted"
        )
    chunks = _content(entry, reader, deflate)
    return Member(name, "file", bool(entry.mode & 0o100), "", chunks, _mtime_ns(entry))


def _content(entry: Entry, reader: SeekingReader, deflate: Codec) -> Iterator[Chunk]:
    """Yield the content of a member, all of it verified when the last piece has been asked for."""
    has_descriptor = _go_to_data(entry, reader)
    stored = entry.method == _STORED
    size = crc = 0
    for chunk in reader.chunks(entry.compressed) if stored else _decoded(entry, reader, deflate):
        size += len(chunk)
        if size > entry.size:
            break
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if size != entry.size:
        raise ArchiveError(f"member {entry.name!r} does not have the {entry.size:,} bytes that are listed")
    if crc != entry.crc:
        raise ArchiveError(f"member {entry.name!r} is damaged: its checksum is wrong")
    if has_descriptor:
        _check_descriptor(entry, reader)


def _go_to_data(entry: Entry, reader: SeekingReader) -> bool:
    """Read the header before the data, compare it, and return whether its sizes stand behind the data."""
    reader.seek(entry.offset)
    header = _LOCAL.unpack(reader.exactly(_LOCAL.size))
    magic, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = header
    name = reader.exactly(name_length)
    extra = parse_extra(reader.exactly(extra_length)) if extra_length else {}
    if magic != _LOCAL_MAGIC:
        raise ArchiveError(f"member {entry.name!r} is damaged: there is no header before its data")
    size, compressed = wide_numbers(extra.get(ZIP64, b""), size, compressed)
    # Of the flags, those count that change what a member is. The program zip, for one, writes others that
    # differ.
    meaning = _ENCRYPTED if name.isascii() else _ENCRYPTED | UTF8
    sizes_follow = bool(flags & _SIZES_FOLLOW)
    if sizes_follow:  # then some or all of them are zero here
        crc, compressed, size = crc or entry.crc, compressed or entry.compressed, size or entry.size
    found = (name, flags & meaning, method, crc, compressed, size)
    if found != (
        entry.raw_name,
        entry.flags & meaning,
        entry.method,
        entry.crc,
        entry.compressed,
        entry.size,
    ):
        raise ArchiveError(
            f"member {entry.name!r} is damaged: the header before its data contradicts the table of members"
        )
    return sizes_follow


def _decoded(entry: Entry, reader: SeekingReader, deflate: Codec) -> Iterator[bytes]:
    """Yield what compressed data says, in pieces."""
    what = f"member {entry.name!r}"
    codec, start, packed = deflate, b"", entry.compressed
    if entry.method == _BZIP2:
        codec = bzip2_codec()
    elif entry.method == _LZMA:
        codec = Codec(
            lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY), (lzma.LZMAError,)
        )
        start, packed = _lzma_start(entry, reader), packed - _LZMA_START
    decoder = codec.new()
    codec.feed(decoder, start, 0, what)
    for data in reader.chunks(packed):
        if decoder.eof:
            raise ArchiveError(f"{what} is damaged: there is more behind the end of its data")
        more: Chunk = data
        while True:
            piece = codec.feed(decoder, more, _CHUNK, what)
            more = b""
            if piece:
                yield piece
            if decoder.eof or (decoder.needs_input and len(piece) < _CHUNK):
                break
    if not decoder.eof or decoder.unused_data:
        raise ArchiveError(f"{what} is damaged: its data does not end where it should")


def _lzma_start(entry: Entry, reader: SeekingReader) -> bytes:
    """Read what zip has before LZMA data and return what a file of that format has: settings and size."""
    start = reader.exactly(_LZMA_START)
    length, settings = int.from_bytes(start[2:4], "little"), start[4:]
    if length != len(settings) or entry.compressed < _LZMA_START:
        raise ArchiveError(f"member {entry.name!r} is damaged: its data has no LZMA header")
    size = -1 if entry.flags & _END_IS_MARKED else entry.size
    return settings + size.to_bytes(8, "little", signed=True)


def _check_descriptor(entry: Entry, reader: SeekingReader) -> None:
    """Compare what stands behind data whose header had no sizes; the mark before it may be left out."""
    numbers = (entry.crc, entry.compressed, entry.size)
    forms = ["<L2Q", "<3L"] if max(numbers) < 1 << 32 else ["<L2Q"]
    found = reader.take(_LONGEST_DESCRIPTOR).removeprefix(_DESCRIPTOR_MAGIC)
    if not found.startswith(tuple(struct.pack(form, *numbers) for form in forms)):
        raise ArchiveError(
            f"member {entry.name!r} is damaged: what stands behind its data contradicts the table of members"
        )


def _mtime_ns(entry: Entry) -> int | None:
    """Return when a member was last changed; without a time zone it is taken for that of this machine."""
    if entry.unix_time is not None:
        return entry.unix_time * 1_000_000_000
    dos = entry.dos_time
    date = (dos >> 25) + 1980, dos >> 21 & 15, dos >> 16 & 31
    hour = dos >> 11 & 31, dos >> 5 & 63, (dos & 31) * 2
    try:
        return int(time.mktime((*date, *hour, 0, 0, -1))) * 1_000_000_000
    except (OverflowError, ValueError):
        return None
