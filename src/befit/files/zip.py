"""Members of a zip archive: ``zipfile`` reads them; around it, the checks that it leaves out."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.limits import Budget
from befit.files.member import Member

_CHUNK = 1 << 18
_LONGEST_LINK = 4096  # bytes
_LOCAL_HEADER = 30  # bytes before the name of a member
_ENCRYPTED = 0x1 | 0x40
# Python 3.14 reads Zstandard too; an archive means the same on every version.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


def read_members(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Yield the members of the archive in ``file``; see ``archive.read_members``."""
    with _explained("the zip archive"):
        archive = zipfile.ZipFile(file)
    with archive:
        infos = archive.infolist()
        _check_layout(infos, archive.start_dir)
        budget.expect(sum(info.file_size for info in infos))
        for info in infos:
            yield _member(archive, info, budget)


def _check_layout(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that share bytes: with 64 that overlap, one megabyte unpacks to 64 times its content.

    So do members that begin before the file does, where zipfile would fail with an error of the disk.
    """
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > end:
            raise UnsafeArchiveError(f"member {info.orig_filename!r} overlaps another one")
        end = info.header_offset
    if end < 0:
        raise ArchiveError("the zip archive is damaged: a member begins before the file does")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Member:
    name = info.orig_filename  # as it is stored: zipfile cuts `filename` at a NUL and turns backslashes
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"member {name!r} is encrypted; get_file has no password to open it")
    if info.compress_type not in _METHODS:
        raise ArchiveError(
            f"member {name!r} is compressed in a way that befit does not read: method {info.compress_type}"
        )
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        if info.file_size:
            raise UnsafeArchiveError(f"member {name!r} is a folder with content of its own")
        return Member(name, "directory")
    if kind == stat.S_IFLNK:
        if info.file_size > _LONGEST_LINK:
            raise UnsafeArchiveError(f"member {name!r} is a symlink of {info.file_size:,} bytes")
        target = b"".join(_data(archive, info, budget)).decode("utf-8", errors="surrogateescape")
        return Member(name, "symlink", target=target)
    if kind not in (0, stat.S_IFREG):
        raise UnsafeArchiveError(
            f"member {name!r} is a special file; only files, folders and links are extracted"
        )
    return Member(name, "file", bool(mode & 0o100), chunks=_data(archive, info, budget))


def _data(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    """Yield the content of a member; at its end zipfile compares the checksum."""
    received = 0
    with _explained(f"member {info.orig_filename!r}"), archive.open(info) as content:
        while chunk := content.read(_CHUNK):
            received += len(chunk)
            budget.spend(len(chunk))
            yield chunk
    if received != info.file_size:
        raise ArchiveError(
            f"member {info.orig_filename!r} has {received:,} bytes, not {info.file_size:,} as listed"
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the errors of zipfile and its decompressors into befit's."""
    try:
        yield
    except ArchiveError:
        raise
    except NotImplementedError as error:
        raise ArchiveError(
            f"{what} is compressed or built in a way that befit does not read: {error}"
        ) from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError) as error:
        raise ArchiveError(f"{what} is damaged or was cut short: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise  # the disk, not the archive
        raise ArchiveError(f"{what} is damaged: {error}") from error
