"""Archives: which format a file really has, and its members one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from befit.errors import ArchiveError, ArgumentError
from befit.files import decompress
from befit.files.limits import Budget
from befit.files.member import Member
from befit.files.reader import Reader, SeekingReader
from befit.files.tar import read_members as read_tar
from befit.files.tar_fields import BLOCK
from befit.files.tar_header import is_header
from befit.files.zip import read_members as read_zip
from befit.files.zip_directory import has_directory

Format: TypeAlias = Literal["tar", "zip"]

_START = 1024  # bytes that tell what a file is


class _Compression(NamedTuple):
    magic: tuple[bytes, ...]
    name: str
    codec: Callable[[], decompress.Codec]
    opened_with: str


_COMPRESSIONS = (
    _Compression((b"\x1f\x8b",), "gzip", decompress.gzip_codec, "gzip.open"),
    _Compression((b"BZh",), "bzip2", decompress.bzip2_codec, "bz2.open"),
    _Compression((b"\xfd7zXZ\x00",), "xz", decompress.xz_codec, "lzma.open"),
    _Compression(
        (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))),
        "Zstandard",
        decompress.zstd_codec,
        "compression.zstd.open (backports.zstd before Python 3.14)",
    ),
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_UNPACK_IT = "call without extract, and unpack it with"
_FOREIGN = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", f"{_UNPACK_IT} the program 7z or the package py7zr"),
    (b"Rar!\x1a\x07", "a RAR archive", f"{_UNPACK_IT} the program unrar"),
    (b"PK\x07\x08", "one part of a split zip archive", "join its parts first, with: zip -s 0"),
    (b"\x1f\x9d", "a file of the program compress", f"{_UNPACK_IT} the program uncompress"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", f"{_UNPACK_IT} the program lz4"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "call without extract"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")


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
        return _is_html(file.read(_START))


def read_members(file: BinaryIO, formats: tuple[Format, ...], budget: Budget) -> Iterator[Member]:
    """Yield the members of the archive; after the last one, its end and checksums have been verified.

    A tar archive is read from its start to its end; only a zip archive is read here and there. What ``file``
    itself raises passes as it is.

    Raises:
        ArchiveError: not an archive of these formats, or a damaged one.
        UnsafeArchiveError: a member of a kind that is not extracted, or more than the limits allow.
        MissingDependencyError: a package that decodes it is not installed.
    """
    start = Reader(file, "the file").take(_START)
    for compression in _COMPRESSIONS:
        if start.startswith(compression.magic):
            file.seek(0)
            yield from _read_compressed(file, compression, formats, budget)
            return
    if not start.startswith(_ZIP):
        if is_header(start[:BLOCK]):
            _check_allowed("tar", formats)
            file.seek(0)
            yield from read_tar(Reader(file, "the tar archive", budget.decode), budget)
            return
        _refuse_what_is_known(start)
    reader = SeekingReader(file, "the zip archive")
    # Before the first member may stand a program that unpacks them.
    if not start.startswith(_ZIP) and not has_directory(reader):
        raise ArchiveError(f"not a tar or zip archive (it starts with {start[:8]!r})")
    _check_allowed("zip", formats)
    yield from read_zip(reader, budget)


def _read_compressed(
    file: BinaryIO, compression: _Compression, formats: tuple[Format, ...], budget: Budget
) -> Iterator[Member]:
    stream = decompress.Decoded(file, compression.codec(), f"the {compression.name} file")
    reader = Reader(stream, "the tar archive", budget.decode)
    if not is_header(reader.peek(BLOCK)):
        raise ArchiveError(
            f"a single {compression.name}-compressed file, not an archive of files; call without extract "
            f"and open it with {compression.opened_with}"
        )
    _check_allowed("tar", formats)
    yield from read_tar(reader, budget)


def _check_allowed(found: Format, formats: tuple[Format, ...]) -> None:
    if found not in formats:
        raise ArchiveError(
            f"a {found} archive, and archive_format allows {' and '.join(formats)}; write "
            "archive_format='auto'"
        )


def _refuse_what_is_known(start: bytes) -> None:
    if not start:
        raise ArchiveError("an empty file")
    if _is_html(start):
        raise ArchiveError("a web page (HTML), not an archive; is it a login or error page?")
    for magic, name, advice in _FOREIGN:
        if start.startswith(magic):
            raise ArchiveError(f"{name}, which befit does not extract; {advice}")


def _is_html(start: bytes) -> bool:
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML)
