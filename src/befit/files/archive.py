"""Archives: which format a file really has, and its members one by one."""

from __future__ import annotations

import bz2
import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from befit.errors import ArchiveError, ArgumentError
from befit.files.limits import Budget
from befit.files.member import ByteStream, Member
from befit.files.tar import read_members as read_tar
from befit.files.xz import XzReader
from befit.files.zip import read_members as read_zip

Format: TypeAlias = Literal["tar", "zip"]


_BLOCK = 512  # bytes, of which everything in a tar archive is a multiple
_DECODERS: tuple[tuple[bytes, str, str, Callable[[BinaryIO], ByteStream]], ...] = (
    (b"\x1f\x8b", "gzip", "gzip", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", "bzip2", "bz2", bz2.BZ2File),
    (b"\xfd7zXZ\x00", "xz", "lzma", XzReader),
)
_FOREIGN = (
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PK\x07\x08", "one part of a split zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")


@dataclass(frozen=True)
class Detected:
    """The format of a file, and how to read through its compression."""

    format: Format
    decode: Callable[[BinaryIO], ByteStream]


def archive_formats(archive_format: str | Sequence[str] | None) -> tuple[Format, ...]:
    """Return the formats that the argument of ``get_file`` allows.

    >>> archive_formats("auto"), archive_formats(None)
    (('tar', 'zip'), ())
    """
    if archive_format is None:
        return ()
    if archive_format == "auto":
        return ("tar", "zip")
    names = [archive_format] if isinstance(archive_format, str) else list(archive_format)
    for name in names:
        if name not in ("tar", "zip"):
            raise ArgumentError(
                f"archive_format {name!r} is not known; write 'auto', 'tar' (compressed or not), 'zip', a "
                f"list of these, or None"
            )
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]


def looks_like_html(path: Path) -> bool:
    """Return whether the file begins as a web page does."""
    with path.open("rb") as file:
        start = file.read(1024)
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML)


def detect(path: Path) -> Detected:
    """Return the format of the archive, by its content.

    Raises:
        ArchiveError: no archive that befit reads; says what it seems to be.
    """
    with path.open("rb") as file:
        start = file.read(_BLOCK)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return Detected("zip", _as_it_is)
        for magic, name, module, decode in _DECODERS:
            if start.startswith(magic):
                file.seek(0)
                try:
                    inner = decode(file).read(_BLOCK)
                except (OSError, EOFError, zlib.error) as error:
                    if isinstance(error, OSError) and error.errno is not None:
                        raise  # the disk, not the archive
                    raise ArchiveError(f"a broken {name} file: {error}") from error
                if _is_tar_block(inner):
                    return Detected("tar", decode)
                raise ArchiveError(
                    f"a single {name}-compressed file, not an archive of files; call without extract and "
                    f"open it with {module}.open"
                )
    if _is_tar_block(start):
        return Detected("tar", _as_it_is)
    if looks_like_html(path):
        raise ArchiveError("a web page (HTML), not an archive; is it a login or error page?")
    for magic, name in _FOREIGN:
        if start.startswith(magic):
            raise ArchiveError(f"{name}, which befit does not extract")
    raise ArchiveError(
        "an empty file" if not start else f"not a tar or zip archive (it starts with {start[:8]!r})"
    )


def read_members(path: Path, formats: tuple[Format, ...], budget: Budget) -> Iterator[Member]:
    """Yield the members of the archive; after the last one, its end and checksums have been verified.

    Raises:
        ArchiveError: not an archive of these formats, or a damaged one.
        UnsafeArchiveError: a member of a kind that is not extracted, or more than the limits allow.
    """
    found = detect(path)
    if found.format not in formats:
        raise ArchiveError(
            f"a {found.format} archive, and archive_format allows {' and '.join(formats)}; write "
            "archive_format='auto'"
        )
    with path.open("rb") as file:
        if found.format == "zip":
            yield from read_zip(file, budget)
        else:
            with closing(found.decode(file)) as stream:
                yield from read_tar(stream, budget)


def _as_it_is(file: BinaryIO) -> ByteStream:
    return file


def _is_tar_block(block: bytes) -> bool:
    """Return whether ``block`` is the header of a tar member, or the empty block that ends an archive."""
    if len(block) < _BLOCK:
        return False
    if not block.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")  # verifies the header's checksum
    except tarfile.TarError:
        return False
    return True
