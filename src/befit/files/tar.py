"""Members of a tar archive, in one pass from its start to the very end of its stream.

Only there a decompressor has compared its checksum, and only there it is known that nothing stands behind the
mark that ends the archive.
"""

from __future__ import annotations

from collections.abc import Iterator

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.limits import Budget
from befit.files.member import Member
from befit.files.names import Kind
from befit.files.reader import Reader
from befit.files.tar_fields import BLOCK
from befit.files.tar_header import Header, HeaderReader
from befit.files.tar_sparse import sparse_chunks

_FILES = frozenset((b"0", b"\0", b"7"))
_LARGEST_TIME = 1 << 63  # nanoseconds; what systems take
_KINDS: dict[bytes, Kind] = {b"5": "directory", b"2": "symlink", b"1": "hard link"}
_SPECIAL = {b"3": "a character device", b"4": "a block device", b"6": "a named pipe"}


def read_members(reader: Reader, budget: Budget) -> Iterator[Member]:
    """Yield the members of the uncompressed archive; see ``archive.read_members``."""
    headers = HeaderReader(reader)
    while (header := headers.next()) is not None:
        end = reader.position + header.size
        yield _member(header, reader, budget)
        reader.skip_to(end + -end % BLOCK)
    while rest := reader.take(1 << 16):
        if rest.strip(b"\0"):
            raise ArchiveError("there is data after the end of the tar archive")


def _member(header: Header, reader: Reader, budget: Budget) -> Member:
    name, link, kind, mode, size, mtime_ns, extents = header
    if kind in _FILES:
        if extents is None:
            budget.add(size)
            chunks = reader.chunks(size)
        else:
            budget.add(extents.size)
            chunks = sparse_chunks(reader, extents)
        time = mtime_ns if abs(mtime_ns) < _LARGEST_TIME else None
        return Member(name, "file", bool(mode & 0o100), "", chunks, time)
    known = _KINDS.get(kind)
    if known is None:
        what = _SPECIAL.get(kind, f"of the unknown type {kind!r}")
        raise UnsafeArchiveError(f"member {name!r} is {what}; only files, folders and links are extracted")
    return Member(name, known, target=link)
