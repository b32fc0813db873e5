"""Members of a tar archive.

``tarfile`` reads the headers. Around it stand the checks that it leaves out: every byte is counted, the
stream only goes forward, a damaged header is an error instead of an early end, and the rest of the stream
is read to its very end, because only there a decompressor compares its checksum.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.limits import Budget
from befit.files.member import ByteStream, Member
from befit.files.names import Kind

_BLOCK = 512
_CHUNK = 1 << 18
_LARGEST_READ = 1 << 20  # bytes; a long name or an extended header that is larger is no accident
_SPECIAL = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


def read_members(source: ByteStream, budget: Budget) -> Iterator[Member]:
    """Yield the members of the uncompressed archive ``source``; see ``archive.read_members``."""
    stream = _ForwardStream(source, budget)
    with _explained():
        archive = tarfile.TarFile(
            fileobj=cast(IO[bytes], stream), mode="r", encoding="utf-8", errors="surrogateescape"
        )
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # they would all stay in memory
            yield _member(archive, info, stream, budget)
        stream.verify_end()


def _member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, stream: _ForwardStream, budget: Budget
) -> Member:
    if info.isreg():
        if info.size < 0:
            raise ArchiveError(f"member {info.name!r} has a negative size")
        budget.expect(info.size)
        chunks = _sparse_data(archive, info) if info.issparse() else stream.data(info)
        return Member(info.name, "file", bool(info.mode & 0o100), chunks=chunks)
    kinds: dict[bytes, Kind] = {
        tarfile.DIRTYPE: "directory",
        tarfile.SYMTYPE: "symlink",
        tarfile.LNKTYPE: "hard link",
    }
    kind = kinds.get(info.type)
    if kind is None:
        what = _SPECIAL.get(info.type, f"of the unknown type {info.type!r}")
        raise UnsafeArchiveError(
            f"member {info.name!r} is {what}; only files, folders and links are extracted"
        )
    return Member(info.name, kind, target=info.linkname)


def _sparse_data(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(info)
    assert content is not None, "a sparse member is a regular file"
    with _explained(), content:
        yield from iter(lambda: content.read(_CHUNK), b"")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of tarfile into befit's."""
    try:
        yield
    except ArchiveError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise ArchiveError(f"a damaged tar archive: {error}") from error


class _ForwardStream:
    """The archive as ``tarfile`` sees it: a file that can be read and told, and sought forward only."""

    def __init__(self, source: ByteStream, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._position = 0
        self._last = b""
        self._reads_at_end = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise ArchiveError("a damaged tar archive: a header points backwards")
        while self._position < position:
            if not self.read(min(position - self._position, _CHUNK)):
                raise ArchiveError("the tar archive was cut short")
        return position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise UnsafeArchiveError(f"a header of {size:,} bytes")
        try:
            data = self._source.read(size)
        except (EOFError, zlib.error) as error:
            raise ArchiveError(f"the compressed data is damaged or was cut short: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise  # the disk, not the archive
            raise ArchiveError(f"the compressed data is damaged: {error}") from error
        self._budget.spend(len(data))
        self._position += len(data)
        self._last = data
        if size and not data:
            self._reads_at_end += 1
            if self._reads_at_end > 3:  # tarfile waits for ever for the rest of some headers
                raise ArchiveError("the tar archive was cut short")
        return data

    def data(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the content of a member that is stored in one piece."""
        self.seek(info.offset_data)
        end = info.offset_data + info.size
        while self._position < end:
            chunk = self.read(min(end - self._position, _CHUNK))
            if not chunk:
                raise ArchiveError(f"the tar archive was cut short inside {info.name!r}")
            yield chunk

    def verify_end(self) -> None:
        """Check that the archive ended with its end mark and read on to the end of the stream."""
        if len(self._last) < _BLOCK:
            raise ArchiveError("the tar archive was cut short: its end mark is missing")
        if self._last.strip(b"\0"):
            raise ArchiveError("a damaged tar archive: what should be a header is none")
        while rest := self.read(_CHUNK):
            if rest.strip(b"\0"):
                raise ArchiveError("there is data after the end of the tar archive")
